"""Networks that turn images into codes."""

from torch import Tensor, nn


class ConvEncoder(nn.Module):
    """Four 3 x 3 convolutions with batch normalisation, 28 x 28 pixels down to one code.

    Args:
        image_size: height and width of the images, which are square.
        code_size: numbers in a code F.
        channels: channels of the first convolution; the others have twice as many.
    """

    def __init__(self, image_size: int = 28, code_size: int = 64, channels: int = 32) -> None:
        super().__init__()
        self.image_size = image_size
        widths = [1, channels, 2 * channels, 2 * channels, 2 * channels]
        strides = [2, 2, 1, 2]
        layers: list[nn.Module] = []
        for before, after, stride in zip(widths[:-1], widths[1:], strides, strict=True):
            layers += [nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        self.convolutions = nn.Sequential(*layers)
        side = -(-image_size // 8)
        self.code = nn.Linear(widths[-1] * side * side, code_size)

    def forward(self, images: Tensor) -> Tensor:
        """Return the codes `[n, F]` of images `[n, P]` in [0, 1]."""
        square = images.view(-1, 1, self.image_size, self.image_size)
        return self.code(self.convolutions(square).flatten(1))
