import importlib
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import almeta
from almeta import data
from almeta.checks import Count
from almeta.data import (
    Dataset,
    canonical_name,
    catalogue,
    dataset_names,
    load_dataset,
    register_dataset,
    regression,
    tabular,
)
from almeta.data.catalogue import ALIASES, FAMILIES, OPENML_IDS, OPENML_NAMES, PREFIXES, SINGLE
from almeta.data.suites import folds, group_of
from almeta.errors import AlmetaError, did_you_mean


def test_names():
    found = dataset_names()
    assert {"characters", "fashion-mnist", "mnist", "omniglot"} <= set(found)
    assert {"iris", "breast_cancer", "diabetes", "three-cluster", "trec", "usps", "cifar10"} <= set(found)
    assert not {"dataset", "files", "idx", "suites", "embedded", "csv", "csv-file", "openml", "pima"} & set(found)
    assert found == sorted(set(found))


def test_every_loader_is_in_the_catalogue_and_every_module_of_the_catalogue_loads():
    paths = Path(data.__file__).parent.glob("*.py")
    loaders = {path.stem for path in paths if "\ndef load(" in path.read_text("utf-8")}
    named = {*(name.replace("-", "_") for name in SINGLE), *FAMILIES, *PREFIXES.values()}
    assert loaders == named
    assert all(callable(importlib.import_module(f"almeta.data.{module}").load) for module in named)


def test_a_family_knows_its_names():
    for module, table in (("embedded", "SOURCES"), ("sentences", "SOURCES"), ("synthetic", "FAMILIES")):
        assert set(FAMILIES[module]) == set(getattr(importlib.import_module(f"almeta.data.{module}"), table))
    assert set(FAMILIES["regression"]) == {*regression.TABLES, *regression.FAMILIES}


def test_no_name_stands_for_two_data_sets():
    names = [*SINGLE, *(name for family in FAMILIES.values() for name in family), *ALIASES]
    assert Counter(name.replace("_", "-") for name in names).most_common(1)[0][1] == 1


def test_what_is_known_at_openml_is_in_the_catalogue():
    assert {*OPENML_IDS.values(), *OPENML_NAMES.values()} <= set(dataset_names())
    assert all(name == name.lower() for name in OPENML_NAMES)


@pytest.mark.parametrize("wrong, meant", [("omniglto", "omniglot"), ("MNIST", "mnist"), ("charcters", "characters")])
def test_unknown_name_with_suggestion(wrong, meant):
    with pytest.raises(AlmetaError, match=f"unknown data set '{wrong}'; did you mean '{meant}'\\? Known: .*omni"):
        load_dataset(wrong)


def test_a_path_without_its_prefix_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pets").mkdir()
    for name, right in (("pets", "folder:pets"), ("my.csv", "csv:my.csv"), ("my.parquet", "table:my.parquet")):
        (tmp_path / name).touch()
        with pytest.raises(AlmetaError, match=f"unknown data set '{name}', but there is such a path; write {right}$"):
            load_dataset(name)


@pytest.mark.parametrize("wrong", ["qqq", "dataset", "files", "../../errors", "", "csv:", "json:a", "names"])
def test_unknown_name(wrong):
    with pytest.raises(AlmetaError, match=r"unknown data set .* Known: abalone, .*, csv:..., "):
        load_dataset(wrong)


def test_did_you_mean():
    assert did_you_mean("irsi", ["wine", "iris"], "set") == (
        "unknown set 'irsi'; did you mean 'iris'? Known: iris, wine"
    )
    assert did_you_mean("x", [], "set") == "unknown set 'x'; Known: none"


