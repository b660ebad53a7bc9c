"""The simulation as Gymnasium sees it."""

import dataclasses
import functools
import importlib
import itertools
import math
import subprocess
import sys
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AsyncVectorEnv, AutoresetMode

import almeta
from almeta.data import Dataset
from almeta.envs import OneShotStreamEnv, OneShotStreamVectorEnv, stream
from almeta.errors import AlmetaError
from almeta.stream import price_told
from almeta.tasks import StreamTasks

ID = "almeta/OneShotStream-v0"

pytestmark = pytest.mark.filterwarnings("error")

OPTIONS = {
    "as in the paper": {},
    "spare slots": {"classes": 2, "slots": 5, "length": 20},
    "few requests": {"max_requests": 3},
    "every label": {"reveal": "always"},
    "scripted": {"script": [[0, 5], [1, 1]]},
    "test classes": {"part": "test", "train_classes": 2, "split_seed": 3},
    "one step": {"length": 1},
}
every_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())


@pytest.fixture
def single(tiny_images):
    return functools.partial(OneShotStreamEnv, tiny_images)


@pytest.fixture
def vector(tiny_images):
    return functools.partial(OneShotStreamVectorEnv, dataset=tiny_images)


def record(env, actions, **reset):
    """Everything that comes back from an episode: (observation, info), then the results of each step."""
    return [env.reset(**reset), *(env.step(action) for action in actions)]


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


def column(results, e):
    """The results of episode `e` of a batch, as a single environment gives them."""

    def pick(value):
        if isinstance(value, dict):
            return {name: pick(entry) for name, entry in value.items()}
        return value[e].item() if value.ndim == 1 else value[e]

    return [tuple(pick(value) for value in result) for result in results]


def random_actions(num_slots, shape, seed=0):
    return np.random.default_rng(seed).integers(num_slots + 1, size=shape)


# --- Gymnasium's own checks, and the registration ---


@every_option
def test_gymnasiums_checks_pass_without_a_warning(tiny_images, options):
    env = gym.make(f"almeta:{ID}", dataset=tiny_images, **({"classes": 2, "length": 20} | options))
    check_env(env.unwrapped)
    env.reset(seed=0)
    while True:  # with the checks of the wrappers that make() adds
        *_, terminated, truncated, _ = env.step(env.action_space.sample())
        assert terminated in (True, False) and truncated is False
        if terminated:
            break


def test_make_vec_gives_the_batch(tiny_images):
    env = gym.make_vec(f"almeta:{ID}", num_envs=3, dataset=tiny_images)
    assert isinstance(env, OneShotStreamVectorEnv) and env.num_envs == 3
    assert env.metadata["autoreset_mode"] is AutoresetMode.DISABLED
    assert env.single_observation_space == gym.spaces.Box(0, 1, (3 + 16,), np.float32)
    assert env.single_action_space == gym.spaces.Discrete(4)
    assert env.observation_space.shape == (3, 19)
    assert env.action_space == gym.spaces.MultiDiscrete([4, 4, 4])
    env.action_space.seed(0)
    observation, _ = env.reset(seed=0)
    assert observation in env.observation_space
    assert env.step(env.action_space.sample())[0] in env.observation_space


def test_registration_happens_once_and_by_name():
    spec = gym.spec(ID)
    assert spec.entry_point == "almeta.envs:OneShotStreamEnv"
    assert spec.vector_entry_point == "almeta.envs:OneShotStreamVectorEnv"
    importlib.reload(almeta)  # a second registration would warn
    assert gym.spec(ID) is spec


def test_import_is_quick():
    heavy = {"matplotlib", "wandb", "hydra", "pandas", "scipy", "sklearn", "PIL", "pooch", "requests"}
    program = f"import sys, almeta; print(sorted(set(sys.modules) & {heavy}), almeta.__version__)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["[]", almeta.__version__]


@pytest.mark.slow
def test_worker_processes_make_it_by_name(tiny_images):
    """Spawned, so that nothing is inherited: the name alone must lead to the environment."""
    make = functools.partial(gym.make, f"almeta:{ID}", dataset=tiny_images)
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # what multiprocessing says is not ours
        workers = AsyncVectorEnv([make] * 2, context="spawn", shared_memory=False)
        try:
            observations, _ = workers.reset(seed=[0, 1])
            stepped, *_ = workers.step(np.array([3, 0]))
        finally:
            workers.close()
    for e, action in enumerate((3, 0)):
        env = make()
        np.testing.assert_array_equal(observations[e], env.reset(seed=e)[0])
        np.testing.assert_array_equal(stepped[e], env.step(action)[0])


