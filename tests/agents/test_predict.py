"""Acting in the Gymnasium environments: the same as in an evaluation, with memory, with masks."""

import math

import gymnasium as gym
import numpy as np
import pytest
import torch

from almeta.agents import GroupReinforce
from almeta.envs.stream import StreamOptions, StreamSimulation
from almeta.errors import AlmetaError
from almeta.evaluation.streams import evaluate
from almeta.inputs import Candidates, PoolView
from almeta.seeding import make_generator
from almeta.training.rollout import learning_curves
from tests.agents.kinds import KIND, PAIRS, RECURRENT, make_actor
from tests.agents.pools import READS, make_pools, scramble, small_scorer
from tests.agents.streams import PIXELS, SLOTS

ENVS = 8
F, G = len(Candidates().candidate_names), len(Candidates().pool_names)


def pairs_of(kind):
    """The agents and networks of a kind whose inputs an observation holds."""
    pairs = [pair for pair in PAIRS if KIND[pair[1]] == kind and pair[1] not in READS]
    return pytest.mark.parametrize("name, network", pairs)


def play(env, agent, tasks, seed):
    """Rewards of a batch, summed, and the scores after each step where there are some."""
    observation, info = env.reset(options={"tasks": tasks})
    ties = make_generator(0, seed)
    total, scores = np.zeros(ENVS), [info.get("score")]
    memory, start, ended = None, np.ones(ENVS, dtype=bool), False
    while not ended:
        action, memory = agent.predict(observation, memory, start, info["action_mask"], ties)
        observation, reward, terminated, _, info = env.step(action)
        scores.append(info.get("score"))
        total, start, ended = total + reward, np.zeros(ENVS, dtype=bool), terminated.all()
    return total, scores


@pairs_of("stream")
def test_predict_in_the_gymnasium_env_scores_as_evaluate_does(name, network, tiny_images):
    agent = make_actor(name, network)
    options = {"slots": SLOTS, "length": 12, "reveal": agent.reveal, "max_requests": 2}
    simulation = StreamSimulation(tiny_images, StreamOptions(**options), ENVS, make_generator(0, "test"))
    summary = evaluate(agent, simulation, ENVS, seed=0).summary()
    tasks = simulation.sampler.draw(ENVS, make_generator(0, "evaluation streams"))  # the ones it was judged on
    env = gym.make_vec(
        "almeta/OneShotStream-v0", ENVS, "vector_entry_point", dataset=tiny_images, part="all", **options
    )
    total, _ = play(env, agent, tasks, "evaluation ties")
    assert total.mean() == pytest.approx(summary["mean_return"], abs=1e-5)


@pairs_of("pool")
def test_predict_on_pools_gives_the_curves_of_an_evaluation(name, network):
    agent = make_actor(name, network)
    simulation = make_pools(num_envs=ENVS, budget=6)
    tasks = simulation.sampler.draw(ENVS, make_generator(0, "test"))
    curves = learning_curves(simulation, agent, make_generator(0, "ties"), tasks)
    options = vars(simulation.options)
    env = gym.make_vec(
        "almeta/PoolSelection-v0", ENVS, "vector_entry_point", dataset=simulation.sampler.datasets, **options
    )
    total, scores = play(env, agent, tasks, "ties")
    assert np.array_equal(np.stack(scores), curves.numpy()) and curves.shape == (7, ENVS)
    np.testing.assert_allclose(total, curves[-1] - curves[0], atol=1e-6)
    assert curves.std(0).max() > 0.01


# --- memory ---


def observe(kind, count, seed=0):
    """Observations of so many episodes, drawn at random."""
    random = np.random.default_rng(seed)
    if kind == "stream":
        return random.random((count, SLOTS + PIXELS), dtype=np.float32)
    return {
        "candidates": random.normal(size=(count, 9, F)).astype(np.float32),
        "pool": random.normal(size=(count, G)).astype(np.float32),
        "action_mask": np.ones((count, 9), np.int8),
    }


def one_of(observation, e):
    return {key: value[e] for key, value in observation.items()} if isinstance(observation, dict) else observation[e]


def utilities(agent, kind, observation, memory):
    """What the agent says now, as numbers: actions alone would hide small differences."""
    view, _ = agent.inputs.observed(observation, None, None, torch.device("cpu"))
    if kind == "stream":
        view = view.__class__(agent.encode(view.item), view.label, view.action_mask)
    return agent.act(view, memory)[0].utilities.detach()


