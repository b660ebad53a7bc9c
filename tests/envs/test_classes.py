"""Class sampling: held to a plain loop with its own cross-validation, rule by rule, and as Gymnasium sees it."""

import dataclasses
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from sklearn.linear_model import LogisticRegression as Reference

from almeta.classes import folds_of
from almeta.data import load_dataset
from almeta.envs import ClassOptions, ClassSamplingEnv, ClassSamplingVectorEnv, ClassSimulation
from almeta.errors import AlmetaError
from almeta.inputs import ClassInputs
from almeta.learners import make_learner
from almeta.seeding import make_generator
from tests.envs.test_table_stream import column, nearest_mean

ID = "almeta:almeta/ClassSampling-v0"
TABLES = ("iris", "wine", "breast_cancer")
SETTING: dict[str, Any] = {"dataset": TABLES, "pool_size": 40, "max_test": 40, "budget": 9, "query_size": 3}
T = 9


def simulate(num_envs=6, seed=0, learner="prototype", names=TABLES, measures=(), **options):
    setting = {key: value for key, value in (SETTING | options).items() if key != "dataset"}
    datasets = [load_dataset(name) for name in names]
    generator = make_generator(seed, "env")
    return ClassSimulation(
        datasets, ClassOptions(**setting), num_envs, generator, learner=make_learner(learner), measures=measures
    )


def by_chance(steps, num_envs, classes=2, seed=0):
    return torch.randint(classes, (steps, num_envs), generator=make_generator(seed, "actions"))


def vector(num_envs=3, **options):
    return ClassSamplingVectorEnv(num_envs, **(SETTING | options))


def single(**options):
    return ClassSamplingEnv(**(SETTING | options))


# --- a plain loop ---


def scikits(x, y, rows, classes):
    p = np.zeros((len(rows), classes))
    if len(np.unique(y)) == 1:
        p[:, y[0]] = 1.0
        return p
    model = Reference(max_iter=1000).fit(x, y)
    p[:, model.classes_] = model.predict_proba(rows)
    return p


@pytest.mark.parametrize("learner, plain", [("prototype", nearest_mean), ("logistic_regression", scikits)])
def test_it_is_a_plain_loop_over_the_rows(learner, plain):
    simulation = simulate(num_envs=4, learner=learner)
    simulation.reset()
    tasks, actions = simulation.tasks, by_chance(T, 4)
    assert len(set(tasks.names)) > 1 and simulation.num_classes == 3
    had = [[int(row) for row in tasks.first[e] if row >= 0] for e in range(4)]
    labels = [tasks.y[e].tolist() for e in range(4)]
    to_come = [[row for row in range(int(tasks.exists[e].sum())) if row not in had[e]] for e in range(4)]
    before = [np.zeros((0, 3))] * 4
    score = simulation.score
    for time in range(T + 1):
        state = simulation.state()
        for e in range(4):
            y, x = tasks.y[e].numpy(), tasks.x[e].numpy()
            left = np.bincount([labels[e][row] for row in to_come[e]], minlength=3)
            assert state.available[e].tolist() == (left > 0).tolist()
            assert state.shares[e].tolist() == pytest.approx((np.bincount(y, minlength=3) / len(y)).tolist())
            rows, classes = had[e], int(tasks.num_classes[e])
            if time % 3:
                continue
            told = state.labels[e] >= 0
            assert state.labels[e, told].tolist() == y[rows].tolist() and not state.drawn[e].any()
            folds = folds_of(tasks.y[e, rows][None], 3, 3)[0].numpy()
            for fold in range(3):
                kept = [row for row, own in zip(rows, folds, strict=True) if own != fold]
                p = plain(x[kept], y[kept], x[np.array(rows)[folds == fold]], classes)
                np.testing.assert_allclose(state.held_out[e, told][folds == fold, :classes], p, atol=3e-3)
            assert not state.held_out[e, :, classes:].any()
            if time:
                np.testing.assert_array_equal(state.held_out_before[e], before[e])
            before[e] = state.held_out[e].numpy()
            there = tasks.test_exists[e]
            tested = plain(x[rows], y[rows], tasks.test_x[e, there].numpy(), classes)
            accuracy = (tested.argmax(1) == tasks.test_y[e, there].numpy()).mean()
            assert simulation.score[e] == pytest.approx(accuracy, abs=1e-6 if learner == "prototype" else 0.03)
        if time == T:
            break
        outcome = simulation.step(actions[time])
        torch.testing.assert_close(outcome.reward, outcome.score - score)
        if time % 3 < 2:
            assert not outcome.reward.any()
        assert not outcome.invalid.any()
        score = outcome.score
        for e in range(4):
            came = next(row for row in to_come[e] if labels[e][row] == actions[time, e])
            to_come[e].remove(came)
            had[e].append(came)
            assert simulation.state().picks[e, -1] == came
    assert simulation.finished


