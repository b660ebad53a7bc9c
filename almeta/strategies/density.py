"""Uncertainty weighted by density: an uncertain outlier says little about other rows."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from almeta.checks import Weight
from almeta.pool import PoolState
from almeta.specs import Spec
from almeta.strategies.based import BasedStrategy


class InformationDensity(BasedStrategy):
    """The score of a base times density to the power of beta: Settles & Craven, EMNLP 2008, "information density".

    Their density is the mean cosine similarity to the unlabelled rows. Here it is the mean of 1 / (1 + distance) over
    all rows of the pool, or 2048 of a larger one, as in modAL: it suits centred tables and is computed once an episode.

    Args:
        beta: the power; with 0 only the base counts.
        base: the strategy whose score is weighted. Scores below 0 are moved up first, see `informativeness`: a margin
            counts as 1 - (p1 - p2).
    """

    name = "information_density"

    def __init__(self, beta: Weight = 1.0, base: str | Mapping[str, Any] | Spec = "entropy") -> None:
        super().__init__(base)
        self.beta = beta

    def score(self, state: PoolState) -> Tensor:
        return self.informativeness(state) * state.geometry.information_density**self.beta
