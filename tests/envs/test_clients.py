"""Somebody else's agents learn on the environments as they are."""

import functools

import gymnasium as gym
import numpy as np
import pytest
import torch

vec_env = pytest.importorskip("stable_baselines3.common.vec_env", reason="install almeta[sb3]")
sb3_contrib = pytest.importorskip("sb3_contrib", reason="install almeta[sb3]")


@pytest.fixture(autouse=True)
def _restore():
    """Its seeding sets global random states; the next test has those of before."""
    state, numpy_state = torch.get_rng_state(), np.random.get_state()
    yield
    torch.set_rng_state(state)
    np.random.set_state(numpy_state)


def weights(model):
    return torch.cat([parameter.detach().flatten().clone() for parameter in model.policy.parameters()])


@pytest.mark.slow
def test_maskable_ppo_learns_on_pools():
    env = gym.make("almeta:almeta/PoolSelection-v0", dataset="iris", pool_size=30, budget=5)
    model = sb3_contrib.MaskablePPO(
        "MultiInputPolicy", env, n_steps=50, batch_size=25, n_epochs=2, seed=0, device="cpu"
    )
    before = weights(model)
    model.learn(300)
    assert model.num_timesteps == 300 and not torch.equal(weights(model), before)
    assert weights(model).isfinite().all()
    # Not a single pick of 300 was invalid, so that every episode spent its budget on labels.
    assert [episode["l"] for episode in model.ep_info_buffer] == [5] * len(model.ep_info_buffer)
    observation, _ = env.reset(seed=1)
    for _ in range(5):
        masks = env.get_wrapper_attr("action_masks")()
        assert masks.dtype == bool and np.array_equal(masks, observation["action_mask"].astype(bool))
        action, _ = model.predict(observation, action_masks=masks)
        assert masks[action]
        observation, _, terminated, _, info = env.step(action)
        assert not info["invalid_action"]
    assert terminated


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pool", "stream"])
def test_agents_learn_in_worker_processes(kind, tiny_images):
    """Spawned, so that nothing is inherited."""
    name, options, policy = {
        "pool": ("PoolSelection", {"dataset": "iris", "pool_size": 30, "budget": 5}, "MultiInputPolicy"),
        "stream": ("OneShotStream", {"dataset": tiny_images, "length": 10}, "MlpLstmPolicy"),
    }[kind]
    make = functools.partial(gym.make, f"almeta:almeta/{name}-v0", **options)
    workers = vec_env.VecMonitor(vec_env.SubprocVecEnv([make] * 2, start_method="spawn"))
    learner = sb3_contrib.MaskablePPO if kind == "pool" else sb3_contrib.RecurrentPPO
    try:
        model = learner(policy, workers, n_steps=50, batch_size=25, n_epochs=2, seed=0, device="cpu")
        before = weights(model)
        model.learn(300)
        assert model.num_timesteps == 300 and not torch.equal(weights(model), before)
        assert weights(model).isfinite().all()
        length = 5 if kind == "pool" else 10
        assert len(model.ep_info_buffer) == min(100, 300 // length)
        assert {episode["l"] for episode in model.ep_info_buffer} == {length}
    finally:
        workers.close()
    # The workers play what the environment plays here.
    env = make()
    ours = env.reset(seed=3)[0]
    again = vec_env.SubprocVecEnv([make], start_method="spawn")
    try:
        again.seed(3)
        seen = again.reset()
    finally:
        again.close()
    if kind == "pool":
        seen = {name: value[0] for name, value in seen.items()}
        np.testing.assert_equal(seen, ours)
    else:
        np.testing.assert_array_equal(seen[0], ours)


@pytest.mark.slow
def test_recurrent_ppo_learns_on_streams(tiny_images):
    env = gym.make("almeta:almeta/OneShotStream-v0", dataset=tiny_images, length=10)
    model = sb3_contrib.RecurrentPPO("MlpLstmPolicy", env, n_steps=50, batch_size=25, n_epochs=2, seed=0, device="cpu")
    before = weights(model)
    model.learn(200)
    assert model.num_timesteps == 200 and not torch.equal(weights(model), before)
    assert weights(model).isfinite().all()
    observation, _ = env.reset(seed=1)
    state, start = None, np.ones(1, dtype=bool)
    for time in range(10):
        action, state = model.predict(observation, state=state, episode_start=start)
        observation, _, terminated, _, _ = env.step(action)
        start = np.zeros(1, dtype=bool)
        assert terminated == (time == 9)
