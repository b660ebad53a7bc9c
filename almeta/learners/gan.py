"""Small generative adversarial networks that draw images of a class, E of them trained at once."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import batch_norm, conv_transpose2d, one_hot, softplus

from almeta.checks import Count, Positive
from almeta.learners.cnn import CNN
from almeta.learners.images import Shape
from almeta.learners.learner import possible_classes, rows_of, seen_classes
from almeta.learners.networks import cross_entropy, draw_rows, shares, uniform

_KERNEL, _STRIDE, _PADDING = 4, 2, 1  # each layer doubles the side
_BETAS = (0.5, 0.999)  # of Adam, as of DCGAN
_MOMENTUM = 0.1  # of the running means and variances of batch normalisation


@dataclass(frozen=True)
class Drawer:
    """Trained generators.

    Attributes:
        gan: the settings.
        parameters: of the E generators.
        running: mean and variance of each map of both normalised layers, `[E * maps]` each, gathered in training.
        shape: height, width and channels of the images.
        low: `[E, 1, D]`, the lowest value of each pixel.
        high: `[E, 1, D]`, the highest.
        num_classes: C.
    """

    gan: "GAN"
    parameters: Sequence[Tensor]
    running: Sequence[Tensor]
    shape: Shape
    low: Tensor
    high: Tensor
    num_classes: int

    def draw(self, y: Tensor, generator: torch.Generator, training: bool = False) -> Tensor:
        """Return an image of each class of `[E, B]`: `[E, B, D]` float32.

        An image does not depend on those drawn beside it, nor on how many follow; in training, layers are normalised by
        the batch, and `running` is moved towards its means and variances.
        """
        noise = torch.randn((y.shape[1], len(y), self.gan.noise_size), generator=generator, device=y.device)
        noise = noise.transpose(0, 1)
        read = torch.cat((noise, one_hot(y, self.num_classes).float()), 2)
        dense, dense_bias, wide_scale, wide_shift, first, scale, shift, second, bias = self.parameters
        means, variances, narrow_means, narrow_variances = self.running
        height, width, channels = self.shape
        side = (-(-height // 4), -(-width // 4))
        maps = torch.baddbmm(dense_bias, read, dense).unflatten(2, (-1, *side)).transpose(0, 1).flatten(1, 2)
        maps = batch_norm(
            maps, means, variances, wide_scale.flatten(), wide_shift.flatten(), training, _MOMENTUM
        ).relu()
        maps = conv_transpose2d(maps, first.flatten(0, 1), None, _STRIDE, _PADDING, groups=len(y))
        running = (narrow_means, narrow_variances)
        maps = batch_norm(maps, *running, scale.flatten(), shift.flatten(), training, _MOMENTUM).relu()
        images = conv_transpose2d(maps, second.flatten(0, 1), bias.flatten(), _STRIDE, _PADDING, groups=len(y))
        images = images[:, :, :height, :width].unflatten(1, (len(y), channels))  # [B, E, channels, height, width]
        rows = images.permute(1, 0, 3, 4, 2).flatten(2)
        return self.low + (self.high - self.low) * (rows.tanh() + 1) / 2


@dataclass(frozen=True)
class GAN:
    """A generator of images of a class, and a network that tells them from real ones and names their class.

    The generator is that of DCGAN (A. Radford, L. Metz & S. Chintala, ICLR 2016, arXiv 1511.06434) with two layers that
    double the side. The other network has an output for "real" and one for each class; both are trained as in AC-GAN
    (A. Odena, C. Olah & J. Shlens, ICML 2017, arXiv 1610.09585): unlabelled images count in what is real, labelled and
    drawn ones also in what class it is.

    Args:
        noise_size: numbers drawn for an image.
        maps: of the middle layer of the generator, and of the first one of the other network.
        steps: of Adam of both.
        batch_size: real images of a step, and as many that are drawn.
        learning_rate: of Adam.
    """

    noise_size: Count = 32
    maps: Count = 8
    steps: Count = 200
    batch_size: Count = 32
    learning_rate: Positive = 0.002

    def fit(
        self,
        x: Tensor,
        y: Tensor,
        weight: Tensor,
        num_classes: int,
        pool: Tensor,
        unlabelled: Tensor,
        shape: Shape,
        generator: torch.Generator,
    ) -> Drawer:
        """Train E pairs of networks; arguments as in `ReadsPool.fit_with_pool`, and the shape of the images."""
        possible, share = possible_classes(seen_classes(y, weight, num_classes)), shares(weight)
        rows, counted = torch.cat((x, pool), 1), torch.cat((weight > 0, unlabelled), 1)
        counted = counted | ~counted.any(1, keepdim=True)
        low = rows.masked_fill(~counted[..., None], math.inf).amin(1, keepdim=True)
        high = rows.masked_fill(~counted[..., None], -math.inf).amax(1, keepdim=True)
        initial = self._initial(shape, len(x), num_classes, generator, x)
        drawer = Drawer(self, initial, self._running(x), shape, low, high, num_classes)
        judge = CNN(self.maps, 4 * self.maps, shape=shape)
        judged = judge.initial(x, num_classes + 1, generator)
        fit_judge, fit_drawer = (
            torch.optim.Adam(parameters, self.learning_rate, _BETAS) for parameters in (judged, drawer.parameters)
        )

        def named(images: Tensor, labels: Tensor, weights: Tensor | float) -> tuple[Tensor, Tensor]:
            """Return how real images look, `[E, B]`, and the weighted cross-entropy of their classes, a sum."""
            outputs = judge.outputs(judged, images, generator)
            counts = torch.as_tensor(weights, device=x.device).expand(labels.shape)
            return outputs[..., -1], cross_entropy(outputs[..., :-1], labels, counts, possible)

        with torch.enable_grad():
            for _ in range(self.steps):
                real = rows_of(rows, counted.float().multinomial(self.batch_size, True, generator=generator))
                labels = possible.float().multinomial(self.batch_size, True, generator=generator)
                drawn = drawer.draw(labels, generator, training=True)
                labelled = named(*draw_rows(x, y, share, self.batch_size, generator))[1]
                looks_real = judge.outputs(judged, real, generator)[..., -1]
                looks_drawn, wrong = named(drawn.detach(), labels, 1 / self.batch_size)
                cost = softplus(-looks_real).mean(1).sum() + softplus(looks_drawn).mean(1).sum() + labelled + wrong
                _step(fit_judge, cost)
                looks_drawn, wrong = named(drawn, labels, 1 / self.batch_size)
                _step(fit_drawer, softplus(-looks_drawn).mean(1).sum() + wrong)
        return replace(drawer, parameters=[parameter.detach() for parameter in drawer.parameters])

    def _running(self, like: Tensor) -> list[Tensor]:
        """Return means of 0 and variances of 1 of the maps of both layers, as `Drawer.running` has them."""
        sizes = [len(like) * maps for maps in (2 * self.maps, self.maps)]
        return [torch.full((size,), value, device=like.device) for size in sizes for value in (0.0, 1.0)]

    def _initial(
        self, shape: Shape, episodes: int, num_classes: int, generator: torch.Generator, like: Tensor
    ) -> list[Tensor]:
        """Draw new parameters of the generators, in the order in which `Drawer.draw` reads them."""
        height, width, channels = shape
        area, read = -(-height // 4) * -(-width // 4), self.noise_size + num_classes
        wide, narrow = 2 * self.maps, self.maps
        device = like.device

        def drawn(*size: int, inputs: int) -> Tensor:
            return uniform((episodes, *size), inputs, generator, device)

        def constant(value: float, size: int) -> Tensor:
            return torch.full((episodes, size), value, device=device).requires_grad_()

        return [
            drawn(read, wide * area, inputs=read),
            drawn(1, wide * area, inputs=read),
            constant(1.0, wide),
            constant(0.0, wide),
            drawn(wide, narrow, _KERNEL, _KERNEL, inputs=wide * _STRIDE**2),
            constant(1.0, narrow),
            constant(0.0, narrow),
            drawn(narrow, channels, _KERNEL, _KERNEL, inputs=narrow * _STRIDE**2),
            constant(0.0, channels),
        ]


def _step(optimizer: torch.optim.Optimizer, cost: Tensor) -> None:
    optimizer.zero_grad()
    cost.backward()
    optimizer.step()
