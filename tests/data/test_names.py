import importlib.util
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from almeta import data
from almeta.data import dataset_names, load_dataset, names
from almeta.errors import AlmetaError, did_you_mean


def test_every_loader_is_found_and_no_helper():
    found = dataset_names()
    assert {"characters", "fashion-mnist", "mnist", "omniglot"} <= set(found)
    assert {"iris", "breast_cancer", "diabetes", "three-cluster", "trec", "usps", "cifar10"} <= set(found)
    assert not {"dataset", "files", "idx", "suites", "embedded", "csv", "csv-file", "openml", "pima"} & set(found)
    assert found == sorted(set(found))


def test_no_name_stands_for_two_data_sets():
    folder = Path(data.__file__).parent
    spellings = Counter(
        name.replace("_", "-")
        for path in folder.glob("*.py")
        for name in (*names._constants(path.stem).get("NAMES", ()), *names._constants(path.stem).get("ALIASES", ()))
    )
    assert spellings.most_common(1)[0][1] == 1
    assert not {name.replace("_", "-") for name in (path.stem for path in folder.glob("*.py"))} & set(spellings)


def test_a_new_file_is_a_new_name(tmp_path, monkeypatch):
    """One that is a data set, a family with aliases, and one that takes whatever follows its prefix."""
    folder = tmp_path / "data"
    shutil.copytree(Path(data.__file__).parent, folder)
    (folder / "one_set.py").write_text("x = 1\ndef load(): ...\n")
    (folder / "kin.py").write_text('NAMES = ("kin_a", "kin_b")\nALIASES = {"uncle": "kin_b"}\ndef load(name): ...\n')
    (folder / "any_set.py").write_text('PREFIX = "any"\ndef load(rest): ...\n')
    spec = importlib.util.spec_from_file_location("names_of_a_copy", folder / "names.py")
    assert spec is not None and spec.loader is not None
    copy = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "names_of_a_copy", copy)  # dataclasses look it up
    spec.loader.exec_module(copy)
    assert set(copy.dataset_names()) - set(dataset_names()) == {"one-set", "kin_a", "kin_b"}
    assert copy.find("one_set") == copy.find("one-set") == copy.Entry("one_set", (), "one-set")
    assert copy.find("uncle") == copy.find("kin-b") == copy.Entry("kin", ("kin_b",), "kin_b")
    assert copy.find("any:A_b:c") == copy.Entry("any_set", ("A_b:c",), "any:A_b:c")
    assert copy.family("kin") == ("kin_a", "kin_b")


@pytest.mark.parametrize("wrong, meant", [("omniglto", "omniglot"), ("MNIST", "mnist"), ("charcters", "characters")])
def test_unknown_name_with_suggestion(wrong, meant):
    with pytest.raises(AlmetaError, match=f"unknown data set '{wrong}'; did you mean '{meant}'\\? Known: .*omni"):
        load_dataset(wrong)


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
