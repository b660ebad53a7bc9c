"""Asking again: an answer that the learner doubts is asked for once more, for the price of a query."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from almeta.checks import Share
from almeta.learners.learner import seen_classes
from almeta.pool import PoolState
from almeta.specs import Spec
from almeta.strategies.based import BasedStrategy

# Parts into which the labels are split, each judged by a fit to the others.
_FOLDS = 5


def held_out_probabilities(state: PoolState, generator: torch.Generator, folds: int = _FOLDS) -> Tensor:
    """Return class probabilities of the picks, each by a fit that knows no answer about the same row.

    The rows are dealt out to the folds in the order in which they were first picked, and the learner is fit to all
    folds but one, as in a cross-validation. Picks without a label are in no fit.

    Args:
        state: of the pools.
        generator: for learners that draw.
        folds: how many parts F the rows are dealt out to.

    Returns:
        `[E, P, C]` float32, for each of `state.picks`; 0 for a class that only the pick's own fold has, and for none.
    """
    x, y, weight = state.labelled_rows()
    pools, picks, classes = *y.shape, state.probabilities.shape[-1]
    if not picks:
        return x.new_zeros(pools, 0, classes)
    rows = torch.where(state.picks >= 0, state.picks // state.annotators, -1)
    first = (rows[:, :, None] == rows[:, None]).float().argmax(-1)  # [E, P], the column that first has the row
    out = first % folds == torch.arange(folds, device=x.device)[:, None, None]  # [F, E, P]
    kept = (weight * ~out).flatten(0, 1)
    many, labels = x.repeat(folds, 1, 1), y.repeat(folds, 1)
    model = state.learner.fit(many, labels, kept, classes, generator=generator)
    possible = seen_classes(labels, kept, classes)[:, None]
    found = model.probabilities(many).where(possible, 0.0).view(folds, pools, picks, classes)
    return torch.einsum("fep,fepc->epc", (out & (state.picks >= 0)).float(), found)


def doubts(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Return how much answers are doubted, 1 - p of the answer, `[E, P]` in [0, 1]; 0 where nothing is known.

    p is the "self-confidence" of Northcutt, Jiang & Chuang, JAIR 2021: the probability of the given label, by a model
    that was fit without it.

    Args:
        probabilities: `[E, P, C]`, of `held_out_probabilities`.
        labels: `[E, P]` int64, -1 for none.
    """
    given = probabilities.gather(-1, labels.clamp_min(0)[..., None]).squeeze(-1)
    return (1 - given).where((given > 0) & (labels >= 0), 0.0)


class AskAgain(BasedStrategy):
    """Ask once more about a row whose answer is doubted; else ask as the base does.

    Before each query, the answers so far are compared with what a learner says that does not know them, see `doubts`.
    The questions about rows of more doubt than the threshold come first, the most doubted row before the others, as
    long as somebody is left who may be asked about them (`oracle.annotators`). Each answer counts as a label of its
    own: a second one that agrees doubles the weight of the row, and one that does not takes it back. First labels are
    not doubted.

    Which labels are worth a second one is the question of Sheng, Provost & Ipeirotis, KDD 2008.

    Args:
        doubt: the threshold; with 1 nothing is asked again.
        base: the strategy that chooses rows that were not asked before.

    Raises:
        AlmetaError: for a base that is for numbers alone: a doubt is about a class.
    """

    name = "ask_again"
    asks_again = True
    own_targets = ("classes",)

    def __init__(self, doubt: Share = 0.8, base: str | Mapping[str, Any] | Spec = "margin") -> None:
        super().__init__(base)
        self.doubt = doubt

    def score(self, state: PoolState) -> Tensor:
        scores = self.informativeness(state)
        if state.again is None:
            return scores
        doubted = self._doubts(state).repeat_interleave(state.annotators, 1)
        first = scores.amax(1, keepdim=True) + doubted  # before all that was not asked yet
        return torch.where(state.again, torch.where(doubted > self.doubt, first, -1.0), scores)

    def _doubts(self, state: PoolState) -> Tensor:
        """Return the doubt about the most doubted answer of each row, `[E, N / A]`; 0 for first labels and none."""
        begin = state.picks.shape[1] - state.spent
        picks = state.picks[:, begin:]
        labels = torch.where(picks >= 0, state.labels.gather(1, picks.clamp_min(0)), -1)
        found = doubts(held_out_probabilities(state, self.generator)[:, begin:], labels)
        rows = torch.zeros(len(picks), state.x.shape[1] // state.annotators, device=picks.device)
        return rows.scatter_reduce_(1, picks.clamp_min(0) // state.annotators, found, "amax")
