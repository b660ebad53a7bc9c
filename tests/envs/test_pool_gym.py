"""The simulation of pools as Gymnasium sees it, and that no observation tells what must not be known."""

import dataclasses
import itertools
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

from almeta.data import Dataset
from almeta.envs import PoolSelectionEnv, PoolSelectionVectorEnv
from almeta.errors import AlmetaError
from almeta.inputs import Candidates
from almeta.oracles import Oracle

ID = "almeta:almeta/PoolSelection-v0"
ROWS, BUDGET = 30, 5
SETTING: dict[str, Any] = {
    "dataset": ("iris", "wine"),
    "pool_size": ROWS,
    "budget": BUDGET,
    "score": "true_probability",
}

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "several at a time": {"query_size": 3},
    "oracle": {"oracle": Oracle(noise=0.2, decline=0.3, price=0.1, spread=0.5)},
    "annotators": {"oracle": Oracle(fatigue=0.1, region="random", annotators=[{}, {"price": 1}]), "query_size": 2},
    "to the end": {"budget": None},
    "synthetic": {"synthetic": 0.5, "max_test": 50},
}
every_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())


def single(**options):
    return PoolSelectionEnv(**(SETTING | options))


def vector(num_envs, **options):
    return PoolSelectionVectorEnv(num_envs, **(SETTING | options))


