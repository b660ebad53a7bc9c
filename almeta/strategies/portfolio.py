"""Several strategies in one: a bandit chooses among them, one follows the other, or their utilities are added."""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple, get_args

import torch
from torch import Tensor

from almeta.checks import Weight, Within
from almeta.data.dataset import Target
from almeta.errors import AlmetaError
from almeta.pool import PoolState
from almeta.specs import Spec
from almeta.strategies import make_strategy
from almeta.strategies.actor import Memory, Outputs
from almeta.strategies.choosing import draw_row, z_scores
from almeta.strategies.random import Random
from almeta.strategies.strategy import PoolStrategy

AnySpec = str | Mapping[str, Any] | Spec


def lowest_chance(num_strategies: int, rounds: int) -> float:
    """Return p_min = sqrt(ln K / (K T)) of EXP4.P for K strategies and T rounds, and 1 / K at most."""
    return min(1 / num_strategies, math.sqrt(math.log(num_strategies) / (num_strategies * rounds)))


def chances(log_weights: Tensor, rounds: int) -> Tensor:
    """Return the probabilities with which EXP4.P asks its strategies, `[..., K]`, each at least p_min.

    Args:
        log_weights: `[..., K]`, ln w of each strategy.
        rounds: T.
    """
    lowest = lowest_chance(log_weights.shape[-1], rounds)
    return (1 - log_weights.shape[-1] * lowest) * log_weights.softmax(-1) + lowest


def updated(log_weights: Tensor, gains: Tensor, probabilities: Tensor, rounds: int, delta: float) -> Tensor:
    """Return ln w of EXP4.P after a round: ln w + p_min / 2 (gain + sqrt(ln(K / delta) / (K T)) / p).

    Args:
        log_weights: `[..., K]`.
        gains: `[..., K]`, the estimated reward of each strategy.
        probabilities: `[..., K]`, p, with which it was asked.
        rounds: T.
        delta: how likely the regret bound may fail.
    """
    count = log_weights.shape[-1]
    bonus = math.sqrt(math.log(count / delta) / (count * rounds)) / probabilities
    return log_weights + lowest_chance(count, rounds) / 2 * (gains + bonus)


def importance_weighted_accuracy(correct: Tensor, importance: Tensor, num_rows: Tensor, rounds: int) -> Tensor:
    """Return the accuracy on the pool, estimated from its picks, over T: Hsu & Lin, AAAI 2015, "IW-ACC".

    Args:
        correct: `[E, P]` bool, whether the learner's prediction is the label that a pick got.
        importance: `[E, P]`, 1 over the probability with which the row was picked.
        num_rows: `[E]`, n, the pool's rows.
        rounds: T.

    Returns:
        `[E]`, the sum of the importance of the right ones, divided by n T.
    """
    return (importance * correct).sum(1) / (num_rows * rounds)


class _Portfolio(PoolStrategy):
    """Strategies, each with a memory of its own."""

    def __init__(self, strategies: Sequence[AnySpec]) -> None:
        if not strategies:
            raise AlmetaError(f"strategies of {self.name} is empty; name one at least, such as margin")
        self._strategies = [make_strategy(strategy) for strategy in strategies]
        self.uses_learner = any(strategy.uses_learner for strategy in self._strategies)
        self.spreads = any(strategy.spreads for strategy in self._strategies)
        if self.name != "albl":  # its estimate of the reward is of an accuracy
            self.targets = tuple(
                one for one in get_args(Target) if all(one in part.targets for part in self._strategies)
            )

    @property
    def parts(self) -> list[PoolStrategy]:
        return [*self._strategies, *(below for one in self._strategies for below in one.parts)]

    def initial(self, num_envs: int) -> Memory:
        return tuple(strategy.initial(num_envs) for strategy in self._strategies)

    def check(self, state: PoolState) -> None:
        for strategy in self._strategies:
            strategy.check(state)
        super().check(state)

    def _ask(self, number: int, state: PoolState, memories: Memory) -> tuple[Tensor, Memory]:
        """Return the utilities `[E, N]` of one of the strategies, and all memories after its step."""
        strategy = self._strategies[number]
        strategy.generator = self.generator
        outputs, memory = strategy.step(state, memories[number])
        return outputs.utilities, (*memories[:number], memory, *memories[number + 1 :])


