"""Pseudo-labels: a learner learns from its own predictions of the unlabelled rows of which it is surest."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from almeta.checks import Count, Positive, Share, Weight, check_fields
from almeta.learners.learner import Learner, Model, PoolFit, Rng, check_learns, fit_to_pool, rows_of, seen_classes
from almeta.learners.named import make_learner
from almeta.specs import Spec


@dataclass(frozen=True)
class PseudoLabels:
    """A learner that is fit to the labels, and then again to the labels and to those of its predictions that are sure.

    D.-H. Lee, Pseudo-Label, ICML workshop 2013. An unlabelled row counts as sure if the entropy of its class
    probabilities is low, as in cost-effective active learning (K. Wang, D. Zhang, Y. Li, R. Zhang & L. Lin, IEEE TCSVT
    2017, equation 6). Pseudo-labels are made anew at each fit. Without unlabelled rows it is its base.

    Args:
        base: the learner: a name, `{name: ..., option: ...}`, a spec, or a learner.
        threshold: the highest entropy of a sure row, in nats; None for no threshold.
        share: of the unlabelled rows that may be sure at most, those of the lowest entropy.
        trust: weight of a pseudo-label, where a label has 1. Learners of scikit-learn take others than 1 if they know
            weights.
        rounds: how often pseudo-labels are made, each time by the latest fit.

    Raises:
        AlmetaError: for an option out of range, and an unknown base, and one that learns numbers.
    """

    base: str | Mapping[str, Any] | Spec | Learner = "logistic_regression"
    threshold: Weight | None = 0.05
    share: Share = 1.0
    trust: Positive = 1.0
    rounds: Count = 1

    def __post_init__(self) -> None:
        check_fields(self, "learner")
        made = make_learner(self.base)
        check_learns("classes", made, f"learner pseudo_labels: base={self.base}")
        object.__setattr__(self, "_base", made)  # no field: it follows from `base`

    def fit(
        self, x: Tensor, y: Tensor, weight: Tensor, num_classes: int, start: Any = None, generator: Rng = None
    ) -> Model:
        """Fit the base to the labelled rows alone, as `Learner.fit` says."""
        return self._learner.fit(x, y, weight, num_classes, start=start, generator=generator)

    def fit_with_pool(
        self,
        x: Tensor,
        y: Tensor,
        weight: Tensor,
        num_classes: int,
        pool: Tensor,
        unlabelled: Tensor,
        start: Any = None,
        generator: Rng = None,
    ) -> PoolFit:
        """Fit E classifiers to labels and pseudo-labels, as `ReadsPool.fit_with_pool` says.

        An episode with fewer than two classes among its labels has no pseudo-labels.
        """
        model = fit_to_pool(self._learner, x, y, weight, num_classes, pool, unlabelled, start, generator).model
        told = seen_classes(y.where(weight > 0, 0), weight, num_classes).sum(1) > 1
        assumed = torch.full_like(unlabelled, -1, dtype=torch.int64)
        for _ in range(self.rounds):
            assumed = self._assume(model.probabilities(pool), unlabelled & told[:, None])
            rows = _listed(assumed >= 0)
            counted = (rows >= 0) * self.trust
            features, labels = rows_of(pool, rows), assumed.gather(1, rows.clamp_min(0)).clamp_min(0)
            all_x, all_y = torch.cat((x, features), 1), torch.cat((y, labels), 1)
            all_weight = torch.cat((weight, counted.to(weight.dtype)), 1)
            labelled = (all_x, all_y, all_weight, num_classes)
            free = unlabelled & (assumed < 0)
            model = fit_to_pool(self._learner, *labelled, pool, free, model, generator).model
        return PoolFit(model, assumed)

    def _assume(self, probabilities: Tensor, unlabelled: Tensor) -> Tensor:
        """Return pseudo-labels `[E, N]` of class probabilities `[E, N, C]`; -1 for rows that have none."""
        entropy = torch.special.entr(probabilities).sum(-1).masked_fill(~unlabelled, math.inf)
        rank = entropy.argsort(dim=1, stable=True).argsort(dim=1, stable=True)
        sure = unlabelled & (rank < (self.share * unlabelled.sum(1, keepdim=True)).round())
        if self.threshold is not None:
            sure &= entropy <= self.threshold
        return probabilities.argmax(-1).where(sure, -1)

    @property
    def _learner(self) -> Learner:
        made: Learner = vars(self)["_base"]
        return made


def _listed(mask: Tensor) -> Tensor:
    """Return the places `[E, K]` int64 where a mask `[E, N]` is True, in order; -1 pads those of fewer than K."""
    first = (~mask).to(torch.int8).argsort(dim=1, stable=True)[:, : int(mask.sum(1).max())]
    return first.where(mask.gather(1, first), -1)
