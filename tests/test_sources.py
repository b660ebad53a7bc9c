"""Digests of source: of modules, and of what they use."""

import importlib
import sys
import types
from functools import partial

import pytest

from almeta.sources import closure_digest, source_digest, thing_digest


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """Writes modules, imports them anew, as `modules(one="x = 1")`."""
    monkeypatch.syspath_prepend(str(tmp_path))
    made = set()

    def make(**sources):
        for name, source in sources.items():
            (tmp_path / f"{name}.py").write_text(source)
            sys.modules.pop(name, None)
            made.add(name)
        importlib.invalidate_caches()
        for name in sources:
            importlib.import_module(name)

    yield make
    for name in made:
        sys.modules.pop(name, None)


def test_equal_sources_have_equal_digests_and_others_others(modules):
    modules(one_of_tests="x = 1\n")
    before = source_digest("one_of_tests")
    modules(one_of_tests="x = 1\n")
    assert source_digest("one_of_tests") == before
    modules(one_of_tests="x = 2\n")
    assert source_digest("one_of_tests") != before


def test_the_order_and_the_number_of_modules_count(modules):
    modules(one_of_tests="x = 1\n", two_of_tests="y = 2\n")
    names = ("one_of_tests", "two_of_tests")
    digests = {source_digest(*names), source_digest(*names[::-1]), source_digest(names[0]), source_digest()}
    assert len(digests) == 4


def test_modules_without_a_file_are_known_by_name():
    assert source_digest("sys") != source_digest("builtins")
    assert source_digest("not_there_of_tests") != source_digest("sys")


def test_what_a_module_uses_counts_and_tools_do_not(monkeypatch, tmp_path):
    import almeta.strategies.density

    def digest():
        return closure_digest(almeta.strategies.density.__name__)

    before = digest()
    counts = {}
    for name in ("almeta.strategies.density", "almeta.geometry", "almeta.pool", "almeta.checks", "almeta.errors"):
        with monkeypatch.context() as patch:
            copy = tmp_path / f"{name}.py"
            copy.write_text("# another source\n")
            patch.setattr(sys.modules[name], "__file__", str(copy))
            counts[name] = digest() != before
    assert counts == {
        "almeta.strategies.density": True,
        "almeta.geometry": True,
        "almeta.pool": True,
        "almeta.checks": False,
        "almeta.errors": False,
    }
    assert digest() == before


def test_a_module_without_a_file_is_never_the_same_again():
    module = types.ModuleType("typed_in_a_notebook")
    sys.modules[module.__name__] = module
    try:
        assert source_digest(module.__name__) != source_digest(module.__name__)
    finally:
        del sys.modules[module.__name__]


def test_an_edited_module_has_another_digest_in_the_same_process(tmp_path, monkeypatch):
    file = tmp_path / "edited_rule.py"
    file.write_text("SIGN = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = source_digest(importlib.import_module("edited_rule").__name__)
    file.write_text("SIGN = -1\n")
    assert source_digest("edited_rule") != before


def test_modules_of_ones_own_count_and_installed_ones_do_not(modules, monkeypatch, tmp_path):
    """A constant says nothing of where it is from: what the source imports tells."""
    modules(three_of_tests="SIZE = 3\n", two_of_tests="from three_of_tests import SIZE\n")
    modules(one_of_tests="import torch\ndef f():\n    import two_of_tests\n", other_of_tests="x = 1\n")
    before = closure_digest("one_of_tests")
    (tmp_path / "other_of_tests.py").write_text("x = 2\n")
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "site-packages" / "torch.py").write_text("# another source\n")
    monkeypatch.setattr("torch.__file__", str(tmp_path / "site-packages" / "torch.py"))
    assert closure_digest("one_of_tests") == before
    (tmp_path / "three_of_tests.py").write_text("SIZE = 4\n")
    assert closure_digest("one_of_tests") != before


def test_modules_beside_each_other_in_a_package_count(tmp_path, monkeypatch):
    (tmp_path / "package_of_tests").mkdir()
    for name, source in (
        ("__init__", ""),
        ("one", "from . import two\nfrom .three import X\n"),
        ("two", ""),
        ("three", "X = 1"),
    ):
        (tmp_path / "package_of_tests" / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.import_module("package_of_tests.one")
    for name in ("two", "three", "one"):  # the last one imports the others
        before = closure_digest("package_of_tests.one")
        (tmp_path / "package_of_tests" / f"{name}.py").write_text("# another source\n")
        assert closure_digest("package_of_tests.one") != before, name


def test_a_thing_is_known_by_its_values_and_by_what_it_is_made_of(modules, tmp_path):
    modules(one_of_tests="class A:\n    def __init__(self, x):\n        self.x = x\ndef f():\n    pass\n")
    made = sys.modules["one_of_tests"]
    file = tmp_path / "numbers.bin"
    file.write_bytes(b"1")
    things = {"class": made.A, "nested": {"a": [made.A(1)]}, "function": partial(made.f, 1), "file": file, "plain": 1}
    before = {name: thing_digest(thing) for name, thing in things.items()}
    assert before == {name: thing_digest(thing) for name, thing in things.items()}
    assert thing_digest(made.A(1)) != thing_digest(made.A(2))
    file.write_bytes(b"2")
    (tmp_path / "one_of_tests.py").write_text("# another source\n")
    after = {name: thing_digest(thing) for name, thing in things.items()}
    assert {name for name in things if after[name] == before[name]} == {"plain"}
