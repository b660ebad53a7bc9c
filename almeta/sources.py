"""Digests of source code, by which stored results know what they came from."""

import hashlib
import inspect
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

# Modules that check, report or load, and do not change a result.
_TOOLS = ("almeta.errors", "almeta.checks", "almeta.files", "almeta.registry", "almeta.build", "almeta.data")


def source_digest(*modules: str) -> str:
    """Return a digest of the source of modules.

    Args:
        modules: their names; they are imported already. A module without a file, such as a notebook, has another
            digest at each call: nobody knows whether its code is what it was.
    """
    digest = hashlib.sha256()
    for name in modules:
        file = getattr(sys.modules.get(name), "__file__", None)
        digest.update(Path(file).read_bytes() if file and file.endswith(".py") else uuid.uuid4().bytes)
    return digest.hexdigest()


def closure_digest(*modules: str) -> str:
    """Return a digest of the source of modules and of the modules of almeta that they use, directly or not."""
    found, left = set(), list(modules)
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left.extend(_used(sys.modules[name]))
    return source_digest(*sorted(found))


def _used(module: ModuleType) -> Iterator[str]:
    """Yield the modules of almeta, without tools, that define the classes and functions of a module's namespace.

    Those that lie in a package are in its namespace as soon as anyone has imported them: they say nothing.
    """
    for value in vars(module).values():
        if inspect.ismodule(value) and value.__name__.rpartition(".")[0] == module.__name__:
            continue
        name = value.__name__ if inspect.ismodule(value) else getattr(value, "__module__", None)
        if isinstance(name, str) and name.startswith("almeta.") and not name.startswith(_TOOLS):
            yield name
