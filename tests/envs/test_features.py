"""Feature acquisition: held to a plain loop, its rules one by one, and as Gymnasium sees it."""

import dataclasses
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from almeta.data import load_dataset
from almeta.envs import FeatureAcquisitionEnv, FeatureAcquisitionVectorEnv, FeatureOptions, FeatureSimulation
from almeta.errors import AlmetaError
from almeta.imputation import GaussianBelief
from almeta.inputs import Cells
from almeta.learners import make_learner
from almeta.seeding import make_generator
from almeta.strategies.choosing import best_action
from almeta.strategies.features import make_cell_strategy
from almeta.training.rollout import record_curves

ID = "almeta:almeta/FeatureAcquisition-v0"
TABLES = ("iris", "wine")
STEPS, ROWS, COLUMNS = 5, 12, 6
SETTING: dict[str, Any] = {
    "dataset": TABLES,
    "pool_size": ROWS,
    "max_features": COLUMNS,
    "max_test": 30,
    "budget": STEPS,
    "missing": 0.6,
    "price": 0.01,
}


def simulate(num_envs=4, seed=0, learner="prototype", **options):
    setting = {key: value for key, value in (SETTING | options).items() if key != "dataset"}
    datasets = [load_dataset(name) for name in TABLES]
    return FeatureSimulation(
        datasets, FeatureOptions(**setting), num_envs, make_generator(seed, "env"), make_learner(learner)
    )


def vector(num_envs=3, **options):
    return FeatureAcquisitionVectorEnv(num_envs, **(SETTING | {"learner": "prototype"} | options))


def single(**options):
    return FeatureAcquisitionEnv(**(SETTING | {"learner": "prototype"} | options))


def allowed(mask, rng):
    """An allowed cell of each episode."""
    return np.array([rng.choice(np.flatnonzero(row)) for row in np.asarray(mask)])


# --- a plain loop ---


def plain_score(x, y, known, test_x, test_y, mean, scale):
    """Accuracy of nearest class means on rows whose missing cells are filled in, one table, without padding."""
    scaled, tested = (np.clip((part - mean) / scale, -10, 10) for part in (x, test_x))
    values, there = torch.tensor(scaled)[None], torch.tensor(known)[None]
    filled = GaussianBelief.fit(values, there).fill(values, there)[0][0].numpy()
    classes = np.unique(y)
    means = np.array([filled[y == k].mean(0) for k in classes])
    distances = ((tested[:, None] - means) ** 2).sum(-1)
    return (classes[distances.argmin(1)] == test_y).mean(), filled


def test_it_is_a_plain_loop_over_cells():
    simulation, rng = simulate(), np.random.default_rng(0)
    simulation.reset()
    tasks = simulation.tasks
    assert set(tasks.names) == set(TABLES)  # of different widths
    widths = [4 if name == "iris" else tasks.x.shape[2] for name in tasks.names]
    raw = [(tasks.x[e, :, :w].numpy(), tasks.test_x[e, tasks.test_exists[e], :w].numpy()) for e, w in enumerate(widths)]
    wide = [np.flatnonzero((x != 0).any(0)) for x, _ in raw]
    known = simulation.known.numpy().copy()
    scales = []
    for e, columns in enumerate(wide):
        x, there = raw[e][0][:, columns], known[e][:, columns]
        mean = np.array([x[there[:, j], j].mean() for j in range(len(columns))])
        spread = np.array([x[there[:, j], j].std() for j in range(len(columns))])
        scales.append((mean, np.where(spread > 1e-6, spread, 1.0)))
    before, paid = [None] * 4, np.zeros(4)
    for _ in range(STEPS):
        state = simulation.state()
        actions = allowed(state.available, rng)
        for e, columns in enumerate(wide):
            y, test_y = tasks.y[e].numpy(), tasks.test_y[e, tasks.test_exists[e]].numpy()
            x, test_x = (part[:, columns] for part in raw[e])
            before[e], filled = plain_score(x, y, known[e][:, columns], test_x, test_y, *scales[e])
            assert float(simulation.score[e]) == pytest.approx(before[e], abs=1e-6)
            np.testing.assert_allclose(state.filled[e][:, columns], filled, atol=1e-4)
            row, column = divmod(int(actions[e]), COLUMNS)
            assert not known[e, row, column]
            known[e, row, column] = True
        outcome = simulation.step(torch.tensor(actions))
        price = state.prices.flatten(1).gather(1, torch.tensor(actions)[:, None]).squeeze(1)
        paid += price.numpy()
        for e, columns in enumerate(wide):
            y, test_y = tasks.y[e].numpy(), tasks.test_y[e, tasks.test_exists[e]].numpy()
            x, test_x = (part[:, columns] for part in raw[e])
            now, _ = plain_score(x, y, known[e][:, columns], test_x, test_y, *scales[e])
            assert float(outcome.reward[e]) == pytest.approx(now - before[e] - float(price[e]), abs=1e-6)
        assert torch.equal(outcome.price, price) and not outcome.invalid.any()
    np.testing.assert_allclose(simulation.spent, paid, atol=1e-6)
    np.testing.assert_allclose(simulation.scores["score_less_price"], simulation.score.numpy() - paid, atol=1e-6)
    assert simulation.finished and (price > 0).all()
    with pytest.raises(RuntimeError, match="call reset"):
        simulation.step(torch.tensor(actions))


