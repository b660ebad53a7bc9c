"""Small pools, and one of every network that reads them, for the tests of agents."""

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

import almeta.agents
from almeta.agents.agent import MakeNetwork
from almeta.data import load_dataset
from almeta.data.dataset import Dataset
from almeta.envs.pool import PoolOptions, PoolSimulation
from almeta.inputs import Candidates, Columns, PoolInputs
from almeta.learners import Learner
from almeta.seeding import make_generator, seeded_weights
from tests.agents.streams import AGENTS, public_classes

# Every network of pools: a new one is tested as soon as it is there.
POOL_NETWORKS: dict[str, Any] = {
    k: v for k, v in public_classes(almeta.agents, nn.Module).items() if getattr(v, "kind", None) == "pool"
}
# What a network reads in place of `Candidates`.
READS: dict[str, PoolInputs] = {"MetaScorer": Columns()}
TABLES = ("iris", "wine")


def make_pools(
    seed: int = 0,
    num_envs: int = 8,
    datasets: Sequence[str | Dataset] = TABLES,
    learner: Learner | None = None,
    **options: Any,
) -> PoolSimulation:
    """Return pools of fifteen rows of which four are picked; `options` are those of `PoolOptions`."""
    settings: dict[str, Any] = {"pool_size": 15, "max_test": 40, "budget": 4} | options
    loaded = [load_dataset(one) if isinstance(one, str) else one for one in datasets]
    return PoolSimulation(loaded, PoolOptions(**settings), num_envs, make_generator(seed, "env"), learner)


def small_scorer(name: str = "PoolScorer", **options: Any) -> MakeNetwork:
    """Return what makes a small network of the named class."""
    return functools.partial(POOL_NETWORKS[name], **({"hidden_size": 8} | options))


def make_pool_agent(
    name: str, network: MakeNetwork | None = None, seed: int = 0, inputs: PoolInputs | None = None, **options: Any
) -> Any:
    """Return a fresh agent of the named class for `make_pools`, its weights drawn from the seed."""
    settings = ({"exploration": "uniform"} if name == "QLearning" else {}) | options
    with seeded_weights(seed):
        return AGENTS[name](network or small_scorer(), inputs or Candidates(), **settings)


def scramble(module: Any, seed: int = 0) -> Any:
    """Draw weights at random everywhere, also in the heads that begin at zero; return the module."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(generator=generator, std=0.3)
    return module