# --- rules ---


def test_a_class_that_is_used_up_is_masked_and_brings_nothing():
    simulation = simulate(pool_size=12, budget=6, query_size=2, names=("iris",), test_share=0.5)
    state = simulation.reset()
    assert simulation.tasks.exists.sum(1).tolist() == [12] * 6
    left = 4 - 2  # rows of class 0 beside the first ones
    asked = torch.zeros(6, dtype=torch.int64)
    for time in range(6):
        assert state.action_mask[:, 0].tolist() == [time < left] * 6
        outcome, state = simulation.step(asked), simulation.state()
        assert outcome.invalid.tolist() == [time >= left] * 6
        assert (state.picks[:, -1] >= 0).tolist() == [time < left] * 6
        if time >= left:
            assert not outcome.reward.any()
    assert state.counts.tolist() == [[4, 2, 2]] * 6
    with pytest.raises(RuntimeError, match="call reset"):
        simulation.step(asked)


def test_no_row_comes_twice_and_first_rows_do_not_come():
    simulation = simulate(budget=None, pool_size=20, names=("iris",))
    state = simulation.reset()
    while not simulation.finished:
        simulation.step(state.action_mask.float().argmax(1))
        state = simulation.state()
    for picks in state.picks:
        assert sorted(picks.tolist()) == list(range(20))


def test_the_last_query_may_be_shorter():
    simulation = simulate(budget=5)
    sizes = [simulation.reset().query_size]
    for _ in range(4):
        simulation.step(torch.zeros(6, dtype=torch.int64))
        sizes.append(simulation.state().query_size)
    assert sizes == [3, 3, 3, 2, 2]
    before = simulation.state().labels.shape[1]
    simulation.step(torch.zeros(6, dtype=torch.int64))
    assert simulation.state().labels.shape[1] == before + 2


def test_a_group_has_one_task_and_one_order():
    simulation = simulate(num_envs=4, group=2)
    simulation.reset()
    for _ in range(3):
        simulation.step(torch.ones(4, dtype=torch.int64))
    picks = simulation.state().picks
    assert torch.equal(picks[0], picks[1]) and not torch.equal(picks[0], picks[2])


def test_the_reward_may_be_the_gain_of_another_score():
    simulation = simulate(reward_score="true_probability", measures=("balanced_accuracy",))
    simulation.reset()
    assert simulation.scores.keys() == {"accuracy", "true_probability", "balanced_accuracy"}
    before, total = simulation.scores["true_probability"], torch.zeros(6)
    for action in by_chance(T, 6):
        total += simulation.step(action).reward
    torch.testing.assert_close(total, simulation.scores["true_probability"] - before)


def test_without_first_rows_all_own_classes_are_alike():
    simulation = simulate(num_envs=8, num_first=0, first="random")
    state = simulation.reset()
    assert not state.counts.any() and not state.accuracies.any()
    view = ClassInputs()(state)
    assert view.candidates.isfinite().all() and view.pool.isfinite().all()
    simulation.step(torch.zeros(8, dtype=torch.int64))
    for _ in range(2):
        simulation.step(torch.ones(8, dtype=torch.int64))
    assert simulation.state().counts.tolist() == [[1, 2, 0]] * 8


