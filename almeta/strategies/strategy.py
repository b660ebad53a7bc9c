"""What hand-made strategies of pools share, and how one is named together with its options."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from almeta.errors import AlmetaError
from almeta.pool import PoolState
from almeta.seeding import make_generator
from almeta.strategies.actor import Memory, Outputs


class PoolStrategy:
    """What the strategies share: a score for every row, and `-inf` where it may not be picked.

    A strategy is a subclass in a file of `almeta/strategies`. It needs `name`, which tables and commands use, and
    `score`; its options are the annotated arguments of its `__init__`. A rule with chance draws from `generator`.
    """

    name: ClassVar[str]

    @functools.cached_property
    def generator(self) -> torch.Generator:
        """Draws for rules with chance, on the device of the pools; whoever makes a strategy sets it."""
        return make_generator(0, "strategy")

    def initial(self, num_envs: int) -> Memory:
        return ()

    def step(self, state: PoolState, memory: Memory) -> tuple[Outputs, Memory]:
        """Return utilities `[E, N]` float32: higher is better, `-inf` for rows that are not available."""
        return Outputs(self.score(state).masked_fill(~state.available, -torch.inf)), memory

    def score(self, state: PoolState) -> Tensor:
        """Return a finite score of every row, `[E, N]` float32; those of rows that are not available are ignored."""
        raise NotImplementedError


@dataclass(frozen=True)
class Spec:
    """A name and options, as YAML and command lines give them: `margin`, `{name: information_density, beta: 2}`.

    Its text, `information_density(beta=2)`, is what tables, figures and files call it.
    """

    name: str
    options: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def read(cls, given: "str | Mapping[str, Any] | Spec", kind: str = "strategy") -> "Spec":
        """Return the spec that somebody wrote.

        Raises:
            AlmetaError: if it has no name.
        """
        if isinstance(given, Spec):
            return given
        if isinstance(given, str):
            return cls(given)
        if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
            raise AlmetaError(f"{given!r} names no {kind}; write its name, or {{name: NAME, OPTION: VALUE}}")
        options = tuple((str(key), _hashable(value)) for key, value in given.items() if key != "name")
        return cls(given["name"], options)

    def __str__(self) -> str:
        options = ", ".join(f"{key}={_text(value)}" for key, value in self.options)
        return f"{self.name}({options})" if options else self.name


def _hashable(value: Any) -> Any:
    return tuple(map(_hashable, value)) if isinstance(value, list) else value


def _text(value: Any) -> str:
    """2.0 and 2 are one value, and have one text."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(_text, value))}]"
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
