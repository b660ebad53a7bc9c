"""Strategies by name.

A strategy is a subclass of `PoolStrategy` with a `name`, in a module of this folder. Adding one is adding it there.
"""

import importlib
import pkgutil
from typing import Any

from almeta.checks import check_arguments
from almeta.errors import AlmetaError, did_you_mean
from almeta.strategies.pool import PoolActor, PoolState, PoolStrategy

__all__ = ["PoolActor", "PoolState", "PoolStrategy", "make_strategy", "strategy_names"]


def strategy_names() -> list[str]:
    """Names that `make_strategy` takes, sorted: `["core_set", "entropy", ...]`."""
    return sorted(_strategies())


def make_strategy(name: str, /, **options: Any) -> PoolStrategy:
    """The strategy called `name`, with options such as `make_strategy("information_density", beta=2)`.

    Raises:
        AlmetaError: if the name or an option is unknown, or an option's value is out of range.
    """
    known = _strategies()
    if name not in known:
        raise AlmetaError(did_you_mean(str(name), known, "strategy"))
    check_arguments(known[name], options, f"strategy {name}")
    return known[name](**options)


def _strategies() -> dict[str, type[PoolStrategy]]:
    """The strategies of all modules of this folder by name."""
    modules = [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    classes = [value for module in modules for value in vars(module).values() if isinstance(value, type)]
    return {value.name: value for value in classes if issubclass(value, PoolStrategy) and "name" in vars(value)}
