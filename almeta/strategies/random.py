"""The rule that every other must beat."""

import torch
from torch import Tensor

from almeta.strategies.pool import PoolState, PoolStrategy


class Random(PoolStrategy):
    """Any row is as good as any other."""

    name = "random"

    def score(self, state: PoolState, generator: torch.Generator) -> Tensor:
        return torch.rand(state.exists.shape, generator=generator, device=state.x.device)
