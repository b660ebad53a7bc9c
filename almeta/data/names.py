"""Which data sets there are, read from the loaders' source: some of them need libraries that are slow to load."""

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from almeta.errors import AlmetaError, did_you_mean


@dataclass(frozen=True)
class Entry:
    """Where the data set of a name comes from.

    Attributes:
        module: of almeta.data, the one that loads it.
        argument: what its `load` is called with: nothing, the name in a family, or what follows the prefix.
        name: the one spelling that stands for all of them.
    """

    module: str
    argument: tuple[str, ...]
    name: str


def dataset_names() -> list[str]:
    """Names that `load_dataset` takes, sorted: `["abalone", ..., "fashion-mnist", ...]`; aliases and prefixes apart."""
    return sorted({entry.name for entry in _entries().values()})


def canonical_name(name: str) -> str:
    """The one spelling of a data set's name: `heart` -> `heart_statlog`, `fashion_mnist` -> `fashion-mnist`.

    Raises:
        AlmetaError: if there is no such data set.
    """
    return find(name).name


def family(module: str) -> tuple[str, ...]:
    """The names that one module of almeta.data loads, in its order."""
    return tuple(_constants(module).get("NAMES", ()))


def names_at_openml() -> dict[str, str]:
    """What the tables are called at OpenML, those that are there."""
    return {table: entry[0] for table, entry in _constants("tabular")["OPENML"].items()}


def find(name: str) -> Entry:
    """Where a data set comes from; underscores and hyphens are the same, but for what follows a prefix.

    Raises:
        AlmetaError: if there is no such data set.
    """
    prefix, colon, rest = name.partition(":")
    if colon and prefix in _prefixes() and rest:
        return Entry(_prefixes()[prefix], (rest,), name)
    if entry := _entries().get(_key(name)):
        return entry
    known = [*dataset_names(), *(f"{prefix}:..." for prefix in _prefixes())]
    raise AlmetaError(did_you_mean(name, known, "data set"))


def _key(name: str) -> str:
    return name.replace("_", "-")


@cache
def _entries() -> dict[str, Entry]:
    """The entry of each name and alias, hyphenated."""
    found: dict[str, Entry] = {}
    for module in _modules():
        constants = _constants(module)
        if "PREFIX" in constants:
            continue
        names = constants.get("NAMES")
        if names is None:
            name = _key(module)
            found[name] = Entry(module, (), name)
            continue
        found |= {_key(name): Entry(module, (name,), name) for name in names}
        found |= {_key(alias): Entry(module, (name,), name) for alias, name in constants.get("ALIASES", {}).items()}
    return found


@cache
def _prefixes() -> dict[str, str]:
    """The module of each prefix."""
    return {_constants(module)["PREFIX"]: module for module in _modules() if "PREFIX" in _constants(module)}


@cache
def _modules() -> tuple[str, ...]:
    """The modules beside this one that define `load`."""
    paths = sorted(Path(__file__).parent.glob("*.py"))
    return tuple(path.stem for path in paths if "\ndef load(" in path.read_text("utf-8"))


@cache
def _constants(module: str) -> dict[str, Any]:
    """The literals NAMES, ALIASES, PREFIX and OPENML of a module."""
    tree = ast.parse((Path(__file__).parent / f"{module}.py").read_text("utf-8"))
    return {
        target.id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name) and target.id in ("NAMES", "ALIASES", "PREFIX", "OPENML")
    }
