"""Batches that are chosen in one pool after the other, in NumPy: what goes by clusters or by the cover of a pool."""

import warnings
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from almeta.geometry import Geometry
from almeta.pool import PoolState, of_row
from almeta.strategies.strategy import BatchStrategy

# Of more rows times clusters, k-means is fit to parts of the rows at a time.
_MANY = 1 << 20
# Matrices of more numbers (128 MiB for all pools) are computed anew for each query.
_MATRIX = 1 << 25

Kept = TypeVar("Kept")


@dataclass(frozen=True)
class OnePool:
    """The n rows of one pool without padding, in an order that depends on their features alone.

    So neither padding nor the order of the rows in the pool changes a choice, nor how ties are broken.

    Attributes:
        rows: `[n]` int64, their numbers in the state.
        x: `[n, d]` float32, features.
        available: `[n]` bool, whether a row may be picked.
        picked: `[n]` bool, whether it was picked before, answered or not.
        to_pick: `[n]` float32, the distance to the nearest row that was picked; inf without any.
        informativeness: `[n]` float32 of at least 0; see `PoolByPool`.
        num_classes: C.
        reference: `[m]` int64, sorted: the rows among which distances are taken, all n or 2048 of more.
        number: which of the pools of `geometry` this is.
        geometry: keeps what is computed once an episode.
    """

    rows: np.ndarray
    x: np.ndarray
    available: np.ndarray
    picked: np.ndarray
    to_pick: np.ndarray
    informativeness: np.ndarray
    num_classes: int
    reference: np.ndarray
    number: int
    geometry: Geometry

    def keep(self, key: Hashable, make: Callable[[], Kept]) -> Kept:
        """Return what `make()` gave at the first call with this key, for what depends on the rows alone; read-only."""
        return self.geometry.keep((OnePool, self.number, key), make)

    def keep_matrix(self, key: Hashable, make: Callable[[], Kept]) -> Kept:
        """Return `make()`, of as many numbers as `distances`; it is kept if those of all pools fit the memory."""
        numbers = self.geometry.reference.numel() * self.geometry.reference.shape[1]
        return self.keep(key, make) if numbers <= _MATRIX else make()


class PoolByPool(BatchStrategy):
    """A strategy that chooses the rows of a query in one pool after the other; a subclass has `choose`."""

    def select(self, state: PoolState, size: int) -> Tensor:
        chosen = torch.full((len(state.x), size), -1, device=state.x.device)
        for number, pool in enumerate(pools_of(state, self.informativeness(state))):
            rows = pool.rows[self.choose(pool, size)]
            chosen[number, : len(rows)] = torch.as_tensor(rows, device=chosen.device)
        return chosen

    def choose(self, pool: OnePool, size: int) -> np.ndarray:
        """Return at most `size` different rows that may be picked, `[k]` int64 in 0 .. n-1, the first to pick first."""
        raise NotImplementedError

    def informativeness(self, state: PoolState) -> Tensor:
        """Return how much a row tells, `[E, N]` float32 of at least 0, for those that ask a base; else all alike."""
        return torch.zeros_like(state.x[..., 0])


def pools_of(state: PoolState, informativeness: Tensor) -> Iterator[OnePool]:
    """Yield the pools of a state; `informativeness` is `[E, N]`."""
    picked = torch.zeros_like(state.exists).scatter_reduce_(1, state.picks.clamp_min(0), state.picks >= 0, "amax")
    picked = of_row(picked, state.annotators)
    to_pick, reference = state.geometry.nearest_pick(state.picks), state.geometry.reference
    for number in range(len(state.x)):
        rows = state.rows[number].nonzero()[:, 0].cpu().numpy()
        x = state.x[number].cpu().numpy()[rows]
        used = x.any(0)
        used[:1] = True
        x = x[:, used]  # without columns that pad, which k-means would count
        order = _order(x)
        rows = rows[order]
        columns = (state.available, picked, to_pick, informativeness)
        available, was_picked, distance, weight = (column[number].cpu().numpy()[rows] for column in columns)
        compared = np.flatnonzero(np.isin(rows, reference[number].cpu().numpy()))
        classes = int(state.num_classes[number])
        parts = (available, was_picked, distance, weight, classes, compared, number, state.geometry)
        yield OnePool(rows, x[order], *parts)


def _order(x: np.ndarray) -> np.ndarray:
    """Return the order of rows `[n, d]` along a fixed direction, on which only equal rows fall together."""
    direction = np.random.default_rng(0).random(x.shape[1])
    return np.argsort(np.einsum("nd,d->n", x, direction, dtype=np.float64), kind="stable")


def cluster(x: np.ndarray, count: int, weight: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the cluster of each row `[n]` int64, and its distance to the centre `[n]`, by k-means++ and k-means.

    Args:
        x: `[n, d]`, rows.
        count: number of clusters; there are fewer where there are fewer different rows.
        weight: `[n]`, how much a row counts; None for all alike.
    """
    from sklearn.cluster import KMeans, MiniBatchKMeans
    from sklearn.exceptions import ConvergenceWarning

    kind = KMeans if len(x) * count <= _MANY else MiniBatchKMeans
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # equal rows are in one cluster
        means = kind(min(count, len(x)), n_init=1, random_state=0).fit(x, sample_weight=weight)
    return means.labels_, np.linalg.norm(x - means.cluster_centers_[means.labels_], axis=1)


def distances(pool: OnePool) -> np.ndarray:
    """Return the Euclidean distances between the rows of `reference`, `[m, m]` float32, read-only; once an episode."""
    from sklearn.metrics import euclidean_distances

    return pool.keep_matrix("distances", lambda: euclidean_distances(pool.x[pool.reference]))


def greedy_cover(
    near: np.ndarray, covered: np.ndarray, size: int, covers: np.ndarray | None = None
) -> tuple[list[int], np.ndarray]:
    """Choose candidates one by one, each with the most rows nearby that are not covered yet.

    Args:
        near: `[k, m]` bool, which of m rows are near each of k candidates.
        covered: `[m]` bool, rows that are covered from the start.
        size: candidates to choose; fewer are chosen once nothing more can be covered.
        covers: `[k, m]` bool, which rows a candidate covers when it is chosen; None for those that are near.

    Returns:
        The candidates, and which rows `[m]` are covered in the end.
    """
    covers = near if covers is None else covers
    ones = near.astype(np.float32)  # a product counts without a copy of columns, and exactly: there are few rows
    count, covered, chosen = ones @ ~covered, covered.copy(), list[int]()
    while len(chosen) < size and count.max(initial=0) > 0:
        chosen.append(int(count.argmax()))
        new = covers[chosen[-1]] & ~covered
        count -= ones @ new
        covered |= new
    return chosen, covered
