"""Picking along a stream: the rows of a pool come one by one, and a rule of streams asks for some of them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from almeta.pool import PoolState, for_questions
from almeta.specs import Spec
from almeta.strategies.actor import Memory, Outputs
from almeta.strategies.strategy import PoolStrategy
from almeta.strategies.stream_thresholds import RuleMemory, confidence_of, make_rule


class AlongStream(PoolStrategy):
    """Pick as a rule of streams asks, so that pool and stream can be compared on the same labels.

    The rows come in the order of the pool: at random in an environment, as you gave them in a pool of your own. The
    next pick is the next row that the rule asks for; rows that it let pass do not come again. The rule's budget is that
    of the episode as a share of the rows, unless it has one of its own. When as many rows are left as labels,
    it asks for all of them: everyone who is compared has the same number of labels. The episode must be played from its
    start, and each pick must be the one of highest utility.

    Args:
        rule: by name, or `{name: split, share: 0.2}` with options: see `almeta.strategies.stream_thresholds`.
    """

    name = "along_stream"
    spreads = True

    def __init__(self, rule: str | Mapping[str, Any] | Spec = "variable_uncertainty") -> None:
        self.rule = rule
        self._rule = make_rule(rule)

    @property
    def depends_on(self) -> tuple[Any, ...]:
        return (type(self._rule),)

    def initial(self, num_envs: int) -> Memory:
        return None

    def step(self, state: PoolState, memory: Memory) -> tuple[Outputs, Memory]:
        self.check(state)
        self._rule.generator = self.generator
        (pools, rows), device = state.exists.shape, state.x.device
        if memory is None:  # rows that have come and gone, rows of the stream, and what the rule remembers
            memory = (torch.zeros_like(state.num_classes), state.open_rows.sum(1), self._rule.begin(pools, device))
        gone, length, remembered = memory
        budget = (state.budget / length.clamp_min(1)).clamp_max(1.0)
        if self._rule.budget is not None:
            budget = torch.full_like(budget, self._rule.budget)
        ahead = state.open_rows & (torch.arange(rows, device=device) >= gone[:, None])
        picked, remembered = self._walk(state, ahead, budget, remembered)
        utilities = torch.zeros(pools, rows, device=device).scatter_(1, picked.clamp_min(0)[:, None], 1.0)
        utilities = for_questions(utilities, state.annotators)
        gone = torch.where(picked < 0, rows, picked + 1)
        return Outputs(utilities.masked_fill(~state.available, -torch.inf)), (gone, length, remembered)

    def _walk(self, state: PoolState, ahead: Tensor, budget: Tensor, memory: RuleMemory) -> tuple[Tensor, RuleMemory]:
        """Let the rows `ahead` `[E, N]` come until each pool has asked; return its row `[E]`, -1 for none."""
        known = _labels_by_class(state)[:, None]
        confidence = confidence_of(state.probabilities, known, state.num_classes[:, None])
        order, left = ahead.byte().argsort(dim=1, descending=True, stable=True), ahead.sum(1)
        picked = torch.full_like(left, -1)
        for row, sure in zip(order.unbind(1), confidence.gather(1, order).unbind(1), strict=True):
            comes = (picked < 0) & (left > 0)
            if not comes.any():
                break
            ask, after = self._rule.decide(sure, state.num_classes, budget, comes, memory)
            ask = ask | (comes & (left <= state.budget - state.spent))
            memory = replace(after, spent=after.spent.where(comes, memory.spent))
            picked, left = row.where(ask, picked), left - comes.long()
        return picked, memory


def _labels_by_class(state: PoolState) -> Tensor:
    """Return how many labels of each class are known, `[E, C]` int64."""
    counts = torch.zeros_like(state.probabilities[:, 0], dtype=torch.int64)
    return counts.scatter_add_(1, state.labels.clamp_min(0), (state.labels >= 0).long())