def assert_same(one, other):
    """Equal values, types and shapes, in tuples and dictionaries."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        one, other = list(one.values()), list(other.values())
    if isinstance(one, (tuple, list)):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_same(a, b)
    else:
        np.testing.assert_array_equal(one, other, strict=True)


def part(value, e):
    """Episode `e` of what a batch returns, as a single environment returns it."""
    if isinstance(value, dict):
        return {name: part(entry, e) for name, entry in value.items()}
    return value[e].item() if value.ndim == 1 else value[e]


def allowed(mask, rng):
    return rng.choice(np.flatnonzero(mask))


def play(env, pick, **reset):
    """All that comes back from one batch of episodes; `pick` is given each action mask `[E, N]`."""
    results = [env.reset(**reset)]
    while len(results) == 1 or not results[-1][2].all():
        results.append(env.step(pick(results[-1][-1]["action_mask"], len(results) - 1)))
    return results


def by_chance(seed=0):
    rng = np.random.default_rng(seed)
    return lambda masks, time: np.array([allowed(mask, rng) for mask in masks])


# --- Gymnasium's own checks ---


@pytest.mark.filterwarnings("error")
@every_option
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


@pytest.mark.parametrize("scale", ["none", "standard"])
@pytest.mark.parametrize("learner", ["logistic_regression", "ridge", "prototype"])
def test_nothing_but_prices_comes_near_the_bounds_of_the_space(scale, learner):
    """Features in thousands, pools of three rows, all rows alike, classes by the dozen."""
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(400, 3)) * [1e5, 1.0, 1e-4]).astype(np.float32)
    wild = Dataset("wild", x, rng.permutation(np.arange(400) % 40), tuple(map(str, range(40))), "random numbers")
    alike = dataclasses.replace(wild, name="alike", x=np.ones_like(x))
    free = {"budget": 1, "scale": scale, "learner": learner, "oracle": Oracle(decline=0.2)}
    for dataset, pool_size in itertools.product([wild, alike, "iris", "digits"], (3, 150)):
        env = vector(3, **free | {"dataset": dataset, "pool_size": pool_size, "first": "random", "num_first": 2})
        most = 0.0
        for result in play(env, by_chance(), seed=0):
            most = max([most, *(np.abs(result[0][name]).max() for name in ("candidates", "pool"))])
        assert most <= 20


def test_prices_are_clamped_to_the_space():
    env = vector(2, oracle=Oracle(price=5000.0))
    observation, _ = env.reset(seed=0)
    place = Candidates().candidate_names.index("price")
    assert set(observation["candidates"][..., place].ravel()) == {0.0, 1000.0}
    assert observation in env.observation_space
    *_, info = env.step(by_chance()(observation["action_mask"], 0))
    assert info["price"].tolist() == [5000.0] * 2  # what is paid is not clamped


def test_make_vec_gives_the_batch():
    env = gym.make_vec(ID, num_envs=3, **SETTING)
    assert isinstance(env, PoolSelectionVectorEnv) and env.num_envs == 3
    assert env.metadata["autoreset_mode"] is AutoresetMode.DISABLED
    observed = env.single_observation_space
    assert isinstance(observed, gym.spaces.Dict)
    assert observed["candidates"].shape == (ROWS, len(Candidates().candidate_names))
    assert observed["pool"].shape == (len(Candidates().pool_names),)
    assert observed["action_mask"] == gym.spaces.MultiBinary(ROWS)
    assert env.action_space == gym.spaces.MultiDiscrete([ROWS] * 3)
    observation, _ = env.reset(seed=0)
    assert observation in env.observation_space
    assert env.step(by_chance()(observation["action_mask"], 0))[0] in env.observation_space


def test_gymnasiums_own_batch_of_singles():
    env = gym.make_vec(ID, num_envs=2, vectorization_mode="sync", **SETTING)
    observation, _ = env.reset(seed=0)
    rng = np.random.default_rng(0)
    for time in range(2 * BUDGET + 2):  # autoreset: every sixth call is a reset
        rows = np.array([allowed(mask, rng) for mask in observation["action_mask"]])
        observation, _, terminated, _, _ = env.step(rows)
        assert terminated.all() == (time % (BUDGET + 1) == BUDGET - 1)


# --- single and batch ---


@every_option
def test_single_and_batch_of_one_are_the_same_step_for_step(options):
    one, batch = single(**options), vector(1, **options)
    rng = np.random.default_rng(0)
    for seed in (7, None):  # the second time without a seed: generators go on alike
        mine, theirs = one.reset(seed=seed), batch.reset(seed=seed)
        assert_same(mine[0], part(theirs[0], 0))
        assert_same(mine[1], part(theirs[1], 0))
        terminated = False
        while not terminated:
            row = int(rng.integers(ROWS))  # now and then an invalid one
            mine, theirs = one.step(row), batch.step(np.array([row]))
            assert_same(mine, tuple(part(value, 0) for value in theirs))
            terminated = mine[2]


def test_a_batch_is_so_many_singles():
    batch = vector(5)
    results = play(batch, by_chance(), seed=3)
    tasks = batch.simulation.tasks
    for e in range(5):
        own = {key: value[e : e + 1] for key, value in vars(tasks).items()}
        alone, env = dataclasses.replace(tasks, **own), single()
        again = [env.reset(options={"tasks": alone})]
        for time in range(BUDGET):
            chosen = batch.simulation.state().picks[e, -BUDGET + time]
            again.append(env.step(int(chosen)))
        for mine, theirs in zip(again, results, strict=True):
            for name, value in mine[0].items():
                np.testing.assert_allclose(value, theirs[0][name][e], atol=2e-3, err_msg=name)
            if len(mine) > 2:
                assert mine[1] == pytest.approx(theirs[1][e], abs=1e-3)
                assert mine[4]["score"] == pytest.approx(theirs[4]["score"][e], abs=1e-3)


# --- what comes back ---


def test_types_and_fields():
    env = single(oracle=Oracle(decline=0.5, price=0.1))
    _, info = env.reset(seed=0)
    assert info.keys() == {"action_mask", "score", "labels"}
    assert info["action_mask"].dtype == np.int8 and info["action_mask"].shape == (ROWS,)
    known, mask, score = 3, info["action_mask"], None
    for time in range(BUDGET):
        row = np.flatnonzero(mask)[0] if time != 2 else np.flatnonzero(mask == 0)[0]
        observation, reward, terminated, truncated, info = env.step(row)
        assert info.keys() == {"action_mask", "score", "labels", "price", "declined", "invalid_action"}
        assert type(reward) is float and type(terminated) is bool and truncated is False
        kinds = {"score": float, "labels": int, "price": float, "declined": bool, "invalid_action": bool}
        assert {name: type(info[name]) for name in kinds} == kinds
        assert info["invalid_action"] == (time == 2)
        assert info["price"] == pytest.approx(0.0 if time == 2 else 0.1)
        known += not (info["declined"] or info["invalid_action"])
        assert info["labels"] == known
        if score is not None:
            assert reward == pytest.approx(info["score"] - score - info["price"], abs=1e-6)
        score, mask = info["score"], info["action_mask"]
        assert observation["action_mask"][row] == mask[row] == 0
        np.testing.assert_array_equal(observation["action_mask"], mask)
        np.testing.assert_array_equal(env.action_masks(), mask.astype(bool))
        assert terminated == (time == BUDGET - 1)


def test_each_row_can_be_asked_of_each_annotator():
    env = vector(2, oracle="panel", budget=None)
    observation, info = env.reset(seed=0)
    assert env.single_action_space.n == 3 * ROWS
    assert observation["candidates"].shape[:2] == (2, 3 * ROWS)
    asked = ROWS * 3 - int(info["labels"][0])  # all but the first labels
    for _ in range(3):
        row = int(np.flatnonzero(info["action_mask"][0].reshape(ROWS, 3).all(1))[0])
        for annotator, expected in enumerate((4, 2, 1)):
            _, _, _, _, info = env.step(np.full(2, 3 * row + annotator))
            assert not info["invalid_action"][0]
            assert info["price"][0] == expected
        assert info["action_mask"][0].reshape(ROWS, 3)[row].sum() == 0
        asked -= 3
        assert info["action_mask"][0].sum() == asked


def test_arrays_are_fresh():
    """What a user writes into what came back changes nothing, and later steps do not change what was kept."""

    def spoil(value):
        for entry in value if isinstance(value, tuple) else value.values() if isinstance(value, dict) else ():
            spoil(entry)
        if isinstance(value, np.ndarray):
            value[...] = 1 - value if value.dtype != bool else ~value

    clean, spoilt = vector(2), vector(2)
    rng = np.random.default_rng(0)
    expected, given = clean.reset(seed=0), spoilt.reset(seed=0)
    for _ in range(BUDGET):
        rows = np.array([allowed(mask, rng) for mask in expected[-1]["action_mask"]])
        spoil(given)
        expected, given = clean.step(rows), spoilt.step(rows)
        assert_same(expected, given)
    env = single()
    _, info = env.reset(seed=0)
    env.action_masks()[:] = True
    np.testing.assert_array_equal(env.action_masks(), info["action_mask"].astype(bool))


# --- seeds and options of reset ---


def test_seeds():
    one, same = (play(vector(2), by_chance(), seed=4) for _ in range(2))
    assert_same(one, same)
    other = play(vector(2), by_chance(), seed=5)
    assert not np.array_equal(one[0][0]["candidates"], other[0][0]["candidates"])
    env = vector(2)
    first, second = env.reset(seed=4)[0], env.reset()[0]
    assert not np.array_equal(first["candidates"], second["candidates"])


def test_options_of_reset():
    env = vector(2)
    for mask in (np.ones(2, dtype=bool), [True, True], (1, 1)):
        env.reset(seed=0, options={"reset_mask": mask})
    with pytest.raises(AlmetaError, match="reset_mask"):
        env.reset(options={"reset_mask": np.array([True, False])})
    with pytest.raises(AlmetaError, match="unknown option of reset 'task'; did you mean 'tasks'"):
        env.reset(options={"task": None})
    tasks = env.simulation.sampler.draw_seeded([1, 2])
    env.reset(options={"tasks": tasks})
    assert torch.equal(env.simulation.tasks.x, tasks.x)


# --- mistakes ---


def test_before_the_start_and_after_the_end():
    for env in (single(), vector(1)):
        with pytest.raises(gym.error.ResetNeeded):
            env.step(0 if isinstance(env, PoolSelectionEnv) else np.array([0]))
    env = vector(1)
    play(env, by_chance(), seed=0)
    with pytest.raises(gym.error.ResetNeeded):
        env.step(np.array([0]))
    env.reset()


@pytest.mark.parametrize("action", [-1, ROWS, 0.5, "0", None, [0, 1]])
def test_what_is_no_row_is_refused(action):
    env = single()
    env.reset(seed=0)
    with pytest.raises(gym.error.InvalidAction, match="index of a row of the pool"):
        env.step(action)


@pytest.mark.parametrize("actions", [[0], [0, 1, 2], [[0], [1]], [0.0, 1.0], [-1, 0], [0, ROWS]])
def test_what_are_no_rows_are_refused(actions):
    env = vector(2)
    env.reset(seed=0)
    with pytest.raises(gym.error.InvalidAction):
        env.step(np.array(actions))


def test_mistakes_in_options():
    with pytest.raises(AlmetaError, match="did you mean 'iris'"):
        PoolSelectionEnv("irsi")
    with pytest.raises(AlmetaError, match="budget is 0"):
        single(budget=0)
    with pytest.raises(AlmetaError, match=r"env.budget=28.*'(iris|wine)'"):
        single(budget=28).reset()


def test_a_file_of_another_folder_and_one_written_anew_are_read_anew(monkeypatch, tmp_path):
    def shown(folder, number):
        (tmp_path / folder).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / folder)
        rows = "".join(f"{place % 7},{number},{'xy'[place % 2]}\n" for place in range(40))
        (tmp_path / folder / "my.csv").write_text(f"a,b,label\n{rows}")
        return PoolSelectionEnv("csv:my.csv", pool_size=10, budget=2).batch.simulation.sampler.datasets[0].x[0, 1]

    assert [shown("one", 1), shown("two", 2), shown("two", 3)] == [1, 2, 3]
    one, other = (PoolSelectionEnv("iris").batch.simulation.sampler.datasets[0] for _ in range(2))
    assert one is other  # what never changes is loaded once


# --- no leak ---


def shuffle(values, exists, generator):
    """Each task's values among the rows that count, in another order."""
    values = values.clone()
    for own, there in zip(values, exists, strict=True):
        rows = there.nonzero().squeeze(1)
        own[rows] = own[rows[torch.randperm(len(rows), generator=generator)]]
    return values


