"""Models of Stable-Baselines3 act in our benchmarks."""

import pickle
from typing import Any

import cloudpickle
import gymnasium as gym
import numpy as np
import pytest
import torch

import almeta
from almeta.data import load_dataset
from almeta.envs.pool import PoolOptions
from almeta.errors import AlmetaError
from almeta.evaluation.benchmark import Entrant, Setting, StrategySpec, run_benchmark
from almeta.inputs import Candidates
from almeta.interop.sb3 import as_policy
from almeta.learners import make_learner
from almeta.oracles import Oracle
from almeta.policies import find_policy
from almeta.specs import Spec

sb3: Any = pytest.importorskip("stable_baselines3", reason="install almeta[sb3]")
contrib: Any = pytest.importorskip("sb3_contrib", reason="install almeta[sb3]")

ROWS = 30


@pytest.fixture(scope="module")
def env():
    return gym.make("almeta:almeta/PoolSelection-v0", dataset="iris", pool_size=ROWS, budget=5)


@pytest.fixture(scope="module", autouse=True)
def _restore():
    """Its seeding sets global random states; the next test has those of before."""
    state, numpy_state = torch.get_rng_state(), np.random.get_state()
    yield
    torch.set_rng_state(state)
    np.random.set_state(numpy_state)


@pytest.fixture(scope="module")
def models(env, tmp_path_factory):
    """Trained for a few steps, saved, and loaded."""
    folder, loaded = tmp_path_factory.mktemp("models"), {}
    for kind in (sb3.PPO, contrib.MaskablePPO):
        model = kind("MultiInputPolicy", env, n_steps=20, batch_size=10, n_epochs=2, seed=0, device="cpu")
        model.learn(20).save(folder / kind.__name__)
        loaded[kind.__name__] = kind.load(folder / kind.__name__, device="cpu")
    return loaded


@pytest.fixture(params=["PPO", "MaskablePPO"])
def model(request, models):
    return models[request.param]


@pytest.fixture
def setting():
    return Setting(PoolOptions(budget=5, pool_size=ROWS), make_learner("logistic_regression"), Oracle(), repeats=3)


def test_it_picks_what_the_model_predicts(env, model):
    actor = as_policy(model, "ppo", trained_on=["iris"]).make(torch.Generator())
    masks = isinstance(model, contrib.MaskablePPO)
    observation, info = env.reset(seed=3)
    for _ in range(5):
        given = {"action_masks": info["action_mask"].astype(bool)} if masks else {}
        action, _ = model.predict(observation, deterministic=True, **given)
        state = env.unwrapped.batch.simulation.state()
        outputs, memory = actor.step(state, ())
        assert torch.equal(outputs.utilities.isfinite(), state.available) and memory == ()
        logits = outputs.utilities.where(state.available, 0.0)
        if masks or info["action_mask"][action]:
            assert int(outputs.utilities.argmax()) == action
        assert (logits[state.available] <= 0).all()  # logarithms of probabilities
        observation, _, _, _, info = env.step(int(outputs.utilities.argmax()))
        assert not info["invalid_action"]


def test_a_smaller_pool_is_padded_as_in_training(models):
    both: Any = gym.make("almeta:almeta/PoolSelection-v0", dataset=["iris", "wine"], pool_size=None, budget=3)
    assert both.observation_space["candidates"].shape[0] == 107
    model = contrib.MaskablePPO("MultiInputPolicy", both, n_steps=10, batch_size=10, seed=0, device="cpu")
    actor = as_policy(model, "ppo", trained_on=["iris", "wine"]).make(torch.Generator())
    small: Any = gym.make("almeta:almeta/PoolSelection-v0", dataset="iris", pool_size=None, budget=3)
    small.reset(seed=1)
    state = small.unwrapped.batch.simulation.state()
    found = actor.step(state, ())[0].utilities[0]
    assert found.shape == (90,)
    observation = small.unwrapped.batch._observe()[0]
    padded = {
        "candidates": np.pad(observation["candidates"][0], ((0, 17), (0, 0))),
        "pool": observation["pool"][0],
        "action_mask": np.pad(observation["action_mask"][0], (0, 17)),
    }
    expected, _ = model.predict(padded, deterministic=True, action_masks=padded["action_mask"].astype(bool))
    assert int(found.argmax()) == expected
    actor = as_policy(models["PPO"], "ppo", trained_on=["iris"]).make(torch.Generator())
    with pytest.raises(AlmetaError, match="reads pools of 30 rows, and this one has 90; choose pool_size=30 or less"):
        actor.step(state, ())


