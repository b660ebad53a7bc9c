"""Numbers about each class, and about an episode, that do not depend on particular features or classes."""

from collections.abc import Callable

import torch
from torch import Tensor

from almeta.classes import ClassState, class_means, members
from almeta.inputs.candidates import ranks
from almeta.inputs.inputs import CandidateInputs


class ClassInputs(CandidateInputs):
    """What cross-validation and counts say of each class; the candidates of the view are the classes.

    They work for any number of classes and features, and lie within [-3, 3]; but "classes", the logarithm of their
    number, is larger for more than 20 classes, and "rows" for more than 8,000 rows.
    """

    kind = "classes"

    @property
    def candidate_names(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(CLASS)

    @property
    def pool_names(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(EPISODE)

    def read(self, state: ClassState) -> tuple[Tensor, Tensor]:
        """Return numbers per class `[E, C, F]` and per episode `[E, G]`, float32 and finite, in the order of names."""
        known = _Known(state)
        of_class, of_episode = (
            torch.stack([number(known) for number in numbers.values()], -1) for numbers in (CLASS, EPISODE)
        )
        return of_class, of_episode


class _Known:
    """The quantities that several numbers are computed from."""

    def __init__(self, state: ClassState) -> None:
        self.state, self.classes = state, state.shares.shape[1]
        self.is_class = torch.arange(self.classes, device=state.shares.device) < state.num_classes[:, None]
        self.counts = state.counts.float()
        self.together = self.counts + state.drawn
        self.share = self.together / self.together.sum(1, keepdim=True).clamp_min(1)
        self.equal = self.is_class / state.num_classes[:, None]
        self.accuracies = state.accuracies
        own = state.held_out.gather(2, state.labels.clamp_min(0)[..., None]).squeeze(2)
        self.own_probability = class_means(own, state.labels, self.classes)
        predicted = members(state.held_out.max(-1).indices.where(state.labels >= 0, -1), self.classes)
        self.predicted = predicted.sum(1)
        hits = predicted & members(state.labels, self.classes)
        self.precision = hits.sum(1) / self.predicted.clamp_min(1)

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean of `[E, C]` values over the classes, `[E]`."""
        return (values * self.is_class).sum(1) / self.state.num_classes

    def constant(self, value: float) -> Tensor:
        return torch.full_like(self.state.shares[:, 0], value)


CLASS: dict[str, Callable[[_Known], Tensor]] = {
    "share in the data": lambda known: known.state.shares,
    "share of the rows": lambda known: known.share,
    "lag behind the share in the data": lambda known: known.state.shares - known.share,
    "lag behind an equal share": lambda known: known.equal - known.share,
    "rows": lambda known: known.together.log1p() / 3,
    "share of the query": lambda known: known.state.drawn / known.state.query_size,
    "accuracy": lambda known: known.accuracies,
    "rank of accuracy": lambda known: ranks(known.accuracies, known.is_class).clamp(0, 1),
    "gain of accuracy": lambda known: known.state.gains,
    "redistricted": lambda known: known.state.redistricted,
    "probability of its own rows": lambda known: known.own_probability,
    "precision": lambda known: known.precision,
    "share of the predictions": lambda known: known.predicted / known.predicted.sum(1, keepdim=True).clamp_min(1),
}
EPISODE: dict[str, Callable[[_Known], Tensor]] = {
    "progress": lambda known: known.constant(known.state.spent / max(1, known.state.budget)),
    "classes": lambda known: known.state.num_classes.float().log(),
    "rows": lambda known: known.together.sum(1).log1p() / 3,
    "mean accuracy": lambda known: known.mean(known.accuracies),
    "mean probability of own rows": lambda known: known.mean(known.own_probability),
    "largest share in the data": lambda known: known.state.shares.amax(1),
    "largest share of the rows": lambda known: known.share.amax(1),
}