@pytest.mark.parametrize("query_size", [1, 3])
@pytest.mark.parametrize("hidden", ["test_y", "test_x", "y"])
def test_nothing_that_is_hidden_is_observed(hidden, query_size):
    """Hidden labels and test rows are exchanged, the picks are the same: no observation may differ."""
    env = vector(4, query_size=query_size, budget=7)
    tasks, generator = env.simulation.sampler.draw_seeded(range(4)), torch.Generator().manual_seed(0)
    plain = play(env, by_chance(), options={"tasks": tasks})
    asked = env.simulation.state().labels >= 0
    exists = (tasks.exists & ~asked) if hidden == "y" else tasks.test_exists
    changed = dataclasses.replace(tasks, **{hidden: shuffle(getattr(tasks, hidden), exists, generator)})
    assert not torch.equal(getattr(changed, hidden), getattr(tasks, hidden))
    other = play(env, by_chance(), options={"tasks": changed})
    for one, same in zip(plain, other, strict=True):
        assert_same(one[0], same[0])
        np.testing.assert_array_equal(one[-1]["action_mask"], same[-1]["action_mask"])
    seen, then = ([result[4]["score"] for result in results[1:]] for results in (plain, other))
    assert np.allclose(seen, then) == (hidden == "y")  # the judge sees the test rows, and them alone


@pytest.mark.parametrize("query_size", [1, 3])
def test_a_label_shows_when_it_was_asked_for_and_not_before(query_size):
    env = vector(4, query_size=query_size, budget=6)
    tasks = env.simulation.sampler.draw_seeded(range(4))
    plain = play(env, by_chance(), options={"tasks": tasks})
    picks = env.simulation.state().picks[:, -6:]
    third = picks[:, 2:3]  # the third pick's label becomes another class
    y = tasks.y.scatter(1, third, (tasks.y.gather(1, third) + 1) % 3)
    other = play(env, by_chance(), options={"tasks": dataclasses.replace(tasks, y=y)})
    for time, (one, same) in enumerate(zip(plain, other, strict=True)):
        if time < 3:
            assert_same(one[0], same[0])
        else:
            assert not np.array_equal(one[0]["candidates"], same[0]["candidates"])
