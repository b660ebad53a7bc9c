"""What the environments of all kinds share: autoreset, seeds, options, drawing, sizes, and Gymnasium's manners."""

import subprocess
import sys
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import DictInfoToList, RecordEpisodeStatistics

from almeta.envs import (
    ClassSamplingEnv,
    ClassSamplingVectorEnv,
    FeatureAcquisitionEnv,
    FeatureAcquisitionVectorEnv,
    OneShotStreamEnv,
    OneShotStreamVectorEnv,
    PoolSelectionEnv,
    PoolSelectionVectorEnv,
    TableStreamEnv,
    TableStreamVectorEnv,
)
from almeta.errors import AlmetaError

POOL: dict[str, Any] = {
    "dataset": ("iris", "wine"),
    "pool_size": 30,
    "budget": 4,
    "learner": "prototype",
    "score": "true_probability",
    "oracle": {"name": "noisy", "noise": 0.3, "price": 0.1, "spread": 0.5},
}
ROWS: dict[str, Any] = {
    "dataset": ("iris", "wine"),
    "pool_size": 30,
    "length": 4,
    "learner": "prototype",
    "budget": 0.5,
}
CLASS_ROWS: dict[str, Any] = {
    "dataset": ("iris", "wine"),
    "pool_size": 30,
    "budget": 4,
    "query_size": 2,
    "learner": "prototype",
    "score": "true_probability",
}
CELLS: dict[str, Any] = {
    "dataset": ("iris", "wine"),
    "pool_size": 15,
    "max_features": 6,
    "budget": 4,
    "learner": "prototype",
}
IDS = {
    "classes": "almeta:almeta/ClassSampling-v0",
    "features": "almeta:almeta/FeatureAcquisition-v0",
    "pool": "almeta:almeta/PoolSelection-v0",
    "stream": "almeta:almeta/OneShotStream-v0",
    "table_stream": "almeta:almeta/TableStream-v0",
}
MODES = {mode.name.lower(): mode for mode in AutoresetMode}
every_kind = pytest.mark.parametrize("kind", IDS)


@pytest.fixture
def options(tiny_images):
    stream = {"dataset": tiny_images, "length": 4, "max_requests": 2}
    return {"classes": CLASS_ROWS, "features": CELLS, "pool": POOL, "stream": stream, "table_stream": ROWS}


@pytest.fixture
def single(options):
    return lambda kind, **more: gym.make(IDS[kind], **(options[kind] | more)).unwrapped


@pytest.fixture
def vector(options):
    return lambda kind, num_envs=3, **more: gym.make_vec(IDS[kind], num_envs, **(options[kind] | more))


def allowed(info, rng):
    """An allowed action of each episode."""
    return np.array([rng.choice(np.flatnonzero(mask)) for mask in info["action_mask"]])


def assert_close(ours, theirs):
    """What the batch returned is what Gymnasium's batch of singles returned, whose masks are all True."""
    if isinstance(ours, dict):
        masks = {name for name in theirs if name.startswith("_")}
        assert ours.keys() - masks == theirs.keys() - masks
        assert all(theirs[name].all() for name in masks)
        for name in ours:
            assert_close(ours[name], theirs[name])
    elif ours.dtype == object:
        assert theirs.dtype == object and len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            assert_close(one, other)
    else:
        assert ours.dtype.kind == theirs.dtype.kind  # theirs made float64 of Python numbers
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


# --- autoreset ---


@every_kind
@pytest.mark.parametrize("mode", ["next_step", "same_step"])
def test_autoreset_is_that_of_gymnasiums_own_batch_step_for_step(kind, mode, single, vector):
    ours = vector(kind, autoreset_mode=mode)
    theirs = SyncVectorEnv([lambda: single(kind)] * 3, autoreset_mode=MODES[mode])
    assert ours.metadata["autoreset_mode"] is theirs.metadata["autoreset_mode"] is MODES[mode]
    rng = np.random.default_rng(0)
    results: list[Any] = [env.reset(seed=[7, 3, 11]) for env in (ours, theirs)]
    ends = []
    for _ in range(14):
        for one, other in zip(*results, strict=True):
            assert_close(one, other)
        actions = allowed(results[0][-1], rng)
        results = [env.step(actions) for env in (ours, theirs)]
        ends.append(results[0][2].all())
    period = 5 if mode == "next_step" else 4
    assert ends == [time % period == 3 for time in range(14)]


