"""Uncertainty sampling: ask for the rows of which the learner is least sure.

Lewis & Gale, "A Sequential Algorithm for Training Text Classifiers", SIGIR 1994; the three measures as in Settles,
"Active Learning Literature Survey" (2009), section 3.1. For two classes all three rank the rows alike.

Classes of probability 0, such as those that pad or were not seen yet, change none of them.
"""

import torch
from torch import Tensor

from almeta.pool import PoolState
from almeta.strategies.strategy import PoolStrategy


def least_confident(probabilities: Tensor) -> Tensor:
    """Return 1 - p1, with p1 the largest of the class probabilities `[..., C]` -> `[...]` in [0, 1 - 1/C]."""
    return 1 - probabilities.amax(-1)


def margin(probabilities: Tensor) -> Tensor:
    """Return -(p1 - p2), with p1 and p2 the two largest of the class probabilities `[..., C]` -> `[...]` in [-1, 0].

    The sign makes a smaller margin a higher utility. With one class, p2 is 0.
    """
    first = second = torch.zeros_like(probabilities[..., 0])
    for p in probabilities.unbind(-1):  # many times faster than topk where classes are few
        second = torch.maximum(second, torch.minimum(first, p))
        first = torch.maximum(first, p)
    return second - first


def entropy(probabilities: Tensor) -> Tensor:
    """Return -sum p log p of the class probabilities `[..., C]` -> `[...]` in [0, log C], in nats."""
    return torch.special.entr(probabilities).sum(-1)


class LeastConfident(PoolStrategy):
    """Ask where the probability of the likeliest class is lowest."""

    name = "least_confident"

    def score(self, state: PoolState) -> Tensor:
        return least_confident(state.probabilities)


class Margin(PoolStrategy):
    """Ask where the two likeliest classes are nearest to each other: Scheffer, Decomain & Wrobel, IDA 2001."""

    name = "margin"
    lowest = -1.0

    def score(self, state: PoolState) -> Tensor:
        return margin(state.probabilities)


class Entropy(PoolStrategy):
    """Ask where the class probabilities have the highest entropy."""

    name = "entropy"

    def score(self, state: PoolState) -> Tensor:
        return entropy(state.probabilities)
