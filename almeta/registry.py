"""What users add to almeta: things by name, and modules whose classes configs may name."""

import importlib
import pkgutil
import sys
from collections.abc import Iterable
from types import ModuleType
from typing import Any, Generic, Self, TypeVar

from almeta.errors import AlmetaError, did_you_mean

T = TypeVar("T")


class Table(Generic[T]):
    """Things by name.

    Args:
        kind: what they are called in messages, such as "strategy".
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._entries: dict[str, T] = {}

    def add(self, name: str, entry: T) -> None:
        """Add a thing; adding the same one again changes nothing.

        Raises:
            AlmetaError: if the name is empty or taken.
        """
        if not isinstance(name, str) or not name.strip():
            raise AlmetaError(f"a {self._kind} needs a name; {name!r} is none")
        if self._entries.setdefault(name, entry) is not entry and not _same_source(self._entries[name], entry):
            raise AlmetaError(f"there is another {self._kind} '{name}' already; choose another name")
        self._entries[name] = entry

    def add_classes(self, package: str, base: type, attribute: str) -> Self:
        """Add the subclasses of `base` in the modules of a package, by the name in their own `attribute`."""
        for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
            for value in vars(importlib.import_module(f"{package}.{module.name}")).values():
                if isinstance(value, type) and issubclass(value, base) and attribute in vars(value):
                    self.add(getattr(value, attribute), value)  # type: ignore[arg-type]
        return self

    def find(self, name: str) -> T:
        """Return the thing with this name.

        Raises:
            AlmetaError: if there is none.
        """
        if name not in self._entries:
            raise AlmetaError(did_you_mean(str(name), self._entries, self._kind))
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    @property
    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self._entries)


def _same_source(one: object, other: object) -> bool:
    """Return whether two things were defined at one place, as after a module was loaded again."""
    places = [(getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)) for thing in (one, other)]
    return places[0] == places[1] and None not in places[0]  # partials have a module, functools, and no name


# Modules of others whose classes and functions configs may name.
_trusted: set[str] = set()


def trust(module: str) -> None:
    """Let configs, checkpoints and cards name what a module defines; a name without a module is no module."""
    if module:
        _trusted.add(module)


def is_trusted(module: str) -> bool:
    """Return whether the user has registered something of the module."""
    return module in _trusted


def trusted_modules() -> list[str]:
    """Return the names of the trusted modules that are loaded here; another process imports them to know the same."""
    return sorted(_trusted & sys.modules.keys() - {"__main__"})


def import_modules(names: str | Iterable[str]) -> None:
    """Import modules of the user, which register what they define, and trust them.

    Raises:
        AlmetaError: if one cannot be imported.
    """
    for name in [names] if isinstance(names, str) else names:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise AlmetaError(
                f"modules=[{name}] cannot be imported ({error}); it must be importable from here: install it, or set "
                "PYTHONPATH to its folder"
            ) from error
        trust(name)


def find_trusted(target: str, key: str) -> Any:
    """Return the class or function with a dotted name, if it is of a trusted module.

    Args:
        target: its name.
        key: of the config that holds the name, for messages.

    Raises:
        AlmetaError: if it does not exist, or a module that is not trusted defines it.
    """
    module = target.rpartition(".")[0]
    if not module:
        raise AlmetaError(
            f"{key} is '{target}'; it must be a function or class with its module before it, such as {target}.make"
        )
    if not is_trusted(module):
        raise AlmetaError(
            f"{key} is '{target}', of a module that nobody has vouched for; if it is your own, name it to the command: "
            f"modules=[{module}], or give the function itself in Python"
        )
    try:
        found = pkgutil.resolve_name(target)
    except (ImportError, AttributeError, ValueError) as error:
        raise AlmetaError(
            f"{key} is '{target}', which cannot be imported ({error}); correct the name, install the module, or set "
            "PYTHONPATH to its folder"
        ) from error
    if not callable(found) or not is_trusted(getattr(found, "__module__", None) or ""):
        raise AlmetaError(f"{key} is '{target}'; it must be a class or function that {module} defines")
    return found


def import_extra(module: str, extra: str, wanted: str) -> ModuleType:
    """Return a module of a package that almeta does not need, but for one thing.

    Args:
        module: its name.
        extra: of almeta, which brings the package.
        wanted: what needs it, such as an option.

    Raises:
        AlmetaError: if the package is not installed, or does not work here.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise AlmetaError(
            f"{wanted} needs {error.name}, which is not installed; pip install 'almeta[{extra}]'"
        ) from error
    except Exception as error:  # such as a package for another version of torch
        raise AlmetaError(f"{wanted} needs {module}, which cannot be imported: {error}; install it anew") from error