class Schedule(_Portfolio):
    """Choose the first picks of an episode by one strategy, and the later ones by another.

    All rows of a query are chosen by the same strategy: by `first` if fewer than `after` picks were made before it.
    First labels do not count as picks.

    Args:
        first: a strategy: a name, `{name: ..., option: ...}`, or a spec.
        then: another one.
        after: picks by `first`.
    """

    name = "schedule"

    def __init__(
        self, first: AnySpec = "core_set", then: AnySpec = "margin", after: Annotated[int, Within(0)] = 10
    ) -> None:
        super().__init__((first, then))
        self.first, self.then, self.after = first, then, after
        self.uses_learner = self._strategies[0 if after else 1].uses_learner  # that of who begins

    def step(self, state: PoolState, memory: Memory) -> tuple[Outputs, Memory]:
        self.check(state)
        number = int(state.spent - state.pending.shape[1] >= self.after)
        utilities, memory = self._ask(number, state, memory)
        return Outputs(utilities), memory


class Blend(_Portfolio):
    """Ask for the row of the highest weighted sum of z-scores: (utility - mean) / standard deviation.

    Mean and standard deviation are over the rows of the pool that may be picked. A strategy that finds them all alike
    adds nothing.

    Args:
        strategies: names, `{name: ..., option: ...}`, or specs.
        weights: how much each counts; none for the same weight.
    """

    name = "blend"

    def __init__(
        self, strategies: Sequence[Any] = ("margin", "core_set"), weights: Sequence[Weight] | None = None
    ) -> None:
        super().__init__(strategies)
        if weights is not None and len(weights) != len(strategies):
            raise AlmetaError(f"weights of blend has {len(weights)} numbers for {len(strategies)} strategies")
        self.strategies, self.weights = strategies, weights

    def step(self, state: PoolState, memory: Memory) -> tuple[Outputs, Memory]:
        self.check(state)
        total = torch.zeros(state.exists.shape, device=state.x.device)
        for number, weight in enumerate(self.weights or [1.0] * len(self.strategies)):
            utilities, memory = self._ask(number, state, memory)
            total += weight * z_scores(utilities, state.available)
        return Outputs(total.masked_fill(~state.available, -torch.inf)), memory


