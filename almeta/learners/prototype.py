"""Nearest class mean, for E episodes at once."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from almeta.checks import Positive
from almeta.learners.learner import Rng, counted_labels, possible_classes, seen_classes


@dataclass(frozen=True)
class PrototypeModel:
    """The class means.

    Attributes:
        means: `[E, C, D]` float32.
        scale: `[E, 1, 1]` float32, the divisor of squared distances.
        possible: `[E, C]` bool, the classes that were seen.
    """

    means: Tensor
    scale: Tensor
    possible: Tensor

    def probabilities(self, x: Tensor) -> Tensor:
        """Return a softmax of negative squared distances to the means, `[E, M, C]` float32, of rows `[E, M, D]`."""
        nearness = -torch.cdist(x, self.means).square() / self.scale
        return nearness.masked_fill(~self.possible[:, None], -torch.inf).softmax(-1)


@dataclass(frozen=True)
class Prototype:
    """Predict the class whose mean is nearest.

    Args:
        temperature: softness of the probabilities. Squared distances are divided by it and by the number of features
            that are not 0 in all labelled rows.
    """

    temperature: Positive = 1.0

    def fit(
        self, x: Tensor, y: Tensor, weight: Tensor, num_classes: int, start: Any = None, generator: Rng = None
    ) -> PrototypeModel:
        """Fit E classifiers, as `Learner.fit` says; `start` has no effect."""
        y = counted_labels(y, weight)
        member = torch.zeros(*y.shape, num_classes, device=x.device).scatter_(2, y[..., None], weight[..., None])
        means = (member.mT @ x) / member.sum(1)[..., None].clamp_min(1e-9)
        used = ((x != 0) & (weight > 0)[..., None]).any(1).sum(1).clamp_min(1)
        possible = possible_classes(seen_classes(y, weight, num_classes))
        return PrototypeModel(means, self.temperature * used[:, None, None].float(), possible)
