"""Typical rows first: for the first labels, when the learner knows little.

Both strategies go by the features alone, and so need no label to begin with.
"""

import numpy as np
import torch

from almeta.checks import Count, Positive, Share
from almeta.geometry import Geometry
from almeta.strategies.one_pool import OnePool, PoolByPool, cluster, distances, greedy_cover


def typicality(x: np.ndarray, num_neighbours: int = 20) -> np.ndarray:
    """Return 1 / the mean distance of each row `[n, d]` to its nearest others, `[n]`: Hacohen et al. 2022.

    The value is 0 for a single row, and inf for one with nothing but copies around it. Neighbours of more than 2048
    rows are searched among 2048 of them.
    """
    rows = torch.from_numpy(x)[None]
    exists = torch.ones(1, len(x), dtype=torch.bool, device=rows.device)
    distance = Geometry(rows, exists, num_neighbours).neighbours[1][0].numpy()
    known = np.isfinite(distance)
    with np.errstate(divide="ignore"):
        return known.sum(1) / distance.sum(1, where=known) if len(x) > 1 else np.zeros(1)


def by_turns(number: np.ndarray, score: np.ndarray, available: np.ndarray, picked: np.ndarray) -> np.ndarray:
    """Return the available rows, the best row of each cluster first, then the second best of each, and so on.

    Args:
        number: `[n]` int64, the cluster of each row.
        score: `[n]`, by which the rows of a cluster are ordered, the highest first.
        available: `[n]` bool.
        picked: `[n]` bool. A row that is picked is one turn that its cluster has had already. In a turn, the largest
            clusters come first.

    Returns:
        `[k]` int64, row numbers.
    """
    size = np.bincount(number)
    turns_had = np.bincount(number[picked], minlength=len(size))
    order = np.lexsort((-score, number))
    order = order[available[order]]
    own = number[order]
    turn = np.arange(len(order)) - np.searchsorted(own, own)
    return order[np.lexsort((-size[own], turns_had[own] + turn))]


def purity_radius(distance: np.ndarray, number: np.ndarray, purity: float = 0.95) -> float:
    """Return the largest radius with which a share of at least `purity` of the balls around rows is pure.

    A ball is pure if all rows in it are of one cluster: Yehuda et al. 2022.

    Args:
        distance: `[n, n]`, between all rows.
        number: `[n]` int64, the cluster of each row.
        purity: their alpha.

    Returns:
        A distance between two rows, less a 100,000th of it; inf if there is one cluster.
    """
    others = np.where(number[:, None] == number, np.inf, distance).min(1)
    impure = int((1 - purity) * len(others) + 1e-9)  # so many balls may be
    return float(np.sort(others)[min(impure, len(others) - 1)]) * (1 - 1e-5)


class TypiClust(PoolByPool):
    """Ask for the most typical rows of the largest clusters without a pick: Hacohen, Dekel & Weinshall, ICML 2022.

    K-means makes as many clusters as there are picks after the query. Of each cluster without a pick, the largest
    first, it takes the row of highest `typicality`. Clusters with the fewest picks follow, where more are needed.

    Args:
        num_neighbours: neighbours to which the distance is taken, within the cluster.
        max_clusters: the most clusters that are made.
    """

    name = "typiclust"
    targets = ("classes", "numbers")
    uses_learner = False

    def __init__(self, num_neighbours: Count = 20, max_clusters: Count = 500) -> None:
        self.num_neighbours, self.max_clusters = num_neighbours, max_clusters

    def choose(self, pool: OnePool, size: int) -> np.ndarray:
        number, _ = cluster(pool.x, min(self.max_clusters, int(pool.picked.sum()) + size))
        typical = np.zeros(len(pool.x))
        for one in np.unique(number[by_turns(number, typical, pool.available, pool.picked)[:size]]):
            typical[number == one] = typicality(pool.x[number == one], self.num_neighbours)
        return by_turns(number, typical, pool.available, pool.picked)[:size]


class ProbCover(PoolByPool):
    """Ask for the rows whose balls cover the most rows that are not covered yet: Yehuda et al., NeurIPS 2022.

    The balls have radius delta, and those of all picks count. Once everything is covered, rows are drawn at random. In
    a pool of more than 2048 rows, 2048 of them are to be covered, and picks are among these.

    Args:
        delta: the radius; null for `purity_radius`, with k-means clusters, one a class, in place of classes.
        purity: alpha, the share of balls that must be pure, where delta is null.
    """

    name = "prob_cover"
    uses_learner = False

    def __init__(self, delta: Positive | None = None, purity: Share = 0.95) -> None:
        self.delta, self.purity = delta, purity

    def choose(self, pool: OnePool, size: int) -> np.ndarray:
        distance, delta = distances(pool), self.delta
        if delta is None:
            delta = pool.keep((ProbCover, self.purity), lambda: self._radius(pool, distance))
        candidates = pool.available[pool.reference]
        chosen, _ = greedy_cover(distance[candidates] <= delta, pool.to_pick[pool.reference] <= delta, size)
        return pool.reference[candidates][chosen]

    def _radius(self, pool: OnePool, distance: np.ndarray) -> float:
        """Return the radius for the distances `[m, m]` of a pool, which depends on no pick."""
        number, _ = cluster(pool.x, pool.num_classes)
        return purity_radius(distance, number[pool.reference], self.purity)
