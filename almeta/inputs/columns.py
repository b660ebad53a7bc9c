"""The rows themselves, and what the values of each column tell, for policies that serve any number of columns."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from almeta.errors import AlmetaError
from almeta.geometry import slices
from almeta.inputs.inputs import PoolInputs, PoolView
from almeta.pool import PoolState

BINS = 10
# Numbers computed at once.
_BLOCK = 1 << 22
_NOT_FIXED = (
    "inputs=columns are whole rows, as wide as each table: network=meta_scorer reads them, in training and benchmarks; "
    "for other networks, and to observe a Gymnasium environment, choose inputs=candidates"
)


@dataclass(frozen=True)
class ColumnsView:
    """What a policy reads of E pools.

    Attributes:
        rows: `[E, N, D]` float32, features of all rows, prepared; padding is 0.
        columns: `[E, D, 120]` float32, what the values of each column tell, see `Columns`; padding is 0.
        action_mask: `[E, N]` bool, the rows that may be picked.
    """

    rows: Tensor
    columns: Tensor
    action_mask: Tensor

    @property
    def varies(self) -> Tensor:
        """`[E, D]` bool, False for columns that pad, or have one value."""
        return self.columns.any(-1)


class Columns(PoolInputs):
    """Rows, and histograms of each column, as in Pang et al. 2018 (arXiv 1806.04798).

    A column has three histograms, all over `BINS` equal parts between its lowest and its highest value in the pool:
    of the rows without a label, of those with one (the representative part), and of all rows, by the learner's output
    too (the discriminative part). The output is the probability of the class that is likeliest in the mean over the
    pool. Numbers are square roots of shares, in units of the share of an even spread, so that their mean square is 1.

    Rows are as wide as their table, so that an observation of the Gymnasium environment, whose size is fixed, cannot
    hold them.
    """

    @property
    def candidate_names(self) -> tuple[str, ...]:  # type: ignore[override]
        """There are none; raises AlmetaError for whoever needs the same numbers of every table."""
        raise AlmetaError(_NOT_FIXED)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the numbers about each column."""
        bins = range(BINS)
        representative = [f"{part} in bin {value}" for part in ("unlabelled", "labelled") for value in bins]
        return (*representative, *(f"bin {value} at output {output}" for value in bins for output in bins))

    def __call__(self, state: PoolState) -> ColumnsView:  # type: ignore[override]
        return ColumnsView(state.x, _histograms(state), state.available)

    def observed(
        self, observation: Mapping[str, Any], action_mask: Any, start: Any, device: torch.device
    ) -> tuple[PoolView, bool]:
        raise AlmetaError(_NOT_FIXED)


def _histograms(state: PoolState) -> Tensor:
    """Return the numbers about each column, `[E, D, 120]` float32; 0 for columns of one value."""
    bins, varies = state.geometry.keep(Columns, lambda: _bins(state.x, state.exists))
    output = (_output(state) * BINS).long().clamp_max(BINS - 1)
    known, counted = state.is_labelled.long(), state.counted_rows
    counts = state.x.new_zeros(len(bins), bins.shape[2], 2 * BINS * BINS)
    for rows in _blocks(state.x):
        # One count of all rows, by whether they have a label, by value and by output.
        place = ((known[:, rows] * BINS)[..., None] + bins[:, rows].long()) * BINS + output[:, rows, None]
        there = counted[:, None, rows].float()
        counts.scatter_add_(2, place.mT, there.expand_as(place.mT))
    unlabelled, labelled = counts.unflatten(2, (2, BINS, BINS)).unbind(2)
    parts = (unlabelled.sum(-1), labelled.sum(-1), (unlabelled + labelled).flatten(2))
    shares = [part * part.shape[-1] / part.sum(-1, keepdim=True).clamp_min(1) for part in parts]
    return torch.cat(shares, -1).sqrt() * varies.mT


def _bins(x: Tensor, exists: Tensor) -> tuple[Tensor, Tensor]:
    """Return the bin of each value, `[E, N, D]` uint8, and which columns have several values, `[E, 1, D]` bool."""
    low, high = x.new_full((len(x), 1, x.shape[2]), torch.inf), x.new_full((len(x), 1, x.shape[2]), -torch.inf)
    for rows in _blocks(x):
        absent = ~exists[:, rows, None]
        low = torch.minimum(low, x[:, rows].masked_fill(absent, torch.inf).amin(1, keepdim=True))
        high = torch.maximum(high, x[:, rows].masked_fill(absent, -torch.inf).amax(1, keepdim=True))
    bins = torch.empty(x.shape, dtype=torch.uint8, device=x.device)
    for rows in _blocks(x):
        value = (x[:, rows] - low) / (high - low) * BINS
        bins[:, rows] = value.nan_to_num(0.0).clamp(0, BINS - 1).to(torch.uint8)
    return bins, high > low


def _blocks(x: Tensor) -> Iterator[slice]:
    """Yield blocks of rows that bound the memory."""
    return slices(x.shape[1], _BLOCK // max(1, len(x) * x.shape[2]))


def _output(state: PoolState) -> Tensor:
    """Return the learner's probability of the class that is likeliest in the mean over each pool, `[E, N]`."""
    total = state.probabilities.masked_fill(~state.exists[..., None], 0.0).sum(1, dtype=torch.float64)
    likeliest = total.argmax(-1)[:, None, None]
    return state.probabilities.gather(-1, likeliest.expand(-1, state.exists.shape[1], -1)).squeeze(-1)
