"""Greedy sampling for regression: diversity in inputs, outputs, or both.

Wu, Lin & Huang, "Active Learning for Regression Using Greedy Sampling", Information Sciences 474, 2019.
"""

import torch
from torch import Tensor

from almeta.learners.learner import Predicts
from almeta.pool import PoolState
from almeta.strategies.regression import predicted
from almeta.strategies.strategy import PoolStrategy

# Distances between rows that are held at once (16 MiB in float32).
_BLOCK = 1 << 22


def nearest_output(predictions: Tensor, labels: Tensor, known: Tensor) -> Tensor:
    """Return the distance of each prediction to the nearest label, `[E, N]`; 0 in pools without labels.

    Args:
        predictions: `[E, N]`.
        labels: `[E, P]`.
        known: `[E, P]` bool, which of them there are.
    """
    one = torch.ones_like(predictions)[..., None].expand(-1, -1, labels.shape[1])
    return smallest_product(one, predictions, labels, known)


def smallest_product(distance: Tensor, predictions: Tensor, labels: Tensor, known: Tensor) -> Tensor:
    """Return the smallest product, over the labelled rows, of the distances in inputs and in outputs, `[E, N]`.

    Args:
        distance: `[E, N, P]`, from each row to the labelled ones.
        predictions: `[E, N]`.
        labels: `[E, P]`.
        known: `[E, P]` bool, which of them there are; 0 in pools without any.
    """
    if not labels.shape[1]:
        return torch.zeros_like(predictions)
    products = distance * (predictions[..., None] - labels[:, None]).abs()
    found = products.masked_fill(~known[:, None], torch.inf).amin(-1)
    return found.masked_fill(found.isinf(), 0.0)


def centrality(x: Tensor, exists: Tensor) -> Tensor:
    """Return minus the distance of each row `[E, N, D]` to the mean of those that exist, `[E, N]`."""
    mean = (x * exists[..., None]).sum(1, keepdim=True) / exists.sum(1)[:, None, None].clamp_min(1)
    return -torch.linalg.vector_norm(x - mean, dim=-1)


class GreedyInputs(PoolStrategy):
    """Ask for the row that is farthest from all picks, "GSx"; the first is the row nearest to the mean.

    After Yu & Kim, "Passive Sampling for Regression", ICDM 2010. It is `core_set` but for the first pick.
    """

    name = "gsx"
    targets = ("classes", "numbers")
    uses_learner = False
    spreads = True

    def score(self, state: PoolState) -> Tensor:
        distance = state.geometry.nearest_pick(state.picks)
        return torch.where(distance.isinf(), centrality(state.x, state.exists), distance)


class GreedyOutputs(PoolStrategy):
    """Ask for the row whose predicted number is farthest from all labels, "GSy"; rows are alike before the first."""

    name = "gsy"
    targets = ("numbers",)
    needs = (Predicts,)

    def score(self, state: PoolState) -> Tensor:
        _, labels, weight = state.labelled_rows()
        blocks = predicted(state)[0].split(_size(labels), 1)
        return torch.cat([nearest_output(said, labels, weight > 0) for said in blocks], 1)


class GreedyBoth(PoolStrategy):
    """Ask for the row that is far from all labels in inputs and in outputs, "iGS"; rows are alike before the first."""

    name = "igs"
    targets = ("numbers",)
    needs = (Predicts,)

    def score(self, state: PoolState) -> Tensor:
        x, labels, weight = state.labelled_rows()
        size = _size(labels)
        blocks = zip(state.x.split(size, 1), predicted(state)[0].split(size, 1), strict=True)
        return torch.cat([smallest_product(_distances(rows, x), said, labels, weight > 0) for rows, said in blocks], 1)


def _size(labels: Tensor) -> int:
    """Return how many rows of each pool are compared with labels `[E, P]` at once."""
    return max(1, _BLOCK // max(1, labels.numel()))


def _distances(x: Tensor, other: Tensor) -> Tensor:
    """Return Euclidean distances `[E, B, P]` of rows `[E, B, D]` and `[E, P, D]`."""
    return torch.cdist(x, other, compute_mode="donot_use_mm_for_euclid_dist")
