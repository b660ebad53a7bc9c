"""Measures of recorded one-shot streams: accuracy, requests, return, and all of them by k-th instance.

The measures are those of Table 1 and Figure 2 of Woodward & Finn, "Active One-shot Learning", arXiv
1702.06559 (2017). Index letters: `T` steps, `E` episodes, `S` label slots.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from almeta.evaluation.statistics import t_factor

# Columns of the per-episode totals.
CORRECT, PREDICTIONS, REQUESTS, STEPS, RETURN, EPISODES = range(6)

# Every scalar measure is a ratio of two totals.
RATIOS = {
    "prediction_accuracy": (CORRECT, PREDICTIONS),
    "request_rate": (REQUESTS, STEPS),
    "accuracy": (CORRECT, STEPS),
    "mean_return": (RETURN, EPISODES),
}


class StreamMeasures:
    """Measures of one-shot streams, accumulated over batches of episodes of one length.

    They keep sums and one return per episode (float64, on the device of the first batch), so that memory stays small
    and `add` never waits for the device.

    Args:
        num_slots: label slots `S`; action `S` is the request.
        labels_free: True for the supervised stream, which reveals every label: its request rate is 1.
        max_instance: last `k` of `by_instance`; later instances count in the totals only.

    Raises:
        ValueError: if `num_slots` or `max_instance` is below 1.

    Example:
        >>> actions, targets = torch.tensor([[3], [0]]), torch.tensor([[0], [0]])
        >>> rewards, instances = torch.tensor([[-0.05], [1.0]]), torch.tensor([[1], [2]])
        >>> StreamMeasures(num_slots=3).add(actions, targets, rewards, instances).summary()["accuracy"]
        0.5
    """

    def __init__(self, num_slots: int, labels_free: bool = False, max_instance: int = 10) -> None:
        if num_slots < 1 or max_instance < 1:
            raise ValueError(f"num_slots and max_instance must be at least 1, got {num_slots} and {max_instance}")
        self.num_slots = num_slots
        self.labels_free = labels_free
        self.max_instance = max_instance
        self._length: int | None = None

    def add(self, actions: Tensor, targets: Tensor, rewards: Tensor, instances: Tensor) -> StreamMeasures:
        """Count a batch of whole episodes.

        Args:
            actions: int64 `[T, E]`, 0..S-1 predict that slot, S requests the label.
            targets: int64 `[T, E]`, the true slot, 0..S-1.
            rewards: float32 `[T, E]`.
            instances: int64 `[T, E]`, `k` for the k-th item of its class in the episode, from 1.

        Returns:
            The object itself.

        Raises:
            ValueError: if the shapes differ, or the episodes are longer or shorter than those added before.
        """
        self._check(actions, targets, rewards, instances)
        correct = (actions == targets).double()
        asked = (actions == self.num_slots).double()
        predicted = 1.0 - asked
        requested = torch.ones_like(asked) if self.labels_free else asked
        one = torch.ones_like(asked)

        sums = [x.sum(dim=0) for x in (correct, predicted, requested, one, rewards.double())]
        episodes = torch.stack([*sums, one[0]])  # [6, E]
        self._totals += episodes.sum(dim=1)
        self._products += episodes @ episodes.T
        self._step_requests += requested.sum(dim=1)
        self._returns.append(episodes[RETURN])

        rows = torch.stack([correct, predicted, requested, one], dim=-1).flatten(0, 1)  # [T * E, 4]
        self._by_instance.index_add_(0, instances.clamp(max=self.max_instance + 1).flatten(), rows)
        return self

    def summary(self) -> dict[str, Any]:
        """Return the measures of all episodes added so far, ready for JSON.

        Returns:
            `prediction_accuracy` (correct predictions / predictions), `request_rate` (requests / steps),
            `accuracy` (correct predictions / steps, so that a request counts as wrong), all in [0, 1];
            `mean_return`, the undiscounted sum of rewards of an episode; `intervals`, the half-width of
            the 95 % interval of each of these four, with the episode as the independent unit;
            `by_instance`, a list for k = 1..max_instance of `instance`, `count` and the three rates;
            `episodes`, `steps` (of all episodes together) and `num_slots`. None stands for a ratio whose
            denominator is 0 and for the interval of a single episode.

        Raises:
            ValueError: if no episode was added.
        """
        self._require_episodes()
        totals, products = self._totals.tolist(), self._products.tolist()
        return {
            **{name: _ratio(totals[top], totals[bottom]) for name, (top, bottom) in RATIOS.items()},
            "intervals": {name: _half_width(totals, products, *pair) for name, pair in RATIOS.items()},
            "by_instance": self._instances(),
            "episodes": round(totals[EPISODES]),
            "steps": round(totals[STEPS]),
            "num_slots": self.num_slots,
        }

    @property
    def returns(self) -> Tensor:
        """Each episode's undiscounted sum of rewards, `[episodes]` float64, in the order they were added.

        Raises:
            ValueError: if no episode was added.
        """
        self._require_episodes()
        return torch.cat(self._returns)

    @property
    def step_request_rates(self) -> list[float]:
        """Share of episodes that request at each of the `T` steps, each in [0, 1].

        Raises:
            ValueError: if no episode was added.
        """
        self._require_episodes()
        return (self._step_requests / self._totals[EPISODES]).tolist()

    def _instances(self) -> list[dict[str, Any]]:
        rates = ("request_rate", "accuracy", "prediction_accuracy")
        return [
            {"instance": instance, "count": round(row[STEPS])}
            | {rate: _ratio(*(row[column] for column in RATIOS[rate])) for rate in rates}
            for instance, row in enumerate(self._by_instance.tolist()[1:-1], start=1)
        ]

    def _check(self, actions: Tensor, *others: Tensor) -> None:
        shapes = [tuple(tensor.shape) for tensor in (actions, *others)]
        if len(shapes[0]) != 2 or 0 in shapes[0] or len(set(shapes)) != 1:
            raise ValueError(f"actions, targets, rewards and instances must share one shape [T, E], got {shapes}")
        length = shapes[0][0]
        if self._length is None:
            self._allocate(length, actions.device)
        elif length != self._length:
            raise ValueError(f"episodes of {length} steps cannot be added to episodes of {self._length} steps")

    def _allocate(self, length: int, device: torch.device) -> None:
        zeros = functools.partial(torch.zeros, dtype=torch.float64, device=device)
        self._length = length
        self._totals = zeros(EPISODES + 1)
        self._products = zeros(EPISODES + 1, EPISODES + 1)  # sums of products, for the intervals
        self._step_requests = zeros(length)
        self._returns: list[Tensor] = []
        self._by_instance = zeros(self.max_instance + 2, STEPS + 1)  # row k is instance k; the last takes the rest

    def _require_episodes(self) -> None:
        if self._length is None:
            raise ValueError("no episode was added: there is nothing to measure")


def _ratio(top: float, bottom: float) -> float | None:
    return top / bottom if bottom else None


def _half_width(totals: list[float], products: list[list[float]], top: int, bottom: int) -> float | None:
    """Return half the 95 % interval of `sum(a) / sum(b)` over episodes, by linearisation (the delta method).

    With `r` the ratio and `n` episodes its variance is `n / (n - 1) * sum((a - r b)^2) / sum(b)^2`
    (Cochran, Sampling Techniques, 1977, section 6.3); with b = 1 it is the usual variance of a mean.
    """
    count = round(totals[EPISODES])
    if count < 2 or not totals[bottom]:
        return None
    ratio = totals[top] / totals[bottom]
    squares = products[top][top] - 2 * ratio * products[top][bottom] + ratio**2 * products[bottom][bottom]
    variance = count / (count - 1) * max(squares, 0.0) / totals[bottom] ** 2
    return t_factor(count) * variance**0.5
