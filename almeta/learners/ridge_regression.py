"""Ridge regression of numbers, in closed form: scikit-learn's `Ridge` for E episodes at once, with a variance."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from almeta.checks import Positive
from almeta.data.dataset import Target
from almeta.learners.learner import Prediction, Rng


@dataclass(frozen=True)
class RidgeRegressionModel:
    """Fitted weights; all tensors are float64.

    Attributes:
        weights: `[E, D, 1]`.
        centre: `[E, 1, D]`, the mean of the labelled rows.
        mean: `[E, 1]`, that of their labels.
        root: `[E, D, D]`, the lower Cholesky root of X'X + alpha, X the rows counted from their mean.
        noise: `[E, 1]`, the variance of the noise of labels.
        count: `[E, 1]`, labels.
    """

    weights: Tensor
    centre: Tensor
    mean: Tensor
    root: Tensor
    noise: Tensor
    count: Tensor

    def predict(self, x: Tensor) -> Prediction:
        """Return mean and variance of a label of rows `[E, M, D]`: noise (1 + 1 / n + x' (X'X + alpha)^-1 x)."""
        rows = x.double() - self.centre
        mean = self.mean + (rows @ self.weights).squeeze(-1)
        unsure = torch.linalg.solve_triangular(self.root, rows.mT, upper=False).square().sum(1)
        variance = self.noise * (1 + 1 / self.count.clamp_min(1) + unsure)
        return Prediction(mean.float(), variance.float())

    def gradient_length(self, x: Tensor) -> Tensor:
        """Return the length of the row and its 1 for the intercept, `[E, M]`."""
        return (x.square().sum(-1) + 1).sqrt()


@dataclass(frozen=True)
class RidgeRegression:
    """Least squares with an L2 penalty; the intercept is free.

    The variance is that of Bayesian linear regression: weights have a normal prior of variance noise / alpha, and the
    noise is the one of highest marginal likelihood, (squared residuals + alpha |w|^2) / n (Bishop, "Pattern Recognition
    and Machine Learning", 2006, section 3.3).

    Args:
        alpha: weight of the penalty, above 0.
    """

    alpha: Positive = 1.0

    target: ClassVar[Target] = "numbers"

    def fit(
        self, x: Tensor, y: Tensor, weight: Tensor, num_classes: int = 0, start: Any = None, generator: Rng = None
    ) -> RidgeRegressionModel:
        """Fit E regressions, as `Learner.fit` says; `start` has no effect."""
        rows, counted = x.double(), weight.double()[..., None]  # [E, L, D], [E, L, 1]
        labels = y.double().where(weight > 0, 0.0)[..., None]
        count = counted.sum(1, keepdim=True)
        centre, mean = ((part * counted).sum(1, keepdim=True) / count.clamp_min(1e-9) for part in (rows, labels))
        root = counted.sqrt()
        centred, wanted = (rows - centre) * root, (labels - mean) * root
        gram = centred.mT @ centred
        gram.diagonal(dim1=1, dim2=2).add_(self.alpha)
        cholesky = torch.linalg.cholesky(gram)
        weights = torch.cholesky_solve(centred.mT @ wanted, cholesky)
        squares = (wanted - centred @ weights).square().sum(1) + self.alpha * weights.square().sum(1)  # [E, 1]
        count = count.squeeze(-1)
        noise = torch.where(count > 1, squares / count.clamp_min(1), 1.0)  # of a single label nothing is known
        return RidgeRegressionModel(weights, centre, mean.squeeze(-1), cholesky, noise, count)
