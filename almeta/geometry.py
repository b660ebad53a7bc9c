"""Distances in E pools: to neighbours, computed once; to picked rows, updated pick by pick."""

import copy
import functools
from collections.abc import Callable, Hashable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor

from almeta.learners.learner import rows_of

# Numbers computed at once: few enough for the cache, which makes it three times as fast as large blocks.
_BLOCK = 1 << 20
# So many new picks are taken one by one.
_FEW = 128
# Squared distances below this share of the squared lengths are 0 but for rounding.
_NOTHING = 1e-13

Kept = TypeVar("Kept")


class Geometry:
    """Euclidean distances between the rows of E pools, computed when they are first asked for.

    In a pool of more than `reference` rows, neighbours and densities are taken among `reference` of its rows, drawn at
    random, so that time grows with N and not with its square. Blocks bound the memory. Distances among rows come from
    products in float64, so that equal rows have distance 0 whatever the precision of float32 products is. The numbers
    of a row depend neither on padding nor on the other pools.

    Args:
        x: `[E, N, D]` float32.
        exists: `[E, N]` bool, False for rows that pad.
        num_neighbours: K, neighbours of a row.
        reference: the most rows among which neighbours are searched.
        copies: how often each row stands there, one copy after the other, as where several annotators may be asked
            about it (`PoolState.annotators`). Copies are no neighbours: each has what the row has among single ones.
    """

    def __init__(
        self, x: Tensor, exists: Tensor, num_neighbours: int = 10, reference: int = 2048, copies: int = 1
    ) -> None:
        self.x, self.exists, self.copies = x, exists, copies
        self.num_neighbours, self.num_reference = num_neighbours, reference
        self._picked = 0  # columns of `picks` taken in so far
        self._voted = 0
        self._nearest: Tensor | None = None
        self._votes: Tensor | None = None
        self._kept: dict[Hashable, Any] = {}

    @functools.cached_property
    def reference(self) -> Tensor:
        """`[E, R]` int64, sorted: the rows that others are compared with; padding only where rows are lacking.

        Of copies it is the first one that others are compared with.
        """
        return self.drawn(self.num_reference)

    def drawn(self, most: int) -> Tensor:
        """Return all rows, or of larger pools `most` rows drawn at random, `[E, R]` int64 and sorted.

        The same rows are drawn each time; rows that pad are among them only where rows are lacking. Of copies it is the
        first one.
        """
        rows = self.x.shape[1] // self.copies
        if rows <= most:
            return self.copies * torch.arange(rows, device=self.x.device).expand(len(self.x), -1)
        drawn = fixed_draw(rows, self.x.device).where(self.exists[:, :: self.copies], 2.0)
        return self.copies * drawn.topk(most, largest=False).indices.sort().values

    @functools.cached_property
    def neighbours(self) -> tuple[Tensor, Tensor]:
        """Rows `[E, N, K]` int64 and distances `[E, N, K]` float32 of each row's nearest others, nearest first.

        A pool of fewer than K + 1 rows has distance inf where there is no further neighbour.
        """
        count = min(self.num_neighbours, self.reference.shape[1])
        distance = self.x.new_empty(*self.exists.shape, count)
        index = torch.empty_like(distance, dtype=torch.int64)
        for block, distances in self._blocks():
            rows = torch.arange(self.x.shape[1], device=self.x.device)[block[1], None]
            own = self.reference[block[0], None] == rows - rows % self.copies
            near = distances.masked_fill_(own, torch.inf).topk(count, largest=False)
            distance[block], index[block] = near
        rows = self.reference[:, None].expand(-1, index.shape[1], -1).gather(-1, index)
        return rows, distance

    @functools.cached_property
    def scale(self) -> Tensor:
        """`[E]` float32 above 0: the mean distance to a neighbour, the unit in which distances are compared."""
        distance = self.neighbours[1]
        known = distance.isfinite() & self.exists[..., None]
        mean = distance.where(known, 0.0).sum((1, 2)) / known.sum((1, 2)).clamp_min(1)
        return torch.where(mean > 0, mean, 1.0)  # all rows alike

    @functools.cached_property
    def information_density(self) -> Tensor:
        """`[E, N]` float32 in (0, 1]: the mean of 1 / (1 + distance) over the rows of `reference`."""
        count = self.exists.gather(1, self.reference).sum(1)[:, None].clamp_min(1)
        density = self.x.new_empty(self.exists.shape)
        for block, distances in self._blocks():
            density[block] = distances.add_(1).reciprocal_().sum(-1)  # rows that pad are at inf and add 0
        return density / count

    def keep(self, key: Hashable, make: Callable[[], Kept]) -> Kept:
        """Return what `make()` gave at the first call with this key: what a strategy computes once for these rows."""
        if key not in self._kept:
            self._kept[key] = make()
        kept: Kept = self._kept[key]
        return kept

    def copy(self) -> "Geometry":
        """Return a geometry that goes on from here with other picks."""
        other = copy.copy(self)
        other._votes = None if self._votes is None else self._votes.clone()  # it is changed in place
        return other

    def nearest_pick(self, picks: Tensor) -> Tensor:
        """Return the distance to the nearest row picked so far, `[E, N]` float32, read-only; inf before the first pick.

        Args:
            picks: `[E, P]` int64, -1 pads; a call may only add columns to those of the call before.

        Raises:
            ValueError: if there are fewer columns than in the call before.
        """
        if self._nearest is None:
            self._nearest = self.x.new_full(self.exists.shape, torch.inf)
        for _, distance in self._new_columns(picks, self._picked):
            self._nearest = torch.minimum(self._nearest, distance.amin(-1))
        self._picked = picks.shape[1]
        return self._nearest

    def votes(self, picks: Tensor, labels: Tensor, num_classes: int) -> Tensor:
        """Return the `kernel` mass of the labelled rows of each class around every row, `[E, N, C]` float32.

        It is read-only, and the next call changes it in place.

        Args:
            picks: as in `nearest_pick`, those that the oracle has answered.
            labels: `[E, N]` int64; rows without a label (-1) do not vote.
            num_classes: C.

        Raises:
            ValueError: as in `nearest_pick`.
        """
        if self._votes is None:
            self._votes = self.x.new_zeros(*self.exists.shape, num_classes)
        for rows, distance in self._new_columns(picks, self._voted):
            label = labels.gather(1, rows.clamp_min(0))[:, None]  # [E, 1, B]
            mass = self.kernel(distance).where(label >= 0, 0.0)
            self._votes.scatter_add_(2, label.clamp_min(0).expand_as(mass), mass)
        self._voted = picks.shape[1]
        return self._votes

    def kernel(self, distance: Tensor) -> Tensor:
        """Return exp(-(distance / scale)^2 / 2) of distances `[E, ...]`."""
        scale = self.scale.view(-1, *[1] * (distance.dim() - 1))
        return (-0.5 * (distance / scale).square()).exp()

    def _new_columns(self, picks: Tensor, done: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the rows `[E, B]` of new columns of picks, and the distances `[E, N, B]` to them; inf for no row."""
        if picks.shape[1] < done:
            raise ValueError(f"{picks.shape[1]} columns of picks after {done}: a geometry is of one run of episodes")
        new = picks[:, done:]
        # One by one is exact and quick for few; thousands of labels of one's own are taken in blocks.
        size = 1 if new.shape[1] <= _FEW else max(1, _BLOCK // self.exists.numel())
        for rows in new.split(size, 1) if new.shape[1] else ():
            distance = self._distances_to(rows[:, 0])[..., None] if size == 1 else self._distances_to_many(rows)
            yield rows, distance.masked_fill((rows < 0)[:, None], torch.inf)

    def _distances_to_many(self, rows: Tensor) -> Tensor:
        """Return the distances `[E, N, B]` of all rows to B rows `[E, B]` of each pool; undefined for padding."""
        others = rows_of(self.x, rows)
        return torch.cdist(self.x, others, compute_mode="donot_use_mm_for_euclid_dist")  # equal rows are at 0

    def _distances_to(self, rows: Tensor) -> Tensor:
        """Return the distances `[E, N]` of all rows to one row `[E]` of each pool; undefined for padding."""
        pools, _, columns = self.x.shape
        row = rows_of(self.x, rows[:, None])
        blocks = self.x.split(max(1, _BLOCK // max(1, pools * columns)), 1)
        return torch.cat([torch.linalg.vector_norm(block - row, dim=-1) for block in blocks], 1)

    def _blocks(self) -> Iterator[tuple[tuple[slice, slice], Tensor]]:
        """Yield blocks of pools and rows, with writable distances `[E', B, R]` to `reference`; inf for padding."""
        references = self.reference.shape[1]
        # Blocks hold few pools with many rows each: a product of few rows would read all reference rows for little.
        for pools in slices(len(self.x), _BLOCK // max(1, self.x.shape[1] * references)):
            reference = self.reference[pools]
            others = rows_of(self.x[pools], reference).double()
            lengths = others.square().sum(-1)[:, None]
            absent = ~self.exists[pools].gather(1, reference)[:, None]
            for rows in slices(self.x.shape[1], _BLOCK // max(1, len(others) * references)):
                x = self.x[pools, rows].double()
                both = x.square().sum(-1)[..., None] + lengths
                squares = torch.baddbmm(both, x, others.mT, alpha=-2)
                distances = squares.masked_fill_(squares < _NOTHING * both, 0.0).sqrt_().float()
                yield (pools, rows), distances.masked_fill_(absent, torch.inf)


def fixed_draw(rows: int, device: torch.device) -> Tensor:
    """Return numbers in [0, 1) `[N]` float64: the same for all callers, whatever rows pad, and of no random state."""
    return torch.rand(rows, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(device)


def slices(length: int, size: int) -> Iterator[slice]:
    """Yield slices of 0 .. length-1 of `size`, at least 1."""
    size = max(1, size)
    for begin in range(0, length, size):
        yield slice(begin, min(begin + size, length))
