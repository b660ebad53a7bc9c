"""Ridge regression on one-vs-rest targets, in closed form: scikit-learn's `RidgeClassifier` for E episodes at once."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from almeta.checks import Positive
from almeta.learners.learner import Rng, counted_labels, possible_classes, seen_classes


@dataclass(frozen=True)
class RidgeModel:
    """Fitted weights.

    Attributes:
        weights: `[E, C, D]` float32.
        bias: `[E, C, 1]` float32.
        possible: `[E, C]` bool, the classes that were seen.
    """

    weights: Tensor
    bias: Tensor
    possible: Tensor

    def decisions(self, x: Tensor) -> Tensor:
        """Return decision values `[E, M, C]` of rows `[E, M, D]`: near 1 for the class of a row, -1 for others."""
        return torch.baddbmm(self.bias, self.weights, x.mT).mT

    def probabilities(self, x: Tensor) -> Tensor:
        """Return a softmax of twice the decision values, `[E, M, C]`: 1 against -1 counts as odds of e^4."""
        return (2 * self.decisions(x)).masked_fill(~self.possible[:, None], -torch.inf).softmax(-1)


@dataclass(frozen=True)
class Ridge:
    """Least squares on targets 1 and -1 with an L2 penalty; the intercept is free.

    Args:
        alpha: weight of the penalty, above 0.
    """

    alpha: Positive = 1.0

    def fit(
        self, x: Tensor, y: Tensor, weight: Tensor, num_classes: int, start: Any = None, generator: Rng = None
    ) -> RidgeModel:
        """Fit E classifiers, as `Learner.fit` says; `start` has no effect."""
        y = counted_labels(y, weight)
        target = torch.full((*y.shape, num_classes), -1.0, dtype=torch.float64, device=x.device)
        target.scatter_(2, y[..., None], 1.0)
        counted, rows = weight.double()[..., None], x.double()
        total = counted.sum(1, keepdim=True).clamp_min(1e-9)
        means = [(part * counted).sum(1, keepdim=True) / total for part in (rows, target)]
        root = counted.sqrt()
        centred, wanted = (rows - means[0]) * root, (target - means[1]) * root
        weights = self._solve(centred, wanted)  # [E, D, C]
        bias = means[1] - means[0] @ weights
        possible = possible_classes(seen_classes(y, weight, num_classes))
        return RidgeModel(weights.mT.float(), bias.mT.float(), possible)

    def _solve(self, x: Tensor, target: Tensor) -> Tensor:
        """Solve the smaller of two equivalent systems for the weights `[E, D, C]`."""
        wide = x.shape[1] < x.shape[2]
        gram = x @ x.mT if wide else x.mT @ x
        gram.diagonal(dim1=1, dim2=2).add_(self.alpha)
        if wide:
            return x.mT @ torch.linalg.solve(gram, target)
        return torch.linalg.solve(gram, x.mT @ target)
