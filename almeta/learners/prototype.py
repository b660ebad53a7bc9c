"""Nearest class mean, for E episodes at once."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from almeta.checks import Positive
from almeta.learners.learner import counted_labels, seen_classes


@dataclass(frozen=True)
class PrototypeModel:
    """The class means.

    Attributes:
        means: `[E, C, D]` float32.
        scale: `[E, 1, 1]` float32, what squared distances are divided by.
        possible: `[E, C]` bool, the classes that were seen.
    """

    means: Tensor
    scale: Tensor
    possible: Tensor

    def probabilities(self, x: Tensor) -> Tensor:
        """Softmax of negative squared distances to the means: `[E, M, D]` -> `[E, M, C]` float32."""
        nearness = -torch.cdist(x, self.means).square() / self.scale
        return nearness.masked_fill(~self.possible[:, None], -torch.inf).softmax(-1)


@dataclass(frozen=True)
class Prototype:
    """Predicts the class whose mean is nearest.

    Args:
        temperature: how soft the probabilities are: what squared distances are divided by, in units of the number of
            features that are not 0 in all labelled rows.
    """

    temperature: Positive = 1.0

    def fit(
        self,
        x: Tensor,
        y: Tensor,
        weight: Tensor,
        num_classes: int,
        start: Any = None,
        generator: torch.Generator | None = None,
    ) -> PrototypeModel:
        """Fit E classifiers; see `Learner.fit`. The start makes no difference."""
        y = counted_labels(y, weight)
        member = torch.zeros(*y.shape, num_classes, device=x.device).scatter_(2, y[..., None], weight[..., None])
        counts = member.sum(1)[..., None]  # [E, C, 1]
        seen = seen_classes(y, weight, num_classes)
        used = ((x != 0) & (weight > 0)[..., None]).any(1).sum(1).clamp_min(1)
        possible = seen | ~seen.any(1, keepdim=True)
        means = (member.mT @ x) / counts.clamp_min(1e-9)
        return PrototypeModel(means, self.temperature * used[:, None, None].float(), possible)
