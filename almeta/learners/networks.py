"""What the learners that are neural networks share: E networks at once, a softmax of linear functions at their end."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from almeta.errors import AlmetaError
from almeta.learners.learner import Rng, counted_labels, possible_classes, rows_of, seen_classes

# Numbers of rows that are computed at once: large pools are taken in blocks of rows, so that memory stays bounded.
_BLOCK = 1 << 20


@dataclass(frozen=True)
class LastLayer:
    """E linear layers, and the softmax of what they return.

    Attributes:
        weights: `[E, H, C]` float32.
        bias: `[E, 1, C]` float32.
        possible: `[E, C]` bool, the classes that were seen in the fit, or all where none was seen.
    """

    weights: Tensor
    bias: Tensor
    possible: Tensor

    @classmethod
    def after(cls, weights: Tensor, bias: Tensor, seen: Tensor) -> "LastLayer":
        """Return the layer after a fit to the classes `seen` `[E, C]`; without a label all classes are alike."""
        labelled = seen.any(1)[:, None, None]
        return cls(weights * labelled, bias * labelled, possible_classes(seen))

    def probabilities(self, hidden: Tensor) -> Tensor:
        """Return class probabilities `[E, M, C]` of hidden units `[E, M, H]`; 0 for classes that are not possible."""
        return self.logits(hidden).softmax(-1)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return what the softmax reads, `[E, M, C]`; -inf for classes that are not possible."""
        logits = torch.baddbmm(self.bias, hidden, self.weights)
        return logits.masked_fill(~self.possible[:, None], -torch.inf)

    def sample(self, hidden: Tensor, kept: Tensor) -> Tensor:
        """Return `[E, S, M, C]`: the same of S networks, whose hidden units are multiplied by `kept` `[E, S, H]`."""
        weights = self.weights[:, :, None] * kept.mT[..., None]  # [E, H, S, C]: no unit is multiplied once a row
        logits = (hidden @ weights.flatten(2)).unflatten(2, weights.shape[2:]).transpose(1, 2) + self.bias[:, None]
        return logits.masked_fill(~self.possible[:, None, None], -torch.inf).softmax(-1)


def errors(probabilities: Tensor) -> Iterator[Tensor]:
    """Yield, for each label, the derivative `[E, M, C]` of the cross-entropy of rows by their logits: p - e_c.

    A class that was not seen has p = 0, and is treated as any other.
    """
    for label in range(probabilities.shape[-1]):
        error = probabilities.clone()
        error[..., label] -= 1
        yield error


def square(x: Tensor) -> Tensor:
    """Return the sum of the squares of the last axis."""
    return x.square().sum(-1)


def uniform(shape: Sequence[int], inputs: int, generator: torch.Generator, device: torch.device) -> Tensor:
    """Draw parameters of a layer with so many inputs, uniform as in torch.nn.Linear and torch.nn.Conv2d."""
    drawn = torch.rand(shape, generator=generator, device=device)
    return ((2 * drawn - 1) / math.sqrt(inputs)).requires_grad_()


def draw_kept(shape: Sequence[int], dropout: float, generator: torch.Generator, device: torch.device) -> Tensor:
    """Draw what units are multiplied by in dropout: 0, or what leaves their mean as it is."""
    return (torch.rand(shape, generator=generator, device=device) >= dropout) / (1 - dropout)


def draw_samples(
    sizes: Sequence[int], num_samples: int, dropout: float, generator: Rng, like: Tensor
) -> tuple[Tensor, ...]:
    """Draw the S networks of a `sample` of E networks: `[E, S, H]` for each layer of H units; `like` is `[E, ...]`.

    Raises:
        AlmetaError: if no unit is ever left out, so that all S networks would be the same.
    """
    if not dropout:
        raise AlmetaError(
            "the learner has dropout=0, and networks that leave no unit out are all alike; set its dropout above 0, or "
            "choose a strategy that goes by one network, such as entropy"
        )
    generator = generator or torch.Generator(like.device).manual_seed(0)
    return tuple(draw_kept((len(like), num_samples, size), dropout, generator, like.device) for size in sizes)


