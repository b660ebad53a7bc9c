"""The stream of a table's rows: held to a plain loop, its rules one by one, and as Gymnasium sees it."""

import dataclasses
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from sklearn.linear_model import LogisticRegression as Reference

from almeta.data import load_dataset
from almeta.envs import TableStreamEnv, TableStreamOptions, TableStreamSimulation, TableStreamVectorEnv
from almeta.envs.table_stream import NUMBERS, row_numbers
from almeta.errors import AlmetaError
from almeta.learners import Prototype, make_learner
from almeta.seeding import make_generator
from almeta.stream import TableStreamState

ID = "almeta:almeta/TableStream-v0"
TABLES = ("iris", "wine", "breast_cancer")
ROWS = 20
SETTING: dict[str, Any] = {"dataset": TABLES, "pool_size": ROWS, "max_test": 40, "length": 12, "budget": 0.5}


def simulate(num_envs=6, seed=0, learner="prototype", names=TABLES, **options):
    setting = {key: value for key, value in (SETTING | options).items() if key != "dataset"}
    datasets = [load_dataset(name) for name in names]
    made = make_learner(learner) if isinstance(learner, str) else learner
    return TableStreamSimulation(
        datasets, TableStreamOptions(**setting), num_envs, make_generator(seed, "env"), learner=made
    )


def by_chance(steps, num_envs, seed=0):
    return torch.randint(2, (steps, num_envs), generator=make_generator(seed, "actions"))


def vector(num_envs=3, **options):
    return TableStreamVectorEnv(num_envs, **(SETTING | options))


def single(**options):
    return TableStreamEnv(**(SETTING | options))


# --- a plain loop ---


def nearest_mean(x, y, rows, classes):
    """The probabilities `[n, C]` of `Prototype` with features `[L, D]` and labels so far."""
    scale = max(1, int((x != 0).any(0).sum()))
    logits = np.full((len(rows), classes), -np.inf)
    for k in np.unique(y):
        logits[:, k] = -((rows - x[y == k].mean(0)) ** 2).sum(1) / scale
    p = np.exp(logits - logits.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True)


def scikits(x, y, rows, classes):
    p = np.zeros((len(rows), classes))
    if len(np.unique(y)) == 1:
        p[:, y[0]] = 1.0
        return p
    model = Reference(max_iter=1000).fit(x, y)
    p[:, model.classes_] = model.predict_proba(rows)
    return p


@pytest.mark.parametrize("learner, plain", [("prototype", nearest_mean), ("logistic_regression", scikits)])
@pytest.mark.parametrize("first", [{}, {"first": "random", "num_first": 0}], ids=["first labels", "none"])
def test_it_is_a_plain_loop_over_the_rows(learner, plain, first):
    simulation = simulate(num_envs=4, learner=learner, **first)
    simulation.reset()
    tasks, actions = simulation.tasks, by_chance(12, 4)
    assert len(set(tasks.names)) > 1  # of different widths and class counts
    known = [[int(row) for row in tasks.first[e] if row >= 0] for e in range(4)]
    left = [[row for row in range(int(tasks.exists[e].sum())) if row not in known[e]] for e in range(4)]
    for time in range(12):
        state, score, outcome = simulation.state(), simulation.score, simulation.step(actions[time])
        for e in range(4):
            row, classes, there = left[e][time], int(tasks.num_classes[e]), tasks.test_exists[e]
            x, y = tasks.x[e].numpy(), tasks.y[e].numpy()
            rows = np.concatenate((x[[row]], tasks.test_x[e, there].numpy()))
            uniform = np.full((len(rows), classes), 1 / classes)
            p, *tested = plain(x[known[e]], y[known[e]], rows, classes) if known[e] else uniform
            np.testing.assert_allclose(state.probabilities[e, :classes], p, atol=2e-3)
            assert (state.probabilities[e, classes:] == 0).all()
            accuracy = (np.argmax(tested, 1) == tasks.test_y[e, there].numpy()).mean()
            assert score[e] == pytest.approx(accuracy, abs=1e-6 if learner == "prototype" else 0.06)
            assert state.labels[e].tolist() == np.bincount(y[known[e]], minlength=3).tolist()
            if actions[time, e]:
                can = state.requests[e] < 6
                assert (outcome.requested[e], outcome.invalid[e]) == (can, not can)
                assert outcome.reward[e] == pytest.approx(-0.05)
                known[e] += [row] if can else []
            elif np.sort(p)[-1] - np.sort(p)[-2] > 0.01:  # not on the border
                right = p.argmax() == y[row]
                assert (outcome.correct[e], outcome.reward[e]) == (right, 1.0 if right else -1.0)
    assert simulation.finished and (simulation.state().requests > 3).any()


# --- rules ---


