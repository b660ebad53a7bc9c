"""Networks that score the rows of a pool."""

from typing import Literal

import torch
from torch import Tensor, nn

from almeta.checks import Count, Weight
from almeta.strategies.inputs import CANDIDATE_INPUTS, POOL_INPUTS

# A hand-made score to start from: the candidate input and its sign.
PRIORS = {"margin": ("margin", -1.0), "entropy": ("entropy", 1.0)}


class PoolScorer(nn.Module):
    """The same small network for every candidate, which also sees the mean of all candidates' codes.

    Reordering the candidates reorders the scores, and any number of them will do. The score is added to a heuristic's
    and begins at zero, so that training starts level with the heuristic.

    Args:
        hidden_size: units H of each layer.
        prior: the heuristic to start from, "margin", "entropy" or "none".
        prior_weight: how sharply a softmax over the prior tells candidates apart.
    """

    def __init__(
        self,
        hidden_size: Count = 64,
        prior: Literal["margin", "entropy", "none"] = "margin",
        prior_weight: Weight = 30.0,
    ) -> None:
        super().__init__()
        inputs = len(CANDIDATE_INPUTS) + len(POOL_INPUTS)
        self.embed = nn.Sequential(nn.Linear(inputs, hidden_size), nn.ReLU(), nn.Linear(hidden_size, hidden_size))
        self.candidate_part = nn.Linear(hidden_size, hidden_size)
        self.context_part = nn.Linear(hidden_size, hidden_size, bias=False)
        self.score = nn.Linear(hidden_size, 1)
        self.value = nn.Linear(hidden_size, 1)
        for head in (self.score, self.value):
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)
        name, sign = PRIORS.get(prior, ("margin", 0.0))
        self._prior_column, self._prior_weight = CANDIDATE_INPUTS.index(name), sign * prior_weight

    def forward(self, candidates: Tensor, pool: Tensor, available: Tensor) -> tuple[Tensor, Tensor]:
        """Score candidates.

        Args:
            candidates: `[..., N, F]` float32, as `candidate_inputs` returns them.
            pool: `[..., G]` float32.
            available: `[..., N]` bool, the rows that may be picked.

        Returns:
            Scores `[..., N]` and the value of the pool `[...]`.
        """
        together = torch.cat((candidates, pool[..., None, :].expand(*candidates.shape[:-1], -1)), -1)
        codes = self.embed(together).relu()  # [..., N, H]
        weight = available / available.sum(-1, keepdim=True).clamp_min(1)
        context = (weight[..., None, :] @ codes).squeeze(-2)  # [..., H]
        mixed = (self.candidate_part(codes) + self.context_part(context)[..., None, :]).relu()
        prior = self._prior_weight * candidates[..., self._prior_column]
        return prior + self.score(mixed).squeeze(-1), self.value(context).squeeze(-1)
