"""Batch mode: rows that are asked for together should each tell something new."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from almeta.checks import Count, Weight
from almeta.geometry import Geometry, rows_of
from almeta.learners import LogisticRegression
from almeta.learners.learner import Model, seen_classes
from almeta.pool import PoolState, of_row
from almeta.specs import Spec
from almeta.strategies.based import BasedStrategy
from almeta.strategies.choosing import best_actions
from almeta.strategies.one_pool import OnePool, PoolByPool, cluster
from almeta.strategies.strategy import BatchStrategy
from almeta.strategies.uncertainty import entropy

# Numbers of the fits' rows that are held at once (64 MiB in float32).
_BLOCK = 1 << 24
# So many rows stand for a larger pool where a classifier is fit for a pick.
_SAMPLE = 512


def ranked(distance: Tensor, uncertainty: Tensor, num_left: Tensor, num_picked: Tensor) -> Tensor:
    """Return alpha * (1 - similarity) + (1 - alpha) * uncertainty: Cardoso et al. 2017.

    Args:
        distance: `[E, N]`, to the nearest row that was picked; the similarity is 1 / (1 + distance).
        uncertainty: `[E, N]` in [0, 1].
        num_left: `[E]`, rows that may be picked, |U|.
        num_picked: `[E]`, rows that were picked, |L|; alpha is |U| / (|U| + |L|).
    """
    alpha = (num_left / (num_left + num_picked).clamp_min(1))[:, None]
    return alpha * (1 - 1 / (1 + distance)) + (1 - alpha) * uncertainty


class RankedBatch(BasedStrategy):
    """Ask for a row that is unlike all picks at first, and uncertain later: Cardoso et al., Information Sciences 2017.

    See `ranked`. Picks count at once, answered or not, so that a batch spreads out. Before the first pick it takes the
    row that is most like all others.

    Args:
        base: the strategy that tells how uncertain a row is; scores in [0, 1] are in balance with the similarity.
    """

    name = "ranked_batch"
    spreads = True

    def __init__(self, base: str | Mapping[str, Any] | Spec = "least_confident") -> None:
        super().__init__(base)

    def score(self, state: PoolState) -> Tensor:
        num_picked = (state.picks >= 0).sum(1)
        distance = state.geometry.nearest_pick(state.picks)
        scores = ranked(distance, self.informativeness(state), state.open_rows.sum(1), num_picked)
        return scores.where(num_picked[:, None] > 0, state.geometry.information_density)


class DiverseMiniBatch(BasedStrategy, PoolByPool):
    """Ask for rows at the centres of clusters of uncertain rows: Zhdanov, arXiv 1901.05954 (2019).

    Of the beta * k rows of highest score, weighted k-means makes k clusters; the weights are the scores. The row that
    is nearest to the centre of each cluster is chosen, those of high score first.

    Args:
        beta: how many times as many rows are clustered as are chosen.
        base: the strategy that gives the scores. Scores below 0 are moved up, see `informativeness`: a margin counts as
            1 - (p1 - p2).
    """

    name = "diverse_mini_batch"

    def __init__(self, beta: Count = 10, base: str | Mapping[str, Any] | Spec = "margin") -> None:
        super().__init__(base)
        self.beta = beta

    def choose(self, pool: OnePool, size: int) -> np.ndarray:
        candidates = np.flatnonzero(pool.available)
        score = pool.informativeness[candidates]
        order = np.argsort(-score, kind="stable")[: self.beta * size]
        best, score = candidates[order], score[order]
        return best[central_rows(pool.x[best], score, size)] if len(best) else best


def central_rows(x: np.ndarray, weight: np.ndarray, size: int) -> np.ndarray:
    """Return the row nearest to the centre of each of `size` clusters of rows, in the order of the rows, `[k]` int64.

    Args:
        x: `[n, d]`, rows, the best first.
        weight: `[n]` of at least 0, how much a row counts in k-means.
        size: number of clusters; where there are fewer different rows than that, the first other rows follow.
    """
    number, distance = cluster(x, size, weight if weight.any() else None)
    order = np.lexsort((distance, number))
    nearest = order[np.unique(number[order], return_index=True)[1]]
    others = np.setdiff1d(np.arange(len(x)), nearest)[: size - len(nearest)]
    return np.concatenate((np.sort(nearest), others))


class DiscriminativeActiveLearning(BatchStrategy):
    """Ask for the rows that are most surely not labelled: Gissin & Shalev-Shwartz, arXiv 1907.06347 (2019).

    Logistic regression tells rows that were picked from those that were not, as if to make the two alike. A batch is
    chosen in parts; the rows of a part count as picked in the next. Theirs is a network that reads what the learner
    has made of the rows; here it reads the features. While nothing is picked, rows are drawn at random.

    Args:
        sub_batches: parts in which a batch is chosen; the classifier is fit anew for each.
    """

    name = "discriminative_active_learning"
    uses_learner = False

    def __init__(self, sub_batches: Count = 10) -> None:
        self.sub_batches = sub_batches

    def select(self, state: PoolState, size: int) -> Tensor:
        picks, available = state.picks, state.available
        model: Any = None
        for count in _parts(size, self.sub_batches):
            model = tell_picks_apart(state, picks, start=model)
            unpicked = model.probabilities(state.x)[..., 1]
            best = best_actions(unpicked, available, count, self.generator)
            available = available & ~_among(best, available)
            picks = torch.cat((picks, best), 1)
        return picks[:, state.picks.shape[1] :]


def tell_picks_apart(state: PoolState, picks: Tensor, start: Model | None = None) -> Model:
    """Return logistic regression of features that tells the picks `[E, P]` (class 0) from all other rows (class 1).

    In a pool of more than 512 rows, 512 of them, and all picks, are what it is fit to.

    Args:
        start: the model of the first of these picks, from which the fit begins.
    """
    reference = _sample(state)
    left = (state.exists & ~of_row(_among(picks, state.exists), state.annotators)).gather(1, reference)
    rows = torch.cat((reference, picks.clamp_min(0)), 1)
    y = torch.cat((torch.ones_like(reference), torch.zeros_like(picks)), 1)
    weight = torch.cat((left, picks >= 0), 1).float()
    return LogisticRegression().fit(rows_of(state.x, rows), y, weight, 2, start=start)


class DiscriminativeBatch(BatchStrategy):
    """Ask for the batch that, labelled at its best, fits well and leaves little doubt: Guo & Schuurmans, NeurIPS 2007.

    Of all batches and labels, they look for the one with the highest `batch_objective`, by a relaxation to weights and
    a quasi-Newton method. Here one row after the other is added, with the label for which the objective is highest.
    That is exact for one row, if `candidates` reaches all rows; a batch is the greedy one, and may be worse than the
    best. A large batch is chosen in parts: all rows of a part are judged by the same fit. In a pool of more than 512
    rows, 512 of them stand for the others.

    While fewer than two classes have a label, any guess fits perfectly: the row farthest from all picks and from the
    batch so far is added, as by `core_set`; the first one at random if there are none. A learner that draws is refused:
    its fits differ by chance.

    Args:
        alpha: how much the doubt about the other rows counts.
        candidates: rows that are tried, those of highest entropy; each takes a fit for each class.
        sub_batches: the most parts of a batch.
    """

    name = "discriminative_batch"
    compares_fits = True

    def __init__(self, alpha: Weight = 1.0, candidates: Count = 20, sub_batches: Count = 10) -> None:
        self.alpha, self.candidates, self.sub_batches = alpha, candidates, sub_batches

    def select(self, state: PoolState, size: int) -> Tensor:
        is_blind = seen_classes(*state.labelled_rows()[1:], state.probabilities.shape[-1]).sum(1, keepdim=True) < 2
        if is_blind.all():
            return self._far(state, size)
        chosen = self._fitting(state, size)
        return self._far(state, size).where(is_blind, chosen) if is_blind.any() else chosen

    def _far(self, state: PoolState, size: int) -> Tensor:
        """Return rows `[E, size]`, each the farthest from those before it; -1 where none is left."""
        geometry, picks, available = state.geometry.copy(), state.picks, state.available
        for _ in range(size):
            row = best_actions(geometry.nearest_pick(picks), available, 1, self.generator)
            picks, available = torch.cat((picks, row), 1), available & ~_among(row, available)
        return picks[:, state.picks.shape[1] :]

    def _fitting(self, state: PoolState, size: int) -> Tensor:
        """Return rows `[E, size]` by the objective; -1 where none is left."""
        labelled, available, chosen = state.labelled_rows(), state.available, []
        doubt = entropy(state.probabilities)
        for count in _parts(size, self.sub_batches):
            rows = best_actions(doubt, available, max(count, self.candidates), self.generator)
            value, label = self._values(state, labelled, rows, available)
            place = best_actions(value, rows >= 0, count, self.generator)
            best = rows.gather(1, place.clamp_min(0)).where(place >= 0, -1)
            label = label.gather(1, place.clamp_min(0))
            available = available & ~_among(best, available)
            labelled = _add(labelled, rows_of(state.x, best), label, best >= 0)
            chosen.append(best)
        return torch.cat(chosen, 1)

    def _values(
        self, state: PoolState, labelled: tuple[Tensor, Tensor, Tensor], rows: Tensor, available: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the objective with each row `[E, K]` beside those labelled, and the label that makes it highest."""
        classes = torch.arange(state.probabilities.shape[-1], device=rows.device)
        shape = (*rows.shape, len(classes))
        pool = torch.arange(len(rows), device=rows.device)[:, None, None].expand(shape).flatten()
        row, label = rows[..., None].expand(shape).flatten(), classes.expand(shape).flatten()
        values = state.x.new_empty(len(pool))
        reference = _sample(state)
        width = (labelled[0].shape[1] + reference.shape[1]) * state.x.shape[2]
        for part in torch.arange(len(pool), device=rows.device).split(max(1, _BLOCK // max(1, width))):
            own, at = pool[part], row[part, None]
            further = state.x[own[:, None], at.clamp_min(0)]
            with_it = _add(tuple(known[own] for known in labelled), further, label[part, None], at >= 0)
            model = state.learner.fit(*with_it, len(classes), generator=self.generator)
            left = available[own].scatter(1, at.clamp_min(0), False)
            share = left.sum(1) / left.gather(1, reference[own]).sum(1).clamp_min(1)
            others = model.probabilities(state.x[own[:, None], reference[own]])
            weight = left.gather(1, reference[own]) * share[:, None]
            values[part] = batch_objective(model.probabilities(with_it[0]), *with_it[1:], others, weight, self.alpha)
        values = values.view(shape).masked_fill(classes >= state.num_classes[:, None, None], -torch.inf)
        value, best = values.max(-1)
        return value, best


def batch_objective(
    probabilities: Tensor, labels: Tensor, weight: Tensor, others: Tensor, counted: Tensor, alpha: float
) -> Tensor:
    """Return the log likelihood of labelled rows minus alpha times the entropy of others: Guo & Schuurmans 2007.

    Args:
        probabilities: `[..., P, C]`, of the labelled rows with the batch, by a classifier that was fit to them.
        labels: `[..., P]` int64, those of the batch are guesses.
        weight: `[..., P]`, 0 for rows that pad.
        others: `[..., R, C]`, probabilities of other rows.
        counted: `[..., R]`, 0 for rows that do not count.
        alpha: how much the entropy counts.
    """
    likely = probabilities.gather(-1, labels[..., None]).squeeze(-1).clamp_min(torch.finfo(torch.float32).tiny).log()
    return (weight * likely).sum(-1) - alpha * (counted * entropy(others)).sum(-1)


def _parts(size: int, count: int) -> list[int]:
    """Return the sizes of at most `count` parts of `size`, as equal as can be."""
    return [len(part) for part in np.array_split(np.arange(size), min(size, count))]


def _sample(state: PoolState) -> Tensor:
    """Return the rows that stand for each pool, `[E, R]` int64."""
    return Geometry(state.x, state.exists, reference=_SAMPLE, copies=state.annotators).reference


def _among(rows: Tensor, mask: Tensor) -> Tensor:
    """Return which rows of a mask `[E, N]` are among rows `[E, P]`, where -1 is none: `[E, N]` bool."""
    return torch.zeros_like(mask).scatter_reduce_(1, rows.clamp_min(0), rows >= 0, "amax")


def _add(labelled: Any, x: Tensor, label: Tensor, counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return features, labels and weights with those of further rows."""
    further = (x, label, counts.float())
    return tuple(torch.cat(pair, 1) for pair in zip(labelled, further, strict=True))  # type: ignore[return-value]