def test_what_does_not_fit_is_told():
    with pytest.raises(AlmetaError, match=r"env.budget=90, but data set '\w+' has \d+ rows to give beside first and"):
        simulate(budget=90).reset()
    with pytest.raises(AlmetaError, match="there is none to ask for; choose a larger env.pool_size or fewer first"):
        simulate(pool_size=6, num_first=6, budget=3, names=("iris",)).reset()
    with pytest.raises(AlmetaError, match="env.query_size=10 is more than env.budget=9"):
        simulate(query_size=10)
    with pytest.raises(AlmetaError, match="env.num_folds is 1; it must be a whole number of at least 2"):
        simulate(num_folds=1)
    with pytest.raises(AlmetaError, match="inputs=candidates is no ClassInputs; choose inputs of that kind"):
        single(inputs="candidates")
    with pytest.raises(AlmetaError, match="GaussianProcess learns numbers; name a learner of classes"):
        single(learner="gaussian_process")
    with pytest.raises(AlmetaError, match="data set 'waves' has numbers as targets; class sampling is for classes"):
        single(dataset="waves")


def test_the_number_of_actions_is_that_of_the_largest_task():
    assert simulate().num_classes == 3
    assert simulate(max_classes=2).num_classes == 2
    assert simulate(synthetic=0.5).num_classes == 5
    assert simulate(names=("iris",), only_classes=["setosa", "virginica"]).num_classes == 2


# --- as Gymnasium sees it ---


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("options", [{}, {"budget": None}, {"dataset": "digits", "pool_size": 100}])
def test_gymnasiums_checks_pass_without_a_warning(options):
    env = gym.make(ID, **(SETTING | options))
    check_env(env.unwrapped)
    env.reset(seed=0)
    for _ in range(100):
        *_, terminated, truncated, _ = env.step(env.action_space.sample())
        assert isinstance(terminated, bool) and truncated is False
        if terminated:
            return
    raise AssertionError("it never ends")


@pytest.mark.parametrize("learner", ["prototype", "logistic_regression"])
def test_single_and_batch_of_one_are_the_same_step_for_step(learner):
    one, batch = single(learner=learner), vector(1, learner=learner)
    for seed in (7, None):  # the second time without a seed: generators go on alike
        results = [(one.reset(seed=seed), batch.reset(seed=seed))]
        for action in by_chance(T, 1).squeeze(1).tolist():
            results.append((one.step(action), batch.step(np.array([action]))))
        for mine, theirs in results:
            np.testing.assert_equal(mine, tuple(column(value, 0) for value in theirs))


@pytest.mark.parametrize("learner, close", [("prototype", 1e-5), ("logistic_regression", 4e-3)])
def test_a_batch_is_so_many_singles_step_for_step(learner, close):
    batch, actions = vector(3, learner=learner), by_chance(T, 3).numpy()
    results = [batch.reset(seed=3), *(batch.step(action) for action in actions)]
    tasks = batch.simulation.tasks
    smooth = [ClassInputs().candidate_names.index(name) for name in ("rows", "probability of its own rows")]
    for e in range(3):
        own = {key: value[e : e + 1] for key, value in vars(tasks).items()}
        alone = single(learner=learner)
        again = [alone.reset(options={"tasks": dataclasses.replace(tasks, **own)})]
        again += [alone.step(action) for action in actions[:, e]]
        for mine, theirs in zip(again, results, strict=True):
            shown, batched = mine[0]["candidates"], theirs[0]["candidates"][e]
            np.testing.assert_allclose(shown[:, smooth], batched[:, smooth], atol=close)
            if learner == "prototype":
                np.testing.assert_allclose(shown, batched, atol=close)
                np.testing.assert_allclose(mine[0]["pool"], theirs[0]["pool"][e], atol=close)
                assert len(mine) == 2 or mine[1:4] == (theirs[1][e], theirs[2][e], theirs[3][e])
            np.testing.assert_array_equal(mine[-1]["action_mask"], theirs[-1]["action_mask"][e])