def test_asking_beyond_the_budget_is_masked_and_reveals_nothing():
    simulation = simulate(budget=0.25, reward={"request": -0.5})
    state = simulation.reset()
    for time in range(12):
        assert state.action_mask.tolist() == [[True, time < 3]] * 6
        before = simulation.score
        outcome, state = simulation.step(torch.ones(6, dtype=torch.int64)), simulation.state()
        assert outcome.invalid.tolist() == [time >= 3] * 6
        assert outcome.reward.tolist() == [-0.5] * 6
        assert not outcome.correct.any()
        if time >= 3:
            assert torch.equal(outcome.score, before)
    assert state.requests.tolist() == [3] * 6
    with pytest.raises(RuntimeError, match="call reset"):
        simulation.step(torch.ones(6, dtype=torch.int64))


@pytest.mark.parametrize("budget, most", [(None, 12), (0.0, 0), (0.13, 2), (1.0, 12)])
def test_the_budget_is_a_share_of_the_stream(budget, most):
    assert simulate(budget=budget).reset().max_requests == most


def test_the_stream_is_as_long_as_the_smallest_pool():
    simulation = simulate(length=None, num_envs=12)
    simulation.reset()
    assert {int(count) for count in (simulation.tasks.first >= 0).sum(1)} == {2, 3}
    assert simulation.length == ROWS - 3
    with pytest.raises(AlmetaError, match=r"env.length=18, but .*'(iris|wine)' has 17 rows without a first label"):
        simulate(length=18, num_envs=12).reset()
    with pytest.raises(AlmetaError, match="there is none to come; choose a larger pool"):
        simulate(length=None, pool_size=3, num_envs=12).reset()
    with pytest.raises(AlmetaError, match="GaussianProcess learns numbers; name a learner of classes"):
        simulate(learner="gaussian_process")


class Spy(Prototype):
    """Keeps how many episodes each fit was of, and whether it began from an earlier one."""

    def fit(self, x, y, weight, num_classes, start=None, generator=None):
        fits.append((len(x), start is not None))
        return super().fit(x, y, weight, num_classes, start, generator)


fits: list[tuple[int, bool]] = []


def test_only_learners_that_hear_a_label_are_refit():
    fits.clear()
    simulation = simulate(num_envs=3, learner=Spy())
    simulation.reset()
    for actions in ([0, 0, 0], [1, 0, 1], [1, 0, 1], [0, 1, 0]):
        simulation.step(torch.tensor(actions))
    assert fits == [(3, False), (2, False), (2, True), (1, False)]


def test_a_group_sees_one_stream():
    simulation = simulate(num_envs=4, group=2)
    simulation.reset()
    x, order = simulation.tasks.x, simulation.order
    assert torch.equal(x[0], x[1]) and torch.equal(order[2], order[3]) and not torch.equal(x[0], x[2])


def test_what_checkpoints_keep_is_that_of_pools():
    identity = simulate().identity
    assert identity["datasets"] == sorted(TABLES) and identity["rows"].keys() == set(TABLES)


def test_a_wrong_reward_is_told():
    with pytest.raises(AlmetaError, match="unknown reward 'requst'; did you mean 'request'"):
        single(reward={"requst": 1.0})


# --- what is observed ---


def test_the_numbers_by_hand():
    state = TableStreamState(
        item=torch.zeros(2, 1),
        probabilities=torch.tensor([[0.25, 0.75], [1.0, 0.0]]),
        num_classes=torch.tensor([2, 1]),
        labels=torch.tensor([[3, 1], [0, 0]]),
        requests=torch.tensor([1, 0]),
        max_requests=4,
        time=3,
        length=10,
    )
    entropy = (0.25 * np.log(4) + 0.75 * np.log(4 / 3)) / np.log(2)
    wanted = [[0.75, 0.25, 0, 0.5, entropy, 0.25, 0.3, 0.25, 0.5], [1, 0, 0, 1, 0, 0, 0.3, 0, 1]]
    np.testing.assert_allclose(row_numbers(state), wanted, atol=1e-6)
    assert len(NUMBERS) == 9


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("options", [{}, {"budget": None, "length": None}, {"num_first": 0, "dataset": "digits"}])
def test_gymnasiums_checks_pass_without_a_warning(options):
    env = gym.make(ID, **(SETTING | options))
    check_env(env.unwrapped)
    env.reset(seed=0)
    for _ in range(ROWS):
        *_, terminated, truncated, _ = env.step(env.action_space.sample())
        assert isinstance(terminated, bool) and truncated is False
        if terminated:
            return
    raise AssertionError("it never ends")


def column(value, e):
    """Episode `e` of what a batch returns, as a single environment returns it."""
    if isinstance(value, dict):
        return {name: column(entry, e) for name, entry in value.items()}
    return value[e].item() if value.ndim == 1 else value[e]


@pytest.mark.parametrize("learner", ["prototype", "logistic_regression"])
def test_single_and_batch_of_one_are_the_same_step_for_step(learner):
    one, batch = single(learner=learner), vector(1, learner=learner)
    for seed in (7, None):  # the second time without a seed: generators go on alike
        results = [(one.reset(seed=seed), batch.reset(seed=seed))]
        for action in by_chance(12, 1).squeeze(1).tolist():
            results.append((one.step(action), batch.step(np.array([action]))))
        for mine, theirs in results:
            np.testing.assert_equal(mine, tuple(column(value, 0) for value in theirs))