def test_curves_are_the_first_score_and_the_sums_of_rewards_on_top_of_it():
    simulation = simulate()
    tasks = simulation.sampler.draw_seeded(range(4))
    actor, ties, draws = make_cell_strategy("cheapest"), make_generator(0, "ties"), make_generator(1, "cells")
    curves, seconds = record_curves(simulation, actor, ties, tasks, [draws], ["score_less_price", "accuracy"])
    assert curves.shape == (2, STEPS + 1, 4) and seconds > 0
    ties, draws = make_generator(0, "ties"), make_generator(1, "cells")
    simulation.reset(tasks, [draws])
    net, scores = [simulation.score], [simulation.score]
    while not simulation.finished:
        state = simulation.state()
        outputs, _ = actor.step(state, ())
        outcome = simulation.step(best_action(outputs.utilities, state.action_mask, ties))
        net.append(net[-1] + outcome.reward)
        scores.append(outcome.score)
    torch.testing.assert_close(curves[0], torch.stack(net))
    assert torch.equal(curves[1], torch.stack(scores)) and (curves[0, 1:] < curves[1, 1:]).all()


# --- rules ---


def test_a_known_cell_or_one_that_pads_spends_the_step_and_nothing_else():
    simulation = simulate()
    state = simulation.reset()
    known = state.known.flatten(1).float().argmax(1)
    pads = (~state.exists.flatten(1)).float().argmax(1)
    pads = pads.where((~state.exists).flatten(1).any(1), known)
    for actions in (known, pads):
        score, outcome = simulation.score, simulation.step(actions)
        assert outcome.invalid.all() and (outcome.reward == 0).all() and (outcome.price == 0).all()
        assert torch.equal(outcome.score, score) and torch.equal(simulation.known, state.known)
    assert simulation.time == 2 and (simulation.spent == 0).all()
    assert set(simulation.tasks.names) == {"iris", "wine"}  # iris has columns that pad


@pytest.mark.parametrize("missing, kept", [(0.6, 5), (0.75, 3), (1.0, 2)])
def test_each_column_lacks_its_share_of_cells_and_has_one_price(missing, kept):
    simulation = simulate(missing=missing)
    state = simulation.reset()
    counts = state.known.sum(1)
    assert set(counts[state.exists.any(1)].tolist()) == {kept}
    assert (counts[~state.exists.any(1)] == 0).all()
    assert torch.equal(state.prices, state.prices[:, :1].expand_as(state.prices).where(state.exists, 0.0))
    assert (state.filled[~state.exists] == 0).all() and (state.deviation[~state.missing] == 0).all()


def test_prices_are_log_normal_with_the_mean_asked_for():
    options = {"price": 0.5, "spread": 0.8, "missing": 0.9, "budget": 1}
    prices = simulate(num_envs=200, **options).reset().prices
    drawn = prices[:, 0][prices[:, 0] > 0]
    assert float(drawn.log().std()) == pytest.approx(0.8, abs=0.06)
    assert float(drawn.mean()) == pytest.approx(0.5, abs=0.06)
    equal = simulate(spread=0.0).reset()
    torch.testing.assert_close(equal.prices[equal.exists], torch.full((int(equal.exists.sum()),), 0.01))


def test_a_group_begins_alike():
    state = simulate(num_envs=4, group=2).reset()
    for part in (state.known, state.prices, state.filled):
        assert torch.equal(part[0], part[1]) and torch.equal(part[2], part[3])
    assert not torch.equal(state.known[0], state.known[2])


def test_a_generator_for_each_task_makes_it_the_same_beside_any_others():
    simulation, alone = simulate(), simulate(num_envs=1)
    tasks = simulation.sampler.draw_seeded(range(4))
    simulation.reset(tasks, [make_generator(e, "cells") for e in range(4)])
    alone.reset(alone.sampler.draw_seeded([2]), [make_generator(2, "cells")])
    assert torch.equal(simulation.known[2], alone.known[0]) and torch.equal(simulation.prices[2], alone.prices[0])