@pytest.mark.parametrize("kind, network", RECURRENT.items())
def test_predict_forgets_where_an_episode_starts(kind, network):
    agent = make_actor("PPO", network)
    first, second, third = (observe(kind, 4, seed) for seed in range(3))
    _, memory = agent.predict(first)
    action, restarted = agent.predict(second, memory, episode_start=True)
    fresh_action, fresh = agent.predict(second)
    assert np.array_equal(action, fresh_action)
    torch.testing.assert_close(restarted, fresh)
    _, kept = agent.predict(second, memory)
    _, same = agent.predict(second, memory, episode_start=False)
    torch.testing.assert_close(kept, same)
    _, some = agent.predict(second, memory, episode_start=np.array([True, False, True, False]))
    said, fresh_said, kept_said = (utilities(agent, kind, third, part) for part in (some, fresh, kept))
    torch.testing.assert_close(said[::2], fresh_said[::2])
    torch.testing.assert_close(said[1::2], kept_said[1::2])
    assert not torch.allclose(fresh_said, kept_said, atol=1e-4)


@pytest.mark.parametrize("kind, network", RECURRENT.items())
def test_one_episode_is_a_batch_of_one(kind, network):
    agent = make_actor("PPO", network)
    memory, single = None, [None] * 3
    for seed in range(4):
        batch = observe(kind, 3, seed)
        actions, memory = agent.predict(batch, memory)
        assert actions.shape == (3,) and actions.dtype == np.int64
        for e in range(3):
            action, single[e] = agent.predict(one_of(batch, e), single[e])
            assert action.shape == () and action == actions[e]


# --- masks ---

ACTIONS = {"stream": SLOTS + 1, "pool": 9}
every_kind = pytest.mark.parametrize("kind", RECURRENT)


@every_kind
@pytest.mark.parametrize("single", [False, True])
def test_masks_are_arrays_or_lists_of_any_numbers(kind, single):
    agent, observation, count = make_actor("PPO", RECURRENT[kind]), observe(kind, 5), ACTIONS[kind]
    if single:
        observation = one_of(observation, 0)
    for allowed in range(count):
        mask = np.zeros(count if single else (5, count))
        mask[..., allowed] = 1
        for given in (mask.tolist(), mask, mask.astype(bool), mask.astype(np.int8)):
            assert (agent.predict(observation, action_mask=given)[0] == allowed).all()


@every_kind
def test_masks_of_lists_hold_for_each_episode(kind):
    agent, observation, count = make_actor("PPO", RECURRENT[kind]), observe(kind, 4), ACTIONS[kind]
    mask = np.eye(count, dtype=int)[:4].tolist()
    assert agent.predict(observation, action_mask=mask)[0].tolist() == [0, 1, 2, 3]


@every_kind
def test_a_mask_that_allows_nothing_is_an_error(kind):
    agent, observation, count = make_actor("PPO", RECURRENT[kind]), observe(kind, 3), ACTIONS[kind]
    message = "the action mask allows nothing; at least one action must be 1 in each episode"
    with pytest.raises(AlmetaError, match=message):
        agent.predict(one_of(observation, 0), action_mask=[0] * count)
    mask = np.ones((3, count))
    mask[1] = 0
    with pytest.raises(AlmetaError, match=message):
        agent.predict(observation, action_mask=mask)


@every_kind
@pytest.mark.parametrize(
    "shape", [lambda e, a: (e, a + 1), lambda e, a: (a,), lambda e, a: (e - 1, a), lambda e, a: (e,)]
)
def test_a_mask_of_another_shape_is_an_error(kind, shape):
    agent, observation, count = make_actor("PPO", RECURRENT[kind]), observe(kind, 3), ACTIONS[kind]
    with pytest.raises(AlmetaError, match=rf"the action mask has the shape .*; here it is \[3, {count}\]"):
        agent.predict(observation, action_mask=np.ones(shape(3, count)))
    with pytest.raises(AlmetaError, match=rf"the action mask has the shape .*; here it is \[1, {count}\]"):
        agent.predict(one_of(observation, 0), action_mask=np.ones(count + 1))


def test_a_pools_own_mask_may_not_be_empty_either():
    observation = observe("pool", 3)
    observation["action_mask"][2] = 0
    with pytest.raises(AlmetaError, match="the action mask allows nothing"):
        make_actor("PPO", "PoolScorer").predict(observation)


