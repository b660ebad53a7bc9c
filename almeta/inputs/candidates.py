"""Numbers per candidate and per pool that do not depend on particular features or classes."""

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import TypeVar

import torch
from torch import Tensor

from almeta.inputs.inputs import PoolInputs
from almeta.pool import PoolState
from almeta.strategies import uncertainty

Of = TypeVar("Of", bound="Known")


class Candidates(PoolInputs):
    """Numbers from the learner, distances, the neighbours' votes and ranks; most lie within [-3, 3], prices anywhere.

    They work for any number of rows, features and classes.
    """

    @property
    def candidate_names(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(CANDIDATE)

    @property
    def pool_names(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(POOL)

    def read(self, state: PoolState) -> tuple[Tensor, Tensor]:
        known = Known(state)
        return numbers_of(known, CANDIDATE), numbers_of(known, POOL)


def candidate_numbers(state: PoolState, names: Iterable[str]) -> dict[str, Tensor]:
    """Return some of the numbers per candidate of `Candidates`, by their names, each `[E, N]`; others cost nothing."""
    known = Known(state)
    return {name: CANDIDATE[name](known) for name in names}


def numbers_of(known: Of, numbers: Mapping[str, Callable[[Of], Tensor]]) -> Tensor:
    """Return numbers side by side, in their order: `[E, N, F]` of those per candidate, `[E, G]` of those per pool."""
    return torch.stack([number(known) for number in numbers.values()], -1)


class Known:
    """The quantities that several numbers are computed from, each once, when it is first used."""

    def __init__(self, state: PoolState) -> None:
        self.state, self.geometry = state, state.geometry
        self.open, self.labels, self.probabilities = state.open_rows, state.labels, state.probabilities
        self.classes = state.probabilities.shape[-1]
        self.log_classes = state.num_classes.clamp_min(2).log()[:, None]

    # ---- the learner

    @cached_property
    def top(self) -> tuple[Tensor, Tensor]:
        """The largest probability and its class, both `[E, N]`."""
        values, classes = self.probabilities.max(-1)
        return values, classes

    @property
    def predicted(self) -> Tensor:
        return self.top[1]

    @cached_property
    def margin(self) -> Tensor:
        return -uncertainty.margin(self.probabilities)

    @cached_property
    def entropy(self) -> Tensor:
        return uncertainty.entropy(self.probabilities) / self.log_classes

    @cached_property
    def by_label(self) -> Tensor:
        """`[E, C]`, the share of each class among the labels."""
        return shares_of(self.labels.clamp_min(0), self.labels >= 0, self.classes)

    @cached_property
    def by_prediction(self) -> Tensor:
        """`[E, C]`, the share of each class among the learner's predictions."""
        return shares_of(self.predicted, self.state.exists, self.classes)

    @cached_property
    def unexplained(self) -> Tensor:
        return _unexplained(self.state)

    # ---- distances

    @cached_property
    def distance(self) -> Tensor:
        nearest = self.geometry.nearest_pick(self.state.picks) / self.geometry.scale[:, None]
        return nearest.clamp_max(20.0).log1p()

    @cached_property
    def density(self) -> Tensor:
        gap = self.geometry.neighbours[1]
        mean_gap = gap.where(self.reached, 0.0).sum(-1) / self.reached_count
        return -(mean_gap / self.geometry.scale[:, None] + 1e-3).log()

    # ---- the vote of the labelled rows, by distance

    @cached_property
    def votes(self) -> Tensor:
        """`[E, N, C]`, kernel mass of the labelled rows of each class."""
        return self.geometry.votes(self.state.picks[:, : self.state.answered], self.labels, self.classes)

    @cached_property
    def mass(self) -> Tensor:
        return self.votes.sum(-1)

    @cached_property
    def vote(self) -> Tensor:
        """`[E, N, C]`, the shares of the vote."""
        # A weak prior avoids a division by zero: far from all labels, the vote is the shares of all labels.
        return (self.votes + 1e-3 * self.by_label[:, None]) / (self.mass + 1e-3)[..., None]

    @cached_property
    def against(self) -> Tensor:
        return 0.5 * (self.vote - self.probabilities).abs().sum(-1)

    # ---- neighbours

    @cached_property
    def reached(self) -> Tensor:
        """`[E, N, K]` bool, the neighbours that exist."""
        return self.geometry.neighbours[1].isfinite()

    @cached_property
    def reached_count(self) -> Tensor:
        return self.reached.sum(-1).clamp_min(1)

    def around(self, values: Tensor) -> Tensor:
        """Return `[E, N]` values at the neighbours, `[E, N, K]`."""
        rows = self.geometry.neighbours[0]
        return values.gather(1, rows.flatten(1)).view(rows.shape)

    def mean_around(self, values: Tensor) -> Tensor:
        """Return the mean of `[E, N, K]` values over the neighbours that exist, `[E, N]`."""
        return (values * self.reached).sum(-1) / self.reached_count

    @cached_property
    def entropy_around(self) -> Tensor:
        return self.mean_around(self.around(self.entropy))

    @cached_property
    def open_mass(self) -> Tensor:
        weight = self.geometry.kernel(self.geometry.neighbours[1]) * self.reached
        return (weight * self.around(self.open.float())).sum(-1) / self.reached_count


CANDIDATE: dict[str, Callable[[Known], Tensor]] = {
    "entropy": lambda known: known.entropy,
    "margin": lambda known: known.margin,
    "top probability": lambda known: known.top[0],
    "distance to the nearest pick": lambda known: centred(known.distance, known.open),
    "density": lambda known: centred(known.density, known.open).clamp(-4.0, 4.0),
    "share of the predicted class among labels": lambda known: known.by_label.gather(1, known.predicted),
    "share of the predicted class among predictions": lambda known: known.by_prediction.gather(1, known.predicted),
    "top share of the neighbour vote": lambda known: known.vote.amax(-1),
    "entropy of the neighbour vote": lambda known: uncertainty.entropy(known.vote) / known.log_classes,
    "vote against learner": lambda known: known.against,
    "vote for the predicted class": lambda known: known.vote.gather(-1, known.predicted[..., None]).squeeze(-1),
    "mean entropy of the neighbours": lambda known: known.entropy_around,
    "neighbours of the same prediction": lambda known: known.mean_around(
        known.around(known.predicted) == known.predicted[..., None]
    ),
    "picked share of the neighbours": lambda known: known.mean_around(
        known.around((known.state.exists & ~known.open).float())
    ),
    "open mass around": lambda known: known.open_mass,
    "picked mass around": lambda known: known.mass.log1p(),
    "rank of margin": lambda known: ranks(known.margin, known.open),
    "rank of distance": lambda known: ranks(known.distance, known.open),
    "rank of density": lambda known: ranks(known.density, known.open),
    "price": lambda known: known.state.prices,
    "unexplained share": lambda known: centred(known.unexplained, known.open),
    "rank of unexplained share": lambda known: ranks(known.unexplained, known.open),
}
POOL: dict[str, Callable[[Known], Tensor]] = {
    "progress": lambda known: torch.full_like(known.state.prices[:, 0], known.state.spent / max(1, known.state.budget)),
    "labels": lambda known: (known.labels >= 0).sum(1).float().log1p() / 3,
    "classes": lambda known: known.state.num_classes.float().log(),
    "classes seen": lambda known: (known.by_label > 0).sum(1) / known.state.num_classes,
    "mean entropy": lambda known: mean_of(known.entropy, known.open),
    "mean margin": lambda known: mean_of(known.margin, known.open),
    "mean distance": lambda known: mean_of(known.distance, known.open),
    "mean vote against learner": lambda known: mean_of(known.against, known.open),
    "rows left": lambda known: known.open.sum(1).float().log1p() / 5,
    "mean unexplained share": lambda known: mean_of(known.unexplained, known.open),
}


def centred(values: Tensor, where: Tensor) -> Tensor:
    """Subtract from `[E, N]` values their mean over some rows."""
    return values - mean_of(values, where)[:, None]


def mean_of(values: Tensor, where: Tensor) -> Tensor:
    """Return the mean of `[E, N]` values over some rows, `[E]`."""
    return values.where(where, 0.0).sum(1) / where.sum(1).clamp_min(1)


def shares_of(labels: Tensor, where: Tensor, classes: int) -> Tensor:
    """Return the share of each class among some rows of `[E, N]` labels, `[E, C]`."""
    counts = torch.zeros(len(labels), classes, device=labels.device)
    counts.scatter_add_(1, labels, where.float())
    return counts / counts.sum(1, keepdim=True).clamp_min(1.0)


def ranks(values: Tensor, where: Tensor) -> Tensor:
    """Return the rank of each value among some rows, `[E, N]` from 0 for the lowest to 1; equal values share a rank."""
    ordered = values.masked_fill(~where, torch.inf).sort(1).values
    below = torch.searchsorted(ordered, values)
    up_to = torch.searchsorted(ordered, values, right=True)
    return 0.5 * (below + up_to - 1) / (where.sum(1, keepdim=True) - 1).clamp_min(1)


# More labels than this, and than features, are worked on feature by feature.
_MANY = 512


def _unexplained(state: PoolState) -> Tensor:
    """Return the share of each row's squared length outside the span of the labelled rows, `[E, N]` in [0, 1].

    It is a soft share: the share of the variance that remains in a linear model with a unit Gaussian prior on its
    weights after it has seen those rows with unit noise.
    """
    x, _, known = state.labelled_rows()
    if not x.shape[1]:
        return torch.ones_like(state.prices)
    x = x * known[..., None]
    length = torch.linalg.vector_norm(state.x, dim=-1, dtype=torch.float64).square().clamp_min(1e-6)
    if x.shape[1] > max(_MANY, x.shape[2]):
        # The same in D dimensions (Woodbury): with thousands of labels their products with all rows fill the memory.
        noise = 1.0 + 1e-7 * x.double().square().sum(-1).amax(1)
        gram = x.double().mT @ x.double() + noise[:, None, None] * torch.eye(
            x.shape[2], dtype=torch.float64, device=x.device
        )
        solved = torch.linalg.solve_triangular(torch.linalg.cholesky(gram), state.x.double().mT, upper=False)
        return (noise[:, None] * solved.square().sum(1) / length).clamp(0.0, 1.0).float()
    cross = state.x @ x.mT  # [E, N, L]
    gram = x.double() @ x.double().mT  # float64: rounding would hide the noise beside features of thousands
    diagonal = gram.diagonal(dim1=1, dim2=2)
    diagonal.add_(1.0 + 1e-7 * diagonal.amax(1, keepdim=True))
    factor = torch.linalg.cholesky(gram)
    # |factor^-1 cross|^2: one triangular system, and a sum of squares cannot come out negative
    spanned = torch.linalg.solve_triangular(factor, cross.mT.double(), upper=False).square().sum(1)
    return (1 - spanned / length).clamp(0.0, 1.0).float()
