"""What a label would change, found by refitting the task's own learner with every candidate and every label of it.

Each row that may be picked costs C fits, those of a block of rows at once. The learner's probabilities say how likely
each label is; a class that it has not seen has probability 0. A learner that draws is refused: its refits differ by
chance more than by what a label changes.
"""

import dataclasses
from typing import Any, Literal

import torch
from torch import Tensor

from almeta.geometry import rows_of, slices
from almeta.pool import PoolState, for_questions
from almeta.strategies.strategy import PoolStrategy
from almeta.strategies.uncertainty import entropy, least_confident

# Numbers of inputs or outputs of the fits that are held at once (8 MiB in float32).
_BLOCK = 1 << 21

Over = Literal["open", "all"]


def expected_loss(probabilities: Tensor, loss: Literal["error", "log_loss"] = "error") -> Tensor:
    """Return the loss that a classifier expects of itself on rows of class probabilities `[..., C]` -> `[...]`.

    The 0/1 loss ("error") is 1 - max p, the log loss is the entropy in nats.
    """
    return least_confident(probabilities) if loss == "error" else entropy(probabilities)


def total_variation(first: Tensor, second: Tensor) -> Tensor:
    """Return the distance of class probabilities, half the sum of absolute differences: `[..., C]` -> `[...]`."""
    return 0.5 * (first - second).abs().sum(-1)


def of_episodes(model: Any, episodes: Tensor) -> Any:
    """Return a model of some of its episodes, `[K]` int64, each as often as it is named."""
    if isinstance(model, Tensor):
        return model[episodes]
    if isinstance(model, tuple):
        return tuple(of_episodes(part, episodes) for part in model)
    if dataclasses.is_dataclass(model) and not isinstance(model, type):
        parts = {field.name: of_episodes(getattr(model, field.name), episodes) for field in dataclasses.fields(model)}
        return dataclasses.replace(model, **parts)
    return model


class _Refits(PoolStrategy):
    """Scores a row by what the learner would say of the pool with each of its labels, in expectation over the label.

    In a pool of more than 2048 rows, it says it of 2048 of them, drawn at random. Rows that may not be picked have 0.

    Args:
        over: the rows that count, "open" for those that may be picked, "all" for the whole pool.
    """

    compares_fits = True
    over: Over

    def score(self, state: PoolState) -> Tensor:
        reference, scores = state.geometry.reference, torch.zeros_like(state.x[..., 0])
        counted = (state.available if self.over == "open" else state.exists).gather(1, reference)
        weight = counted / counted.sum(1, keepdim=True).clamp_min(1)  # [E, R]
        # The rows that may be picked, in as many columns as the pool with most of them needs.
        tried = state.open_rows.byte().argsort(dim=1, descending=True, stable=True)
        tried = tried[:, : int(state.open_rows.sum(1).max())]
        known, classes = state.picks.shape[1] + 1, state.probabilities.shape[-1]
        each = classes * max(known * max(state.x.shape[-1], classes), reference.shape[1] * classes)
        for pools in slices(len(scores), _BLOCK // each):
            own = torch.arange(len(scores), device=scores.device)[pools]
            x, before = (rows_of(part[pools], reference[pools]) for part in (state.x, state.probabilities))
            for rows in tried[pools].split(max(1, _BLOCK // (each * len(own))), 1):
                after = self._after(state, own, rows, x)  # [E', B, C, R, C]
                value = (self.value(before[:, None, None], after) * weight[pools, None, None]).sum(-1)
                scores[pools].scatter_(1, rows, (value * rows_of(state.probabilities[pools], rows)).sum(-1))
        return for_questions(scores, state.annotators).masked_fill(~state.available, 0.0)

    def _after(self, state: PoolState, pools: Tensor, tried: Tensor, x: Tensor) -> Tensor:
        """Return the probabilities of rows `[E', R, D]` after each label of each row tried: `[E', B, C, R, C]`.

        Args:
            state: of all E pools.
            pools: `[E']` int64, the pools in question.
            tried: `[E', B]` int64, rows of theirs.
            x: the rows whose probabilities are asked for.
        """
        classes = state.probabilities.shape[-1]
        times = tried.shape[1] * classes
        episodes = pools.repeat_interleave(times)
        features, labels, weight = (part[episodes] for part in state.labelled_rows())
        added = rows_of(state.x[pools], tried).repeat_interleave(classes, 1).flatten(0, 1)[:, None]
        label = torch.arange(classes, device=x.device).repeat(tried.numel())[:, None]
        model = state.learner.fit(
            torch.cat((features, added), 1),
            torch.cat((labels, label), 1),
            torch.cat((weight, torch.ones_like(label, dtype=weight.dtype)), 1),
            classes,
            start=of_episodes(state.model, episodes),
            generator=self.generator,
        )
        rows = x[:, None].expand(-1, times, -1, -1).flatten(0, 1)  # of a single pool a view
        return model.probabilities(rows).unflatten(0, (*tried.shape, classes))

    def value(self, before: Tensor, after: Tensor) -> Tensor:
        """Return how good a change of class probabilities `[..., C]` is, `[...]`."""
        raise NotImplementedError


class ExpectedErrorReduction(_Refits):
    """Ask for the row after whose label the learner expects to err least: Roy & McCallum, ICML 2001.

    The score is minus the mean expected loss after the label. With `over="all"` it ranks rows as `MonteCarloEER` of
    scikit-activeml does.

    Args:
        loss: "error" or "log_loss", as in `expected_loss`.
        over: the rows that count, "open" for those that may be picked, "all" for the whole pool.
    """

    name = "expected_error_reduction"

    def __init__(self, loss: Literal["error", "log_loss"] = "log_loss", over: Over = "open") -> None:
        self.loss, self.over = loss, over

    def value(self, before: Tensor, after: Tensor) -> Tensor:
        return -expected_loss(after, self.loss)


class ExpectedModelChange(_Refits):
    """Ask for the row whose label is expected to change the learner's probabilities most.

    It is the mean total variation between the probabilities after and before: the expected change of the model's output
    of Freytag, Rodner & Denzler, ECCV 2014, for classifiers and with real refits. Cai, Zhang & Zhou, ICDM 2013, measure
    the change of the parameters instead, by the gradient of the new row's loss; `expected_gradient_length` does that.

    Args:
        over: the rows that count, "open" for those that may be picked, "all" for the whole pool.
    """

    name = "expected_model_change"

    def __init__(self, over: Over = "all") -> None:
        self.over = over

    def value(self, before: Tensor, after: Tensor) -> Tensor:
        return total_variation(before, after)