@every_kind
def test_the_last_step_under_same_step_tells_what_it_was(kind, vector):
    plain, env = vector(kind), vector(kind, autoreset_mode=AutoresetMode.SAME_STEP)
    _, info = plain.reset(seed=0)
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    for _ in range(4):
        actions = allowed(info, rng)
        (ended, *_, info), (begun, *_, told) = plain.step(actions), env.step(actions)
    assert told["_final_obs"].tolist() == told["_final_info"].tolist() == [True] * 3
    assert_close(told.pop("final_info"), info)
    for e, observation in enumerate(told.pop("final_obs")):
        observed = {name: value[e] for name, value in ended.items()} if isinstance(ended, dict) else ended[e]
        assert_close(observation, observed)
        assert observation in env.single_observation_space
    fresh, start = plain.reset()
    assert_close(begun, fresh)
    assert_close({name: value for name, value in told.items() if not name.startswith("_")}, start)


@every_kind
def test_the_step_that_begins_new_episodes_looks_at_no_action(kind, vector):
    env, plain = vector(kind, autoreset_mode="next_step"), vector(kind)
    with pytest.raises(gym.error.ResetNeeded):
        env.step(np.zeros(3, dtype=int))
    rng = np.random.default_rng(0)
    _, info = env.reset(seed=0)
    plain.reset(seed=0)
    for _ in range(4):
        *_, info = env.step(allowed(info, rng))
    observation, reward, terminated, truncated, info = env.step(np.full(3, -1))
    assert reward.tolist() == [0.0] * 3 and not terminated.any() and not truncated.any()
    fresh, start = plain.reset()
    assert_close(observation, fresh)
    assert_close(info, start)
    with pytest.raises(gym.error.InvalidAction):
        env.step(np.full(3, -1))


@every_kind
def test_a_reset_between_two_autoresets_begins_at_once(kind, vector):
    env = vector(kind, autoreset_mode="next_step")
    _, info = env.reset(seed=0)
    rng = np.random.default_rng(0)
    for _ in range(4):
        *_, info = env.step(allowed(info, rng))
    _, info = env.reset()
    terminated = [env.step(allowed(info, rng))[2].all() for _ in range(1)]
    assert terminated == [False]
    assert env.simulation.time == 1  # it was a step and not one more reset


@every_kind
def test_the_usual_loop_with_wrappers(kind, vector):
    """As in CleanRL: no reset in the loop, returns from the wrapper."""
    for mode in ("next_step", "same_step"):
        env = RecordEpisodeStatistics(vector(kind, autoreset_mode=mode))
        _, info = env.reset(seed=0)
        rng, total, returns = np.random.default_rng(0), np.zeros(3), []
        for _ in range(15):
            _, reward, terminated, _, info = env.step(allowed(info, rng))
            total += reward
            if terminated.any():
                assert info["episode"]["l"].tolist() == [4] * 3
                returns.append((info["episode"]["r"], total))
                total = np.zeros(3)
        assert len(returns) == 3
        for told, added in returns:
            np.testing.assert_allclose(told, added)
    listed = DictInfoToList(vector(kind, autoreset_mode="same_step"))
    _, infos = listed.reset(seed=0)
    for _ in range(4):
        *_, infos = listed.step(np.array([np.flatnonzero(info["action_mask"])[0] for info in infos]))
    assert [set(info) >= {"action_mask", "final_obs", "final_info"} for info in infos] == [True] * 3


