"""Gaussian process regression, in closed form, for E episodes at once.

Rasmussen & Williams, "Gaussian Processes for Machine Learning", 2006: algorithm 2.1; section 5.4.1 on how length scale
and noise are chosen by the marginal likelihood; equations 5.10 to 5.12 on rows left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from almeta.checks import Positive
from almeta.data.dataset import Target
from almeta.learners.learner import Prediction, Rng

# Choices of what is learnt: length scales in units of the labelled rows' root mean square distance over the square root
# of 2, and variances of the noise in units of the labels' variance.
LENGTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
NOISES = (0.001, 0.01, 0.1, 0.3, 1.0)
# Distances to labelled rows that are held at once (32 MiB in float64).
_BLOCK = 1 << 22
# How near labels tell of the noise of a row, in the same units as length scales, and as how many labels the noise of
# all rows counts there.
_NEAR, _PRIOR = 0.5, 1.0


@dataclass(frozen=True)
class GaussianProcessModel:
    """A Gaussian process after a fit; all tensors are float64.

    Attributes:
        x: `[E, L, D]`, the labelled rows.
        weight: `[E, L]`, 0 for padding.
        length: `[E, 1, 1]`, the length scale.
        root: `[E, L, L]`, the lower Cholesky root of the labels' covariance.
        solved: `[E, L, 1]`, the inverse covariance times the labels.
        noise: `[E, 1]`, the variance of the noise of labels.
        squares: `[E, L]`, what each label says of the noise around it; None if that is the same everywhere.
        spread: `[E, 1]`, how far apart the labelled rows are.
        centre, unit: `[E, 1]`, mean and standard deviation of the labels, in which all else is counted.
    """

    x: Tensor
    weight: Tensor
    length: Tensor
    root: Tensor
    solved: Tensor
    noise: Tensor
    squares: Tensor | None
    spread: Tensor
    centre: Tensor
    unit: Tensor

    def predict(self, x: Tensor) -> Prediction:
        """Return mean and variance, of the label and not of the mean alone, of rows `[E, M, D]`."""
        size = max(1, _BLOCK // max(1, self.weight.numel()))
        parts = [self._predict(rows) for rows in x.split(size, 1)]
        return Prediction(*(torch.cat(columns, 1) for columns in zip(*parts, strict=True)))

    def _predict(self, x: Tensor) -> Prediction:
        """Return what `predict` does, of a block of rows."""
        distance = _distances(x.double(), self.x)
        near = _kernel(distance, self.length) * (self.weight > 0)[:, None]  # [E, M, L]
        mean = (near @ self.solved).squeeze(-1)
        known = torch.linalg.solve_triangular(self.root, near.mT, upper=False).square().sum(1)
        variance = (1 - known).clamp_min(0) + self._noise_at(distance)
        return Prediction((self.centre + self.unit * mean).float(), (self.unit.square() * variance).float())

    def gradient_length(self, x: Tensor) -> Tensor:
        """Return 1 for each row: the gradient by the function itself is the kernel of the row, whose length is 1."""
        return torch.ones(x.shape[:2], device=x.device)

    def _noise_at(self, distance: Tensor) -> Tensor:
        """Return the variance of the noise `[E, M]` of rows, by their distance to the labelled ones `[E, M, L]`."""
        if self.squares is None:
            return self.noise
        near = _kernel(distance, _NEAR * self.spread[..., None]) * self.weight[:, None]
        return ((near @ self.squares[..., None]).squeeze(-1) + _PRIOR * self.noise) / (near.sum(-1) + _PRIOR)


@dataclass(frozen=True)
class GaussianProcess:
    """A Gaussian process of kernel exp(-d^2 / (2 l^2)), of labels that are counted from their mean in their deviation.

    With fixed options it is scikit-learn's `GaussianProcessRegressor(RBF(l), alpha=noise, optimizer=None,
    normalize_y=True)`.

    Args:
        length_scale: l; None to learn it, as the best of a few by the marginal likelihood.
        noise: variance of the noise in units of the labels' variance; None to learn it, likewise.
        noise_by_row: whether rows differ in their noise. It is then learnt from the labels near a row: from the squares
            of what they differ by from what the others predict, after Kersting et al., "Most Likely Heteroscedastic
            Gaussian Process Regression", ICML 2007, with a kernel average in place of a second process.
    """

    length_scale: Positive | None = None
    noise: Positive | None = None
    noise_by_row: bool = False

    target: ClassVar[Target] = "numbers"

    def fit(
        self, x: Tensor, y: Tensor, weight: Tensor, num_classes: int = 0, start: Any = None, generator: Rng = None
    ) -> GaussianProcessModel:
        """Fit E processes, as `Learner.fit` says; a row of weight 2 counts as two labels. `start` has no effect."""
        rows, weight = x.double(), weight.double()
        total = weight.sum(1, keepdim=True).clamp_min(1e-9)
        labels = y.double().where(weight > 0, 0.0)
        centre = (weight * labels).sum(1, keepdim=True) / total
        labels = (labels - centre).where(weight > 0, 0.0)
        unit = ((weight * labels.square()).sum(1, keepdim=True) / total).sqrt()
        unit = unit.where(unit > 1e-9, 1.0)  # a single label, or equal ones
        labels = labels / unit
        distance, spread = _distances(rows, rows), _spread(rows, weight)
        length, noise = self._learnt(distance, labels, weight, spread)
        root = _root(distance, weight, length, noise.expand_as(weight))
        solved = torch.cholesky_solve(labels[..., None], root)
        model = GaussianProcessModel(rows, weight, length, root, solved, noise, None, spread, centre, unit)
        if not self.noise_by_row or not x.shape[1]:
            return model
        inverse = torch.cholesky_inverse(root).diagonal(dim1=1, dim2=2)  # 1 / variance of a label left out
        squares = (solved.squeeze(-1) / inverse).square() * inverse * noise  # the noise's part of its error
        model = replace(model, squares=squares)
        root = _root(distance, weight, length, model._noise_at(distance))
        return replace(model, root=root, solved=torch.cholesky_solve(labels[..., None], root))

    def _learnt(self, distance: Tensor, labels: Tensor, weight: Tensor, spread: Tensor) -> tuple[Tensor, Tensor]:
        """Return the length scale `[E, 1, 1]` and the noise `[E, 1]` of highest marginal likelihood."""
        pairs = list(self._choices(spread))
        if len(pairs) == 1:
            return pairs[0]
        likelihoods = torch.stack([_likelihood(distance, labels, weight, *pair) for pair in pairs])
        best = likelihoods.argmax(0)  # [E]; of equal ones the first
        lengths, noises = (torch.stack(choices).flatten(1) for choices in zip(*pairs, strict=True))  # [G, E]
        return lengths.gather(0, best[None]).mT[..., None], noises.gather(0, best[None]).mT

    def _choices(self, spread: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield pairs of a length scale `[E, 1, 1]` and a noise `[E, 1]`."""
        one = torch.ones_like(spread)
        lengths = [length * spread for length in LENGTHS] if self.length_scale is None else [self.length_scale * one]
        for length in lengths:
            for noise in NOISES if self.noise is None else (self.noise,):
                yield length[..., None], noise * one


def _spread(x: Tensor, weight: Tensor) -> Tensor:
    """Return the root of the summed variances of the columns of labelled rows, `[E, 1]`; 1 where there is none."""
    counted = weight[..., None]
    total = counted.sum(1, keepdim=True).clamp_min(1e-9)
    mean = (x * counted).sum(1, keepdim=True) / total
    variance = ((x - mean).square() * counted).sum((1, 2)) / total.flatten()
    return variance.sqrt().where(variance > 1e-12, 1.0)[:, None]


def _distances(x: Tensor, other: Tensor) -> Tensor:
    """Return Euclidean distances of rows `[E, M, D]` and `[E, L, D]`, `[E, M, L]`."""
    return torch.cdist(x, other, compute_mode="donot_use_mm_for_euclid_dist")


def _kernel(distance: Tensor, length: Tensor) -> Tensor:
    """Return exp(-d^2 / (2 l^2)) of distances `[E, M, L]`."""
    return (-0.5 * (distance / length).square()).exp()


def _root(distance: Tensor, weight: Tensor, length: Tensor, noise: Tensor) -> Tensor:
    """Return the Cholesky root `[E, L, L]` of the covariance of labels with noise `[E, L]`; 1 where the weight is 0."""
    known = weight > 0
    covariance = _kernel(distance, length) * (known[:, None] & known[..., None])
    own = torch.where(known, noise / weight.clamp_min(1e-9), 1.0)
    return torch.linalg.cholesky(covariance + own.diag_embed())


def _likelihood(distance: Tensor, labels: Tensor, weight: Tensor, length: Tensor, noise: Tensor) -> Tensor:
    """Return the logarithm of the marginal likelihood `[E]`, up to a constant; a weight of 2 is the label twice."""
    root = _root(distance, weight, length, noise.expand_as(weight))
    fit = torch.linalg.solve_triangular(root, labels[..., None], upper=False).square().sum((1, 2))
    repeats = (weight - 1).where(weight > 0, 0.0).sum(1)
    return -0.5 * fit - root.diagonal(dim1=1, dim2=2).log().sum(1) - 0.5 * repeats * noise.squeeze(1).log()