def test_gymnasiums_own_batch_of_singles(tiny_images):
    env = gym.make_vec(f"almeta:{ID}", num_envs=2, vectorization_mode="sync", dataset=tiny_images, length=3)
    env.reset(seed=0)
    for time in range(8):  # autoreset: every fourth call is a reset
        _, _, terminated, _, info = env.step(np.array([0, 3]))
        assert terminated.all() == (time % 4 == 2)
        assert info["action_mask"].shape == (2, 4)


# --- single and batch are one ---


@every_option
def test_a_batch_of_one_is_a_single(single, vector, options):
    options = {"classes": 2, "length": 20} | options
    one, batch = single(**options), vector(1, **options)
    steps = batch.simulation.length
    for seed in (7, None):  # the second episode goes on with the generator
        actions = random_actions(one.num_slots, (steps, 1))
        alone = record(one, actions[:, 0], seed=seed)
        assert_same(alone, column(record(batch, actions, seed=seed), 0))
    assert alone[-1][2] is True


@every_option
def test_a_batch_is_its_singles(single, vector, options):
    options = {"classes": 2, "length": 20} | options
    batch = vector(4, **options)
    actions = random_actions(batch.num_slots, (batch.simulation.length, 4))
    together = record(batch, actions, seed=1)
    tasks = batch.simulation.tasks
    for e in range(4):
        mine = [getattr(tasks, field.name)[:, e : e + 1] for field in dataclasses.fields(StreamTasks)]
        alone = record(single(**options), actions[:, e], options={"tasks": StreamTasks(*mine)})
        assert_same(alone, column(together, e))


def test_the_batch_is_the_simulation(vector):
    env = vector(3)
    actions = random_actions(3, (30, 3))
    results = record(env, actions, seed=5)
    simulation = env.simulation
    simulation.reset(simulation.tasks)
    for time, action in enumerate(actions):
        instance = simulation.tasks.instances[time]
        outcome = simulation.step(torch.as_tensor(action))
        state = simulation.state()
        observation, reward, terminated, truncated, info = results[time + 1]
        np.testing.assert_array_equal(observation[:, :3], state.label)
        np.testing.assert_array_equal(observation[:, 3:], state.item)
        np.testing.assert_array_equal(reward, outcome.reward)
        np.testing.assert_array_equal(info["correct"], outcome.correct)
        np.testing.assert_array_equal(info["requested"], outcome.requested)
        np.testing.assert_array_equal(info["invalid_action"], outcome.invalid)
        np.testing.assert_array_equal(info["instance"], instance)
        np.testing.assert_array_equal(terminated, np.full(3, time == 29))
        assert not truncated.any()


def test_types(single, vector):
    env = single(max_requests=1)
    observation, info = env.reset(seed=0)
    assert observation.dtype == np.float32 and observation.shape == (19,)
    assert list(info) == ["action_mask"]
    observation, reward, terminated, truncated, info = env.step(np.int64(3))
    assert [type(value) for value in (reward, terminated, truncated)] == [float, bool, bool]
    mask = info.pop("action_mask")
    assert mask.dtype == np.int8 and mask.tolist() == [1, 1, 1, 0]
    assert info == {"correct": False, "requested": True, "invalid_action": False, "instance": 1}
    assert [type(value) for value in info.values()] == [bool, bool, bool, int]
    *_, info = env.step(3)
    assert info["invalid_action"] and not info["requested"]

    batch = vector(2)
    batch.reset(seed=0)
    _, reward, terminated, truncated, info = batch.step(np.array([0, 3]))
    assert reward.dtype == np.float64 and terminated.dtype == truncated.dtype == bool
    assert info["action_mask"].dtype == np.int8 and info["action_mask"].shape == (2, 4)


def test_the_discount_can_be_read(single, vector):
    assert single(discount=0.25).discount == vector(2, discount=0.25).discount == 0.25


def test_every_call_returns_fresh_arrays(vector):
    actions = random_actions(3, (30, 2))
    expected = record(vector(2, max_requests=2), actions, seed=0)
    env = vector(2, max_requests=2)
    arrays = []

    def spoil(result):  # what the caller does to an array must not reach the environment
        for value in result:
            for array in value.values() if isinstance(value, dict) else [value]:
                arrays.append(array)
                array[...] = 1

    for time, wanted in enumerate(expected):
        result = env.step(actions[time - 1]) if time else env.reset(seed=0)
        assert_same(result, wanted)
        spoil(result)
    assert not any(np.shares_memory(a, b) for a, b in itertools.combinations(arrays, 2))
    again = record(env, actions, options={"tasks": env.simulation.tasks})  # nor the streams
    assert_same(again, expected)


# --- seeds and resets ---


