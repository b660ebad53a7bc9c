"""Oracles, who answer queries: perfectly, with mistakes, for a price, or not at all."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from almeta.checks import Share, Weight, check_arguments, check_value
from almeta.errors import AlmetaError


class Answers(NamedTuple):
    """The answers of the oracles of E episodes, drawn before the first query.

    Attributes:
        labels: `[E, N]` int64, the answer for each row; -1 where the oracle declines, and for padding. Of numbers
            float32; NaN there.
        prices: `[E, N]` float32, the price of a query of the row; 0 for padding.
    """

    labels: Tensor
    prices: Tensor


@dataclass(frozen=True)
class Oracle:
    """An oracle; by default it is perfect and free of charge.

    All answers are drawn when an episode begins, so that strategies compared on the same episode get the same answers.
    The random numbers do not depend on the options: from one state of the generator, an oracle of another price makes
    the same mistakes, and one with more noise makes those and others.

    A declined query spends budget and costs its price, as any other. Its row gets no label and cannot be queried again.

    Args:
        noise: share of wrong answers, or a list of shares, one for each true class. A wrong answer is one of the other
            classes of the task, all equally likely. Numbers have a `deviation` instead.
        deviation: of targets that are numbers, the standard deviation of an answer's normal noise, in units of that of
            the data set's targets.
        region: share of the rows whose answers have that noise: those nearest to a row drawn at random; 1 for all.
        decline: share of rows without an answer.
        price: mean price of a query, in units of the reward.
        spread: standard deviation of the logarithm of the prices, which are log-normal; 0 makes all prices equal.

    Raises:
        AlmetaError: for an option out of range.
    """

    noise: Share | Sequence[float] = 0.0
    deviation: Weight = 0.0
    region: Share = 1.0
    decline: Share = 0.0
    price: Weight = 0.0
    spread: Weight = 0.0

    def __post_init__(self) -> None:
        check_arguments(Oracle, vars(self), "oracle")
        for index, rate in enumerate(self.noise if isinstance(self.noise, Sequence) else []):
            check_value(f"oracle.noise[{index}]", rate, Share)

    def answer(
        self, y: Tensor, exists: Tensor, num_classes: Tensor, generator: torch.Generator, x: Tensor | None = None
    ) -> Answers:
        """Draw the answers for all rows of E pools.

        Args:
            y: `[E, N]` int64, true labels, or float32, true numbers; any number for padding.
            exists: `[E, N]` bool, False for padding.
            num_classes: `[E]` int64, the number of classes of each task.
            generator: on the device of `y`.
            x: `[E, N, D]` float32, the rows, for numbers with noise in a `region`.

        Raises:
            AlmetaError: if noise is a list for fewer classes than there are, if numbers have `noise`, and if classes
                have a `deviation`.
        """
        self._check_kind(y)
        wrong, other, silent = torch.rand((3, *y.shape), generator=generator, device=y.device)
        normal = torch.randn(y.shape, generator=generator, device=y.device)
        prices = (self.price * (self.spread * normal - self.spread**2 / 2).exp()).where(exists, 0.0)
        answered = exists & (silent >= self.decline)
        if y.is_floating_point():
            drawn = torch.randn(y.shape, generator=generator, device=y.device)
            noisy = exists if x is None or self.region == 1 else _near_one_row(x, exists, other, self.region)
            return Answers((y + self.deviation * drawn * noisy).where(answered, torch.nan), prices)
        true, classes = y.where(exists, 0), num_classes[:, None]
        # Adding 1 .. C-1, modulo C, gives any other class; a task of one class has no wrong answer.
        step = 1 + (other * (classes - 1)).long()
        labels = torch.where(wrong < self._noise_of(true, num_classes), (true + step) % classes, true)
        return Answers(labels.where(answered, -1), prices)

    def _check_kind(self, y: Tensor) -> None:
        """Raise AlmetaError for mistakes that targets of this kind cannot have."""
        if y.is_floating_point() and self.noise != 0:
            raise AlmetaError(
                f"oracle.noise={self.noise} is a share of wrong classes, and targets are numbers; set oracle.deviation"
            )
        if not y.is_floating_point() and self.deviation > 0:
            raise AlmetaError(
                f"oracle.deviation={self.deviation} is noise of numbers, and targets are classes; set oracle.noise"
            )

    def _noise_of(self, true: Tensor, num_classes: Tensor) -> Tensor | float:
        """Return the probability of a wrong answer for rows of true class `[E, N]`."""
        if not isinstance(self.noise, Sequence):
            return self.noise
        most = int(num_classes.max())
        if len(self.noise) < most:
            raise AlmetaError(f"oracle.noise has {len(self.noise)} shares, but a task has {most} classes; give {most}")
        return torch.tensor(self.noise, device=true.device)[true]


def _near_one_row(x: Tensor, exists: Tensor, drawn: Tensor, share: float) -> Tensor:
    """Return a share of the rows `[E, N]` bool, those nearest to one of them: the row of the largest number drawn."""
    centre = drawn.masked_fill(~exists, -1.0).argmax(1)
    distance = (x - x[torch.arange(len(x), device=x.device), centre][:, None]).square().sum(-1)
    rank = distance.masked_fill(~exists, torch.inf).argsort(1).argsort(1)
    return exists & (rank < (share * exists.sum(1, keepdim=True)).round())
