"""Adversarial training: a network that also learns the labels of rows that were moved against it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from almeta.checks import Count, Positive, Weight, check_fields
from almeta.errors import AlmetaError
from almeta.learners.attacks import fgsm, pgd, range_of
from almeta.learners.learner import Learner, Model, Rng, counted_labels
from almeta.learners.named import make_learner
from almeta.learners.networks import LogProbabilities, draw_rows, fit_network, shares
from almeta.specs import Spec


@dataclass(frozen=True)
class Adversarial:
    """A network that is trained on labelled rows and on adversarial versions of them, which keep their labels.

    In each step labelled rows are moved against the network as it then is, by `fgsm` for one step and by `pgd` for
    more, and `alpha` times their mean loss is added: Goodfellow, Shlens & Szegedy, ICLR 2015, section 6 (with as much
    weight for both); Madry et al., ICLR 2018, train on moved rows alone. It costs no label: who labels the version of
    an image that was moved so little says the same (Ducoffe & Precioso, arXiv 1802.09841, 2018).

    Args:
        base: the network: "cnn" or "mlp", `{name: ..., option: ...}`, a spec, or a learner of these kinds.
        epsilon: the largest change of a feature, in units of the features as they are scaled (`env.scale`); moved rows
            stay within the range of the labelled ones' features.
        alpha: weight of the loss of moved rows.
        attack_steps: gradients by which a row is moved.
        attack_batch: rows that are moved in each step of training; all where there are no more.

    Raises:
        AlmetaError: for an option out of range, and a base that is none of these networks.
    """

    base: str | Mapping[str, Any] | Spec | Learner = "cnn"
    epsilon: Positive = 0.1
    alpha: Weight = 1.0
    attack_steps: Count = 1
    attack_batch: Count = 64

    def __post_init__(self) -> None:
        check_fields(self, "learner")
        made = make_learner(self.base)
        if not hasattr(made, "outputs"):
            raise AlmetaError(f"learner adversarial: base={self.base} is no network that it can train; choose mlp, cnn")
        object.__setattr__(self, "_network", made)  # no field: it follows from `base`

    def fit(
        self, x: Tensor, y: Tensor, weight: Tensor, num_classes: int, start: Any = None, generator: Rng = None
    ) -> Model:
        """Fit E networks, as `Learner.fit` says; `start` has no effect, and the default generator has seed 0."""
        labels, share = counted_labels(y, weight), shares(weight)
        bounds = range_of(x, weight > 0) if x.shape[1] else None

        def loss_of_moved(network: LogProbabilities, generator: torch.Generator) -> Tensor:
            rows, of_rows, counted = draw_rows(x, labels, share, self.attack_batch, generator)
            if self.attack_steps == 1:
                moved = fgsm(network, rows, of_rows, self.epsilon, bounds)
            else:
                moved = pgd(network, rows, of_rows, self.epsilon, self.attack_steps, generator, bounds)
            losses = -network(moved).gather(2, of_rows[..., None]).squeeze(2)
            return self.alpha * (losses * counted).sum()

        penalty = loss_of_moved if x.shape[1] else None  # no row, nothing to move
        model: Model = fit_network(vars(self)["_network"], x, y, weight, num_classes, generator, penalty)
        return model
