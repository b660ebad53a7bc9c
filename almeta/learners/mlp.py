"""Small neural networks with dropout, E of them trained at once by batched products."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from almeta.checks import Count, Positive, Weight, Within
from almeta.learners.learner import Rng
from almeta.learners.networks import (
    LastLayer,
    draw_kept,
    draw_samples,
    errors,
    fit_network,
    in_blocks,
    square,
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

    def logits(self, x: Tensor) -> Tensor:
        """Return `[E, M, C]` float32 of rows `[E, M, D]`, as `HasInputGradients` says, without dropout."""
        return self.last.logits(self.embed(x))

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
        model: MLPModel = fit_network(self, x, y, weight, num_classes, generator)
        return model

    def outputs(self, parameters: Sequence[Tensor], x: Tensor, generator: Rng = None) -> Tensor:
        """Return what the last layer returns, as `Network.outputs` says."""
        first, first_bias, second, second_bias = parameters
        hidden = torch.baddbmm(first_bias, x, first).relu()
        if generator is not None:
            hidden = hidden * draw_kept(hidden.shape, self.dropout, generator, x.device)
        return torch.baddbmm(second_bias, hidden, second)

    def draw(self, x: Tensor, y: Tensor, share: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Return all rows."""
        return x, y, share

    def model(self, parameters: Sequence[Tensor], features: int, seen: Tensor) -> MLPModel:
        """Return the model of trained parameters, as `Network.model` says."""
        first, first_bias, second, second_bias = parameters
        return MLPModel(first, first_bias, LastLayer.after(second, second_bias, seen), self.dropout)

    def initial(self, x: Tensor, outputs: int, generator: torch.Generator) -> list[Tensor]:
        """Draw new weights and biases of both layers."""
        return [
            uniform((len(x), rows, units), inputs, generator, x.device)
            for inputs, units in ((x.shape[2], self.hidden_size), (self.hidden_size, outputs))
            for rows in (inputs, 1)
        ]
