"""Adversarial strategies: ask for rows that change their label when they are moved, or reworded, a little."""

from typing import cast

import torch
from torch import Tensor

from almeta.checks import Count
from almeta.learners.attacks import deepfool
from almeta.learners.learner import EmbedsWords, HasInputGradients, rows_of
from almeta.pool import PoolState, for_questions
from almeta.strategies.strategy import PoolStrategy


def nearest_first(effort: Tensor, counted: Tensor) -> Tensor:
    """Return scores `[E, N]` that are higher the less effort a row takes; those that do not count come last, alike.

    Args:
        effort: `[E, N]`, what it takes to change the label of a row; inf where it cannot be changed.
        counted: `[E, N]` bool.
    """
    counted = counted & effort.isfinite()
    score = -effort.where(counted, 0.0)
    return score.where(counted, score.amin(1, keepdim=True) - 1)


class DeepFool(PoolStrategy):
    """Ask for the row that is nearest to the decision boundary: M. Ducoffe & F. Precioso, arXiv 1802.09841 (2018).

    Adversarial active learning for deep networks: a margin based approach. The distance is the length of the move that
    DeepFool finds (Moosavi-Dezfooli, Fawzi & Frossard 2016); of a linear classifier it is exact.

    Args:
        candidates: rows that are looked at, drawn anew for each query, as in the paper; all of smaller pools.
        steps: at most so many times the learner is linearised; a row that is not over the boundary then comes last.
    """

    name = "deepfool"
    needs = (HasInputGradients,)

    def __init__(self, candidates: Count = 500, steps: Count = 10) -> None:
        self.candidates, self.steps = candidates, steps

    def score(self, state: PoolState) -> Tensor:
        rows = state.annotators * self._drawn(state.available[:, :: state.annotators])
        crossing = deepfool(cast(HasInputGradients, state.model).logits, rows_of(state.x, rows), self.steps)
        found = crossing.moves.norm(dim=-1).where(crossing.crossed, torch.inf)
        distance = torch.full(state.exists.shape, torch.inf, device=found.device).scatter(1, rows, found)
        return nearest_first(for_questions(distance, state.annotators), state.available)

    def _drawn(self, available: Tensor) -> Tensor:
        """Return the rows that are looked at, `[E, K]`: of those that may be picked, as far as there are enough."""
        pools, size = available.shape
        if size <= self.candidates:
            return torch.arange(size, device=available.device).expand(pools, -1)
        drawn = torch.rand(pools, size, generator=self.generator, device=available.device)
        return drawn.masked_fill(~available, -1.0).topk(self.candidates, 1).indices


class WordSwaps(PoolStrategy):
    """Ask for the text of which the fewest words must be swapped to change its predicted label.

    A swap puts one of a word's nearest words in its place, by the learner's own embeddings. This is to texts what
    `deepfool` is to images. Texts that no swaps change come last.

    Args:
        num_neighbours: words that may take the place of a word.
    """

    name = "word_swaps"
    needs = (EmbedsWords,)

    def __init__(self, num_neighbours: Count = 10) -> None:
        self.num_neighbours = num_neighbours

    def score(self, state: PoolState) -> Tensor:
        swaps = cast(EmbedsWords, state.model).word_swaps(state.x, self.num_neighbours)
        return nearest_first(swaps, state.available)
