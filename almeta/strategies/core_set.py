"""Core-set selection: cover the pool."""

from torch import Tensor

from almeta.pool import PoolState
from almeta.strategies.strategy import PoolStrategy


class CoreSet(PoolStrategy):
    """Ask for the row that is farthest from all rows picked so far: Sener & Savarese, ICLR 2018, algorithm 1.

    Picks count at once, answered or not, so that a batch spreads out. Distances are Euclidean, between features. The
    first row of a pool without picks is drawn at random.
    """

    name = "core_set"
    uses_learner = False
    spreads = True

    def score(self, state: PoolState) -> Tensor:
        distance = state.geometry.nearest_pick(state.picks)
        return distance.masked_fill(distance.isinf(), 0.0)
