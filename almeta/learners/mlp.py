"""Small neural networks with dropout, E of them trained at once by batched products."""

import math
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from almeta.checks import Count, Positive, Weight, Within
from almeta.learners.learner import Rng, counted_labels, possible_classes, seen_classes


@dataclass(frozen=True)
class MLPModel:
    """Trained networks.

    Attributes:
        parameters: weights and biases of both layers, `[E, D, H]`, `[E, 1, H]`, `[E, H, C]`, `[E, 1, C]`.
        possible: `[E, C]` bool, the classes that were seen.
    """

    parameters: tuple[Tensor, ...]
    possible: Tensor

    def probabilities(self, x: Tensor) -> Tensor:
        """Return class probabilities `[E, M, C]` float32 of rows `[E, M, D]`, without dropout."""
        return _logits(self.parameters, x).masked_fill(~self.possible[:, None], -torch.inf).softmax(-1)


@dataclass(frozen=True)
class MLP:
    """One hidden layer, trained anew at each fit by Adam on all rows at once.

    Args:
        hidden_size: units H.
        dropout: share of units dropped in each step, at most 0.9.
        steps: of Adam.
        learning_rate: of Adam.
        weight_decay: weight of half the squared weights in the loss, which is a mean over rows.
    """

    hidden_size: Count = 32
    dropout: Annotated[float, Within(0, 0.9)] = 0.1
    steps: Count = 100
    learning_rate: Positive = 0.02
    weight_decay: Weight = 1e-3

    def fit(
        self, x: Tensor, y: Tensor, weight: Tensor, num_classes: int, start: Any = None, generator: Rng = None
    ) -> MLPModel:
        """Fit E networks, as `Learner.fit` says; `start` has no effect, and the default generator has seed 0."""
        generator = generator or torch.Generator(x.device).manual_seed(0)
        y = counted_labels(y, weight)
        seen = seen_classes(y, weight, num_classes)
        possible = possible_classes(seen)
        parameters = self._initial(x, num_classes, generator)
        optimizer = torch.optim.Adam(parameters, self.learning_rate)
        share = weight / weight.sum(1, keepdim=True).clamp_min(1e-9)
        with torch.enable_grad():
            for _ in range(self.steps):
                keep = torch.rand((len(x), x.shape[1], self.hidden_size), generator=generator, device=x.device)
                kept = (keep >= self.dropout) / (1 - self.dropout)
                # The losses are summed over episodes, so that each network has the gradient of its own loss.
                log_p = _logits(parameters, x, kept).masked_fill(~possible[:, None], -1e8).log_softmax(-1)
                loss = -(log_p.gather(2, y[..., None]).squeeze(2) * share).sum()
                loss = loss + 0.5 * self.weight_decay * sum(p.square().sum() for p in parameters[::2])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        labelled = seen.any(1)[:, None, None]  # without a label all classes are alike
        first, first_bias, second, second_bias = (p.detach() for p in parameters)
        return MLPModel((first, first_bias, second * labelled, second_bias * labelled), possible)

    def _initial(self, x: Tensor, num_classes: int, generator: torch.Generator) -> list[Tensor]:
        """Draw new parameters, uniform as in torch.nn.Linear."""
        parameters = []
        for inputs, outputs in ((x.shape[2], self.hidden_size), (self.hidden_size, num_classes)):
            for rows in (inputs, 1):
                drawn = torch.rand((len(x), rows, outputs), generator=generator, device=x.device)
                parameters.append(((2 * drawn - 1) / math.sqrt(inputs)).requires_grad_())
        return parameters


def _logits(parameters: Any, x: Tensor, kept: Tensor | float = 1.0) -> Tensor:
    first, first_bias, second, second_bias = parameters
    return torch.baddbmm(second_bias, torch.baddbmm(first_bias, x, first).relu() * kept, second)
