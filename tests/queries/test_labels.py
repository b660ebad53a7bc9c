"""Labels of any kind, some missing."""

import numpy as np
import pandas as pd
import pytest

from almeta.errors import AlmetaError
from almeta.queries.labels import read_labels


@pytest.mark.parametrize(
    ("y", "numbers", "classes"),
    [
        (["b", None, "a", float("nan")], [1, -1, 0, -1], ("a", "b")),
        ([3, -1, 1, None], [1, -1, 0, -1], (1, 3)),
        (np.array([1.0, np.nan, 0.0, -1.0]), [1, -1, 0, -1], (0.0, 1.0)),
        (np.array(["no", "yes", "no", "no"]), [0, 1, 0, 0], ("no", "yes")),
        (np.array([[1], [0], [-1], [1]]), [1, 0, -1, 1], (0, 1)),
        (pd.Series([True, None, False, pd.NA], index=[9, 8, 7, 6]), [1, -1, 0, -1], (False, True)),
        (pd.Series(["b", None, "a", "b"], dtype="category"), [1, -1, 0, 1], ("a", "b")),
        (pd.Series(["b", pd.NA, "a", "b"], dtype="string"), [1, -1, 0, 1], ("a", "b")),
        ([1, "x", None, 1], [0, 1, -1, 0], (1, "x")),
        (None, [-1, -1, -1, -1], ()),
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
    ],
)
def test_bad_labels(y, options, message):
    with pytest.raises(AlmetaError, match=message):
        read_labels(y, 3, **options)
