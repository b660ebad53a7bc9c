"""Uncertainty weighted by density: an uncertain outlier says little about other rows."""

from torch import Tensor

from almeta.checks import Weight
from almeta.pool import PoolState
from almeta.strategies.strategy import PoolStrategy
from almeta.strategies.uncertainty import entropy


class InformationDensity(PoolStrategy):
    """Entropy times density to the power of beta: Settles & Craven, EMNLP 2008, "information density".

    Their density is the mean cosine similarity to the unlabelled rows. Here it is the mean of 1 / (1 + distance) over
    all rows of the pool, or 2048 of a larger one, as in modAL: it suits centred tables and is computed once an episode.

    Args:
        beta: the power; with 0 only the entropy counts.
    """

    name = "information_density"

    def __init__(self, beta: Weight = 1.0) -> None:
        self.beta = beta

    def score(self, state: PoolState) -> Tensor:
        return entropy(state.probabilities) * state.geometry.information_density**self.beta
