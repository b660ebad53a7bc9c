"""Hand-made strategies for tables with missing cells: which cell should be bought?"""

import functools
import math
from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar

import torch
from torch import Tensor

from almeta.checks import Count, check_arguments
from almeta.errors import AlmetaError
from almeta.features import FeatureState
from almeta.learners.learner import Learner
from almeta.registry import Table, trust
from almeta.seeding import make_generator
from almeta.specs import Spec
from almeta.strategies.actor import Memory, Outputs
from almeta.strategies.making import make_by_spec
from almeta.strategies.strategy import draws, fits_differ


class CellStrategy:
    """A score for every cell, and `-inf` where it may not be asked for.

    A strategy is a subclass in a file of this folder, or registered by `register_cell_strategy`. It needs `name`, which
    tables and commands use, and `score`; its options are the annotated arguments of its `__init__`. A rule with chance
    draws from `generator`. Cells of equal score are drawn from at random.

    Attributes:
        compares_fits: whether it compares fits of the learner to other cells each; a learner that draws is refused.
    """

    name: ClassVar[str]
    compares_fits: ClassVar[bool] = False
    _steady: Learner | None = None  # the learner that was found to draw nothing

    @functools.cached_property
    def generator(self) -> torch.Generator:
        """Draws for rules with chance, on the device of the tables; `make_cell_strategy` sets it."""
        return make_generator(0, "strategy")

    def initial(self, num_envs: int) -> Memory:
        return ()

    def step(self, state: FeatureState, memory: Memory) -> tuple[Outputs, Memory]:
        """Return utilities `[E, N * D]` float32: higher is better, `-inf` for cells that are not available.

        Raises:
            AlmetaError: as `check`, and for scores of another shape, or that are NaN or inf.
        """
        self.check(state)
        scores, shape = self.score(state), list(state.exists.shape)
        if not isinstance(scores, Tensor) or list(scores.shape) != shape:
            given = list(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
            raise AlmetaError(
                f"strategy {self.name} returned scores {given}; they must be a tensor [E, N, D] = {shape}"
            )
        if ((scores.isnan() | scores.isposinf()) & state.missing).any():
            raise AlmetaError(f"strategy {self.name} returned scores that are NaN or inf; return finite ones, or -inf")
        return Outputs(scores.flatten(1).masked_fill(~state.available, -torch.inf)), memory

    def check(self, state: FeatureState) -> None:
        """Raise AlmetaError if the strategy compares fits of a learner that draws; a learner is tried once."""
        if self.compares_fits and self._steady is not state.learner:
            if draws(state.learner, state.filled, state.rows, state.probabilities.shape[-1]):
                raise fits_differ(self.name, state.learner)
            self._steady = state.learner

    def score(self, state: FeatureState) -> Tensor:
        """Return scores of all cells, `[E, N, D]` float32; those of cells that are not missing are ignored.

        A score of `-inf` rules a cell out; at least one missing cell of each table must have another one.
        """
        raise NotImplementedError


class RandomCell(CellStrategy):
    """Ask for a missing cell drawn at random."""

    name = "random"

    def score(self, state: FeatureState) -> Tensor:
        return torch.rand(state.exists.shape, generator=self.generator, device=state.filled.device)


class Cheapest(CellStrategy):
    """Ask for a cell of the lowest price: what one gains by looking at prices alone."""

    name = "cheapest"

    def score(self, state: FeatureState) -> Tensor:
        return -state.prices


class MostUncertainRow(CellStrategy):
    """Ask for a cell of the row that the learner is least sure of, by the margin between its two likeliest classes.

    Melville, Saar-Tsechansky, Provost & Mooney, "Active Feature-Value Acquisition for Classifier Induction", ICDM 2004,
    section 3.2: rows by uncertainty, and in Error Sampling misclassified rows before all others. There a query brings
    all missing cells of a row; here it brings one, and the learner is refit before the next.

    Args:
        errors_first: prefer rows whose label is not the learner's prediction, the most uncertain ones first.
    """

    name = "most_uncertain_row"

    def __init__(self, errors_first: bool = False) -> None:
        check_arguments(type(self), {"errors_first": errors_first}, f"strategy {self.name}")
        self.errors_first = errors_first

    def score(self, state: FeatureState) -> Tensor:
        scores = -state.margins()
        if self.errors_first:
            scores = scores + (state.probabilities.max(-1).indices != state.labels)
        return scores[..., None].expand_as(state.filled)


class ExpectedUtility(CellStrategy):
    """Ask for the cell from which the learner is expected to gain most for its price, by the value of information.

    Melville, Saar-Tsechansky, Provost & Mooney, "An Expected Utility Approach to Active Feature-Value Acquisition",
    ICDM 2005, equations 1 and 2: the utility of a cell is the sum, over values that it may have, of the probability of
    the value times what the learner gains when it is refit with it, over the price. The gain is that in the mean
    log-probability of the rows' own labels (log gain: Saar-Tsechansky, Melville & Provost, Management Science 55(4),
    2009). Values and probabilities are three of the belief's Gaussian (Gauss-Hermite: its mean, and sqrt(3) deviations
    to both sides), where the papers train a classifier for each column.

    Args:
        candidates: cells that are tried at each step, drawn at random (Sampled Expected Utility); others have -inf.
        cost_aware: divide by the price; else the utility alone counts. A loss is multiplied by the price, so that of
            two equal losses the dearer one is the worse.
    """

    name = "expected_utility"
    compares_fits = True

    POINTS = ((-math.sqrt(3.0), 1 / 6), (0.0, 2 / 3), (math.sqrt(3.0), 1 / 6))

    def __init__(self, candidates: Count = 16, cost_aware: bool = True) -> None:
        check_arguments(type(self), {"candidates": candidates, "cost_aware": cost_aware}, f"strategy {self.name}")
        self.candidates, self.cost_aware = candidates, cost_aware

    def score(self, state: FeatureState) -> Tensor:
        drawn = torch.rand(state.available.shape, generator=self.generator, device=state.filled.device)
        order = drawn.masked_fill(~state.available, -1.0).topk(min(self.candidates, drawn.shape[1]), 1).indices
        utility = self.utilities(state, order)
        if self.cost_aware:
            price = state.prices.flatten(1).gather(1, order).clamp_min(1e-9)
            utility = torch.where(utility > 0, utility / price, utility * price)
        scores = torch.full_like(drawn, -torch.inf).scatter(1, order, utility)
        return scores.view(state.exists.shape)

    def utilities(self, state: FeatureState, cells: Tensor) -> Tensor:
        """Return the expected log gain of some cells `[E, K]` int64, as `[E, K]` float32."""
        rows, columns = cells // state.filled.shape[2], cells % state.filled.shape[2]
        place = torch.nn.functional.one_hot(columns, state.filled.shape[2]).bool()  # [E, K, D]
        index = rows[..., None].expand_as(place)
        filled, deviation, known = (part.gather(1, index) for part in (state.filled, state.deviation, state.known))
        now, expected = self._log_gain(state, state.probabilities), torch.zeros_like(cells, dtype=torch.float32)
        for point, weight in self.POINTS:
            told = filled + torch.where(place, point * deviation, 0.0)
            refilled, _ = state.belief.fill(told, known | place)
            expected += weight * self._refit(state, rows, refilled.where(state.exists.gather(1, index), 0.0))
        return expected - now[:, None]

    def _refit(self, state: FeatureState, rows: Tensor, told: Tensor) -> Tensor:
        """Return the mean log-probability of labels, `[E, K]`, of learners refit with other rows `[E, K, D]`."""
        each = rows.shape[1]
        x = state.filled.repeat_interleave(each, 0)  # [E * K, N, D]
        index = rows.flatten()[:, None, None].expand(-1, 1, x.shape[2])
        x = x.scatter(1, index, told.flatten(0, 1)[:, None])
        y, weight = (part.repeat_interleave(each, 0) for part in (state.labels, state.rows.float()))
        model = state.learner.fit(x, y, weight, state.probabilities.shape[-1], generator=self.generator)
        own = model.probabilities(x).gather(-1, y[..., None]).squeeze(-1).clamp_min(1e-7).log()
        return (own * weight).sum(1).view_as(rows) / weight.sum(1).view_as(rows)

    @staticmethod
    def _log_gain(state: FeatureState, probabilities: Tensor) -> Tensor:
        own = probabilities.gather(-1, state.labels[..., None]).squeeze(-1).clamp_min(1e-7).log()
        return own.where(state.rows, 0.0).sum(1) / state.rows.sum(1)


def make_cell_strategy(
    strategy: str | Mapping[str, Any] | Spec, generator: torch.Generator | None = None
) -> CellStrategy:
    """Make a strategy with options, such as `{"name": "expected_utility", "cost_aware": False}`.

    Args:
        strategy: its name, `{"name": ..., option: ...}`, or a `Spec`.
        generator: draws for strategies with chance, on the device of the tables; None for one of seed 0.

    Raises:
        AlmetaError: if the name or an option is unknown, or a value is out of range.
    """
    return make_by_spec(Spec.read(strategy, "strategy of cells"), _strategies().find, "strategy", generator, {})


def cell_strategy_names() -> list[str]:
    """Return the names that `make_cell_strategy` takes, sorted."""
    return _strategies().names


def register_cell_strategy(strategy: type[CellStrategy]) -> type[CellStrategy]:
    """Add a strategy of your own, by its `name`; also as a decorator.

    Raises:
        AlmetaError: if it is no subclass of `CellStrategy` with a name, or the name is taken.
    """
    if not (isinstance(strategy, type) and issubclass(strategy, CellStrategy) and hasattr(strategy, "name")):
        raise AlmetaError(f"{strategy!r} is no strategy; derive a class from CellStrategy and give it a name")
    _strategies().add(strategy.name, strategy)
    trust(strategy.__module__)
    return strategy


@cache
def _strategies() -> Table[type[CellStrategy]]:
    """Return the table of strategies of cells, with those of this folder."""
    return Table("strategy of cells").add_classes("almeta.strategies", CellStrategy, "name")