def test_the_seed_names_the_episodes(vector):
    env, actions = vector(2), random_actions(3, (30, 2))
    first, second = record(env, actions, seed=3), record(env, actions)
    assert_same(record(vector(2), actions, seed=3), first)
    assert_same(record(env, actions, seed=3), first)
    assert_same(record(env, actions), second)
    assert (first[0][0] != second[0][0]).any()
    assert (record(env, actions, seed=4)[0][0] != first[0][0]).any()
    assert (vector(2).reset()[0] != vector(2).reset()[0]).any()  # no seed at all: from the system


def test_the_state_of_gymnasiums_generator_is_all_there_is(single):
    env, copy = single(), single()
    env.reset(seed=3)
    copy.np_random = np.random.default_rng()
    copy.np_random.bit_generator.state = env.np_random.bit_generator.state
    np.testing.assert_array_equal(env.reset()[0], copy.reset()[0])


def test_no_global_random_state(single):
    before = torch.random.get_rng_state(), np.random.get_state()[1].tolist()  # type: ignore[index]
    record(single(), [3] * 30)
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert before[1] == np.random.get_state()[1].tolist()  # type: ignore[index]


def test_only_whole_resets(vector):
    env = vector(3)
    env.reset(seed=0, options={"reset_mask": np.array([True, True, True])})
    for mask in ([True, False, True], [False, False, False], [True, True]):
        with pytest.raises(AlmetaError, match=r"reset_mask.* same length and begin together.* True 3 times"):
            env.reset(options={"reset_mask": np.array(mask)})
    env.step([0, 0, 0])  # a refused reset changes nothing
    with pytest.raises(AlmetaError, match="unknown option of reset 'task'; did you mean 'tasks'"):
        env.reset(options={"task": None})


def test_steps_need_a_reset(single):
    env = single(length=2)
    with pytest.raises(gym.error.ResetNeeded, match=r"not begun; call reset\(\)"):
        env.step(0)
    env.reset()
    assert [env.step(0)[2] for _ in range(2)] == [False, True]
    with pytest.raises(gym.error.ResetNeeded, match=r"have ended"):
        env.step(0)


@pytest.mark.parametrize("action", [4, -1, 1.0, True, None, "0", [0, 1]])
def test_what_is_no_action(single, action):
    env = single()
    env.reset(seed=0)
    with pytest.raises(gym.error.InvalidAction, match=r"whole numbers 0 to 3 \(3 requests the label"):
        env.step(action)
    assert env.step(0)[-1]["instance"] == 1  # it did not count as a step


@pytest.mark.parametrize("actions", [[0, 1], [0, 1, 4], [[0, 1, 2]], 0, np.zeros(3)])
def test_what_are_no_actions(vector, actions):
    env = vector(3)
    env.reset(seed=0)
    with pytest.raises(gym.error.InvalidAction, match="not 3 of the whole numbers 0 to 3"):
        env.step(actions)


@pytest.mark.parametrize("actions", [[0, 1], (0, 1), np.array([0, 1], np.uint8), torch.tensor([0, 1])])
def test_what_are_actions(vector, actions):
    env = vector(2)
    env.reset(seed=0)
    assert env.step(actions)[1].shape == (2,)


# --- nothing leaks ---


def test_nothing_tells_of_what_is_to_come(vector):
    """Other images and labels from step 10 on: all that comes back before that is the same."""
    env = vector(8)
    actions = random_actions(3, (30, 8))
    results = record(env, actions, seed=0)
    tasks = env.simulation.tasks
    shuffled = torch.cat((torch.arange(10), 10 + torch.randperm(20, generator=torch.Generator().manual_seed(0))))
    other = StreamTasks(tasks.items[shuffled], 2 - tasks.targets[shuffled], tasks.instances[shuffled])
    other.targets[:10] = tasks.targets[:10]
    changed = record(env, actions, options={"tasks": other})
    # the observation of result 10 holds image 10 already: before that, equal in everything
    assert_same(changed[:10], results[:10])
    assert (changed[10][0] != results[10][0]).any()


@pytest.mark.parametrize("max_requests", [None, 2])
def test_nothing_tells_of_labels_that_were_not_requested(vector, max_requests):
    env = vector(8, max_requests=max_requests)
    actions = random_actions(3, (30, 8))
    results = record(env, actions, seed=0)
    tasks = env.simulation.tasks
    requested = torch.as_tensor(np.stack([result[-1]["requested"] for result in results[1:]]))
    other = dataclasses.replace(tasks, targets=torch.where(requested, tasks.targets, 2 - tasks.targets))
    assert not torch.equal(other.targets, tasks.targets)
    for before, after in zip(results, record(env, actions, options={"tasks": other}), strict=True):
        np.testing.assert_array_equal(before[0], after[0])
        np.testing.assert_array_equal(before[-1]["action_mask"], after[-1]["action_mask"])


