"""Digests of source code, by which stored results know what they came from."""

import hashlib
import inspect
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

# Modules that check, report or load, and do not change a result.
_TOOLS = ("almeta.errors", "almeta.checks", "almeta.files", "almeta.registry", "almeta.build", "almeta.data")


@cache
def source_digest(*modules: str) -> str:
    """Return a digest of the source of modules.

    Args:
        modules: their names; they are imported already. A module without a file counts by its name.
    """
    digest = hashlib.sha256()
    for name in modules:
        file = getattr(sys.modules.get(name), "__file__", None)
        digest.update(Path(file).read_bytes() if file and file.endswith(".py") else name.encode())
    return digest.hexdigest()


@cache
def closure_digest(module: str) -> str:
    """Return a digest of the source of a module and of the modules of almeta that it uses, directly or not."""
    found, left = set(), [module]
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left.extend(_used(sys.modules[name]))
    return source_digest(*sorted(found))


def _used(module: ModuleType) -> Iterator[str]:
    """Yield the modules of almeta, without tools, that define what is in a module's namespace."""
    for value in vars(module).values():
        name = value.__name__ if inspect.ismodule(value) else getattr(value, "__module__", None)
        if isinstance(name, str) and name.startswith("almeta.") and not name.startswith(_TOOLS):
            yield name