class Network(Protocol):
    """The settings of a network, of which E are trained at once."""

    @property
    def steps(self) -> int:
        """Of Adam."""

    @property
    def learning_rate(self) -> float:
        """Of Adam."""

    @property
    def weight_decay(self) -> float:
        """Weight of half the squared weights in the loss."""

    def initial(self, x: Tensor, outputs: int, generator: torch.Generator) -> list[Tensor]:
        """Draw parameters of E networks for rows like x `[E, L, D]`: weights and biases in turn, layer by layer."""

    def outputs(self, parameters: Sequence[Tensor], x: Tensor, generator: Rng = None) -> Tensor:
        """Return what the last layer returns, `[E, B, outputs]`, of rows `[E, B, D]`; a generator draws dropout."""

    def draw(self, x: Tensor, y: Tensor, share: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Return rows `[E, B, D]` of a step, their labels and their shares in the loss, both `[E, B]`."""

    def model(self, parameters: Sequence[Tensor], features: int, seen: Tensor) -> Any:
        """Return the model of trained parameters, for rows of D features, after a fit to the classes `[E, C]` seen."""


LogProbabilities = Callable[[Tensor], Tensor]
Penalty = Callable[[LogProbabilities, torch.Generator], Tensor]


def fit_network(
    network: Network,
    x: Tensor,
    y: Tensor,
    weight: Tensor,
    num_classes: int,
    generator: Rng = None,
    penalty: Penalty | None = None,
) -> Any:
    """Fit E networks as `Learner.fit` says, and return their model; the default generator has seed 0.

    Args:
        network: the settings.
        x: `[E, L, D]`, as in `Learner.fit`.
        y: `[E, L]`.
        weight: `[E, L]`.
        num_classes: C.
        generator: draws initial weights, rows and dropout.
        penalty: what is added to the loss in each step, a sum over the episodes. It is called with the networks as they
            are, rows `[E, B, D]` -> log-probabilities `[E, B, C]` without dropout, and with the generator.
    """
    generator = generator or torch.Generator(x.device).manual_seed(0)
    y, share = counted_labels(y, weight), shares(weight)
    seen = seen_classes(y, weight, num_classes)
    possible = possible_classes(seen)
    parameters = network.initial(x, num_classes, generator)

    def log_probabilities(rows: Tensor) -> Tensor:
        return possible_log_softmax(network.outputs(parameters, rows), possible)

    def loss() -> Tensor:
        rows, labels, counted = network.draw(x, y, share, generator)
        cost = cross_entropy(network.outputs(parameters, rows, generator), labels, counted, possible)
        return cost if penalty is None else cost + penalty(log_probabilities, generator)

    return network.model(train(network, parameters, parameters[::2], loss), x.shape[2], seen)


def train(
    network: Any, parameters: Sequence[Tensor], decayed: Sequence[Tensor], loss: Callable[[], Tensor]
) -> list[Tensor]:
    """Train E networks at once by Adam, and return their parameters, detached.

    Args:
        network: says the number of `steps`, the `learning_rate` and the `weight_decay`.
        parameters: all of them, with a leading axis E.
        decayed: those whose squares are part of the loss.
        loss: the loss of a step, summed over episodes, so that each network has the gradient of its own loss.
    """
    optimizer = torch.optim.Adam(parameters, network.learning_rate)
    with torch.enable_grad():
        for _ in range(network.steps):
            cost = loss() + 0.5 * network.weight_decay * sum(p.square().sum() for p in decayed)
            optimizer.zero_grad()
            cost.backward()
            optimizer.step()
    return [p.detach() for p in parameters]


def cross_entropy(logits: Tensor, y: Tensor, share: Tensor, possible: Tensor) -> Tensor:
    """Return the cross-entropy of logits `[E, B, C]` and labels `[E, B]`, weighted by shares `[E, B]`, as a sum."""
    return -(possible_log_softmax(logits, possible).gather(2, y[..., None]).squeeze(2) * share).sum()


def possible_log_softmax(logits: Tensor, possible: Tensor) -> Tensor:
    """Return log-probabilities `[E, B, C]`, finite and very low for classes that are not possible `[E, C]`."""
    return logits.masked_fill(~possible[:, None], -1e8).log_softmax(-1)


def draw_rows(
    x: Tensor, y: Tensor, share: Tensor, batch_size: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Return rows of a step drawn by their shares, their labels and their shares in the loss; all if there are few."""
    if x.shape[1] <= batch_size:
        return x, y, share
    labelled = share.any(1, keepdim=True)
    drawn = share.where(labelled, 1.0).multinomial(batch_size, replacement=True, generator=generator)
    return rows_of(x, drawn), y.gather(1, drawn), labelled.expand_as(drawn) / batch_size


def shares(weight: Tensor) -> Tensor:
    """Return the rows' shares in the loss, `[E, L]`, of their weights."""
    return weight / weight.sum(1, keepdim=True).clamp_min(1e-9)


def in_blocks(function: Callable[[Tensor], Tensor], x: Tensor, axis: int = 1, cost: int = 1) -> Tensor:
    """Return what a function returns for rows `[E, M, D]`, block by block of rows, joined along `axis`.

    Args:
        function: takes rows `[E, B, D]`.
        x: the rows.
        axis: of the rows in what it returns.
        cost: how many numbers it makes of one of x, about.
    """
    rows = max(1, _BLOCK // (cost * max(1, len(x) * x.shape[2])))
    return torch.cat([function(part) for part in x.split(rows, 1)], axis)