def test_labels_are_in_the_observation_only_when_requested(vector):
    env = vector(8)
    actions = random_actions(3, (30, 8))
    env.reset(seed=0)
    for time, action in enumerate(actions):
        observation, *_ = env.step(action)
        expected = np.eye(3)[env.simulation.tasks.targets[time]] * (action == 3)[:, None]
        np.testing.assert_array_equal(observation[:, :3], expected)


# --- which classes are shown ---


def test_parts_share_no_image(make_images):
    dataset = make_images([10] * 8)

    def shown(part):
        env = OneShotStreamVectorEnv(50, dataset, train_classes=4, part=part, rotations=False)
        env.reset(seed=0)
        return {image.tobytes() for image in env.simulation.images.reshape(-1, 16).numpy()}

    train, test, everything = shown("train"), shown("test"), shown("all")
    assert len(train) == len(test) == 40 and len(everything) == 80
    assert train | test == everything


def test_sentences_are_shown_as_vectors_of_one_part():
    counts = np.random.default_rng(0).poisson(2.0, (40, 9)).astype(np.float32)
    texts = Dataset("texts", counts, np.arange(40) % 4, tuple("abcd"), "made up", kind="text")
    options: Any = {"train_classes": 2, "classes": 2, "length": 5, "rotations": False}
    env = OneShotStreamVectorEnv(3, texts, part="test", **options)
    observation, _ = env.reset(seed=0)
    assert observation in env.observation_space and observation.shape == (3, 2 + 9)
    with pytest.raises(AlmetaError, match="texts' has sentences"):
        OneShotStreamVectorEnv(3, texts, part="all", **options)


def test_a_named_data_set_is_loaded_and_turned_once(monkeypatch, tiny_images):
    calls = []

    def load(name):
        calls.append(name)
        return tiny_images

    monkeypatch.setattr(stream, "load_dataset", load)
    stream._part.cache_clear()
    single, batch = OneShotStreamEnv("digits"), OneShotStreamVectorEnv(5, "digits", length=3)
    assert calls == ["digits"]
    assert single.batch.simulation.sampler.images is batch.simulation.sampler.images
    OneShotStreamEnv("digits", part="test", train_classes=3)
    assert calls == ["digits", "digits"]
    stream._part.cache_clear()


def test_a_file_that_was_written_anew_is_read_anew(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for number in (0.25, 0.5):
        (tmp_path / "my.csv").write_text("a,b,label\n" + f"{number},0,x\n{number},1,y\n" * 3)
        env = OneShotStreamEnv("csv:my.csv", part="all", classes=2, length=4, rotations=False)
        assert (env.batch.simulation.sampler.images[:, 0] == number).all()


def test_a_stream_has_no_fixed_test_set(tiny_images):
    fixed = dataclasses.replace(tiny_images, test_rows=np.array([0]))
    with pytest.raises(AlmetaError, match="has a fixed test set, and a stream has none: .* without test= and split="):
        OneShotStreamEnv(fixed, train_classes=1, classes=1, length=5)


def test_one_class_and_all_classes_are_not_confused(tiny_images):
    """1 and 1.0 are equal, also to a cache."""
    OneShotStreamEnv(tiny_images, train_classes=1, classes=1, length=5)
    with pytest.raises(AlmetaError, match=r"train_classes=1.0"):
        OneShotStreamEnv(tiny_images, train_classes=1.0, classes=1, length=5)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"part": "trian"}, "unknown part 'trian'; did you mean 'train'"),
        ({"train_classes": 6}, "train_classes=6 of data set 'tiny'"),
        ({"train_classes": 2}, "env.classes=3, but this part of data set 'tiny' has 2 classes"),
        ({"dataset": "omnigolt"}, "unknown data set 'omnigolt'; did you mean 'omniglot'"),
        ({"length": 50}, "env.length=50"),
    ],
)
def test_mistakes(vector, options, message):
    with pytest.raises(AlmetaError, match=message):
        vector(**options)


def test_an_unknown_option_is_named(single):
    with pytest.raises(AlmetaError, match="unknown key of env 'lenght'; did you mean 'length'"):
        single(lenght=3)


def test_values_beyond_the_observation_space(make_images):
    dataset = make_images([2, 2], side=1, x=np.array([[0], [1], [2], [0.5]], np.float32))
    with pytest.raises(AlmetaError, match=r"'tiny' has values from 0 to 2; a stream shows values in \[0, 1\]"):
        OneShotStreamEnv(dataset)


def test_the_price_is_one_more_number_of_the_observation():
    env = gym.make("almeta:almeta/OneShotStream-v0", reward={"incorrect": -9}, tells_price=True).unwrapped
    observation, _ = env.reset(seed=0)
    assert observation.shape == env.observation_space.shape == (3 + 784 + 1,)
    assert observation[-1] == pytest.approx(math.log(10) / math.log(101))
    assert float(price_told(torch.tensor(observation[-1]))) == pytest.approx(-9, rel=1e-5)
