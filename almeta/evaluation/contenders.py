"""Who plays in a benchmark."""

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Protocol, Self

import torch

from almeta.checks import Within, check_value
from almeta.data import Dataset
from almeta.learners import make_learner
from almeta.pool import PoolState
from almeta.sources import closure_digest, thing_digest
from almeta.specs import Spec
from almeta.strategies import Actor, make_strategy


class Player(Protocol):
    """A strategy or a policy; its text is its name in tables."""

    def check(self, dataset: str) -> None:
        """Raise an AlmetaError if it was trained on a data set of that name."""

    def on(self, dataset: Dataset) -> Self:
        """Return the player for a data set; raise an AlmetaError if it was trained on the data set's rows."""

    def make(self, generator: torch.Generator) -> Actor[Any]:
        """Return the actor; `generator`, on the device of the episodes, draws its random numbers."""


class Contender(Player, Protocol):
    """A player of pools, whose finished cells are kept."""

    @property
    def digest(self) -> str:
        """A text that is equal for contenders that act alike."""


@dataclass(frozen=True)
class StrategySpec(Spec):
    """A strategy with options as a contender."""

    def __post_init__(self) -> None:
        make_strategy(self)  # raises at once if it is unknown

    @classmethod
    def read(cls, given: "str | Mapping[str, Any] | Spec", kind: str = "strategy") -> "StrategySpec":
        """Return the contender of a name or a mapping; see `Spec.read`."""
        spec = Spec.read(given, kind)
        return cls(spec.name, spec.options)

    @property
    def digest(self) -> str:
        made = make_strategy(self)
        all_of_it = (made, *made.parts)
        code = closure_digest(*(type(one).__module__ for one in all_of_it))
        packages = dict.fromkeys(package for one in all_of_it for package in one.packages)
        versions = (f"{package} {importlib.metadata.version(package)}" for package in packages)
        return " ".join(("strategy", str(self), code, *versions, *(thing_digest(*one.depends_on) for one in all_of_it)))

    def check(self, dataset: str) -> None:
        return

    def on(self, dataset: Dataset) -> Self:
        return self

    def make(self, generator: torch.Generator) -> Actor[PoolState]:
        return make_strategy(self, generator)


@dataclass(frozen=True)
class Entrant:
    """A contender with a learner or a number of repeats of its own.

    Attributes:
        contender: who acts.
        learner: what it plays with; None for the setting's.
        repeats: how many of the setting's repeats it plays at most, the first ones; None for all. The tasks and the
            oracle's answers are those of all; a learner with chance in it draws for all repeats at once, and has other
            random numbers for fewer of them.
    """

    contender: Contender
    learner: Spec | None = None
    repeats: int | None = None

    def __post_init__(self) -> None:
        check_value(f"repeats of strategy {self.contender}", self.repeats, Annotated[int, Within(2)] | None)
        if self.learner is not None:
            make_learner(self.learner)  # raises at once if it is unknown

    def __str__(self) -> str:
        return f"{self.contender} with {self.learner}" if self.learner else str(self.contender)

    @property
    def digest(self) -> str:
        return self.contender.digest

    def check(self, dataset: str) -> None:
        self.contender.check(dataset)

    def on(self, dataset: Dataset) -> Self:
        return replace(self, contender=self.contender.on(dataset))

    def make(self, generator: torch.Generator) -> Actor[PoolState]:
        return self.contender.make(generator)
