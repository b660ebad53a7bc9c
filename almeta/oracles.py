"""Who answers queries: always and rightly, or with mistakes, for a price, or not at all."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from almeta.checks import Share, Weight, check_arguments, check_value
from almeta.errors import AlmetaError


@dataclass(frozen=True)
class Answers:
    """What E episodes' oracles will say, whoever asks and whenever.

    Attributes:
        labels: `[E, N]` int64, the answer for each row; -1 where it declines, and for rows that pad.
        prices: `[E, N]` float32, what asking for the row costs; 0 for rows that pad.
    """

    labels: Tensor
    prices: Tensor


@dataclass(frozen=True)
class Oracle:
    """One who answers; perfect and free of charge unless told otherwise.

    All is drawn when an episode begins, so that strategies compared on the same episode hear the same. The numbers
    drawn do not depend on the options: from one state of the generator, an oracle of another price makes the same
    mistakes, and one that makes more mistakes makes those too.

    A query that is declined spends budget and costs its price, as any other; the row stays without a label and cannot
    be asked for again.

    Args:
        noise: share of wrong answers, or a list of such shares, one for each true class. A wrong answer is any other
            class of the task, each as likely.
        decline: share of rows for which there is no answer.
        price: mean price of a query, in units of the reward.
        spread: standard deviation of the logarithm of the prices, which are log-normal; 0 makes them all equal.

    Raises:
        AlmetaError: for an option out of range.
    """

    noise: Share | Sequence[float] = 0.0
    decline: Share = 0.0
    price: Weight = 0.0
    spread: Weight = 0.0

    def __post_init__(self) -> None:
        check_arguments(Oracle, vars(self), "oracle")
        for index, rate in enumerate(self._rates()):
            check_value(f"oracle.noise[{index}]", rate, Share)

    def answer(self, y: Tensor, exists: Tensor, num_classes: Tensor, generator: torch.Generator) -> Answers:
        """Draw the answers for all rows of E pools.

        Args:
            y: `[E, N]` int64, true labels; of rows that pad, anything.
            exists: `[E, N]` bool, False for rows that pad.
            num_classes: `[E]` int64, classes of each task; y lies below.
            generator: on the device of `y`.

        Raises:
            AlmetaError: if noise is given for fewer classes than there are.
        """
        wrong, other, silent = torch.rand((3, *y.shape), generator=generator, device=y.device)
        normal = torch.randn(y.shape, generator=generator, device=y.device)
        true, classes = y.where(exists, 0), num_classes[:, None]
        # 1 .. C-1 classes further on is any class but its own; a task of one class has no wrong answer.
        step = 1 + (other * (classes - 1)).long()
        labels = torch.where(wrong < self._noise_of(true, num_classes), (true + step) % classes, true)
        prices = self.price * (self.spread * normal - self.spread**2 / 2).exp()
        return Answers(labels.where(exists & (silent >= self.decline), -1), prices.where(exists, 0.0))

    def _rates(self) -> list[float]:
        return list(self.noise) if isinstance(self.noise, Sequence) else []

    def _noise_of(self, true: Tensor, num_classes: Tensor) -> Tensor | float:
        """Probability of a wrong answer for rows of true class `[E, N]`."""
        if not isinstance(self.noise, Sequence):
            return self.noise
        most = int(num_classes.max())
        if len(self.noise) < most:
            raise AlmetaError(f"oracle.noise has {len(self.noise)} shares, but a task has {most} classes; give {most}")
        return torch.tensor(self.noise, device=true.device)[true]