@every_kind
def test_modes_of_an_instance_are_its_own(kind, vector, single):
    vector(kind, autoreset_mode="same_step")
    assert vector(kind).metadata["autoreset_mode"] is AutoresetMode.DISABLED
    env = single(kind, render_mode="rgb_array")
    env.metadata["render_modes"].append("rgb_array_list")  # as Gymnasium's RenderCollection does
    assert single(kind).metadata["render_modes"] == ["rgb_array"]


@every_kind
def test_gymnasiums_own_batch_of_singles(kind, options):
    env = gym.make_vec(IDS[kind], num_envs=2, vectorization_mode="sync", **options[kind])
    _, info = env.reset(seed=0)
    rng, ends = np.random.default_rng(0), []
    for _ in range(10):
        _, _, terminated, _, info = env.step(allowed(info, rng))
        ends.append(terminated.tolist())
    assert ends == [[time % 5 == 3] * 2 for time in range(10)]


# --- one seed an episode ---


@every_kind
def test_each_seed_names_its_episode_whatever_the_others_are(kind, single, vector):
    seeds = [5, 9, 2, 9]
    batch = vector(kind, 4)
    for again in (False, True):  # the second time without seeds: each episode goes on by itself
        batch.reset(seed=None if again else seeds)
        tasks, hidden = batch.simulation.tasks, getattr(batch.simulation, "answers", None)
        for e, seed in enumerate(seeds):
            env = single(kind)
            env.reset(seed=seed)
            if again:
                env.reset()
            alone = env.batch.simulation
            if kind == "stream":
                assert torch.equal(tasks.items[:, e], alone.tasks.items[:, 0])
                assert torch.equal(tasks.targets[:, e], alone.tasks.targets[:, 0])
                continue
            if kind == "pool":
                assert hidden is not None and torch.equal(hidden.labels[e], alone.answers.labels[0])
                assert torch.equal(batch.simulation.pool.prices[e], alone.pool.prices[0])
            assert tasks.names[e] == alone.tasks.names[0]
            width = alone.tasks.x.shape[2]
            assert torch.equal(tasks.x[e, :, :width], alone.tasks.x[0]) and not tasks.x[e, :, width:].any()


@every_kind
def test_a_list_of_seeds_as_array_with_holes_and_after_whole_numbers(kind, vector):
    def first(env, seed):
        observation, _ = env.reset(seed=seed)
        return observation["candidates"] if isinstance(observation, dict) else observation

    env = vector(kind)
    listed = first(env, [1, 2, 3])
    np.testing.assert_array_equal(first(vector(kind), np.array([1, 2, 3])), listed)
    second = first(env, None)
    first(env, [1, 2, 3])
    holes = first(env, [1, None, 3])  # the second episode goes on, the others begin anew
    np.testing.assert_allclose(holes[[0, 2]], listed[[0, 2]], atol=1e-4)
    np.testing.assert_allclose(holes[1], second[1], atol=1e-4)
    np.testing.assert_array_equal(first(env, 4), first(vector(kind), np.int64(4)))  # a whole number is what it was
    np.testing.assert_array_equal(first(env, None), [first(fresh := vector(kind), 4), first(fresh, None)][1])


@every_kind
def test_mistakes_in_seeds(kind, vector):
    env = vector(kind)
    for seed in ([1, 2], [1, 2, 3, 4], "abc", 1.5):
        with pytest.raises(AlmetaError, match=r"seed is .*a list of 3, one an episode"):
            env.reset(seed=seed)
    with pytest.raises(AlmetaError, match="env.group=3 episodes share their task"):
        vector(kind, group=3).reset(seed=[1, 2, 3])


def test_given_tasks_hear_the_answers_of_their_own_seeds(vector, single):
    env, alone = vector("pool"), single("pool")
    tasks = env.simulation.sampler.draw_seeded([1, 2, 3])
    env.reset(seed=[4, 5, 6], options={"tasks": tasks})
    alone.reset(seed=6, options={"tasks": alone.batch.simulation.sampler.draw_seeded([3])})
    assert torch.equal(env.simulation.answers.labels[2], alone.batch.simulation.answers.labels[0])


