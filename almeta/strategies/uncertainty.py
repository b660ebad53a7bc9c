"""Uncertainty sampling: ask for the rows of which the learner is least sure.

Lewis & Gale, "A Sequential Algorithm for Training Text Classifiers", SIGIR 1994; the three measures as in Settles,
"Active Learning Literature Survey" (2009), section 3.1. For two classes all three rank the rows alike.

Classes of probability 0, such as those that pad or were not seen yet, change none of them.

Each strategy can prefer rows of classes that are rare among the labels (`balance`), to the end of Bengar et al.,
"Class-Balanced Active Learning for Image Classification", WACV 2022. And each can sum the uncertainty of an image over
turned copies of it (`rotations`).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from almeta.checks import Weight
from almeta.learners.images import image_shape, rotated
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


def rarity(labels: Tensor, pending: Tensor, probabilities: Tensor, num_classes: Tensor) -> Tensor:
    """Return how rare the predicted class of each row is among the labels so far.

    The rarity of a class is the mean number of labels over all classes, divided by the number of its own: the
    "balanced" class weights after King & Zeng, "Logistic Regression in Rare Events Data", Political Analysis 2001.
    Each class counts one label more than it has, so that a class without labels has a rarity, too. Rows that wait for
    their label count for their predicted class.

    Args:
        labels: `[E, N]` int64, -1 for rows without a label.
        pending: `[E, K]` int64, rows that wait for their label; -1 for none.
        probabilities: `[E, N, C]` float32; the likeliest class is the predicted one.
        num_classes: `[E]` int64.

    Returns:
        `[E, N]` float32 above 0; 1 everywhere before there is any label.
    """
    predicted = probabilities.argmax(-1)
    expected = predicted.gather(1, pending.clamp_min(0)).where(pending >= 0, -1)
    known = torch.cat((labels, expected), 1)  # [E, N + K]
    counts = torch.zeros_like(probabilities[:, 0]).scatter_add_(1, known.clamp_min(0), (known >= 0).float())
    mean = counts.sum(1, keepdim=True) / num_classes[:, None]
    return ((mean + 1) / (counts + 1)).gather(1, predicted)


class _Uncertainty(PoolStrategy):
    """Scores rows by their class probabilities.

    Args:
        balance: how much rare classes are preferred: with more than 0, the uncertainty, counted from its lowest value
            on, is multiplied by the `rarity` of the row's predicted class to this power. Then the picks of a query
            also differ without answers between them.
        rotations: degrees, counter-clockwise, by which images are turned: the uncertainty of an image is the sum of its
            own and of that of each turned copy. Images are square, of 1 or 3 channels.
    """

    def __init__(self, balance: Weight = 0.0, rotations: Sequence[float] = ()) -> None:
        self.balance, self.spreads, self.rotations = balance, balance > 0, tuple(rotations)
        # `score` has moved the lowest uncertainty to 0 where it is multiplied.
        self.lowest = 0.0 if balance > 0 else self._lowest_sum

    @property
    def _lowest_sum(self) -> float:
        """The lowest uncertainty, of an image and of its turned copies."""
        return type(self).lowest * (1 + len(self.rotations))

    def score(self, state: PoolState) -> Tensor:
        uncertainty = self.uncertainty(state.probabilities)
        for degrees in self.rotations:
            uncertainty = uncertainty + self._turned(state, degrees)
        if self.balance == 0:
            return uncertainty
        rare = rarity(state.labels, state.pending, state.probabilities, state.num_classes)
        return (uncertainty - self._lowest_sum) * rare**self.balance

    def _turned(self, state: PoolState, degrees: float) -> Tensor:
        """Return the uncertainty `[E, N]` of images turned by so many degrees."""
        shape = image_shape(state.x.shape[2], None, f"strategy {self.name} with rotations")
        turned = rotated(state.x, torch.full_like(state.x[..., 0], degrees), shape)
        return self.uncertainty(state.model.probabilities(turned))

    def uncertainty(self, probabilities: Tensor) -> Tensor:
        """Return the uncertainty `[E, N]` of class probabilities `[E, N, C]`."""
        raise NotImplementedError


class LeastConfident(_Uncertainty):
    """Ask where the probability of the likeliest class is lowest."""

    name = "least_confident"

    def uncertainty(self, probabilities: Tensor) -> Tensor:
        return least_confident(probabilities)


class Margin(_Uncertainty):
    """Ask where the two likeliest classes are nearest to each other: Scheffer, Decomain & Wrobel, IDA 2001."""

    name = "margin"
    lowest = -1.0

    def uncertainty(self, probabilities: Tensor) -> Tensor:
        return margin(probabilities)


class Entropy(_Uncertainty):
    """Ask where the class probabilities have the highest entropy."""

    name = "entropy"

    def uncertainty(self, probabilities: Tensor) -> Tensor:
        return entropy(probabilities)
