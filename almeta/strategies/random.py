"""Random sampling, the baseline of all other strategies."""

import torch
from torch import Tensor

from almeta.pool import PoolState
from almeta.strategies.strategy import PoolStrategy


class Random(PoolStrategy):
    """Ask for a row drawn at random."""

    name = "random"
    targets = ("classes", "numbers")
    uses_learner = False

    def score(self, state: PoolState) -> Tensor:
        return torch.rand(state.exists.shape, generator=self.generator, device=state.x.device)
