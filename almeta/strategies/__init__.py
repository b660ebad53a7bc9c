"""Strategies by name: subclasses of `PoolStrategy` in this folder, those that `register_strategy` adds, and others'."""

import importlib
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeGuard

import torch

from almeta.data.dataset import Target
from almeta.errors import AlmetaError
from almeta.registry import Table, trust
from almeta.specs import Spec
from almeta.strategies.actor import Actor, Memory, Outputs
from almeta.strategies.making import make_by_spec
from almeta.strategies.strategy import BatchStrategy, PoolStrategy

__all__ = [
    "Actor",
    "BatchStrategy",
    "Memory",
    "Outputs",
    "PoolStrategy",
    "is_strategy",
    "make_strategy",
    "register_strategy",
    "strategy_class",
    "strategy_names",
]

# Libraries whose strategies are named as `skactiveml.CoreSet`, and the modules that find them, by name as Gymnasium's
# environments: this room knows nothing of theirs.
_LIBRARIES = {"modAL": "almeta.interop.modal", "skactiveml": "almeta.interop.skactiveml"}


def strategy_names(target: Target | None = None) -> list[str]:
    """Return the names that `make_strategy` takes, sorted: `["core_set", "entropy", ...]`.

    Args:
        target: "classes" or "numbers", for those that are for such targets; None for all.
    """
    table = _strategies()
    return [name for name in table.names if target is None or target in table.find(name).targets]


def strategy_class(name: str) -> type[PoolStrategy]:
    """Return the class of a strategy.

    Raises:
        AlmetaError: if the name is unknown, or of a library that is not installed.
    """
    if "(" in name:  # as tables show it
        start = name.partition("(")[0]
        raise AlmetaError(f"unknown strategy {name!r}; give options as {{name: {start}, OPTION: VALUE}}")
    library, dot, theirs = name.partition(".")
    if dot and library in _LIBRARIES:
        found: type[PoolStrategy] = importlib.import_module(_LIBRARIES[library]).theirs_by_name(theirs)
        return found
    return _strategies().find(name)


def is_strategy(name: Any) -> TypeGuard[str]:
    """Return whether a text names a strategy, or something of a library whose strategies have names."""
    return isinstance(name, str) and (name in _strategies() or name.partition(".")[0] in _LIBRARIES)


def make_strategy(
    strategy: str | Mapping[str, Any] | Spec, /, generator: torch.Generator | None = None, **options: Any
) -> PoolStrategy:
    """Make a strategy with options: `make_strategy("information_density", beta=2)`.

    Args:
        strategy: its name, `{"name": ..., option: ...}`, or a `Spec`.
        generator: draws for strategies with chance, on the device of the pools; None for one of seed 0.
        options: further options.

    Raises:
        AlmetaError: if the name or an option is unknown, a value is out of range, or a required option is missing.
    """
    return make_by_spec(Spec.read(strategy), strategy_class, "strategy", generator, options)


def register_strategy(strategy: type[PoolStrategy]) -> type[PoolStrategy]:
    """Add a strategy of your own, by its `name`, to commands and `make_strategy`; also as a decorator.

    Raises:
        AlmetaError: if it is no subclass of `PoolStrategy` with a name, or the name is taken.
    """
    if not (isinstance(strategy, type) and issubclass(strategy, PoolStrategy) and hasattr(strategy, "name")):
        raise AlmetaError(f"{strategy!r} is no strategy; derive a class from PoolStrategy and give it a name")
    _strategies().add(strategy.name, strategy)
    trust(strategy.__module__)
    return strategy


@cache
def _strategies() -> Table[type[PoolStrategy]]:
    """Return the table of strategies, with those of this folder."""
    return Table("strategy").add_classes(__name__, PoolStrategy, "name")