def test_the_budget_completes_the_table_that_lacks_fewest():
    simulation = simulate(budget=None)
    simulation.reset()
    assert simulation.length == int(simulation.state().available.sum(1).min()) == 4 * (ROWS - 5)
    with pytest.raises(AlmetaError, match=r"env.budget=29, but 28 cells of data set 'iris' are missing; choose 28"):
        simulate(budget=29).reset()
    with pytest.raises(AlmetaError, match="there is none to ask for; choose a larger env.missing"):
        simulate(missing=0.0).reset()


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"missing": 1.5}, "env.missing is 1.5; it must be a number from 0 to 1"),
        ({"price": -1.0}, "env.price is -1.0; it must be a number of at least 0"),
        ({"test_share": 1.0}, "env.test_share is 1; it must be below 1"),
        ({"mising": 0.5}, "unknown key of env 'mising'; did you mean 'missing'"),
        ({"inputs": "candidates"}, "inputs=candidates is no CellInputs; choose inputs of that kind"),
        ({"learner": "gaussian_process"}, "GaussianProcess learns numbers; name a learner of classes"),
        ({"dataset": "waves"}, "data set 'waves' has numbers as targets; feature acquisition is for classes"),
    ],
)
def test_bad_input(wrong, message):
    with pytest.raises(AlmetaError, match=message):
        single(**wrong)


def test_a_task_that_is_wider_than_the_table_is_told():
    simulation = simulate()
    narrow = simulate(max_features=3)
    with pytest.raises(AlmetaError, match=r"a task has 6 columns, and env.max_features=3; choose 6 or more"):
        narrow.reset(simulation.sampler.draw_seeded(range(4), cycle=True))
    with pytest.raises(ValueError, match="2 tasks are given; here they are 4"):
        simulation.reset(simulation.sampler.draw_seeded(range(2)))


def test_what_checkpoints_keep_is_that_of_pools():
    identity = simulate().identity
    assert identity["datasets"] == sorted(TABLES) and identity["rows"].keys() == set(TABLES)


# --- as Gymnasium sees it ---


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("options", [{}, {"learner": "logistic_regression", "budget": None}])
def test_gymnasiums_checks_pass_without_a_warning(options):
    env = gym.make(ID, **(SETTING | {"learner": "prototype"} | options))
    check_env(env.unwrapped)
    _, info = env.reset(seed=0)
    while True:
        _, _, terminated, truncated, info = env.step(np.flatnonzero(info["action_mask"])[0])
        assert isinstance(terminated, bool) and truncated is False
        if terminated:
            return


def column(value, e):
    """Episode `e` of what a batch returns, as a single environment returns it."""
    if isinstance(value, dict):
        return {name: column(entry, e) for name, entry in value.items()}
    return value[e].item() if value.ndim == 1 else value[e]


def entries(observation, e):
    return {name: value[e] for name, value in observation.items()}


@pytest.mark.parametrize("learner", ["prototype", "logistic_regression"])
def test_single_and_batch_of_one_are_the_same_step_for_step(learner):
    one, batch, rng = single(learner=learner), vector(1, learner=learner), np.random.default_rng(0)
    for seed in (7, None):  # the second time without a seed: generators go on alike
        mine, theirs = one.reset(seed=seed), batch.reset(seed=seed)
        np.testing.assert_equal(mine, (entries(theirs[0], 0), column(theirs[1], 0)))
        for _ in range(STEPS):
            action = allowed(theirs[1]["action_mask"] if len(theirs) == 2 else theirs[-1]["action_mask"], rng)
            mine, theirs = one.step(action[0]), batch.step(action)
            np.testing.assert_equal(mine[0], entries(theirs[0], 0))
            np.testing.assert_equal(mine[1:], tuple(column(value, 0) for value in theirs[1:]))


@pytest.mark.parametrize("learner, close", [("prototype", 1e-5), ("logistic_regression", 5e-3)])
def test_a_batch_is_so_many_singles_step_for_step(learner, close):
    batch, rng = vector(3, learner=learner), np.random.default_rng(0)
    tasks = batch.simulation.sampler.draw_seeded(range(3), cycle=True)
    batch.reset(seed=[5, 6, 7], options={"tasks": tasks})
    actions, results = [], []
    for _ in range(STEPS):
        actions.append(allowed(batch.simulation.state().available, rng))
        results.append(batch.step(actions[-1]))
    for e in range(3):
        own = {key: value[e : e + 1] for key, value in vars(tasks).items()}
        alone = single(learner=learner)
        alone.reset(seed=5 + e, options={"tasks": dataclasses.replace(tasks, **own)})
        for action, theirs in zip(actions, results, strict=True):
            mine = alone.step(action[e])
            for name in ("candidates", "pool", "action_mask"):
                np.testing.assert_allclose(mine[0][name], theirs[0][name][e], atol=close)
            assert mine[1] == pytest.approx(theirs[1][e], abs=1e-6 if learner == "prototype" else 0.05)
            assert mine[2:4] == (theirs[2][e], theirs[3][e])


