"""Models of Stable-Baselines3 that were trained on pools: they act in benchmarks, beside strategies and policies.

A saved model is a zip with pickled objects, and reading one runs whatever code lies in it. almeta reads none: load a
model that you trust (`MaskablePPO.load("model.zip")`), and pass it to `as_policy`.
"""

import functools
import hashlib
import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from almeta.build import choose
from almeta.data import Dataset, load_dataset
from almeta.data.rows import seen_among, sketch
from almeta.envs.pool import observed
from almeta.errors import AlmetaError
from almeta.inputs import PoolInputs
from almeta.policies import group_or_name
from almeta.pool import PoolState
from almeta.sources import closure_digest
from almeta.strategies import Memory, Outputs


class Sb3Actor:
    """A policy network of Stable-Baselines3 that scores the rows of pools.

    The utilities are the logits of its actions, so that of the rows that may be picked the likeliest one is picked,
    also by a model that knows no action mask.

    Args:
        policy: of a model.
        inputs: what it was trained to read.
    """

    def __init__(self, policy: Any, inputs: PoolInputs) -> None:
        self.policy, self.inputs = policy, inputs

    def initial(self, num_envs: int) -> Memory:
        return ()

    @torch.no_grad()
    def step(self, state: PoolState, memory: Memory) -> tuple[Outputs, Memory]:
        """Return utilities `[E, N]` float32; a smaller pool than the model was made for is padded, as in training.

        Raises:
            AlmetaError: for larger pools.
        """
        rows, size = state.exists.shape[1], int(self.policy.action_space.n)
        if rows > size:
            raise AlmetaError(
                f"the model reads pools of {size} rows, and this one has {rows}; choose pool_size={size} or less"
            )
        observation = observed(state, self.inputs)
        for name in ("candidates", "action_mask"):
            missing = [(0, 0), (0, size - rows), (0, 0)]
            observation[name] = np.pad(observation[name], missing[: observation[name].ndim])
        self.policy.set_training_mode(False)
        logits = self.policy.get_distribution(self.policy.obs_to_tensor(observation)[0]).distribution.logits
        utilities = logits[:, :rows].to(state.x.device).masked_fill(~state.available, -torch.inf)
        return Outputs(utilities), memory


@dataclass(frozen=True)
class Sb3Policy:
    """A contender of benchmarks, see `as_policy`.

    Attributes:
        name: in tables.
        policy: the model's network.
        inputs: what it reads.
        trained_on: sketches of the rows of the data sets that it was trained on, by name.
    """

    name: str
    policy: Any
    inputs: PoolInputs
    trained_on: Mapping[str, list[str]]

    def __str__(self) -> str:
        return self.name

    @functools.cached_property
    def digest(self) -> str:
        """A text that changes with the weights and with the code that uses them."""
        weights = hashlib.sha256()
        for name, value in sorted(self.policy.state_dict().items()):
            weights.update(f"{name} {list(value.shape)}".encode() + value.cpu().numpy().tobytes())
        code = [closure_digest(module) for module in (__name__, type(self.inputs).__module__)]
        version = importlib.metadata.version("stable-baselines3")
        return f"stable-baselines3 {version} {type(self.policy).__qualname__} {weights.hexdigest()} {code}"

    def check(self, dataset: str) -> None:
        """Raise an AlmetaError if it was trained on a data set of that name or group."""
        if group_or_name(dataset) in map(group_or_name, self.trained_on):
            self._refuse(dataset, dataset)

    def on(self, dataset: Dataset) -> "Sb3Policy":
        """Return the policy; raise an AlmetaError if it was trained on the data set, under this or another name."""
        self.check(dataset.name)
        if (seen := seen_among(self.trained_on, sketch(dataset))) is not None:
            self._refuse(dataset.name, seen)
        return self

    def _refuse(self, dataset: str, seen: str) -> None:
        raise AlmetaError(
            f"the policy '{self.name}' was trained on '{seen}', whose rows data set '{dataset}' has; judge it on others"
        )

    def make(self, generator: torch.Generator) -> Sb3Actor:
        """Return the actor; it draws no random numbers."""
        return Sb3Actor(self.policy, self.inputs)


def as_policy(
    model: Any,
    name: str,
    *,
    trained_on: Sequence[str | Dataset],
    inputs: str | Mapping[str, Any] | PoolInputs = "candidates",
) -> Sb3Policy:
    """Return a model as a contender of `almeta.evaluation.benchmark.run_benchmark`; `make` returns its actor.

    Args:
        model: PPO, A2C, MaskablePPO or another one of an actor and a critic, trained on `almeta/PoolSelection-v0`.
        name: in tables.
        trained_on: the data sets that it was trained on, on which it is not judged; the model does not know them.
        inputs: those of the environment that it was trained in.

    Raises:
        AlmetaError: for a model of another kind, or one that reads other inputs than these.
    """
    reads: PoolInputs = choose(inputs, "inputs", PoolInputs)
    policy: Any = getattr(model, "policy", None)
    if not hasattr(policy, "get_distribution") or hasattr(policy, "lstm_actor"):
        raise AlmetaError(
            f"model is {type(model).__name__}; it must have an actor without memory, such as PPO, A2C or MaskablePPO"
        )
    if model.get_vec_normalize_env() is not None:
        raise AlmetaError("the model was trained behind VecNormalize, whose means are not here; train it without")
    rows = getattr(policy.action_space, "n", 0)
    shapes = {
        "candidates": (rows, len(reads.candidate_names)),
        "pool": (len(reads.pool_names),),
        "action_mask": (rows,),
    }
    space = policy.observation_space
    found = {key: part.shape for key, part in space.items()} if isinstance(space, gym.spaces.Dict) else space
    if found != shapes:
        raise AlmetaError(
            f"the model reads {found}, and a pool environment with these inputs shows {shapes}; train it on "
            "almeta/PoolSelection-v0 as it is, or name its inputs"
        )
    datasets = [load_dataset(one) if isinstance(one, str) else one for one in trained_on]
    return Sb3Policy(name, policy, reads, {dataset.name: sketch(dataset) for dataset in datasets})
