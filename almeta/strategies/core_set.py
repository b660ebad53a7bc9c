"""Core-set selection: cover the pool."""

import numpy as np
from torch import Tensor

from almeta.checks import Share
from almeta.pool import PoolState
from almeta.strategies.one_pool import OnePool, PoolByPool, distances, greedy_cover
from almeta.strategies.strategy import PoolStrategy


class CoreSet(PoolStrategy):
    """Ask for the row that is farthest from all rows picked so far: Sener & Savarese, ICLR 2018, algorithm 1.

    Picks count at once, answered or not, so that a batch spreads out. Distances are Euclidean, between features. The
    first row of a pool without picks is drawn at random.
    """

    name = "core_set"
    targets = ("classes", "numbers")
    uses_learner = False
    spreads = True

    def score(self, state: PoolState) -> Tensor:
        distance = state.geometry.nearest_pick(state.picks)
        return distance.masked_fill(distance.isinf(), 0.0)


def cover_with_outliers(
    distance: np.ndarray, to_pick: np.ndarray, size: int, num_outliers: int, radii: np.ndarray | None = None
) -> list[int]:
    """Choose centres so that all rows but the outliers are near one: Charikar et al., SODA 2001.

    The radius within which all rows but `num_outliers` have a centre, or a row picked before, is at most three times
    the smallest possible. For a radius r, the candidate with the most rows within r is chosen, the rows within 3 r of
    it are covered, and so on; a binary search finds the smallest distance r with which enough rows are covered.

    Args:
        distance: `[k, m]`, from k candidates to the m rows to cover.
        to_pick: `[m]`, from each row to the nearest one picked before; inf without any.
        size: centres to choose.
        num_outliers: rows that may be left out.
        radii: the different values of `distance`, sorted, where they are known.

    Returns:
        `size` candidates, or fewer once all rows are covered. Where fewer are enough for the radius, those follow that
        the next smaller radius asks for.
    """
    radii = _with(np.unique(distance) if radii is None else radii, to_pick[np.isfinite(to_pick)])
    low, high = 0, len(radii) - 1
    enough, too_few = list[int](), list[int]()
    while low <= high:
        middle = (low + high) // 2
        r = radii[middle]
        chosen, covered = greedy_cover(distance <= r, to_pick <= r, size, distance <= 3 * r)
        if (~covered).sum() <= num_outliers:
            enough, high = chosen, middle - 1
        else:
            too_few, low = chosen, middle + 1
    return list(dict.fromkeys([*enough, *too_few]))[:size]


def _with(values: np.ndarray, further: np.ndarray) -> np.ndarray:
    """Return sorted values, all different, with further ones among them; nothing long is sorted again."""
    further = np.unique(further)
    place = np.searchsorted(values, further)
    is_new = np.append(values, np.inf)[place] != further
    return np.insert(values, place[is_new], further[is_new])


def _radii(pool: OnePool, candidates: np.ndarray) -> np.ndarray:
    """Return the different distances from the candidates `[m]` bool to the rows of `reference`, sorted.

    Sorting all distances is what takes time. It is done once an episode; then those among other rows are taken out.
    """
    distance = distances(pool)
    radii, count = pool.keep_matrix("radii", lambda: np.unique(distance, return_counts=True))
    without, less = np.unique(distance[~candidates][:, ~candidates], return_counts=True)
    left = count.copy()
    left[np.searchsorted(radii, without)] -= less
    return radii[left > 0]


class RobustCoreSet(PoolByPool):
    """Ask for rows that leave all but a few rows of the pool near a pick: core-set selection that allows outliers.

    Sener & Savarese (ICLR 2018) let a solver of mixed-integer programs improve the greedy batch. Here it is
    the greedy approximation of Charikar, Khuller, Mount & Narasimhan (SODA 2001), see `cover_with_outliers`: quick, and
    within three times the best radius. In a pool of more than 2048 rows, 2048 of them are to be covered, and picks are
    among these.

    Args:
        outliers: the share of rows that may stay without a pick nearby.
    """

    name = "robust_core_set"
    targets = ("classes", "numbers")
    uses_learner = False

    def __init__(self, outliers: Share = 0.05) -> None:
        self.outliers = outliers

    def choose(self, pool: OnePool, size: int) -> np.ndarray:
        candidates = pool.available[pool.reference]
        distance, to_pick = distances(pool)[candidates], pool.to_pick[pool.reference]
        left_out = int(self.outliers * len(pool.reference))
        chosen = cover_with_outliers(distance, to_pick, size, left_out, _radii(pool, candidates))
        return pool.reference[candidates][chosen]
