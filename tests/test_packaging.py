"""What pyproject.toml says is what lies in the folders, and an installed almeta is whole and light."""

import ast
import functools
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import almeta

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SETUPTOOLS = PROJECT["tool"]["setuptools"]
# These lie at the top of the repository and are imported below almeta.
OUTSIDE = ("envs", "agents", "conf", "scripts")


def folder_of(package: str) -> Path:
    """Where setuptools looks for a package: the longest name in package-dir wins."""
    parts = package.split(".")
    for cut in range(len(parts), 0, -1):
        if (folder := SETUPTOOLS["package-dir"].get(".".join(parts[:cut]))) is not None:
            return ROOT.joinpath(folder, *parts[cut:])
    raise AssertionError(f"{package} has no folder")


def files_below(top: str) -> list[Path]:
    """Files of one top folder, not through the links and without what Python leaves behind."""
    links = {ROOT / "almeta" / name for name in OUTSIDE}
    return [
        path
        for path in sorted((ROOT / top).rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts and links.isdisjoint(path.parents)
    ]


def run(code: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_packages_are_the_folders_that_hold_an_init_file():
    folders = {path.parent for top in ("almeta", *OUTSIDE) for path in files_below(top) if path.name == "__init__.py"}
    assert len(SETUPTOOLS["packages"]) == len(set(SETUPTOOLS["packages"]))
    assert {folder_of(package) for package in SETUPTOOLS["packages"]} == folders


def test_every_python_file_lies_in_a_package():
    folders = {folder_of(package) for package in SETUPTOOLS["packages"]}
    lost = [p for top in ("almeta", *OUTSIDE) for p in files_below(top) if p.suffix == ".py"]
    assert [str(path) for path in lost if path.parent not in folders] == []


def test_every_other_file_is_named_in_package_data():
    covered = {
        path
        for package, patterns in SETUPTOOLS["package-data"].items()
        for pattern in patterns
        for path in folder_of(package).glob(pattern)
    }
    others = {p for top in ("almeta", *OUTSIDE) for p in files_below(top) if p.suffix != ".py"}
    assert ROOT / "almeta" / "py.typed" in covered
    assert any(path.suffix == ".yaml" for path in covered)
    assert sorted(map(str, others - covered)) == []


@pytest.mark.parametrize("name", OUTSIDE)
def test_the_link_is_relative_and_leads_to_the_folder(name):
    link = ROOT / "almeta" / name
    assert link.is_symlink()
    assert os.readlink(link) == f"../{name}"
    assert link.resolve() == ROOT / name


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_room_cannot_be_imported_without_almeta(name):
    result = run(f"import {name}", cwd=ROOT)
    assert result.returncode != 0
    assert f"ImportError: This folder is a part of the package almeta: import almeta.{name}" in result.stderr


def test_importing_almeta_is_light():
    result = run("import almeta, sys, json; print(json.dumps(sorted(sys.modules)))", cwd=ROOT)
    assert result.returncode == 0, result.stderr
    loaded = {name.split(".")[0] for name in json.loads(result.stdout)}
    assert {"almeta", "gymnasium"} <= loaded  # torch may be among them: the only heavy one that may
    heavy = {"wandb", "matplotlib", "pandas", "scipy", "sklearn", "hydra", "omegaconf", "rich", "pytest"}
    assert loaded & heavy == set()


def test_each_public_name_is_there_and_is_imported_when_asked_for():
    assert set(almeta._HOMES) == set(almeta.__all__) - {"__version__"}
    assert all(callable(getattr(almeta, name)) for name in almeta._HOMES)
    assert set(almeta.__all__) <= set(dir(almeta))
    with pytest.raises(AttributeError, match="module 'almeta' has no attribute 'load_datset'"):
        almeta.load_datset  # noqa: B018
    result = run("import almeta, sys; print('torch' in sys.modules)", cwd=ROOT)
    assert result.stdout == "False\n"


def test_the_version_can_be_read_without_importing():
    tree = ast.parse((ROOT / "almeta" / "__init__.py").read_text(encoding="utf-8"))
    values = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and [ast.unparse(name) for name in node.targets] == ["__version__"]
    ]
    assert len(values) == 1
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", values[0])


@pytest.mark.parametrize("command", PROJECT["project"]["scripts"])
def test_a_command_names_a_function(command):
    module, function = PROJECT["project"]["scripts"][command].split(":")
    path = folder_of(module.rpartition(".")[0]) / (module.rpartition(".")[2] + ".py")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert function in [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]


def test_an_installed_almeta_works_from_another_folder(tmp_path):
    try:
        importlib.metadata.distribution("almeta")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("almeta is not installed here; `make test` installs it")
    rooms = ", ".join(f"almeta.{name}" for name in OUTSIDE)
    result = run(f"import {rooms}; print(almeta.envs.__file__)", cwd=tmp_path, PYTHONPATH="")
    assert result.returncode == 0, result.stderr
    assert Path(result.stdout.strip()).is_file()


# --- dependencies ---


@functools.cache
def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    found = [line for line in lines if line and not line.startswith("#")]
    assert [line for line in found if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []  # no "+cpu", no address
    return {canonicalize_name(line.split("==")[0]): line.split("==")[1] for line in found}


def declared(group: str | None = None) -> list[Requirement]:
    project = PROJECT["project"]
    return [Requirement(r) for r in (project["optional-dependencies"][group] if group else project["dependencies"])]


@pytest.mark.parametrize("group", [None, *PROJECT["project"]["optional-dependencies"]])
def test_every_dependency_is_pinned_within_its_range(group):
    for requirement in declared(group):
        name = canonicalize_name(requirement.name)
        if name == "almeta":
            continue
        assert name in pins(), f"{name} is not in constraints.txt"
        assert requirement.specifier.contains(pins()[name]), f"{requirement} leaves out {pins()[name]}"


def test_what_is_imported_is_declared_and_the_other_way_round():
    """An import of something that only happens to be installed breaks on somebody else's machine."""
    imported: set[str] = set()
    for path in [p for top in ("almeta", *OUTSIDE) for p in files_below(top) if p.suffix == ".py"]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported.update(alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module.split(".")[0])
    foreign = imported - set(sys.stdlib_module_names) - {"almeta"}
    provider = importlib.metadata.packages_distributions()
    assert [name for name in sorted(foreign) if name not in provider] == []
    needed = {canonicalize_name(provider[name][0]) for name in foreign}
    groups = (None, *PROJECT["project"]["optional-dependencies"])
    always, *extras = ({canonicalize_name(requirement.name) for requirement in declared(group)} for group in groups)
    assert always <= needed
    assert sorted(needed - always.union(*extras)) == []