def test_a_benchmark_plays_it_beside_strategies(model, setting, tmp_path):
    policy = as_policy(model, "ppo", trained_on=["iris"])
    contenders: list[Any] = [StrategySpec.read("margin"), policy, Entrant(policy, Spec("ridge"))]
    curves = run_benchmark(["wine"], contenders, setting, tmp_path / "cells.sqlite").curves
    scores = {name: part["score"].to_numpy() for name, part in curves.groupby("strategy")}
    assert set(scores) == {"margin", "ppo", "ppo with ridge"}
    assert (scores["ppo"] != scores["margin"]).any()
    assert all(len(part) == 18 and ((part > 0.2) & (part <= 1)).all() for part in scores.values())


def test_it_is_not_judged_on_what_it_was_trained_on(models, setting, tmp_path):
    policy = as_policy(models["PPO"], "ppo", trained_on=["iris", load_dataset("wine")])
    for name in ("iris", "wine"):
        with pytest.raises(AlmetaError, match=f"the policy 'ppo' was trained on '{name}'"):
            run_benchmark([name], [policy], setting, tmp_path / "cells.sqlite")
    data = load_dataset("iris")
    lines = [",".join(map(str, [*row, label])) for row, label in zip(data.x, data.y, strict=True)]
    (tmp_path / "copy.csv").write_text("\n".join(["a,b,c,d,label", *lines]))
    with pytest.raises(AlmetaError, match=r"trained on 'iris', whose rows data set 'csv:.*copy.csv' has"):
        run_benchmark([f"csv:{tmp_path / 'copy.csv'}"], [policy], setting, tmp_path / "cells.sqlite")


def test_the_digest_changes_with_the_weights_and_workers_get_the_same_policy(models):
    one = as_policy(models["PPO"], "ppo", trained_on=[])
    assert one.digest == as_policy(models["PPO"], "other", trained_on=["iris"]).digest
    assert one.digest != as_policy(models["MaskablePPO"], "ppo", trained_on=[]).digest
    copy = pickle.loads(cloudpickle.dumps(one))
    assert copy.digest == one.digest
    with torch.no_grad():
        next(copy.policy.parameters()).add_(1)
    again = as_policy(models["PPO"], "ppo", trained_on=[])
    assert again.digest == one.digest
    assert type(copy)(copy.name, copy.policy, copy.inputs, {}).digest != one.digest


def test_rows_of_ones_own_are_chosen_by_a_model(models):
    actor = as_policy(models["MaskablePPO"], "ppo", trained_on=["iris"]).make(torch.Generator())
    data = load_dataset("wine")
    y = [int(label) if row % 10 == 0 else None for row, label in enumerate(data.y[::6])]
    rows = almeta.query(data.x[::6], y, n=3, by=actor)
    assert len(set(rows)) == 3 and all(y[row] is None for row in rows)


class Fewer(Candidates):
    """Candidates without the last number."""

    @property
    def pool_names(self):  # type: ignore[override]
        return super().pool_names[:-1]


def test_models_of_another_kind_are_refused(env, models):
    recurrent = contrib.RecurrentPPO("MultiInputLstmPolicy", env, n_steps=10, batch_size=10)
    deep_q = sb3.DQN("MultiInputPolicy", env, buffer_size=10)
    for model in (recurrent, deep_q, "model.zip", None):
        with pytest.raises(AlmetaError, match=f"model is {type(model).__name__}; it must have an actor without memory"):
            as_policy(model, "x", trained_on=[])
    with pytest.raises(AlmetaError, match=r"the model reads .* shows .* train it on almeta/PoolSelection-v0"):
        as_policy(models["PPO"], "x", trained_on=[], inputs=Fewer())
    with pytest.raises(AlmetaError, match=r"the model reads Box"):
        as_policy(sb3.PPO("MlpPolicy", "CartPole-v1", device="cpu"), "x", trained_on=[])
    vectors = sb3.common.vec_env
    normalised = vectors.VecNormalize(vectors.DummyVecEnv([lambda: env]), norm_obs_keys=["pool"])
    with pytest.raises(AlmetaError, match="VecNormalize"):
        as_policy(sb3.PPO("MultiInputPolicy", normalised, device="cpu"), "x", trained_on=[])


def test_no_command_reads_a_zip(tmp_path):
    path = tmp_path / "model.zip"
    path.write_bytes(b"anything")
    with pytest.raises(
        AlmetaError, match=r"model.zip is a zip, .* runs the code in it, .*almeta.interop.sb3.as_policy"
    ):
        find_policy(path)
