"""The base class of hand-made strategies for pools."""

import functools
from typing import ClassVar

import torch
from torch import Tensor

from almeta.pool import PoolState
from almeta.seeding import make_generator
from almeta.strategies.actor import Memory, Outputs


class PoolStrategy:
    """A score for every row, and `-inf` where it may not be picked.

    A strategy is a subclass in a file of `almeta/strategies`. It needs `name`, which tables and commands use, and
    `score`; its options are the annotated arguments of its `__init__`. A rule with chance draws from `generator`.

    Attributes:
        packages: distributions that it leaves its choice to; stored results depend on their versions.
    """

    name: ClassVar[str]
    packages: ClassVar[tuple[str, ...]] = ()

    @functools.cached_property
    def generator(self) -> torch.Generator:
        """Draws for rules with chance, on the device of the pools; `make_strategy` sets it."""
        return make_generator(0, "strategy")

    def initial(self, num_envs: int) -> Memory:
        return ()

    def step(self, state: PoolState, memory: Memory) -> tuple[Outputs, Memory]:
        """Return utilities `[E, N]` float32: higher is better, `-inf` for rows that are not available."""
        return Outputs(self.score(state).masked_fill(~state.available, -torch.inf)), memory

    def score(self, state: PoolState) -> Tensor:
        """Return finite scores of all rows, `[E, N]` float32; those of rows that are not available are ignored."""
        raise NotImplementedError
