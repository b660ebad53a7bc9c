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
        labels: `[E, N]` int64, the answer for each row; -1 where the oracle declines, and for padding.
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
            classes of the task, all equally likely.
        decline: share of rows without an answer.
        price: mean price of a query, in units of the reward.
        spread: standard deviation of the logarithm of the prices, which are log-normal; 0 makes all prices equal.

    Raises:
        AlmetaError: for an option out of range.
    """

    noise: Share | Sequence[float] = 0.0
    decline: Share = 0.0
    price: Weight = 0.0
    spread: Weight = 0.0

    def __post_init__(self) -> None:
        check_arguments(Oracle, vars(self), "oracle")
        for index, rate in enumerate(self.noise if isinstance(self.noise, Sequence) else []):
            check_value(f"oracle.noise[{index}]", rate, Share)

    def answer(self, y: Tensor, exists: Tensor, num_classes: Tensor, generator: torch.Generator) -> Answers:
        """Draw the answers for all rows of E pools.

        Args:
            y: `[E, N]` int64, true labels; any number for padding.
            exists: `[E, N]` bool, False for padding.
            num_classes: `[E]` int64, the number of classes of each task.
            generator: on the device of `y`.

        Raises:
            AlmetaError: if noise is a list for fewer classes than there are.
        """
        wrong, other, silent = torch.rand((3, *y.shape), generator=generator, device=y.device)
        normal = torch.randn(y.shape, generator=generator, device=y.device)
        true, classes = y.where(exists, 0), num_classes[:, None]
        # Adding 1 .. C-1, modulo C, gives any other class; a task of one class has no wrong answer.
        step = 1 + (other * (classes - 1)).long()
        labels = torch.where(wrong < self._noise_of(true, num_classes), (true + step) % classes, true)
        prices = self.price * (self.spread * normal - self.spread**2 / 2).exp()
        return Answers(labels.where(exists & (silent >= self.decline), -1), prices.where(exists, 0.0))

    def _noise_of(self, true: Tensor, num_classes: Tensor) -> Tensor | float:
        """Return the probability of a wrong answer for rows of true class `[E, N]`."""
        if not isinstance(self.noise, Sequence):
            return self.noise
        most = int(num_classes.max())
        if len(self.noise) < most:
            raise AlmetaError(f"oracle.noise has {len(self.noise)} shares, but a task has {most} classes; give {most}")
        return torch.tensor(self.noise, device=true.device)[true]
