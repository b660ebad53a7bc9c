"""Rows chosen by several learners together, each asked by the same strategy."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from almeta.errors import AlmetaError
from almeta.geometry import Geometry
from almeta.learners import make_learner
from almeta.learners.learner import Learner, check_learns
from almeta.pool import PoolState
from almeta.specs import Spec
from almeta.strategies import make_strategy
from almeta.strategies.choosing import z_scores
from almeta.strategies.strategy import PoolStrategy

AnySpec = str | Mapping[str, Any] | Spec


class SeveralLearners(PoolStrategy):
    """Fit several learners to the labels, and choose rows by all of them.

    Rows chosen by one learner may serve another one badly (Lowell, Lipton & Wallace, EMNLP 2019); these are chosen for
    all of them.

    Args:
        base: the strategy by which each learner scores the rows: a name, `{name: ..., option: ...}`, or a spec.
        learners: names, `{name: ..., option: ...}`, or specs; two at least.
        combine: "add" takes the row of the highest sum of z-scores over the learners; "alternate" lets one learner
            choose a query, the next one the next query, and so on.
        features: "all" shows each learner all columns; "split" shows the columns k, k + K, k + 2K, ... to the k-th of K
            learners, and 0 in the others.

    Raises:
        AlmetaError: for fewer than two learners, an unknown one or one of numbers, or a base that chooses the rows of a
            query together.
    """

    name = "several_learners"

    def __init__(
        self,
        base: AnySpec = "margin",
        learners: Sequence[AnySpec] = ("prototype", "ridge"),
        combine: Literal["add", "alternate"] = "add",
        features: Literal["all", "split"] = "all",
    ) -> None:
        if len(learners) < 2:
            raise AlmetaError(f"strategy {self.name} has learners={learners!r}; name two at least")
        self.base, self.learners, self.combine, self.features = base, learners, combine, features
        self._base = make_strategy(base)
        self._learners = [make_learner(learner) for learner in learners]
        for given, learner in zip(learners, self._learners, strict=True):
            check_learns("classes", learner, f"strategy {self.name}: {given}")
        if self._base.spreads:
            raise AlmetaError(
                f"strategy {self.name} has base={self._base.name}, which chooses the rows of a query together; name "
                "one that scores rows one by one, such as margin"
            )
        self.uses_learner = self._base.uses_learner

    @property
    def depends_on(self) -> tuple[Learner, ...]:
        return tuple(self._learners)

    def score(self, state: PoolState) -> Tensor:
        if self.combine == "alternate":
            return self._scored_by(state.queries % len(self._learners), state)
        scores = [z_scores(self._scored_by(number, state), state.available) for number in range(len(self._learners))]
        return torch.stack(scores).sum(0)

    def _scored_by(self, number: int, state: PoolState) -> Tensor:
        self._base.generator = self.generator
        return self._base.step(self._seen_by(number, state), self._base.initial(len(state.x)))[0].utilities

    def _seen_by(self, number: int, state: PoolState) -> PoolState:
        """Return the state as one of the learners sees it."""
        learner, (x, y, weight) = self._learners[number], state.labelled_rows()
        rows, geometry = state.x, state.geometry
        if self.features == "split":
            shown = torch.arange(x.shape[-1], device=x.device) % len(self._learners) == number
            x, rows = x * shown, rows * shown
            geometry = Geometry(rows, state.exists, copies=state.annotators)
        model = learner.fit(x, y, weight, state.probabilities.shape[-1], generator=self.generator)
        own: dict[str, Any] = {"learner": learner, "model": model, "probabilities": model.probabilities(rows)}
        return replace(state, x=rows, geometry=geometry, **own)
