"""Uncertainty weighed by density: an outlier teaches little about the others, however uncertain it is."""

from torch import Tensor

from almeta.checks import Weight
from almeta.pool import PoolState
from almeta.strategies.strategy import PoolStrategy
from almeta.strategies.uncertainty import entropy


class InformationDensity(PoolStrategy):
    """Entropy times density to the power of beta: Settles & Craven, EMNLP 2008, "information density".

    They take the mean cosine similarity to the unlabelled rows as density; here it is the mean of 1 / (1 + distance)
    over all rows of the pool, as in modAL, which suits tables that are centred and needs computing once an episode.
    In pools of more than 2048 rows, so many of them stand for all.

    Args:
        beta: how much density counts; 0 leaves the entropy alone.
    """

    name = "information_density"

    def __init__(self, beta: Weight = 1.0) -> None:
        self.beta = beta

    def score(self, state: PoolState) -> Tensor:
        return entropy(state.probabilities) * state.geometry.information_density**self.beta