def test_types_and_fields():
    env = single()
    observation, info = env.reset(seed=0)
    size = Cells()
    assert observation["candidates"].shape == (ROWS * COLUMNS, len(size.candidate_names))
    assert observation["pool"].shape == (len(size.pool_names),)
    assert info.keys() == {"action_mask", "score", "spent", "known"}
    action = int(np.flatnonzero(info["action_mask"])[0])
    observation, reward, terminated, truncated, info = env.step(action)
    assert (type(reward), type(terminated), truncated) == (float, bool, False)
    kinds = {"score": float, "spent": float, "known": int, "price": float, "invalid_action": bool}
    assert {name: type(info[name]) for name in kinds} == kinds
    assert info["action_mask"].dtype == np.int8 and not info["action_mask"][action]
    assert env.action_masks().tolist() == info["action_mask"].astype(bool).tolist()
    assert env.step(action)[-1]["invalid_action"]
    with pytest.raises(gym.error.InvalidAction, match="a cell: its row times the number of columns"):
        env.step(ROWS * COLUMNS)


def test_arrays_are_fresh():
    """What a user writes into what came back changes nothing."""
    clean, spoilt = vector(), vector()
    pairs, rng = [(clean.reset(seed=0), spoilt.reset(seed=0))], np.random.default_rng(0)
    for _ in range(STEPS):
        actions = allowed(pairs[-1][0][-1]["action_mask"], rng)
        for value in pairs[-1][1]:
            for array in value.values() if isinstance(value, dict) else [value]:
                array[...] = ~array if array.dtype == bool else 1 - array
        pairs.append((clean.step(actions), spoilt.step(actions)))
        np.testing.assert_equal(*pairs[-1])


@pytest.mark.parametrize("hidden", ["cells", "test_x", "test_y"])
def test_nothing_that_is_hidden_is_observed(hidden):
    """Hidden cells or test rows are others, the actions are the same: no observation differs."""
    env, rng = vector(4, missing=0.7), np.random.default_rng(0)
    tasks = env.simulation.sampler.draw_seeded(range(4), cycle=True)
    env.reset(seed=3, options={"tasks": tasks})
    known = env.simulation.known.clone()
    actions = []
    for _ in range(STEPS):
        actions.append(allowed(env.simulation.state().available, rng))
        env.step(actions[-1])
    asked = env.simulation.known & ~known
    keep = known | asked | ~env.simulation.exists
    width = tasks.x.shape[2]
    changes = {
        "cells": {"x": torch.where(keep[..., :width], tasks.x, 5 - 3 * tasks.x)},
        "test_x": {"test_x": -tasks.test_x},
        "test_y": {"test_y": (tasks.test_y + 1) % 2},
    }[hidden]

    def played(those):
        return [env.reset(seed=3, options={"tasks": those}), *(env.step(action) for action in actions)]

    plain, changed = played(tasks), played(dataclasses.replace(tasks, **changes))
    for one, same in zip(plain, changed, strict=True):
        np.testing.assert_equal(one[0], same[0])
        np.testing.assert_equal(one[-1]["action_mask"], same[-1]["action_mask"])
    before, after = ([result[-1]["score"] for result in results] for results in (plain, changed))
    assert np.allclose(before, after) == (hidden == "cells")  # the judge sees the test rows, and them alone


def test_a_frame_shows_rows_and_scores(monkeypatch):
    env = single(render_mode="rgb_array")
    _, info = env.reset(seed=0)
    scores = [info["score"]]
    for _ in range(2):
        action = int(np.flatnonzero(info["action_mask"])[-1])
        *_, info = env.step(action)
        scores.append(info["score"])
    frame = env.render()
    assert frame is not None and (frame.dtype, frame.shape) == (np.uint8, (320, 640, 3))
    drawn: list[Any] = []
    monkeypatch.setattr("almeta.envs.features.draw_pool", lambda *given: drawn.extend(given))
    env.render()
    x, labels, row, shown, limit, title, _ = drawn
    assert len(x) == len(labels) == ROWS and row == action // COLUMNS
    assert shown == pytest.approx(scores) and limit == STEPS and title.endswith(": 2 of 5 cells")
