"""Networks that turn images into codes."""

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d


class _ImageEncoder(nn.Module):
    """Convolutions down to an eighth of the height and width, and one linear layer; subclasses make the convolutions.

    Args:
        image_size: height and width of the images, which are square.
        code_size: numbers in a code F.
        channels: channels of the first convolution; the last have twice as many.
    """

    def __init__(self, image_size: int = 28, code_size: int = 64, channels: int = 32) -> None:
        super().__init__()
        self.image_size = image_size
        self.convolutions = self.make_convolutions(channels)
        side = -(-image_size // 8)
        self.code = nn.Linear(2 * channels * side * side, code_size)

    def make_convolutions(self, channels: int) -> nn.Sequential:
        """Return the convolutions, `[n, 1, H, H]` -> `[n, 2 * channels, H / 8, H / 8]`, rounded up."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        """Return the codes `[n, F]` of images `[n, P]` in [0, 1]."""
        square = images.view(-1, 1, self.image_size, self.image_size)
        return self.code(self.convolutions(square).flatten(1))


class ConvEncoder(_ImageEncoder):
    """Four 3 x 3 convolutions with batch normalisation, 28 x 28 pixels down to one code."""

    def make_convolutions(self, channels: int) -> nn.Sequential:
        widths = [1, channels, 2 * channels, 2 * channels, 2 * channels]
        strides = [2, 2, 1, 2]
        layers: list[nn.Module] = []
        for before, after, stride in zip(widths[:-1], widths[1:], strides, strict=True):
            layers += [*_convolution(before, after, stride), nn.ReLU()]
        return nn.Sequential(*layers)


class ResidualEncoder(_ImageEncoder):
    """A convolution and two residual blocks (He et al. 2016, arXiv 1512.03385, figure 2), down to one code.

    On a CPU it costs about as much as `ConvEncoder`, with a quarter more weights.
    """

    def make_convolutions(self, channels: int) -> nn.Sequential:
        layers = nn.Sequential(
            _convolution(1, channels, 2), nn.ReLU(), _Block(channels, 2 * channels), _Block(2 * channels, 2 * channels)
        )
        return layers.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a quarter faster on a CPU


class _Block(nn.Module):
    """Two 3 x 3 convolutions beside one of 1 x 1, at half the height and width."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(_convolution(before, after, 2), nn.ReLU(), _convolution(after, after, 1))
        self.around = _convolution(before, after, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        # Every other pixel, by a pool of one: with a stride of the convolution, its gradient for a few channels is
        # written beyond its memory on a CPU (https://github.com/uxlfoundation/oneDNN/issues/6035).
        return (self.inner(x) + self.around(avg_pool2d(x, 1, 2))).relu()


def _convolution(before: int, after: int, stride: int, size: int = 3) -> nn.Sequential:
    """Return a convolution with batch normalisation."""
    return nn.Sequential(nn.Conv2d(before, after, size, stride, size // 2, bias=False), nn.BatchNorm2d(after))
