import json

import numpy as np
import pytest

from almeta.data import canonical_name, dataset_names
from almeta.data.suites import GROUPS, SUITES, folds, group_of, suite
from almeta.errors import AlmetaError
from tests.data.conftest import published


@pytest.mark.parametrize("name", SUITES)
def test_every_name_is_that_of_a_data_set_and_is_there_once(name):
    assert set(suite(name)) <= set(dataset_names())
    assert len(set(suite(name))) == len(suite(name))


def test_sizes():
    sizes = {name: len(members) for name, members in SUITES.items()}
    assert sizes == {
        "embedded": 4,
        "tables": 60,
        "two_class": 34,
        "rebenchmark": 21,
        "pang": 13,
        "multi_class": 26,
        "synthetic": 6,
        "text": 3,
        "images": 5,
    }
    assert set(SUITES["pang"]) | set(SUITES["rebenchmark"]) <= set(SUITES["two_class"]) <= set(SUITES["tables"])


def test_suites_of_tables_are_those_of_the_catalogue():
    path = published("tabular/catalogue.json") / "tabular" / "catalogue.json"
    items = json.loads(path.read_text("utf-8"))["datasets"]
    assert suite("tables") == tuple(sorted(item["name"] for item in items))
    assert suite("two_class") == tuple(sorted(item["name"] for item in items if item["classes"] == 2))
    assert suite("multi_class") == tuple(sorted(item["name"] for item in items if item["classes"] > 2))


def test_unknown_suite():
    with pytest.raises(AlmetaError, match="unknown suite 'tabels'; did you mean 'tables'. Known: embedded"):
        suite("tabels")


def test_groups():
    members = [name for group in GROUPS.values() for name in group]
    assert len(set(members)) == len(members)
    assert set(members) <= set(dataset_names())
    assert all(len(group) > 1 for group in GROUPS.values())
    assert not set(GROUPS) & set(dataset_names())


@pytest.mark.parametrize(
    "one, other, same",
    [
        ("wdbc", "breast_cancer", True),
        ("wdbc", "breast-w", True),
        ("pima", "diabetes", True),
        ("austra", "australian", True),
        ("ringnorm", "waveform", True),
        ("digits", "optdigits", True),
        ("dna", "splice", True),
        ("wine_quality_red", "wine-quality-white", True),
        ("optdigits", "pendigits", False),
        ("wine", "wine_quality_red", False),
        ("wdbc", "breast_cancer_ljubljana", False),
        ("mnist", "fashion_mnist", False),
        ("csv:a.csv", "csv:b.csv", False),
        ("openml:40", "sonar", True),
        ("openml:37", "pima", True),
        ("openml:1510", "breast_cancer", True),
        ("openml:28", "digits", True),
        ("openml:061", "iris", True),
        ("openml:49", "heart", True),
        ("openml:credit-G", "german_numer", True),
        ("openml:vowel", "vowel", True),
        ("openml:9999999", "sonar", False),
        ("openml:breast-cancer", "breast_cancer_ljubljana", True),  # its name there, and that of another table here
        ("openml:breast-cancer", "wdbc", False),
        ("csv:my/heart.csv", "heart_statlog", True),
        ("csv:pima.csv", "diabetes", True),
        ("csv:Breast_Cancer.CSV.GZ", "wdbc", True),
        ("csv:/tmp/digits.csv.gz", "optdigits", True),
        ("csv:fashion_mnist.csv", "fashion-mnist", True),
        ("csv:hearts.csv", "heart_statlog", False),
    ],
)
def test_group_of(one, other, same):
    assert (group_of(one) == group_of(other)) is same


def test_unknown_name():
    with pytest.raises(AlmetaError, match="unknown data set 'irsi'; did you mean 'iris'"):
        group_of("irsi")
    with pytest.raises(AlmetaError, match="unknown data set 'irsi'"):
        folds(["wine", "irsi", "digits"], 2)


@pytest.mark.parametrize("num_folds", [2, 5, 10])
@pytest.mark.parametrize("name", ["tables", "two_class"])
def test_folds(name, num_folds):
    for seed in range(20):
        parts = folds(suite(name), num_folds, seed)
        assert len(parts) == num_folds
        assert sorted(sum(parts, ())) == sorted(suite(name))
        sizes = [len(part) for part in parts]
        assert max(sizes) - min(sizes) <= 1
        groups = [{group_of(name) for name in part} for part in parts]
        assert len(set.union(*groups)) == sum(len(group) for group in groups)


def test_folds_are_named_by_their_seed():
    names = suite("tables")
    assert folds(names, 5, 3) == folds(names, 5, 3)
    assert folds(names, 5, 3) != folds(names, 5, 4)
    shuffled = [str(name) for name in np.random.default_rng(0).permutation(names)]
    assert [set(part) for part in folds(shuffled, 5, 3)] == [set(part) for part in folds(names, 5, 3)]
    assert folds(names, 5, 0)[0] == tuple(sorted(folds(names, 5, 0)[0]))  # in the order that was given


def test_folds_keep_the_names_that_were_given():
    parts = folds(["pima", "heart", "csv:my.csv"], 3)
    assert sorted(parts) == [("csv:my.csv",), ("heart",), ("pima",)]
    assert folds(["pima", "heart", "iris", "wine"], 2, 1) != folds(["pima", "heart", "iris", "wine"], 2, 2)


def test_one_fold_has_all():
    assert folds(suite("embedded"), 1) == [suite("embedded")]


def test_folds_of_large_groups_are_balanced():
    parts = folds(["ring", "twonorm", "waveform", "iris", "wine", "zoo", "heart"], 2)
    assert sorted(len(part) for part in parts) == [3, 4]


@pytest.mark.parametrize(
    "names, num_folds, message",
    [
        (("iris", "wine"), 3, "num_folds=3, but the 2 data sets are 2 groups"),
        (("wdbc", "breast_cancer", "iris"), 3, "num_folds=3, but the 3 data sets are 2 groups of near-duplicates"),
        (("iris", "wine"), 0, "num_folds=0, .* choose from 1 to 2 parts"),
        (("diabetes", "pima", "iris"), 2, "data set 'diabetes' is in the list more than once"),
    ],
)
def test_mistakes(names, num_folds, message):
    with pytest.raises(AlmetaError, match=message):
        folds(names, num_folds)


def test_canonical_names():
    assert canonical_name("breast-w") == "breast_cancer_wisconsin"
    assert canonical_name("fashion_mnist") == "fashion-mnist"
    assert canonical_name("three_cluster") == "three-cluster"
    assert canonical_name("openml:61") == "openml:61"
