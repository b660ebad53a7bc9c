"""The imports that import-linter cannot judge: nothing is imported inside a function to dodge a circle.

The order of the rooms stands in pyproject.toml below [tool.importlinter]; `make check` holds the code to it.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# What may be imported inside a function, and why. almeta itself never, except by the commands: Hydra composes the
# config first, so that a wrong key is told before torch is imported, which takes seconds.
COMMANDS = tuple(f"scripts/{name}.py" for name in ("benchmark", "evaluate", "label", "query", "train"))
LAZY = {
    "matplotlib": "slow to import; only figures and the glyphs of its fonts need it",
    "pandas": "slow to import; only tables of one's own and reports need it",
    "pooch": "only downloads need it",
    "scipy": "slow to import; only some data sets and statistics need it",
    "sklearn": "slow to import; only some data sets and learners need it",
    "torch": "slow to import; of the loaders of data sets only encoders of images need it",
    "wandb": "takes more than a second to import, and most runs do not use it",
}


def imports_inside_functions(source: str) -> Iterator[tuple[int, str]]:
    """Return the line and the name of each import that runs only when a function is called."""
    for function in ast.walk(ast.parse(source)):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        for node in ast.walk(function):
            match node:
                case ast.Import():
                    yield from ((node.lineno, alias.name) for alias in node.names)
                case ast.ImportFrom():
                    yield node.lineno, "." * node.level + (node.module or "")
                case ast.Call(
                    func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
                    args=[ast.Constant(value=str(name)), *_],
                ):
                    yield node.lineno, name


# The links in almeta lead to the other four, so that each file is read once, as a part of almeta.
@pytest.mark.parametrize("folder", [ROOT / "almeta", *(ROOT / name for name in ("envs", "agents", "scripts"))])
def test_only_slow_libraries_are_imported_inside_functions(folder):
    files = [path for path in folder.rglob("*.py") if not any(parent.is_symlink() for parent in path.parents)]
    found = [
        f"{path.relative_to(ROOT)}:{line} imports {name} inside a function"
        for path in files
        for line, name in imports_inside_functions(path.read_text("utf-8"))
        if name.split(".")[0] not in (*LAZY, "almeta" if path.relative_to(ROOT).as_posix() in COMMANDS else "")
    ]
    assert files
    assert found == []


def test_the_reader_finds_each_way_to_import():
    source = """
import top
class A:
    async def f(self):
        import one.two
        from .three import x
        return lambda: importlib.import_module("four.five")
"""
    assert set(imports_inside_functions(source)) == {(5, "one.two"), (6, ".three"), (7, "four.five")}
