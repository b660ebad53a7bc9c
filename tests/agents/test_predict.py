import gymnasium as gym
import numpy as np
import pytest
import torch

from almeta.agents import PPO, EpisodicNetwork, LSTMNetwork, QLearning, Reinforce, Supervised
from almeta.envs import make_simulation
from almeta.evaluation.streams import evaluate
from almeta.seeding import make_generator, seeded_weights

SLOTS, PIXELS, ENVS = 3, 16, 8


def small(network):
    sizes = {"code_size": 4, "channels": 2, "capacity": 12} if network is EpisodicNetwork else {}
    return lambda **shape: network(**shape, hidden_size=8, **sizes)


@pytest.mark.parametrize("network", [LSTMNetwork, EpisodicNetwork])
@pytest.mark.parametrize("kind", [QLearning, Reinforce, PPO, Supervised])
def test_predict_in_the_gymnasium_env_scores_as_evaluate_does(kind, network, tiny_images):
    with seeded_weights(0):
        agent = kind(small(network), PIXELS, SLOTS)
    options = {"length": 12, "reveal": kind.reveal, "max_requests": 2}
    simulation = make_simulation(tiny_images, ENVS, make_generator(0, "test"), **options)
    summary = evaluate(agent, simulation, ENVS, seed=0).summary()
    tasks = simulation.sampler.draw(ENVS, make_generator(0, "evaluation streams"))  # the ones it was judged on
    env = gym.make_vec(
        "almeta/OneShotStream-v0", ENVS, "vector_entry_point", dataset=tiny_images, part="all", **options
    )
    observation, info = env.reset(options={"tasks": tasks})
    ties = make_generator(0, "evaluation ties")
    total, memory, start = np.zeros(ENVS), None, np.ones(ENVS, dtype=bool)
    for _ in range(12):
        action, memory = agent.predict(observation, memory, start, info["action_mask"], ties)
        observation, reward, _, _, info = env.step(action)
        total, start = total + reward, np.zeros(ENVS, dtype=bool)
    assert total.mean() == pytest.approx(summary["mean_return"], abs=1e-5)


def test_predict_forgets_where_an_episode_starts(tiny_images):
    with seeded_weights(0):
        agent = QLearning(small(LSTMNetwork), PIXELS, SLOTS)
    rng = np.random.default_rng(0)
    first, second = rng.random((2, SLOTS + PIXELS)).astype(np.float32)
    _, memory = agent.predict(first)
    action, memory = agent.predict(second, memory, episode_start=True)
    fresh_action, fresh = agent.predict(second)
    assert action == fresh_action
    torch.testing.assert_close(memory, fresh)
