"""Siamese networks: codes of one class close together, of two far apart, and the nearest class mean of codes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from almeta.checks import Count, Positive, check_fields
from almeta.errors import AlmetaError
from almeta.learners.learner import Learner, Rng, counted_labels
from almeta.learners.named import make_learner
from almeta.learners.networks import in_blocks, shares, train
from almeta.learners.prototype import Prototype, PrototypeModel
from almeta.specs import Spec


def contrastive_loss(codes: Tensor, y: Tensor, counted: Tensor, margin: float) -> Tensor:
    """Return the contrastive loss of all pairs, half for pairs of each kind, `[E]`.

    R. Hadsell, S. Chopra & Y. LeCun, CVPR 2006, equation 4: two rows of one class cost their squared distance, two of
    different classes the square of what their distance is short of the margin. A kind without pairs costs nothing.

    Args:
        codes: `[E, B, F]`.
        y: `[E, B]` int64, labels.
        counted: `[E, B]` bool, the rows that count.
        margin: distance that different classes should have.
    """
    distances = torch.cdist(codes, codes)
    same = y[:, :, None] == y[:, None]
    both = counted[:, :, None] & counted[:, None] & ~torch.eye(y.shape[1], dtype=torch.bool, device=y.device)
    costs = ((same & both, distances.square()), (~same & both, (margin - distances).clamp_min(0).square()))
    return sum((cost * pairs).sum((1, 2)) / pairs.sum((1, 2)).clamp_min(1) for pairs, cost in costs) / 2  # type: ignore[return-value]


@dataclass(frozen=True)
class SiameseModel:
    """Trained encoders, and the class means of their codes.

    Attributes:
        network: how codes are made.
        parameters: of E networks.
        means: the nearest-mean classifier of codes.
    """

    network: Any
    parameters: list[Tensor]
    means: PrototypeModel

    def probabilities(self, x: Tensor) -> Tensor:
        """Return class probabilities `[E, M, C]` float32 of rows `[E, M, D]`."""
        return self.means.probabilities(self.codes(x))

    def codes(self, x: Tensor) -> Tensor:
        """Return codes `[E, M, F]` float32 of rows `[E, M, D]`."""
        return in_blocks(lambda part: self.network.outputs(self.parameters, part), x)


@dataclass(frozen=True)
class Siamese:
    """An encoder trained by `contrastive_loss` on the labelled rows; a row has the class whose mean code is nearest.

    Args:
        base: the network: "mlp" or "cnn", `{name: ..., option: ...}`, a spec, or a learner of these kinds.
        code_size: numbers in a code F.
        margin: distance that codes of different classes should have.
        temperature: softness of the probabilities: squared distances of codes are divided by it and by F.

    Raises:
        AlmetaError: for an option out of range, and a base that is none of these networks.
    """

    base: str | Mapping[str, Any] | Spec | Learner = "mlp"
    code_size: Count = 16
    margin: Positive = 2.0
    temperature: Positive = 0.05

    def __post_init__(self) -> None:
        check_fields(self, "learner")
        made = make_learner(self.base)
        if not hasattr(made, "outputs"):
            raise AlmetaError(f"learner siamese: base={self.base} is no network that it can train; choose mlp or cnn")
        object.__setattr__(self, "_network", made)  # no field: it follows from `base`

    def fit(
        self, x: Tensor, y: Tensor, weight: Tensor, num_classes: int, start: Any = None, generator: Rng = None
    ) -> SiameseModel:
        """Fit E encoders, as `Learner.fit` says; `start` has no effect, and the default generator has seed 0."""
        network = vars(self)["_network"]
        generator = generator or torch.Generator(x.device).manual_seed(0)
        labels, share = counted_labels(y, weight), shares(weight)
        parameters = network.initial(x, self.code_size, generator)

        def loss() -> Tensor:
            rows, drawn, counted = network.draw(x, labels, share, generator)
            codes = network.outputs(parameters, rows, generator)
            return contrastive_loss(codes, drawn, counted > 0, self.margin).sum()

        trained = train(network, parameters, parameters[::2], loss)
        codes = in_blocks(lambda part: network.outputs(trained, part), x)
        means = Prototype(self.temperature).fit(codes * (weight > 0)[..., None], y, weight, num_classes)
        return SiameseModel(network, trained, means)