# --- options ---


CLASSES = {
    "classes": (ClassSamplingEnv, ClassSamplingVectorEnv),
    "features": (FeatureAcquisitionEnv, FeatureAcquisitionVectorEnv),
    "pool": (PoolSelectionEnv, PoolSelectionVectorEnv),
    "stream": (OneShotStreamEnv, OneShotStreamVectorEnv),
    "table_stream": (TableStreamEnv, TableStreamVectorEnv),
}


@every_kind
@pytest.mark.parametrize("form", [0, 1], ids=["single", "vector"])
@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"discuont": 0.5}, "unknown key of env 'discuont'; did you mean 'discount'"),
        ({"autoreset": "same_step"}, "unknown key of env 'autoreset'; did you mean 'autoreset_mode'"),
        ({"rendermode": None}, "unknown key of env 'rendermode'; did you mean 'render_mode'"),
        ({"render_mode": "human"}, "env.render_mode is 'human'; it must be 'rgb_array' or null"),
        ({"render_mode": 1}, "env.render_mode is 1; it must be 'rgb_array' or null"),
        ({"dataset": 5}, "env.dataset is 5; it must be the name of a data set"),
        ({"dataset": None}, "env.dataset is None; it must be the name of a data set"),
        ({"discount": "high"}, "env.discount is 'high'; it must be a number"),
    ],
)
def test_mistakes_in_options(kind, form, wrong, message, options):
    with pytest.raises(AlmetaError, match=message):
        CLASSES[kind][form](**(options[kind] | wrong))


@every_kind
def test_mistakes_of_one_form(kind, single, vector, options):
    with pytest.raises(AlmetaError, match="num_envs=3 is for a batch of episodes; make one with gymnasium.make_vec"):
        single(kind, num_envs=3)
    with pytest.raises(AlmetaError, match="autoreset_mode='same_step' is for a batch"):
        single(kind, autoreset_mode="same_step")
    for mode in ("same", None, 1, "SAME_STEP", ["next_step"]):
        with pytest.raises(AlmetaError, match="env.autoreset_mode is .* must be 'disabled' or 'next_step' or"):
            vector(kind, autoreset_mode=mode)
    for number in (0, -1, 2.0, "3", True):
        with pytest.raises(AlmetaError, match="num_envs is .*whole number of at least 1"):
            CLASSES[kind][1](number, **options[kind])
    with pytest.raises(AlmetaError, match="num_envs=3 is no multiple of env.group=2"):
        vector(kind, group=2)


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"oracle": {"noise": 0.1}}, "{'noise': 0.1} names no oracle; write its name, or {name: NAME, OPTION: VALUE}"),
        ({"oracle": "nosy"}, "unknown oracle 'nosy'; did you mean 'noisy'"),
        ({"oracle": {"name": "noisy", "nois": 0.1}}, "'nois'; did you mean 'noise'"),
        ({"oracle": 0.1}, "oracle is 0.1"),
        ({"learner": {"C": 1.0}}, "{'C': 1.0} names no learner; write its name, or {name: NAME, OPTION: VALUE}"),
        ({"learner": "svm"}, "unknown learner 'svm'; did you mean 'svc'"),
        ({"learner": 5}, "learner is 5"),
        ({"inputs": "candidate"}, "unknown inputs 'candidate'; did you mean 'candidates'"),
        ({"inputs": 5}, "inputs is 5"),
        ({"inputs": ["entropy"]}, "inputs is"),
        ({"dataset": ["iris", 5]}, "env.dataset is 5; it must be the name of a data set"),
        ({"dataset": []}, "there is no data set to draw tasks from"),
    ],
)
def test_mistakes_in_the_parts_of_pools(single, wrong, message):
    with pytest.raises(AlmetaError, match=message):
        single("pool", **wrong)


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"train_classes": "most"}, "env.train_classes is 'most'; it must be a whole number or a number"),
        ({"split_seed": 0.5}, "env.split_seed is 0.5; it must be a whole number"),
        ({"part": ["train"]}, r"env.part is \['train'\]; it must be a text"),
        ({"dataset": ["characters"]}, r"env.dataset is \['characters'\]"),
    ],
)
def test_mistakes_in_the_parts_of_streams(single, wrong, message):
    with pytest.raises(AlmetaError, match=message):
        single("stream", **wrong)