@pytest.mark.parametrize("learner, close", [("prototype", 1e-6), ("logistic_regression", 2e-3)])
def test_a_batch_is_so_many_singles_step_for_step(learner, close):
    batch, actions = vector(3, learner=learner), by_chance(12, 3).numpy()
    results = [batch.reset(seed=3), *(batch.step(action) for action in actions)]
    tasks = batch.simulation.tasks
    for e in range(3):
        own = {key: value[e : e + 1] for key, value in vars(tasks).items()}
        alone = single(learner=learner)
        again = [alone.reset(options={"tasks": dataclasses.replace(tasks, **own)})]
        again += [alone.step(action) for action in actions[:, e]]
        for mine, theirs in zip(again, results, strict=True):
            np.testing.assert_allclose(mine[0], theirs[0][e], atol=close)
            np.testing.assert_array_equal(mine[-1]["action_mask"], theirs[-1]["action_mask"][e])
            if len(mine) > 2 and theirs[0][e][3] > close:
                assert mine[1:4] == (theirs[1][e], theirs[2][e], theirs[3][e])


def test_types_and_fields():
    env = single(budget=0.1)
    _, info = env.reset(seed=0)
    assert info.keys() == {"action_mask", "score", "labels"}
    observation, reward, terminated, truncated, info = env.step(1)
    assert observation.dtype == np.float32 and observation.shape == (len(NUMBERS),)
    assert (type(reward), type(terminated), truncated) == (float, bool, False)
    kinds = {"score": float, "labels": int, "correct": bool, "requested": bool, "invalid_action": bool}
    assert {name: type(info[name]) for name in kinds} == kinds
    assert info["requested"] and info["action_mask"].tolist() == [1, 0] and info["action_mask"].dtype == np.int8
    assert env.action_masks().tolist() == [True, False]
    assert env.step(1)[-1]["invalid_action"]
    with pytest.raises(gym.error.InvalidAction, match="0 lets the prediction stand, 1 asks for the label"):
        env.step(2)


def test_arrays_are_fresh():
    """What a user writes into what came back changes nothing."""
    clean, spoilt = vector(), vector()
    pairs = [(clean.reset(seed=0), spoilt.reset(seed=0))]
    for action in by_chance(12, 3).numpy():
        for value in pairs[-1][1]:
            for array in value.values() if isinstance(value, dict) else [value]:
                array[...] = ~array if array.dtype == bool else 1 - array
        pairs.append((clean.step(action), spoilt.step(action)))
        np.testing.assert_equal(*pairs[-1])


@pytest.mark.parametrize("hidden", ["test_y", "test_x", "y"])
def test_nothing_that_is_hidden_is_observed(hidden):
    """Hidden labels or test rows are others, the actions are the same: no observation differs."""
    env, actions = vector(4), by_chance(12, 4).numpy()
    tasks = env.simulation.sampler.draw_seeded(range(4))

    def play(played):
        return [env.reset(options={"tasks": played}), *(env.step(action) for action in actions)]

    plain = play(tasks)
    known = torch.zeros_like(tasks.exists)
    for e in range(4):
        known[e, env.simulation.known(e)] = True
    value = getattr(tasks, hidden)
    other = -value if hidden == "test_x" else (value + 1) % 2
    other = torch.where(known, value, other) if hidden == "y" else other
    changed = play(dataclasses.replace(tasks, **{hidden: other}))
    for one, same in zip(plain, changed, strict=True):
        np.testing.assert_array_equal(one[0], same[0])
        np.testing.assert_array_equal(one[-1]["action_mask"], same[-1]["action_mask"])
    before, after = ([result[-1]["score"] for result in results] for results in (plain, changed))
    assert np.allclose(before, after) == (hidden == "y")  # the judge sees the test rows, and them alone


def test_a_frame_shows_the_known_labels_and_the_score_after_each(monkeypatch):
    env = single(render_mode="rgb_array")
    with pytest.raises(gym.error.ResetNeeded):
        env.render()
    _, info = env.reset(seed=0)
    scores = [info["score"]]
    for action in (1, 0, 1):
        *_, info = env.step(action)
        scores += [info["score"]] * action
    frame = env.render()
    assert frame is not None and (frame.dtype, frame.shape) == (np.uint8, (320, 640, 3))
    drawn: list[Any] = []
    monkeypatch.setattr("almeta.envs.table_stream.draw_pool", lambda *given: drawn.extend(given))
    env.render()
    x, labels, row, shown, limit, title, _ = drawn
    simulation = env.batch.simulation
    known = np.flatnonzero(labels >= 0)
    assert len(known) == info["labels"] and len(x) == len(labels) == ROWS
    assert {int(simulation.order[0, 0]), int(simulation.order[0, 2])} <= set(known.tolist())
    np.testing.assert_array_equal(labels[known], simulation.tasks.y[0, known])
    assert row == simulation.order[0, 3] and shown == pytest.approx(scores)
    assert limit == 6 and title.endswith(": 3 of 12 rows")
