"""Labels of any kind, some missing."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from almeta.errors import AlmetaError
from almeta.queries.labels import read_labels


@pytest.mark.parametrize(
    ("y", "numbers", "classes"),
    [
        (["b", None, "a", float("nan")], [1, -1, 0, -1], ("a", "b")),
        ([3, -1, 1, 1], [1, -1, 0, 0], (1, 3)),
        (np.array([1.0, np.nan, 0.0, 0.0]), [1, -1, 0, 0], (0.0, 1.0)),
        (np.array(["no", "yes", "no", "no"]), [0, 1, 0, 0], ("no", "yes")),
        (np.array([[1], [0], [-1], [1]]), [1, 0, -1, 1], (0, 1)),
        (pd.Series([True, None, False, pd.NA], index=[9, 8, 7, 6]), [1, -1, 0, -1], (False, True)),
        (pd.Series(["b", None, "a", "b"], dtype="category"), [1, -1, 0, 1], ("a", "b")),
        (pd.Series([0.5, None, 0.25, 0.5], dtype="category"), [1, -1, 0, 1], (0.25, 0.5)),
        (pd.Series(["b", pd.NA, "a", "b"], dtype="string"), [1, -1, 0, 1], ("a", "b")),
        ([1, "x", None, 1], [0, 1, -1, 0], (1, "x")),
        (None, [-1, -1, -1, -1], ()),
        (np.array([1, 0, np.nan, 1], np.float16), [1, 0, -1, 1], (0.0, 1.0)),
        (list(torch.tensor([2, 7, 2, 2])), [0, 1, 0, 0], (2, 7)),
    ],
)
def test_kinds_of_labels(y, numbers, classes):
    found, values = read_labels(y, 4)
    assert found.dtype == np.int64
    assert found.tolist() == numbers
    assert values == classes


def test_classes_that_are_given_have_their_order_and_may_have_no_label():
    found, values = read_labels(["b", None, "a"], 3, classes=["c", "b", "a"])
    assert (found.tolist(), values) == ([1, -1, 2], ("c", "b", "a"))


def test_numbers_with_a_fraction_are_classes_where_they_are_given_as_such():
    found, values = read_labels([0.5, None, 1.0], 3, classes=[0.5, 1.0, 1.5])
    assert (found.tolist(), values) == ([0, -1, 1], (0.5, 1.0, 1.5))


def test_minus_one_is_a_class_where_it_is_given_as_one_or_another_value_is_missing():
    assert read_labels([1, -1, None], 3, classes=[-1, 1])[0].tolist() == [1, 0, -1]
    assert read_labels([1, -1, None], 3, missing=None)[0].tolist() == [1, 0, -1]
    assert read_labels(["a", "?", None], 3, missing="?")[0].tolist() == [0, -1, -1]


@pytest.mark.parametrize(
    ("y", "options", "message"),
    [
        (["a"], {}, "X has 3 rows and y 1 labels"),
        (["cat", "dgo", None], {"classes": ["cat", "dog"]}, "unknown class 'dgo'; did you mean 'dog'"),
        (["a", None, None], {"classes": ["a", "a"]}, "one of them twice"),
        (np.zeros((3, 2)), {}, r"y has the shape \[3, 2\]"),
        ([["a"], None, None], {}, "no single values"),
        (["a", None, None], {"missing": [-1]}, r"missing is \[-1\]; it is one value"),
        (["0", None, None], {"classes": [0, 1]}, "unknown class '0'.* \\(it is str, the classes are int\\)"),
        ([1.0, None, 3.25], {}, "y has the label 3.25, which looks like an amount; labels are classes: group"),
        (np.array([0.5, np.nan, 2.0], np.float32), {}, "y has the label 0.5.* or name all classes with classes="),
        (np.array([np.float32(0.5), None, 2], object), {}, "y has the label 0.5"),
        (["a", None, float("inf")], {}, "y has the label inf"),
        (["a", None, None], {"classes": []}, "no class is known yet; name them all with classes="),
    ],
)
def test_bad_labels(y, options, message):
    with pytest.raises(AlmetaError, match=message):
        read_labels(y, 3, **options)


@pytest.mark.parametrize("y", [[1, -1, None], [1, -1, 1], [0, -1, float("nan")]])
def test_a_label_that_may_be_lost_is_told(y):
    with pytest.warns(UserWarning, match="1 labels are -1 and count as no label; if -1 is a class, pass missing=None"):
        read_labels(y, 3)


def test_minus_one_alone_is_no_label_without_a_word():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_labels([0, -1, 1], 3)[0].tolist() == [0, -1, 1]
