"""The contract of learners: classifiers that are refit, for E episodes at once, as labels arrive."""

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor


class Model(Protocol):
    """A learner after a fit."""

    def probabilities(self, x: Tensor) -> Tensor:
        """Class probabilities of rows `[E, M, D]` float32 -> `[E, M, C]` float32; 0 for classes not seen in the fit."""
        ...


@runtime_checkable
class Learner(Protocol):
    """How to fit; it holds settings and no data, so that one learner serves any number of pools."""

    def fit(
        self,
        x: Tensor,
        y: Tensor,
        weight: Tensor,
        num_classes: int,
        start: Any = None,
        generator: torch.Generator | None = None,
    ) -> Model:
        """Fit E classifiers.

        Args:
            x: `[E, L, D]` float32, the labelled rows; columns that an episode lacks are 0.
            y: `[E, L]` int64 in 0 .. C-1; where the weight is 0, anything.
            weight: `[E, L]` float32, 0 for a row that is not there, 1 for one that counts once.
            num_classes: C, of the episode that has most.
            start: the model of an earlier fit whose rows were the first of these, to begin from; None to begin anew.
                It changes how long the fit takes, and beyond rounding not what comes out.
            generator: for learners with chance in them.

        Returns:
            The fitted model. An episode without any label gives all classes the same probability; one with a single
            class gives that class 1.
        """
        ...


def seen_classes(y: Tensor, weight: Tensor, num_classes: int) -> Tensor:
    """`[E, C]` bool: the classes, all in 0 .. C-1, that occur among the rows `[E, L]` of positive weight."""
    counts = torch.zeros(len(y), num_classes, dtype=weight.dtype, device=weight.device)
    return counts.scatter_add_(1, y, weight) > 0


def counted_labels(y: Tensor, weight: Tensor) -> Tensor:
    """`[E, L]`: the labels of rows that count, 0 for the others, whose label may be anything."""
    return y.where(weight > 0, 0)
