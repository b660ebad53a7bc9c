"""Imports run one way: no import upward, no circle, nothing imported inside a function to dodge one.

Read from the source with ast, so that an import counts wherever it stands: at the top, inside a function, or
below `if TYPE_CHECKING`. The second half of the file gives the checker small trees with one fault each: it
must find it.
"""

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]

# A room may import itself and the rooms before it. Files at the root of almeta that are not named here, like
# errors and seeding, are tools for everybody and lie below all rooms. `almeta` is almeta/__init__.py, the
# public face.
ORDER = (
    "data",
    "tasks",
    "learners",
    "oracles",
    "strategies",
    "envs",
    "agents",
    "training",
    "evaluation",
    "policies",
    "interop",
    "almeta",
    "scripts",
)
# These lie at the top of the repository and are imported below almeta.
OUTSIDE = ("envs", "agents", "conf", "scripts")
# What may be imported inside a function, and why. almeta itself never.
LAZY = {
    "wandb": "takes more than a second to import, and most runs do not use it",
    "matplotlib": "slow to import, and only figures and the glyphs of its fonts need it",
}


class Import(NamedTuple):
    """One imported module, and where the import stands."""

    target: str
    line: int
    function: str | None
    # The known start of a name that is made when the program runs: import_module(f"almeta.data.{name}").
    computed: bool = False


class Reader(ast.NodeVisitor):
    """Collects what one file imports, with absolute names."""

    def __init__(self, module: str, is_package: bool, known: set[str]) -> None:
        self.package = module if is_package else module.rpartition(".")[0]
        self.known = known
        self.functions: list[str] = []
        self.found: list[Import] = []

    def add(self, target: str, node: ast.stmt | ast.expr, computed: bool = False) -> None:
        function = ".".join(self.functions) or None
        self.found.append(Import(target, node.lineno, function, computed))

    def absolute(self, name: str, level: int) -> str:
        if not level:
            return name
        parts = self.package.split(".")
        return ".".join(parts[: len(parts) - level + 1] + ([name] if name else []))

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.functions.append(node.name)
        self.generic_visit(node)
        self.functions.pop()

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self.visit_FunctionDef(node)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.add(alias.name, node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = self.absolute(node.module or "", node.level)
        for alias in node.names:
            whole = f"{base}.{alias.name}"
            self.add(whole if whole in self.known else base, node)

    def visit_Call(self, node: ast.Call) -> None:
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None)
        if called in ("import_module", "__import__") and node.args:
            name = node.args[0]
            start = name.values[0] if isinstance(name, ast.JoinedStr) and name.values else name
            if isinstance(start, ast.Constant) and isinstance(start.value, str):
                computed = start is not name
                text = start.value.rpartition(".")[0] if computed else start.value
                level = len(text) - len(text.lstrip("."))
                self.add(self.absolute(text[level:], level), node, computed)
        self.generic_visit(node)


