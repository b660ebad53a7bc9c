"""Virtual adversarial training: a network whose answer should not change where a row is moved a little."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from almeta.checks import Count, Positive, Weight, check_fields
from almeta.errors import AlmetaError
from almeta.learners.learner import Learner, Model, PoolFit, Rng, rows_of
from almeta.learners.named import make_learner
from almeta.learners.networks import LogProbabilities, fit_network
from almeta.specs import Spec


def divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Return KL(p || q) `[...]` of log-probabilities `[..., C]`, which are finite."""
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def virtual_adversarial_loss(
    network: LogProbabilities, x: Tensor, epsilon: float, xi: float, power_iterations: int, generator: torch.Generator
) -> Tensor:
    """Return how far a network's answers move by the worst small move of each row, `[E, B]`.

    T. Miyato, S. Maeda, M. Koyama & S. Ishii, Virtual adversarial training, IEEE TPAMI 2018: KL(p(x) || p(x + r)), in
    which p(x) counts as constant (equation 5), r has length epsilon along d, and d is found from a random direction by
    power iteration: d is the direction of the gradient of KL(p(x) || p(x + xi d)) by d (equations 10 to 12).

    Args:
        network: rows `[E, B, D]` -> log-probabilities `[E, B, C]`.
        x: `[E, B, D]`.
        epsilon: length of the move.
        xi: length of the move by which a gradient is taken.
        power_iterations: number of gradients.
        generator: draws the first directions.
    """
    with torch.no_grad():
        log_p = network(x)
    d = _unit(torch.randn(x.shape, generator=generator, device=x.device))
    for _ in range(power_iterations):
        d = d.requires_grad_()
        distance = divergence(log_p, network(x + xi * d)).sum()
        d = _unit(torch.autograd.grad(distance, d)[0])
    return divergence(log_p, network(x + epsilon * d))


@dataclass(frozen=True)
class VAT:
    """A network that is trained on labels, and to answer alike around labelled and unlabelled rows.

    The loss is that of the base, and `alpha` times the mean of `virtual_adversarial_loss` over rows drawn from all,
    labelled or not: Miyato et al. 2018, equation 7. Without unlabelled rows they are the labelled ones.

    Args:
        base: the network: "mlp" or "cnn", `{name: ..., option: ...}`, a spec, or a learner of these kinds.
        epsilon: length of the move, in units of the features as they are scaled (`env.scale`).
        alpha: weight of the second loss.
        xi: length of the move by which the direction is found.
        power_iterations: gradients by which the direction is found.
        pool_batch: rows drawn for the second loss in each step.

    Raises:
        AlmetaError: for an option out of range, and a base that is none of these networks.
    """

    base: str | Mapping[str, Any] | Spec | Learner = "mlp"
    epsilon: Positive = 2.0
    alpha: Weight = 1.0
    xi: Positive = 0.1
    power_iterations: Count = 1
    pool_batch: Count = 64

    def __post_init__(self) -> None:
        check_fields(self, "learner")
        made = make_learner(self.base)
        if not hasattr(made, "outputs"):
            raise AlmetaError(f"learner vat: base={self.base} is no network that it can train; choose mlp or cnn")
        object.__setattr__(self, "_network", made)  # no field: it follows from `base`

    def fit(
        self, x: Tensor, y: Tensor, weight: Tensor, num_classes: int, start: Any = None, generator: Rng = None
    ) -> Model:
        """Fit E networks to labelled rows alone, as `Learner.fit` says; the default generator has seed 0."""
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
        """Fit E networks, as `ReadsPool.fit_with_pool` says; `start` has no effect. It assumes no labels."""
        rows, counted = torch.cat((x, pool), 1), torch.cat((weight > 0, unlabelled), 1).float()
        counted = counted.where(counted.any(1, keepdim=True), 1.0)  # an episode without rows learns nothing anyway

        def smoothness(network: LogProbabilities, generator: torch.Generator) -> Tensor:
            drawn = counted.multinomial(self.pool_batch, replacement=True, generator=generator)
            moved = virtual_adversarial_loss(
                network, rows_of(rows, drawn), self.epsilon, self.xi, self.power_iterations, generator
            )
            return self.alpha * moved.mean(1).sum()

        penalty = smoothness if rows.shape[1] else None
        model = fit_network(vars(self)["_network"], x, y, weight, num_classes, generator, penalty)
        return PoolFit(model, torch.full_like(unlabelled, -1, dtype=torch.int64))


def _unit(d: Tensor) -> Tensor:
    """Return rows `[..., D]` of length 1; where the length is 0, 0."""
    largest = d.abs().amax(-1, keepdim=True).clamp_min(1e-30)  # so that squares of tiny gradients do not vanish
    return torch.nn.functional.normalize(d / largest, dim=-1)