@pytest.mark.parametrize(
    "parts, learner, noise",
    [
        ({"learner": "svc", "oracle": "noisy", "inputs": "candidates"}, "SVC", 0.1),
        ({"learner": {"name": "svc", "C": 3.0}, "oracle": {"name": "noisy", "noise": 0.4}}, "'C': 3.0", 0.4),
        ({"learner": None, "oracle": None, "inputs": {"name": "candidates"}}, "LogisticRegression", 0.0),
    ],
)
def test_parts_by_name(single, parts, learner, noise):
    env = single("pool", **parts)
    assert learner in repr(env.batch.simulation.learner)
    assert env.batch.simulation.oracle.noise == noise
    _, info = env.reset(seed=0)
    assert env.step(int(np.flatnonzero(info["action_mask"])[0]))[0] in env.observation_space


# --- sizes that cannot be ---


@every_kind
def test_more_episodes_than_memory_holds(kind, options):
    with pytest.raises(AlmetaError, match=r"num_envs=10000000000 episodes need more than \d+ GB.*choose num_envs=\d+"):
        gym.make_vec(IDS[kind], num_envs=10**10, **options[kind])


def test_episodes_that_no_memory_holds(single):
    with pytest.raises(AlmetaError, match="num_envs=1 episodes need more than .* GB; choose smaller tasks"):
        single("stream", slots=10**12)
    with pytest.raises(AlmetaError, match="num_envs=1 episodes need more than .* GB; choose smaller tasks"):
        single("pool", synthetic=1.0, pool_size=10**12)


# --- Gymnasium's and Stable-Baselines3's checks ---


@every_kind
@pytest.mark.filterwarnings("error")
def test_checks_warn_of_nothing(kind, options, recwarn):
    env = gym.make(IDS[kind], render_mode="rgb_array", **options[kind])
    check_env(env.unwrapped, skip_render_check=False)
    env.reset(seed=0)
    env.render()
    for _ in range(4):
        env.step(env.action_space.sample())
        env.render()
    assert not recwarn.list


@every_kind
@pytest.mark.filterwarnings("error")
def test_stable_baselines3_warns_of_nothing_but_the_shape_of_a_table(kind, single, recwarn):
    checker = pytest.importorskip("stable_baselines3.common.env_checker", reason="install almeta[sb3]")
    checker.check_env(single(kind, render_mode="rgb_array"), warn=True, skip_render_check=False)
    # A table of candidates is neither an image nor a vector, and needs a network of its own.
    shows_a_table = kind in ("classes", "features", "pool")
    expected = ["observation candidates has an unconventional shape"] if shows_a_table else []
    assert len(recwarn.list) == len(expected)
    for warning, text in zip(recwarn.list, expected, strict=True):
        assert text in str(warning.message)


# --- memory ---


@pytest.mark.slow
def test_hundreds_of_resets_keep_no_memory():
    program = """
import resource, gymnasium as gym
env = gym.make("almeta:almeta/PoolSelection-v0", dataset=("iris", "wine"), pool_size=40, budget=5)
def used():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 1e6
for time in range(700):
    env.reset(seed=time)
    env.step(0)
    if time in (199, 699):
        print(used())
"""
    if not sys.platform.startswith("linux"):
        pytest.skip("reads /proc")
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    before, after = map(float, run.stdout.split())
    assert after - before < 1.25  # MB: 2 to 3 kB a reset