def source_files(root: Path) -> dict[str, Path]:
    """Every Python file of the package by the name it is imported by."""
    found: dict[str, Path] = {}
    for top in ("almeta", *OUTSIDE):
        for path in sorted((root / top).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            if top == "almeta" and parts[1] in OUTSIDE:  # through a link
                continue
            name = ".".join(parts if top == "almeta" else ("almeta", *parts))
            found[name.removesuffix(".__init__")] = path
    return found


def rank(module: str, rooms: set[str]) -> int | None:
    """Place of a module's room in the order; 0 for the tools below all rooms, None for an unknown room."""
    parts = module.split(".")
    room = parts[1] if len(parts) > 1 else "almeta"
    if room in ORDER:
        return ORDER.index(room) + 1
    return None if room in rooms - {"conf"} else 0


def faults(root: Path) -> Iterator[str]:
    """One sentence for each import that should not be."""
    files = source_files(root)
    known = set(files)
    rooms = {name.split(".")[1] for name, path in files.items() if "." in name and path.name == "__init__.py"}
    for room in sorted(rooms):
        if rank(f"almeta.{room}", rooms) is None:
            yield f"the room almeta.{room} has no place in ORDER"
    graph: dict[str, set[str]] = {}
    for module, path in files.items():
        reader = Reader(module, path.name == "__init__.py", known)
        reader.visit(ast.parse(path.read_text(encoding="utf-8"), str(path)))
        edges = graph.setdefault(module, set())
        for target, line, function, computed in reader.found:
            where = f"{path.relative_to(root)}:{line}"
            top = target.split(".")[0]
            if top in OUTSIDE:
                yield f"{where} imports {target}, whose name is almeta.{target}"
                continue
            if function and not computed and top not in LAZY:
                yield f"{where} imports {target} inside {function}"
            if top != "almeta":
                continue
            if (rank(target, rooms) or 0) > (rank(module, rooms) or 0):
                yield f"{where} imports upward: {module} -> {target}"
            if not computed:
                # Importing a.b.c runs a and a.b first; those that hold this module are being run already.
                parents = [target.rsplit(".", up)[0] for up in range(target.count(".") + 1)]
                edges.update(p for p in parents if p in known and (p == target or not inside(module, p)))
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        yield "a circle: " + " <- ".join(error.args[1])


def inside(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def test_imports_run_one_way():
    assert list(faults(ROOT)) == []


def test_every_file_is_read():
    names = set(source_files(ROOT))
    assert {
        "almeta",
        "almeta.errors",
        "almeta.data",
        "almeta.envs",
        "almeta.agents",
        "almeta.training",
    } <= names
    assert "almeta.scripts.train" in names
    by_hand = [*ROOT.glob("almeta/*.py"), *ROOT.glob("envs/*.py"), *ROOT.glob("almeta/data/*.py")]
    assert {str(path) for path in by_hand} <= {str(path) for path in source_files(ROOT).values()}


# --- the checker itself ---


def tree(root: Path, files: dict[str, str]) -> Path:
    """A small almeta with these files in it."""
    for top in ("almeta", "almeta/data", "almeta/training", *OUTSIDE):
        (root / top).mkdir(parents=True)
        (root / top / "__init__.py").touch()
    for name in OUTSIDE:
        (root / "almeta" / name).symlink_to(f"../{name}")
    for name, text in {"almeta/errors.py": "", "almeta/data/glyphs.py": "", **files}.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    return root


BAD = {
    "upward": (
        {"envs/pool.py": "from almeta.agents import dqn", "agents/dqn.py": ""},
        "envs/pool.py:1 imports upward: almeta.envs.pool -> almeta.agents.dqn",
    ),
    "upward, only for a type": (
        {
            "almeta/data/glyphs.py": "import typing\nif typing.TYPE_CHECKING:\n    import almeta.envs",
        },
        "almeta/data/glyphs.py:3 imports upward: almeta.data.glyphs -> almeta.envs",
    ),
    "upward, relative": (
        {"almeta/data/glyphs.py": "from ..training import loop", "almeta/training/loop.py": ""},
        "almeta/data/glyphs.py:1 imports upward: almeta.data.glyphs -> almeta.training.loop",
    ),
    "upward, relative, from one package up": (
        {"almeta/data/glyphs.py": "from .. import envs"},
        "almeta/data/glyphs.py:1 imports upward: almeta.data.glyphs -> almeta.envs",
    ),
    "upward, the public face": (
        {"envs/pool.py": "import almeta\nalmeta.load_dataset('x')"},
        "envs/pool.py:1 imports upward: almeta.envs.pool -> almeta",
    ),
    "upward, a tool": (
        {"almeta/errors.py": "from almeta.data import glyphs"},
        "almeta/errors.py:1 imports upward: almeta.errors -> almeta.data.glyphs",
    ),
    "upward, by a name made when it runs": (
        {"envs/pool.py": "import importlib\ndef f(n): return importlib.import_module(f'almeta.agents.{n}')"},
        "envs/pool.py:2 imports upward: almeta.envs.pool -> almeta.agents",
    ),
    "inside a function": (
        {"agents/dqn.py": "class A:\n    def f(self):\n        from almeta.data import glyphs"},
        "agents/dqn.py:3 imports almeta.data.glyphs inside f",
    ),
    "inside a function, by a call": (
        {"agents/dqn.py": "import importlib as i\ndef f(): i.import_module('almeta.data.glyphs')"},
        "agents/dqn.py:2 imports almeta.data.glyphs inside f",
    ),
    "inside a function, somebody else's": (
        {"agents/dqn.py": "async def f():\n    import scipy.stats"},
        "agents/dqn.py:2 imports scipy.stats inside f",
    ),
    "a circle in a room": (
        {
            "agents/a.py": "import almeta.agents.b",
            "agents/b.py": "from . import c",
            "agents/c.py": "from .a import x",
        },
        "a circle: ",
    ),
    "a circle through the package file": (
        {"agents/__init__.py": "from almeta.agents.a import x", "agents/a.py": "from almeta.agents import x"},
        "a circle: ",
    ),
    "by the wrong name": (
        {"agents/dqn.py": "from envs.pool import x"},
        "agents/dqn.py:1 imports envs.pool, whose name is almeta.envs.pool",
    ),
    "a room nobody placed": (
        {"almeta/zoo/__init__.py": ""},
        "the room almeta.zoo has no place in ORDER",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_fault_is_found(case, tmp_path):
    files, message = BAD[case]
    found = list(faults(tree(tmp_path, files)))
    assert len(found) == 1, found
    assert found[0].startswith(message)


def test_a_sound_tree_has_no_fault(tmp_path):
    root = tree(
        tmp_path,
        {
            "almeta/__init__.py": "from almeta.data import load\nfrom almeta.envs import pool",
            "almeta/data/__init__.py": "from almeta.data.glyphs import load",
            "almeta/data/glyphs.py": "import json\nfrom ..errors import E\ndef f(): import matplotlib.pyplot",
            "almeta/data/named.py": "import importlib as i\ndef f(n): i.import_module(f'almeta.data.{n}')",
            "envs/pool.py": "from almeta.data.glyphs import load\nimport torch",
            "agents/a.py": "from . import b",
            "agents/b.py": "from almeta.envs import pool",
            "scripts/train.py": "import almeta\nfrom almeta import __version__\nimport almeta.training",
        },
    )
    assert list(faults(root)) == []