def test_names_cost_no_heavy_import():
    code = (
        "import sys, almeta.data; almeta.data.dataset_names();"
        "print({'matplotlib', 'pooch', 'PIL', 'rich', 'pandas', 'scipy', 'sklearn'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# ---- data sets of users


@pytest.fixture
def registry(monkeypatch):
    """Names that a test registers are forgotten after it."""
    monkeypatch.setattr(catalogue, "_ENTRIES", dict(catalogue._ENTRIES))


def stripes(n: Count = 10, name: str = "stripes") -> Dataset:
    """Two classes in turn."""
    y = np.arange(n) % 2
    return Dataset(name, y[:, None].astype(np.float32), y, ("even", "odd"), "made here")


@pytest.mark.usefixtures("registry")
def test_a_registered_data_set_is_one_like_the_others():
    almeta.register_dataset("my_stripes", stripes)
    assert "my_stripes" in dataset_names()
    assert canonical_name("my-stripes") == group_of("my-stripes") == "my_stripes"
    assert len(almeta.load_dataset("my_stripes")) == 10
    assert len(load_dataset("my-stripes", n=4)) == 4
    assert load_dataset("my_stripes").name == "my_stripes"  # whatever the function calls it
    assert sorted(folds(["my_stripes", "iris"], 2)) == [("iris",), ("my_stripes",)]


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize(
    "options, message",
    [
        ({"m": 3}, "unknown key of data set my_stripes 'm'; .*Known: n, name"),
        ({"n": 0}, "data set my_stripes.n is 0; it must be a whole number of at least 1"),
        ({"n": "many"}, "data set my_stripes.n is 'many'; it must be a whole number"),
    ],
)
def test_options_of_a_registered_data_set_are_checked(options, message):
    register_dataset("my_stripes", stripes)
    with pytest.raises(AlmetaError, match=message):
        load_dataset("my_stripes", **options)


@pytest.mark.usefixtures("registry")
def test_a_registered_function_may_have_arguments_that_must_be_given():
    register_dataset("my_own", lambda n: stripes(n))
    assert len(load_dataset("my_own", n=6)) == 6
    with pytest.raises(AlmetaError, match="data set my_own is not complete: missing a required argument: 'n'"):
        load_dataset("my_own")


@pytest.mark.usefixtures("registry")
def test_registering_again():
    register_dataset("my_stripes", stripes)
    register_dataset("my_stripes", stripes)
    register_dataset("my-stripes", stripes)

    def copy() -> Dataset:
        return stripes(4)

    copy.__module__, copy.__qualname__ = stripes.__module__, stripes.__qualname__  # a cell of a notebook ran again
    register_dataset("my_stripes", copy)
    assert len(load_dataset("my_stripes")) == 4


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("name", ["iris", "fashion_mnist", "pima", "breast-w", "my_stripes", "my-lambda"])
def test_a_name_that_is_taken(name):
    register_dataset("my_stripes", stripes)
    register_dataset("my_lambda", lambda: stripes())
    for load in (lambda: stripes(), partial(stripes), tabular.load):
        with pytest.raises(AlmetaError, match=rf"the name '{name}' is taken by another data set, '.*'; choose another"):
            register_dataset(name, load)


@pytest.mark.parametrize("name", ["", "csv:mine", "my set", "a/b", "a,b", 3, None])
def test_a_name_that_commands_could_not_take(name):
    with pytest.raises(AlmetaError, match=rf"data set {name!r}: a name has letters, digits, dots, hyphens and"):
        register_dataset(name, stripes)


@pytest.mark.usefixtures("registry")
def test_a_registered_function_that_returns_something_else():
    wrong: Any = stripes(4)
    register_dataset("arrays", lambda: wrong.x)
    with pytest.raises(AlmetaError, match="data set 'arrays': its loader returned ndarray; return a Dataset"):
        load_dataset("arrays")
    with pytest.raises(AlmetaError, match="data set 'no function': load is Dataset.*; it must be a function"):
        register_dataset("no function", wrong)


@pytest.mark.parametrize("name", [3, None])
def test_a_name_that_is_no_text(name):
    with pytest.raises(AlmetaError, match=f"data set {name} is not the name of one; give a text, such as 'iris'"):
        load_dataset(name)
