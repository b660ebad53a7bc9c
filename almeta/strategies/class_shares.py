"""Which class the next row should be of: rules that share out the rows of a query among the classes.

R. Lomasky, C. E. Brodley, M. Aernecke, D. Walt and M. Friedl, "Active Class Selection", ECML 2007 (LNCS 4701, pages
640-647).
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from almeta.checks import Within, check_fields
from almeta.classes import ClassState
from almeta.registry import Table
from almeta.seeding import make_generator
from almeta.specs import Spec
from almeta.strategies.actor import Memory, Outputs
from almeta.strategies.making import make_by_spec


@dataclass(eq=False)
class ClassStrategy:
    """Share out the rows of each query: a subclass in a file of `almeta/strategies` has a `name` and `weights`.

    When a query begins, each class is owed its share of the rows. The next row is of the class that is owed most. What
    is less than a row is owed on in the next query, so that a rare class has its turn, too. Of a single query, shares
    are rounded up for the classes with the largest remainders, and down for the others.
    """

    name: ClassVar[str]

    def __post_init__(self) -> None:
        check_fields(self, f"class strategy {self.name}")

    @functools.cached_property
    def generator(self) -> torch.Generator:
        """Draws for rules with chance, on the device of the episodes; `make_class_strategy` sets it."""
        return make_generator(0, "class strategy")

    def initial(self, num_envs: int) -> Memory:
        return None

    def step(self, state: ClassState, memory: Tensor | None) -> tuple[Outputs, Tensor]:
        """Return utilities `[E, C]`, how many rows each class is owed, `-inf` for classes without rows left.

        The memory is how many rows each class should have by the end of the query, `[E, C]`; None at the start.
        """
        had = state.counts + state.drawn
        owed = had.float() if memory is None else memory
        if state.begins_query:
            owed = owed + shares_of(self.weights(state), state.available) * state.query_size
        return Outputs((owed - had).masked_fill(~state.available, -torch.inf)), owed

    def weights(self, state: ClassState) -> Tensor:
        """Return `[E, C]` float32, at least 0 and finite, in whose proportion rows are shared out."""
        raise NotImplementedError


def shares_of(weights: Tensor, available: Tensor) -> Tensor:
    """Return the shares `[E, C]` of classes by their weights; all alike where all weights are 0, 0 if not available."""
    weights = weights * available
    weights = torch.where(weights.sum(1, keepdim=True) > 0, weights, available.float())
    return weights / weights.sum(1, keepdim=True).clamp_min(1e-12)


class RandomClass(ClassStrategy):
    """Draw the class of each row by its share in the data: what labelling rows at random brings."""

    name = "random"

    def step(self, state: ClassState, memory: Tensor | None) -> tuple[Outputs, Tensor]:
        """Return the logarithms of the shares with Gumbel noise: the highest one is drawn by its share."""
        shares = shares_of(self.weights(state), state.available)
        uniform = torch.rand(shares.shape, generator=self.generator, device=shares.device)
        utilities = shares.log() - (-uniform.clamp_min(1e-20).log()).log()
        return Outputs(utilities.masked_fill(~state.available, -torch.inf)), shares

    def weights(self, state: ClassState) -> Tensor:
        return state.shares


class Uniform(ClassStrategy):
    """As many rows of each class."""

    name = "uniform"

    def weights(self, state: ClassState) -> Tensor:
        return torch.ones_like(state.shares)


class Proportional(ClassStrategy):
    """Rows by the shares of the classes in the data."""

    name = "proportional"

    def weights(self, state: ClassState) -> Tensor:
        return state.shares


@dataclass(eq=False)
class InverseAccuracy(ClassStrategy):
    """More rows of the classes that are predicted worst: weights are 1 / accuracy, by cross-validation.

    Args:
        floor: accuracies below it count as this one.
    """

    name = "inverse_accuracy"

    floor: Annotated[float, Within(above=0, high=1)] = 0.1

    def weights(self, state: ClassState) -> Tensor:
        return 1 / state.accuracies.clamp_min(self.floor)


class AccuracyImprovement(ClassStrategy):
    """More rows of the classes that the last rows helped: weights are max(0, gain of accuracy), by cross-validation.

    Where no class has gained, and in the first query, all classes have the same share.
    """

    name = "accuracy_improvement"

    def weights(self, state: ClassState) -> Tensor:
        return state.gains.clamp_min(0)


class Redistricting(ClassStrategy):
    """More rows of the classes near unstable borders: weights are the shares of their rows whose prediction changed.

    The predictions are those by cross-validation, before and after the last query. Where none has changed, and in the
    first query, all classes have the same share.
    """

    name = "redistricting"

    def weights(self, state: ClassState) -> Tensor:
        return state.redistricted


def class_strategy_names() -> list[str]:
    """Return the names that `make_class_strategy` takes, sorted."""
    return _strategies().names


def make_class_strategy(
    strategy: str | Mapping[str, Any] | Spec, /, generator: torch.Generator | None = None, **options: Any
) -> ClassStrategy:
    """Make a strategy with options: `make_class_strategy("inverse_accuracy", floor=0.2)`.

    Args:
        strategy: its name, `{"name": ..., option: ...}`, or a `Spec`.
        generator: draws for strategies with chance, on the device of the episodes; None for one of seed 0.
        options: further options.

    Raises:
        AlmetaError: if the name or an option is unknown, or a value is out of range.
    """
    spec = Spec.read(strategy, "class strategy")
    return make_by_spec(spec, _strategies().find, "class strategy", generator, options)


@functools.cache
def _strategies() -> Table[type[ClassStrategy]]:
    """Return the table of strategies, with those of this folder."""
    return Table[type[ClassStrategy]]("class strategy").add_classes("almeta.strategies", ClassStrategy, "name")
