import subprocess
import sys

import pytest

from almeta.data import dataset_names, load_dataset
from almeta.errors import AlmetaError, did_you_mean


def test_every_loader_is_found_and_no_helper():
    names = dataset_names()
    assert {"characters", "fashion-mnist", "mnist", "omniglot"} <= set(names)
    assert not {"dataset", "files", "idx"} & set(names)
    assert names == sorted(names)


@pytest.mark.parametrize("wrong, meant", [("omniglto", "omniglot"), ("MNIST", "mnist"), ("chars", "characters")])
def test_unknown_name_with_suggestion(wrong, meant):
    with pytest.raises(AlmetaError, match=f"unknown data set '{wrong}'; did you mean '{meant}'\\? Known: .*omni"):
        load_dataset(wrong)


@pytest.mark.parametrize("wrong", ["qqq", "dataset", "files", "../../errors", ""])
def test_unknown_name_without_suggestion(wrong):
    with pytest.raises(AlmetaError, match=r"unknown data set .*; Known: characters, "):
        load_dataset(wrong)


def test_did_you_mean():
    assert did_you_mean("irsi", ["wine", "iris"], "set") == (
        "unknown set 'irsi'; did you mean 'iris'? Known: iris, wine"
    )
    assert did_you_mean("x", [], "set") == "unknown set 'x'; Known: none"


def test_names_cost_no_heavy_import():
    code = (
        "import sys, almeta.data; almeta.data.dataset_names();"
        "print({'matplotlib', 'pooch', 'PIL', 'rich'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
