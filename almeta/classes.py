"""Asking for classes: what may be known before the next row of a class is generated."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ClassState:
    """What may be known of E episodes before a row: nothing of test rows, or of rows that are not generated yet.

    Attributes:
        available: `[E, C]` bool, the classes that have rows left.
        num_classes: `[E]` int64; the classes after them pad.
        shares: `[E, C]` float32, how frequent each class is in the data; the sum of an episode is 1.
        labels: `[E, L]` int64, the classes of the rows that the learner is fit to, in the order in which they came,
            first ones first; -1 pads.
        held_out: `[E, L, C]` float32, the probabilities of each of them by a learner that was fit without it
            (cross-validation).
        held_out_before: `[E, P, C]` float32, the same before the last query, of the P rows that there were then; P is 0
            in the first query.
        drawn: `[E, C]` int64, rows of the present query, which the learner has not been told yet.
        picks: `[E, L + K]` int64, the rows of the task in the order of `labels`, and the K of the present query; -1
            pads.
        budget: rows that are generated in the episode.
        spent: rows that were asked for so far, first ones not counted.
        query_size: rows of the present query, those that were asked for counted; the learner is refit after them.
    """

    available: Tensor
    num_classes: Tensor
    shares: Tensor
    labels: Tensor
    held_out: Tensor
    held_out_before: Tensor
    drawn: Tensor
    picks: Tensor
    budget: int
    spent: int
    query_size: int

    @property
    def action_mask(self) -> Tensor:
        """`[E, C]` bool, the classes that may be asked for."""
        return self.available

    @property
    def begins_query(self) -> bool:
        """Whether no row of the present query was asked for yet."""
        return self.picks.shape[1] == self.labels.shape[1]

    @property
    def counts(self) -> Tensor:
        """`[E, C]` int64, the rows of each class that the learner is fit to."""
        return members(self.labels, self.available.shape[1]).sum(1)

    @property
    def accuracies(self) -> Tensor:
        """`[E, C]` float32 in [0, 1], see `class_accuracies`."""
        return class_accuracies(self.labels, self.held_out)

    @property
    def gains(self) -> Tensor:
        """`[E, C]` float32 in [-1, 1], by how much the last query raised `accuracies`; 0 in the first query."""
        before = self.held_out_before
        if not before.shape[1]:
            return torch.zeros_like(self.shares)
        return self.accuracies - class_accuracies(self.labels[:, : before.shape[1]], before)

    @property
    def redistricted(self) -> Tensor:
        """`[E, C]` float32 in [0, 1], the share of a class's rows whose prediction the last query changed."""
        before = self.held_out_before
        now, labels = self.held_out[:, : before.shape[1]], self.labels[:, : before.shape[1]]
        return class_means((now.max(-1).indices != before.max(-1).indices).float(), labels, before.shape[2])


def members(labels: Tensor, num_classes: int) -> Tensor:
    """Return which rows `[E, L]` are of which class, `[E, L, C]` bool; a label of -1 is of none."""
    return labels[..., None] == torch.arange(num_classes, device=labels.device)


def class_means(values: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Return the mean of values `[E, L]` over the rows of each class, `[E, C]`; 0 for a class without rows."""
    own = members(labels, num_classes)
    return (own * values[..., None]).sum(1) / own.sum(1).clamp_min(1)


def class_accuracies(labels: Tensor, held_out: Tensor) -> Tensor:
    """Return the share of the rows of each class that are predicted to be of it, `[E, C]` float32 in [0, 1].

    Args:
        labels: `[E, L]` int64, -1 pads.
        held_out: `[E, L, C]`, their probabilities by cross-validation.
    """
    return class_means((held_out.max(-1).indices == labels).float(), labels, held_out.shape[2])


def folds_of(labels: Tensor, num_classes: int, num_folds: int) -> Tensor:
    """Return the fold of each row for cross-validation, `[E, L]` int64 in 0 .. K-1.

    The rows of a class take the folds in turn, so that each fold has the classes in about their shares. A row stays in
    its fold when later ones come, and two rows of a class are never in one fold before all folds have one.

    Args:
        labels: `[E, L]` int64, -1 pads.
        num_classes: C.
        num_folds: K.
    """
    place = members(labels, num_classes).cumsum(1) - 1
    own = labels.clamp_min(0)
    # Each class begins at another fold: else the first rows of all classes would be in one.
    return (place.gather(2, own[..., None]).squeeze(2) + own) % num_folds