class Albl(_Portfolio):
    """Let a bandit choose among strategies by how accurate they make the learner: ALBL, Hsu & Lin, AAAI 2015.

    Each pick is a round of EXP4.P (Beygelzimer et al., AISTATS 2011) whose arms are the K strategies: `chances` returns
    p, a strategy k has the query distribution psi_k, and a row is drawn from q = sum of p_k psi_k. When the answers of
    the query have arrived, the reward r of each of its picks i is the learner's `importance_weighted_accuracy` on all
    picks so far, and strategy k gains r psi_k(i) / q(i). The rounds T are the budget.

    psi is uniform for `random`, and all others ask for their best row; rows that tie share it. Keep `random` among the
    strategies, so that every row may be picked. In the paper a row may be picked again, and each pick estimates the
    accuracy of a given classifier on the whole pool without bias. Here rows are never picked twice: a pick estimates
    how many of the rows that were open then are right, over n. That is too low by the share of rows that are right and
    were picked before. Picks without an answer count for nothing.

    Args:
        strategies: names, `{name: ..., option: ...}`, or specs.
        delta: how likely the bandit's regret bound may fail.
    """

    name = "albl"

    def __init__(
        self,
        strategies: Sequence[Any] = ("margin", "core_set", "random"),
        delta: Annotated[float, Within(above=0, high=1)] = 0.1,
    ) -> None:
        super().__init__(strategies)
        self.spreads = True  # each pick is drawn anew
        self.strategies, self.delta = strategies, delta

    def initial(self, num_envs: int) -> Memory:
        return None, super().initial(num_envs)

    def step(self, state: PoolState, memory: Memory) -> tuple[Outputs, Memory]:
        self.check(state)
        past, memories = memory
        past = past or _Past.empty(state, len(self._strategies))
        if not state.pending.shape[1]:
            past = self._learn(past, state)
        lots = torch.rand(len(state.x), generator=self.generator, dtype=torch.float64, device=state.x.device)
        asked, advice = chances(past.log_weights, max(1, state.budget)), []
        for number in range(len(self._strategies)):
            wanted, memories = self._advice(number, state, memories)
            advice.append(wanted)
        psi = torch.stack(advice, 1)  # [E, K, N]
        query = (asked[..., None] * psi).sum(1)
        row = draw_row(query, lots)
        place = row.clamp_min(0)[:, None]
        drawn = torch.zeros_like(query).scatter_(1, place, 1.0)
        support = psi.gather(2, place[:, None].expand(-1, psi.shape[1], 1))[..., 0]
        past = past.add(row, query.gather(1, place), support, asked)
        return Outputs((query + drawn).float().masked_fill(~state.available, -torch.inf)), (past, memories)

    def _advice(self, number: int, state: PoolState, memories: Memory) -> tuple[Tensor, Memory]:
        """Return psi `[E, N]` of a strategy, and all memories after its step."""
        wanted = state.available
        if not isinstance(self._strategies[number], Random):
            utilities, memories = self._ask(number, state, memories)
            wanted = wanted & (utilities == utilities.amax(1, keepdim=True))
        return wanted.double() / wanted.sum(1, keepdim=True).clamp_min(1), memories

    def _learn(self, past: "_Past", state: PoolState) -> "_Past":
        """Return the past after the answers of a query: the picks that waited for them are rewarded."""
        rows, rounds = past.rows.clamp_min(0), max(1, state.budget)
        labels = state.labels.gather(1, rows)
        told = (past.rows >= 0) & (labels >= 0)
        correct = told & (state.probabilities.argmax(-1).gather(1, rows) == labels)
        reward = importance_weighted_accuracy(correct, past.importance, state.exists.sum(1), rounds)
        log_weights, waiting = past.log_weights, past.gains.shape[1]
        for pick in range(waiting):
            gains, known = reward[:, None] * past.gains[:, pick], told[:, told.shape[1] - waiting + pick, None]
            after = updated(log_weights, gains, past.asked[:, pick], rounds, self.delta)
            log_weights = after.where(known, log_weights)
        return past._replace(log_weights=log_weights, gains=past.gains[:, :0], asked=past.asked[:, :0])


class _Past(NamedTuple):
    """What ALBL remembers.

    Attributes:
        log_weights: `[E, K]`, ln w of the strategies.
        rows: `[E, P]` int64, the rows that were drawn.
        importance: `[E, P]`, 1 / q of these.
        gains: `[E, Q, K]`, psi / q of the last Q, which wait for their answers.
        asked: `[E, Q, K]`, p of these.
    """

    log_weights: Tensor
    rows: Tensor
    importance: Tensor
    gains: Tensor
    asked: Tensor

    @classmethod
    def empty(cls, state: PoolState, count: int) -> "_Past":
        zeros = state.x.new_zeros(len(state.x), count, dtype=torch.float64)
        none, nobody = zeros[:, :0], zeros[:, None][:, :0]
        return cls(zeros, none.long(), none, nobody, nobody)

    def add(self, row: Tensor, chance: Tensor, support: Tensor, asked: Tensor) -> "_Past":
        """Return the past with a pick: its row `[E]`, q `[E, 1]`, and psi and p of each strategy `[E, K]`."""
        importance = torch.where(chance > 0, 1 / chance, 0.0)
        return self._replace(
            rows=torch.cat((self.rows, row[:, None]), 1),
            importance=torch.cat((self.importance, importance), 1),
            gains=torch.cat((self.gains, (support * importance)[:, None]), 1),
            asked=torch.cat((self.asked, asked[:, None]), 1),
        )
