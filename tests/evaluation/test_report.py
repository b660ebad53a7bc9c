import platform
from importlib.metadata import version

import pytest

import almeta
from almeta.evaluation.report import Report, is_numeric, versions


@pytest.mark.parametrize("cell", ["1,200", "-1.50", "+2.47 ± 2.33*", "75.9 ± 0.1", "3/0/1", "< .001", ".023", "–", "1"])
def test_numbers(cell):
    assert is_numeric([cell, "1.0"])


@pytest.mark.parametrize("cell", ["margin", "3 seeds", "1e", "", "2025-01-02", "4 (iris)", "k=3", "request at 10%"])
def test_texts(cell):
    assert not is_numeric([cell, "1.0"])


def test_versions_are_those_in_use():
    found = versions()
    assert list(found) == ["almeta", "python", "torch", "numpy", "scikit-learn", "gymnasium"]
    assert found["almeta"] == almeta.__version__
    assert found["python"] == platform.python_version()
    assert found["scikit-learn"] == version("scikit-learn")
    assert Report("title").versions == found
