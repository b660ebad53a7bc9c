"""What a label would change, found by refitting the task's own learner with every candidate and every label of it.

A candidate of N costs C fits, all of a block of candidates at once. The learner's probabilities say how likely each
label is; a class that it has not seen has probability 0.
"""

import dataclasses
from typing import Any, Literal

import torch
from torch import Tensor

from almeta.pool import PoolState
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


def repeated(model: Any, times: int) -> Any:
    """Return a model of E episodes as one of E * times: each episode so many times in a row."""
    if isinstance(model, Tensor):
        return model.repeat_interleave(times, 0)
    if isinstance(model, tuple):
        return tuple(repeated(part, times) for part in model)
    if dataclasses.is_dataclass(model) and not isinstance(model, type):
        parts = {field.name: repeated(getattr(model, field.name), times) for field in dataclasses.fields(model)}
        return dataclasses.replace(model, **parts)
    return model


class _Refits(PoolStrategy):
    """Scores a row by what the learner would say of the pool with each of its labels, in expectation over the label.

    In a pool of more than 2048 rows, it says it of 2048 of them, drawn at random.

    Args:
        over: the rows that count, "open" for those that may be picked, "all" for the whole pool.
    """

    over: Over

    def score(self, state: PoolState) -> Tensor:
        reference = state.geometry.reference
        counted = (state.available if self.over == "open" else state.exists).gather(1, reference)
        weight = counted / counted.sum(1, keepdim=True).clamp_min(1)  # [E, R]
        x = state.x.gather(1, reference[..., None].expand(-1, -1, state.x.shape[-1]))
        before = state.probabilities.gather(1, reference[..., None].expand(-1, -1, state.probabilities.shape[-1]))
        rows, known = state.x.shape[1], state.picks.shape[1] + 1
        pools, classes = len(x), before.shape[-1]
        each = pools * classes * max(known * max(x.shape[-1], classes), reference.shape[1] * classes)
        scores = []
        for block in torch.arange(rows, device=x.device).split(max(1, _BLOCK // each)):
            after = self._after(state, block, x)  # [E, B, C, R, C]
            value = (self.value(before[:, None, None], after) * weight[:, None, None]).sum(-1)
            scores.append((value * state.probabilities[:, block]).sum(-1))
        return torch.cat(scores, 1)

    def _after(self, state: PoolState, block: Tensor, x: Tensor) -> Tensor:
        """Return the probabilities of rows `[E, R, D]` after each label of each row of a block: `[E, B, C, R, C]`."""
        pools, classes = len(x), state.probabilities.shape[-1]
        times = len(block) * classes
        features, labels, weight = (part.repeat_interleave(times, 0) for part in state.labelled_rows())
        added = state.x[:, block].repeat_interleave(classes, 1).flatten(0, 1)[:, None]
        label = torch.arange(classes, device=x.device).repeat(pools * len(block))[:, None]
        model = state.learner.fit(
            torch.cat((features, added), 1),
            torch.cat((labels, label), 1),
            torch.cat((weight, torch.ones_like(label, dtype=weight.dtype)), 1),
            classes,
            start=repeated(state.model, times),
            generator=self.generator,
        )
        rows = x[:, None].expand(-1, times, -1, -1).flatten(0, 1)  # of a single pool a view
        return model.probabilities(rows).unflatten(0, (pools, len(block), classes))

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
