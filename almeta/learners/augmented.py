"""Augmentation: a learner is also fit to turned copies of the labelled images, and to images that a network draws."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from almeta.checks import Count, Positive, Weight, Within, check_fields
from almeta.learners.gan import GAN
from almeta.learners.images import Shape, image_shape, rotated
from almeta.learners.learner import Learner, Model, PoolFit, Rng, check_learns, counted_labels, fit_to_pool
from almeta.learners.named import make_learner
from almeta.specs import Spec


@dataclass(frozen=True)
class Augmented:
    """A learner of images that is fit to more than the labelled ones.

    To turned copies of them, and to images of their classes by a `GAN` that is trained on them and on the unlabelled
    images of the pool, as in C. Bowles et al., GAN augmentation, arXiv 1810.10863 (2018). Each copy counts as much as
    its image. Pixels should be as they are, or scaled alike (`env.scale=minmax` or none): a mean image that is
    subtracted would be turned, too.

    Args:
        base: the learner: a name, `{name: ..., option: ...}`, a spec, or a learner.
        rotation: largest angle of a turned copy, in degrees; 0 for no turned copies.
        copies: turned copies of an image.
        generated: images that are drawn, as a multiple of the labelled ones; 0 for no network.
        noise_size: of the `GAN`, as are `maps`, `steps`, `batch_size` and `learning_rate`.
        maps: see `noise_size`.
        gan_steps: see `noise_size`.
        batch_size: see `noise_size`.
        learning_rate: see `noise_size`.
        shape: height, width and channels of an image; None for a square image of 1 or 3 channels.

    Raises:
        AlmetaError: for an option out of range, and an unknown base, and one that learns numbers.
    """

    base: str | Mapping[str, Any] | Spec | Learner = "cnn"
    rotation: Annotated[float, Within(0, 180)] = 15.0
    copies: Count = 4
    generated: Weight = 0.0
    noise_size: Count = 32
    maps: Count = 8
    gan_steps: Count = 200
    batch_size: Count = 32
    learning_rate: Positive = 0.002
    shape: Sequence[int] | None = None

    def __post_init__(self) -> None:
        check_fields(self, "learner")
        made = make_learner(self.base)
        check_learns("classes", made, f"learner augmented: base={self.base}")
        object.__setattr__(self, "_base", made)  # no field: it follows from `base`

    def fit(
        self, x: Tensor, y: Tensor, weight: Tensor, num_classes: int, start: Any = None, generator: Rng = None
    ) -> Model:
        """Fit to augmented rows, as `Learner.fit` says; `start` has no effect, the default generator has seed 0.

        Raises:
            AlmetaError: if the features are no image of the shape, or of none that can be told.
        """
        nothing = torch.zeros(len(x), 0, dtype=torch.bool, device=x.device)
        return self.fit_with_pool(x, y, weight, num_classes, x[:, :0], nothing, generator=generator).model

    def fit_with_pool(
        self,
        x: Tensor,
        y: Tensor,
        weight: Tensor,
        num_classes: int,
        pool: Tensor,
        unlabelled: Tensor,
        start: Any = None,
        generator: Rng = None,
    ) -> PoolFit:
        """Fit the base to augmented rows, as `ReadsPool.fit_with_pool` says; `start` has no effect.

        Raises:
            AlmetaError: as `fit`.
        """
        generator = generator or torch.Generator(x.device).manual_seed(0)
        shape, y = image_shape(x.shape[2], self.shape, "learner augmented"), counted_labels(y, weight)
        more = [(x, y, weight)]
        if x.shape[1] and self.rotation > 0:
            more.append(self._turned(x, y, weight, shape, generator))
        if x.shape[1] and self.generated > 0:
            gan = GAN(self.noise_size, self.maps, self.gan_steps, self.batch_size, self.learning_rate)
            drawer = gan.fit(x, y, weight, num_classes, pool, unlabelled, shape, generator)
            # One image or several for each labelled one, of its class; of rows that do not count, they do not count.
            rows = torch.arange(round(self.generated * x.shape[1]), device=x.device) % x.shape[1]
            more.append((drawer.draw(y[:, rows], generator), y[:, rows], weight[:, rows]))
        x, y, weight = (torch.cat(parts, 1) for parts in zip(*more, strict=True))
        return fit_to_pool(vars(self)["_base"], x, y, weight, num_classes, pool, unlabelled, None, generator)

    def _turned(
        self, x: Tensor, y: Tensor, weight: Tensor, shape: Shape, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the turned copies of all rows, their labels and weights."""
        x, y, weight = x.repeat(1, self.copies, 1), y.repeat(1, self.copies), weight.repeat(1, self.copies)
        degrees = self.rotation * (2 * torch.rand(y.shape, generator=generator, device=x.device) - 1)
        return rotated(x, degrees, shape), y, weight
