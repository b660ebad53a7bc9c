"""What may be known of a pool, and the contract of whoever scores its rows: hand-made strategy or trained policy."""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from almeta.learners.learner import Learner
from almeta.strategies.geometry import Geometry


@dataclass(frozen=True)
class PoolState:
    """What may be known of E pools before a query: nothing of test rows or hidden labels.

    Rows that pad a smaller pool, columns that pad a narrower one and classes that pad a smaller number of them are
    in every array; `exists` and `num_classes` tell them apart.

    Attributes:
        x: `[E, N, D]` float32, features of all rows, prepared; padding is 0.
        exists: `[E, N]` bool, False for rows that pad.
        available: `[E, N]` bool, rows that may be picked: they exist and were not picked before.
        labels: `[E, N]` int64, the oracle's answers; -1 for rows not asked, not answered, or not answered yet.
        picks: `[E, P]` int64, the rows in the order in which they were picked, first labels first; -1 pads.
        answered: how many columns of `picks` the oracle has answered; the rest are picks of an unfinished query.
        probabilities: `[E, N, C]` float32, the learner's for every row; 0 for classes it has not seen.
        num_classes: `[E]` int64.
        prices: `[E, N]` float32, what asking for a row costs.
        budget: labels that may be asked for in the episode.
        spent: labels asked for so far, first labels not counted.
        learner: how the classifier is fit, for strategies that fit some of their own.
        geometry: distances between the rows, kept from one query to the next.
    """

    x: Tensor
    exists: Tensor
    available: Tensor
    labels: Tensor
    picks: Tensor
    answered: int
    probabilities: Tensor
    num_classes: Tensor
    prices: Tensor
    budget: int
    spent: int
    learner: Learner
    geometry: Geometry

    def labelled_rows(self) -> tuple[Tensor, Tensor, Tensor]:
        """Features `[E, P, D]`, labels `[E, P]` and weights `[E, P]` of the rows picked; weight 0 without a label."""
        rows = self.picks.clamp_min(0)
        x = self.x.gather(1, rows[..., None].expand(-1, -1, self.x.shape[-1]))
        labels = self.labels.gather(1, rows)
        known = (self.picks >= 0) & (labels >= 0)
        return x, labels.clamp_min(0), known.float()


class PoolActor(Protocol):
    """Whoever turns a pool into utilities of its rows."""

    def utilities(self, state: PoolState, generator: torch.Generator) -> Tensor:
        """`[E, N]` float32; higher is better, `-inf` for rows that are not available."""
        ...


class PoolStrategy:
    """What the strategies share: a score for every row, and `-inf` where it may not be picked.

    A strategy is a subclass in a file of `almeta/strategies`; `name`, which tables and commands use, and `score` are
    all it needs.
    """

    name: ClassVar[str]

    def utilities(self, state: PoolState, generator: torch.Generator) -> Tensor:
        """Return utilities `[E, N]` float32: higher is better, `-inf` for rows that are not available."""
        return self.score(state, generator).masked_fill(~state.available, -torch.inf)

    def score(self, state: PoolState, generator: torch.Generator) -> Tensor:
        """Return a finite score of every row, `[E, N]` float32; those of rows that are not available are ignored."""
        raise NotImplementedError
