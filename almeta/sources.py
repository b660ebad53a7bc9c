"""Digests of source code, by which stored results know what they came from."""

import ast
import hashlib
import importlib.util
import inspect
import io
import pickle
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import joblib

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
        digest.update(Path(file).read_bytes() if file and Path(file).is_file() else uuid.uuid4().bytes)
    return digest.hexdigest()


def closure_digest(*modules: str) -> str:
    """Return a digest of the source of modules and of the modules that they use, directly or not.

    These are modules of almeta, and those that are neither Python's own nor installed: the user's.
    """
    found, left = set(), list(modules)
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left.extend(_used(name))
    return source_digest(*sorted(found))


def thing_digest(*things: Any) -> str:
    """Return a digest of values, and of the source of the classes and functions that they are made of.

    Args:
        things: what can be pickled; a path stands for the file's bytes.
    """
    modules = set[str]()

    class Look(pickle.Pickler):
        def reducer_override(self, thing: Any) -> Any:
            named = thing if isinstance(thing, type | FunctionType) else type(thing)
            modules.add(named.__module__)
            return NotImplemented

    values = [hashlib.sha256(one.read_bytes()).digest() if isinstance(one, Path) else one for one in things]
    digest: str = joblib.hash(values)
    Look(io.BytesIO()).dump(values)
    return f"{digest} {closure_digest(*filter(_may_change, modules))}"


def _used(name: str) -> Iterator[str]:
    """Yield the modules that a module uses and whose source may change, without tools of almeta.

    Those that lie in a package are in its namespace as soon as anyone has imported them: they say nothing.
    """
    module = sys.modules.get(name)
    if module and _is_own(name):
        yield from filter(_is_own, _imported(module))
    for value in vars(module).values() if module else ():
        if inspect.ismodule(value) and value.__name__.rpartition(".")[0] == name:
            continue
        used = value.__name__ if inspect.ismodule(value) else getattr(value, "__module__", None)
        if isinstance(used, str) and _is_almeta(used):
            yield used


def _imported(module: ModuleType) -> Iterator[str]:
    """Yield the names of all that a module's source imports, modules or not: constants name no module of theirs."""
    file = getattr(module, "__file__", None) or ""
    for node in ast.walk(ast.parse(Path(file).read_bytes())) if file.endswith(".py") else ():
        if isinstance(node, ast.Import):
            yield from (part.name for part in node.names)
        elif isinstance(node, ast.ImportFrom):
            relative = "." * node.level + (node.module or "")
            origin = importlib.util.resolve_name(relative, module.__package__) if node.level else relative
            yield origin
            yield from (f"{origin}.{part.name}" for part in node.names)


def _may_change(name: str) -> bool:
    return _is_almeta(name) or _is_own(name)


def _is_almeta(name: str) -> bool:
    return name.startswith("almeta.") and not name.startswith(_TOOLS)


def _is_own(name: str) -> bool:
    """Return whether a module is loaded, and is neither of almeta, nor Python's own, nor installed."""
    module, top = sys.modules.get(name), name.partition(".")[0]
    if module is None or top in ("almeta", *sys.stdlib_module_names):
        return False
    file = getattr(module, "__file__", None) or getattr(sys.modules[top], "__file__", None)
    if file is None:  # a notebook, or a folder without __init__.py, which holds no code
        return not hasattr(module, "__path__")
    return not {"site-packages", "dist-packages"} & set(Path(file).parts)
