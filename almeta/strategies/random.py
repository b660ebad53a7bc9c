"""The rule that every other must beat."""

import torch
from torch import Tensor

from almeta.pool import PoolState
from almeta.strategies.strategy import PoolStrategy


class Random(PoolStrategy):
    """Any row is as good as any other."""

    name = "random"

    def score(self, state: PoolState) -> Tensor:
        return torch.rand(state.exists.shape, generator=self.generator, device=state.x.device)
