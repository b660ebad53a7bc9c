"""Rows as images: their shape, and how they are turned, distorted and thickened."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, max_pool2d

from almeta.errors import AlmetaError

Shape = tuple[int, int, int]


def image_shape(features: int, shape: Sequence[int] | None, name: str) -> Shape:
    """Return height, width and channels of images of D features, stored by row, column and channel.

    Args:
        features: D.
        shape: the three, or None for a square image of 1 or 3 channels.
        name: who asks, for messages: "learner cnn".

    Raises:
        AlmetaError: if the features are no image of the shape, or of none that can be told.
    """
    if shape is not None:
        if len(shape) != 3 or math.prod(shape) != features or min(shape) < 1:
            raise AlmetaError(
                f"{name}: shape={[*shape]} does not fit the {features} features of a row; give "
                "[height, width, channels] whose product they are, or null"
            )
        height, width, channels = shape
        return height, width, channels
    for channels in (1, 3):
        if features % channels == 0 and (side := math.isqrt(features // channels)) ** 2 * channels == features:
            return side, side, channels
    raise AlmetaError(
        f"{name}: {features} features are no square image of 1 or 3 channels; give shape=[height, width, "
        "channels], leave out what makes other features of images (components, encoder), or choose mlp"
    )


def rotated(x: Tensor, degrees: Tensor, shape: Shape) -> Tensor:
    """Return images `[E, M, D]` turned about their centres, counter-clockwise by so many degrees `[E, M]`.

    Pixels between others are interpolated linearly; what was outside the image has the value of its rim.
    """
    height, width, channels = shape
    images = x.reshape(-1, height, width, channels).permute(0, 3, 1, 2)
    angle = degrees.flatten().deg2rad()
    sine, cosine, zero = angle.sin(), angle.cos(), torch.zeros_like(angle)
    # Rows and columns run from -1 to 1 whatever their number: a turn must not stretch what is not square.
    matrix = torch.stack((cosine, -sine * height / width, zero, sine * width / height, cosine, zero), 1).view(-1, 2, 3)
    return _mapped(images, matrix).permute(0, 2, 3, 1).reshape(x.shape)


def distorted(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return square images `[n, P]`, each turned, stretched, sheared and shifted a little at random.

    Drawn uniformly are the angle up to 10 degrees to either side, both scales up to 12 %, the shear up to 0.15, and
    both shifts up to a twentieth of the side. Pixels between others are interpolated linearly; what was outside has the
    value of the rim.
    """
    side, device = math.isqrt(images.shape[1]), images.device
    most = torch.tensor([math.radians(10), 0.12, 0.12, 0.15, 0.1, 0.1], device=device)
    drawn = (2 * torch.rand((len(images), 6), generator=generator, device=device) - 1) * most
    angle, wide, high, shear, right, down = drawn.unbind(1)
    across = torch.stack((angle.cos() * (1 + wide), shear - angle.sin(), right), 1)
    along = torch.stack((angle.sin(), angle.cos() * (1 + high), down), 1)
    square = images.view(-1, 1, side, side)
    return _mapped(square, torch.stack((across, along), 1)).flatten(1)


def thickened(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return square images `[n, P]`, the strokes of each thicker by up to two pixels to either side, drawn uniformly.

    A pixel becomes the brightest of itself and its eight neighbours, once or twice, and between whole steps a mean of
    both, so that bright ink on a dark ground spreads.
    """
    side = math.isqrt(images.shape[1])
    width = 2 * torch.rand((len(images), 1, 1), generator=generator, device=images.device)
    # Images are taken as channels, and those lie last: the same maxima in an eighth of the time on a CPU.
    square = images.view(-1, side, side)
    for step in (0, 1):
        channels = square[None].contiguous(memory_format=torch.channels_last)
        square = torch.lerp(square, max_pool2d(channels, 3, stride=1, padding=1)[0], (width - step).clamp(0, 1))
    return square.reshape(len(images), -1)


def changed_at_random(
    images: Tensor, share: float, change: Callable[[Tensor, torch.Generator], Tensor], generator: torch.Generator
) -> Tensor:
    """Return images `[n, P]`, a share of them, drawn at random, as `distorted` or `thickened` changes them."""
    if share == 0:
        return images
    chosen = torch.rand((len(images), 1), generator=generator, device=images.device) < share
    return torch.where(chosen, change(images, generator), images)


def _mapped(images: Tensor, matrix: Tensor) -> Tensor:
    """Return images `[n, C, H, W]` read at the places to which matrices `[n, 2, 3]` send theirs."""
    grid = affine_grid(matrix, list(images.shape), align_corners=False)
    return grid_sample(images, grid, padding_mode="border", align_corners=False)
