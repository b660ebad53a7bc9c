"""Small neural networks with dropout, E of them trained at once by batched products."""

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from almeta.checks import Count, Positive, Weight, Within
from almeta.learners.learner import Rng, counted_labels, possible_classes, seen_classes
from almeta.learners.networks import (
    LastLayer,
    draw_kept,
    draw_samples,
    errors,
    in_blocks,
    shares,
    square,
    train,
    uniform,
)


@dataclass(frozen=True)
class MLPModel:
    """Trained networks.

    Attributes:
        weights: of the hidden layer, `[E, D, H]`.
        bias: of the hidden layer, `[E, 1, H]`.
        last: the layer after it.
        dropout: share of hidden units that samples leave out.
    """

    weights: Tensor
    bias: Tensor
    last: LastLayer
    dropout: float

    def probabilities(self, x: Tensor) -> Tensor:
        """Return class probabilities `[E, M, C]` float32 of rows `[E, M, D]`, without dropout."""
        return self.last.probabilities(self.embed(x))

    def embed(self, x: Tensor) -> Tensor:
        """Return the hidden units `[E, M, H]` float32 of rows `[E, M, D]`, without dropout."""
        return torch.baddbmm(self.bias, x, self.weights).relu()

    def sample(self, x: Tensor, num_samples: int, generator: Rng = None) -> Tensor:
        """Return class probabilities `[E, S, M, C]` float32 by S networks with hidden units left out.

        Raises:
            AlmetaError: if the networks have no dropout.
        """
        (kept,) = draw_samples([self.bias.shape[2]], num_samples, self.dropout, generator, x)
        return self.last.sample(self.embed(x), kept)

    def gradient_lengths(self, x: Tensor) -> Tensor:
        """Return `[E, M, C]` float32, as `HasGradients` says: in closed form, from the errors of both layers.

        The gradient by the weights of a layer is the product of its inputs and the errors of its outputs.
        """
        return in_blocks(self._gradient_lengths, x)

    def _gradient_lengths(self, x: Tensor) -> Tensor:
        hidden = self.embed(x)
        inputs, units, active = square(x) + 1, square(hidden) + 1, hidden > 0  # the biases' inputs are 1
        return torch.stack(
            [
                (units * square(error) + inputs * square((error @ self.last.weights.mT) * active)).sqrt()
                for error in errors(self.last.probabilities(hidden))
            ],
            -1,
        )


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
        y, share = counted_labels(y, weight), shares(weight)
        seen = seen_classes(y, weight, num_classes)
        possible = possible_classes(seen)
        parameters = self._initial(x, num_classes, generator)

        def batch() -> tuple[Tensor, Tensor, Tensor]:
            first, first_bias, second, second_bias = parameters
            kept = draw_kept((*y.shape, self.hidden_size), self.dropout, generator, x.device)
            return torch.baddbmm(second_bias, torch.baddbmm(first_bias, x, first).relu() * kept, second), y, share

        trained = train(parameters, parameters[::2], batch, possible, self.steps, self.learning_rate, self.weight_decay)
        first, first_bias, second, second_bias = trained
        return MLPModel(first, first_bias, LastLayer.after(second, second_bias, seen), self.dropout)

    def _initial(self, x: Tensor, num_classes: int, generator: torch.Generator) -> list[Tensor]:
        """Draw new weights and biases of both layers."""
        return [
            uniform((len(x), rows, outputs), inputs, generator, x.device)
            for inputs, outputs in ((x.shape[2], self.hidden_size), (self.hidden_size, num_classes))
            for rows in (inputs, 1)
        ]