def test_types_and_fields():
    env = single(dataset="iris", pool_size=8, budget=2, query_size=1, max_test=9)
    _, info = env.reset(seed=0)
    assert info.keys() == {"action_mask", "score", "labels"}
    rare = int(np.flatnonzero(info["action_mask"] == 0)[0]) if not info["action_mask"].all() else 0
    observation, reward, terminated, truncated, info = env.step(rare)
    assert observation.keys() == {"candidates", "pool", "action_mask"}
    assert observation["candidates"].dtype == np.float32
    assert (type(reward), type(terminated), truncated) == (float, bool, False)
    kinds = {"score": float, "labels": int, "invalid_action": bool}
    assert {name: type(info[name]) for name in kinds} == kinds
    assert info["action_mask"].dtype == np.int8
    np.testing.assert_array_equal(env.action_masks(), info["action_mask"])
    with pytest.raises(gym.error.InvalidAction, match="the class of the next row"):
        env.step(3)


def test_arrays_are_fresh():
    """What a user writes into what came back changes nothing."""
    clean, spoilt = vector(), vector()

    def arrays(value):
        return [one for part in value.values() for one in arrays(part)] if isinstance(value, dict) else [value]

    pairs = [(clean.reset(seed=0), spoilt.reset(seed=0))]
    for action in by_chance(T, 3).numpy():
        for value in pairs[-1][1]:
            for array in arrays(value):
                array[...] = ~array if array.dtype == bool else 1 - array
        pairs.append((clean.step(action), spoilt.step(action)))
        np.testing.assert_equal(*pairs[-1])


@pytest.mark.parametrize("hidden", ["test_y", "test_x", "x"])
def test_nothing_that_is_hidden_is_observed(hidden):
    """Test rows, or rows that do not come, are others, the actions are the same: no observation differs."""
    env, actions = vector(4), by_chance(T, 4).numpy()
    tasks = env.simulation.sampler.draw_seeded(range(4))

    def play(played):
        return [env.reset(options={"tasks": played}), *(env.step(action) for action in actions)]

    plain = play(tasks)
    came = torch.zeros_like(tasks.exists)
    for e, picks in enumerate(env.simulation.state().picks):
        came[e, picks[picks >= 0]] = True
    value = getattr(tasks, hidden)
    other = (value + 1) % 2 if hidden == "test_y" else -value
    other = torch.where(came[..., None], value, other) if hidden == "x" else other
    changed = play(dataclasses.replace(tasks, **{hidden: other}))
    for one, same in zip(plain, changed, strict=True):
        np.testing.assert_equal(one[0], same[0])
        np.testing.assert_array_equal(one[-1]["action_mask"], same[-1]["action_mask"])
    before, after = ([result[-1]["score"] for result in results] for results in (plain, changed))
    assert np.allclose(before, after) == (hidden == "x")  # the judge sees the test rows, and them alone


def test_a_frame_shows_the_rows_that_came_and_the_learning_curve(monkeypatch):
    env = single(render_mode="rgb_array", dataset="iris")
    with pytest.raises(gym.error.ResetNeeded):
        env.render()
    _, info = env.reset(seed=0)
    scores = [info["score"]]
    for action in (1, 0, 1):
        *_, info = env.step(action)
        scores.append(info["score"])
    frame = env.render()
    assert frame is not None and (frame.dtype, frame.shape) == (np.uint8, (320, 640, 3))
    drawn: list[Any] = []
    monkeypatch.setattr("almeta.envs.classes.draw_pool", lambda *given: drawn.extend(given))
    env.render()
    x, labels, last, shown, limit, title, _ = drawn
    assert len(x) == len(labels) == 6 + 3 and last == 8
    assert labels[6:].tolist() == [1, 0, 1]
    assert shown == pytest.approx(scores) and limit == T and title == "iris: 3 of 9 rows"