# --- on pools ---


def test_predict_takes_the_best_allowed_row_of_one_pool_or_of_many():
    agent = scramble(GroupReinforce(small_scorer(), Candidates()))
    observation = observe("pool", 5)
    available = np.random.default_rng(1).random((5, 9)) < 0.7
    available[:, 0] = True
    observation["action_mask"] = available.astype(np.int8)
    rows, memory = agent.predict(observation)
    parts = torch.from_numpy(observation["candidates"]), torch.from_numpy(observation["pool"])
    scores = agent.network.step(PoolView(*parts, torch.from_numpy(available)), ())[0]
    expected = scores.masked_fill(~torch.from_numpy(available), -math.inf).argmax(-1)
    assert rows.tolist() == expected.tolist() and rows.dtype == np.int64 and memory == ()
    for e in range(5):
        single, _ = agent.predict(one_of(observation, e))
        assert single.shape == () and single == rows[e]
    only = np.zeros((5, 9), np.int8)
    only[:, 4] = 1
    assert agent.predict(observation, action_mask=only)[0].tolist() == [4] * 5


def test_predict_breaks_ties_by_the_generator():
    agent = GroupReinforce(small_scorer(), Candidates())  # all margins are alike, and it is level with them
    observation = {"candidates": np.zeros((9, F), np.float32), "pool": np.zeros(G, np.float32)}
    observation["action_mask"] = np.array([0, 1, 1, 0, 1, 1, 0, 0, 0], np.int8)
    generator = make_generator(0, "test")
    assert {int(agent.predict(observation, generator=generator)[0]) for _ in range(100)} == {1, 2, 4, 5}
    assert agent.predict(observation)[0] == 1


# --- what does not fit ---


@every_kind
@pytest.mark.parametrize("mask", [[[1, 1], [1]], [[1, 0], 1]])
def test_a_mask_that_is_no_array_is_an_error(kind, mask):
    agent, observation = make_actor("PPO", RECURRENT[kind]), observe(kind, 2)
    with pytest.raises(AlmetaError, match="the action mask is no array of numbers; give numbers in rows of equal len"):
        agent.predict(observation, action_mask=mask)


@every_kind
@pytest.mark.parametrize("starts", [[True], [False] * 3, [[True, False]]])
def test_starts_of_other_episodes_are_an_error(kind, starts):
    agent, observation = make_actor("PPO", RECURRENT[kind]), observe(kind, 2)
    with pytest.raises(AlmetaError, match=r"episode_start has the shape \[.*\]; here it is \[2\]"):
        agent.predict(observation, episode_start=starts)


@pytest.mark.parametrize("shape", [(SLOTS + PIXELS + 1,), (3, SLOTS + PIXELS - 1), (1, 3, SLOTS + PIXELS), ()])
def test_an_observation_of_another_stream_is_an_error(shape):
    agent = make_actor("PPO", "LSTMNetwork")
    with pytest.raises(AlmetaError, match=rf"the observation has the shape .*; here it is \[E, {SLOTS + PIXELS}\]"):
        agent.predict(np.zeros(shape, np.float32))
    with pytest.raises(AlmetaError, match="the observation is no array of numbers"):
        agent.predict(observe("pool", 3))


@pytest.mark.parametrize(
    "name, shape, wanted",
    [
        ("candidates", (3, 9, F + 1), rf"\[E, N, {F}\]"),
        ("candidates", (3,), rf"\[E, N, {F}\]"),
        ("pool", (3, G - 1), rf"\[3, {G}\]"),
        ("pool", (2, G), rf"\[3, {G}\]"),
    ],
)
def test_an_observation_of_another_pool_is_an_error(name, shape, wanted):
    observation = observe("pool", 3) | {name: np.zeros(shape, np.float32)}
    with pytest.raises(
        AlmetaError, match=rf"observation\['{name}'\] has the shape .*; here it is {wanted}: make the environment"
    ):
        make_actor("PPO", "PoolScorer").predict(observation)


@pytest.mark.parametrize("observation", [np.zeros(9), {"candidates": np.zeros((9, F))}])
def test_an_observation_of_no_pool_is_an_error(observation):
    with pytest.raises(AlmetaError, match="the observation has no 'candidates' and 'pool'"):
        make_actor("PPO", "PoolScorer").predict(observation)
