"""Small convolutional networks with dropout for images, E of them trained at once by grouped convolutions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor
from torch.nn.functional import conv2d, unfold

from almeta.checks import Count, Positive, Weight, Within
from almeta.learners.images import image_shape
from almeta.learners.learner import Rng
from almeta.learners.networks import (
    LastLayer,
    draw_kept,
    draw_rows,
    draw_samples,
    errors,
    fit_network,
    in_blocks,
    square,
    uniform,
)

# Steps of two pixels in place of pooling: four times as fast on a CPU.
_KERNEL, _PADDING, _STRIDE = 5, 2, 2
# Numbers of a row that a gradient by its convolutions needs, by number of the row.
_GRADIENT_COST = 32


@dataclass(frozen=True)
class _Layers:
    """Weights and biases of E networks.

    Attributes:
        shape: height, width and channels of the images.
        convolutions: two pairs of weights `[E, K, channels, 5, 5]` and biases `[E, K]`.
        dense: `[E, F, H]`, for the F numbers of the second convolution, map by map.
        dense_bias: `[E, 1, H]`.
    """

    shape: tuple[int, int, int]
    convolutions: tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]
    dense: Tensor
    dense_bias: Tensor

    def images(self, x: Tensor) -> Tensor:
        """Return rows `[E, M, D]`, stored by row, column and channel, as images `[M, E * channels, height, width]`."""
        return x.unflatten(2, self.shape).permute(1, 0, 4, 2, 3).flatten(1, 2)

    def convolve(self, layer: int, images: Tensor) -> Tensor:
        """Return `[M, E * K, h, w]` by one of the two convolutions; each network sees its own group of channels."""
        weights, bias = self.convolutions[layer]
        return conv2d(images, weights.flatten(0, 1), bias.flatten(), _STRIDE, _PADDING, groups=len(weights))

    def flat(self, convolved: Tensor) -> Tensor:
        """Return what the dense layer reads, `[E, M, F]`, of what the second convolution returns."""
        return convolved.relu().unflatten(1, (len(self.dense), -1)).flatten(2).transpose(0, 1)

    def maps(self, x: Tensor) -> Tensor:
        """Return what the dense layer reads, `[E, M, F]`, of rows `[E, M, D]`."""
        return self.flat(self.convolve(1, self.convolve(0, self.images(x)).relu()))

    def hidden(self, maps: Tensor, kept: Tensor | float = 1.0) -> Tensor:
        """Return the hidden units `[E, M, H]`; `kept`, which multiplies the maps, is 1 for no dropout."""
        return torch.baddbmm(self.dense_bias, maps * kept, self.dense).relu()


@dataclass(frozen=True)
class CNNModel:
    """Trained networks.

    Attributes:
        layers: all layers but the last.
        last: the last one.
        dropout: share of units that samples leave out of the maps, and of the hidden layer.
    """

    layers: _Layers
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
        return in_blocks(lambda part: self.layers.hidden(self.layers.maps(part)), x)

    def sample(self, x: Tensor, num_samples: int, generator: Rng = None) -> Tensor:
        """Return class probabilities `[E, S, M, C]` float32 by S networks with units left out.

        The convolutions, which have no dropout, are computed once for all S.

        Raises:
            AlmetaError: if the networks have no dropout.
        """
        sizes = self.layers.dense.shape[1:]
        of_maps, of_hidden = draw_samples(sizes, num_samples, self.dropout, generator, x)

        def sampled(part: Tensor) -> Tensor:
            maps = self.layers.maps(part)
            networks = zip(of_maps.split(1, 1), of_hidden.split(1, 1), strict=True)  # one by one, to bound the memory
            return torch.cat([self.last.sample(self.layers.hidden(maps, one), other) for one, other in networks], 1)

        return in_blocks(sampled, x, axis=2)

    def gradient_lengths(self, x: Tensor) -> Tensor:
        """Return `[E, M, C]` float32, as `HasGradients` says.

        For each class, the error goes back once through the convolutions: it takes two to four times as long as
        `probabilities` for each class, and well below 100 MB.
        """
        return in_blocks(self._gradient_lengths, x, cost=_GRADIENT_COST)

    def _gradient_lengths(self, x: Tensor) -> Tensor:
        layers, images = self.layers, self.layers.images(x)
        with torch.enable_grad():
            first = layers.convolve(0, images).requires_grad_()
            second = layers.convolve(1, first.relu())
            maps = layers.flat(second)
        hidden = layers.hidden(maps.detach())
        inputs, units, active = square(maps.detach()) + 1, square(hidden) + 1, hidden > 0  # the biases' inputs are 1
        patches = [_patches(part.detach(), len(x)) for part in (images, first.relu())]
        lengths = []
        for error in errors(self.last.probabilities(hidden)):
            back = (error @ self.last.weights.mT) * active
            total = units * square(error) + inputs * square(back)
            # What comes before a convolution is the same for all labels: the graph is kept.
            behind = torch.autograd.grad(maps, (first, second), back @ layers.dense.mT, retain_graph=True)
            for read, wrong in zip(patches, behind, strict=True):
                wrong = wrong.unflatten(1, (len(x), -1)).flatten(3)  # [M, E, K, positions]
                by_weights, by_bias = wrong @ read, wrong.sum(3)
                total = total + (square(by_weights.flatten(2)) + square(by_bias)).T
            lengths.append(total.sqrt())
        return torch.stack(lengths, -1)


@dataclass(frozen=True)
class CNN:
    """Two convolutions and a dense layer for images, trained anew at each fit by Adam.

    In the manner of the network of Y. Gal, R. Islam and Z. Ghahramani, Deep Bayesian active learning with image data,
    ICML 2017, but smaller: two convolutions of 5 x 5 pixels with steps of two pixels, the second with twice the maps, a
    hidden layer, and dropout before and after the hidden layer.

    Args:
        maps: of the first convolution.
        hidden_size: units H of the dense layer.
        dropout: share of units dropped in each step, of the maps and of the hidden layer, at most 0.9.
        steps: of Adam.
        batch_size: rows of a step, drawn by their weights; all rows where there are no more.
        learning_rate: of Adam.
        weight_decay: weight of half the squared weights in the loss, which is a mean over rows.
        shape: height, width and channels of an image, which is stored by row, column and channel; None for a square
            image of 1 or 3 channels.
    """

    maps: Count = 16
    hidden_size: Count = 64
    dropout: Annotated[float, Within(0, 0.9)] = 0.25
    steps: Count = 100
    batch_size: Count = 64
    learning_rate: Positive = 0.003
    weight_decay: Weight = 1e-3
    shape: Sequence[int] | None = None

    def fit(
        self, x: Tensor, y: Tensor, weight: Tensor, num_classes: int, start: Any = None, generator: Rng = None
    ) -> CNNModel:
        """Fit E networks, as `Learner.fit` says; `start` has no effect, and the default generator has seed 0.

        Raises:
            AlmetaError: if the features are no image of the shape, or of none that can be told.
        """
        model: CNNModel = fit_network(self, x, y, weight, num_classes, generator)
        return model

    def outputs(self, parameters: Sequence[Tensor], x: Tensor, generator: Rng = None) -> Tensor:
        """Return what the last layer returns, as `Network.outputs` says."""
        layers, (last, last_bias) = _assemble(self._shape(x.shape[2]), parameters)
        maps = layers.maps(x)
        if generator is None:
            return torch.baddbmm(last_bias, layers.hidden(maps), last)
        hidden = layers.hidden(maps, draw_kept(maps.shape, self.dropout, generator, x.device))
        hidden = hidden * draw_kept(hidden.shape, self.dropout, generator, x.device)
        return torch.baddbmm(last_bias, hidden, last)

    def draw(self, x: Tensor, y: Tensor, share: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Return the rows of a step, their labels and their shares in the loss."""
        return draw_rows(x, y, share, self.batch_size, generator)

    def model(self, parameters: Sequence[Tensor], features: int, seen: Tensor) -> CNNModel:
        """Return the model of trained parameters, as `Network.model` says."""
        layers, (last, last_bias) = _assemble(self._shape(features), parameters)
        return CNNModel(layers, LastLayer.after(last, last_bias, seen), self.dropout)

    def _shape(self, features: int) -> tuple[int, int, int]:
        """Return height, width and channels."""
        return image_shape(features, self.shape, "learner cnn")

    def initial(self, x: Tensor, outputs: int, generator: torch.Generator) -> list[Tensor]:
        """Draw new weights and biases of all four layers."""
        height, width, channels = self._shape(x.shape[2])
        for _ in range(2):
            height, width = math.ceil(height / _STRIDE), math.ceil(width / _STRIDE)
        flat, area = 2 * self.maps * height * width, _KERNEL**2
        sizes = [
            ((self.maps, channels, _KERNEL, _KERNEL), (self.maps,), channels * area),
            ((2 * self.maps, self.maps, _KERNEL, _KERNEL), (2 * self.maps,), self.maps * area),
            ((flat, self.hidden_size), (1, self.hidden_size), flat),
            ((self.hidden_size, outputs), (1, outputs), self.hidden_size),
        ]
        return [
            uniform((len(x), *size), inputs, generator, x.device)
            for weights, bias, inputs in sizes
            for size in (weights, bias)
        ]


def _assemble(shape: tuple[int, int, int], parameters: Sequence[Tensor]) -> tuple[_Layers, tuple[Tensor, Tensor]]:
    """Return the layers, and weights and bias of the last one, of a list of weights and biases."""
    first, first_bias, second, second_bias, dense, dense_bias, last, last_bias = parameters
    layers = _Layers(shape, ((first, first_bias), (second, second_bias)), dense, dense_bias)
    return layers, (last, last_bias)


def _patches(images: Tensor, episodes: int) -> Tensor:
    """Return what a convolution reads at each position of images `[M, E * channels, h, w]`: `[M, E, positions, n]`."""
    read = unfold(images, _KERNEL, padding=_PADDING, stride=_STRIDE)
    return read.unflatten(1, (episodes, -1)).mT
