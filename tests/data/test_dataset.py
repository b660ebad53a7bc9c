import dataclasses
from typing import Any

import numpy as np
import pytest

from almeta.data import Dataset
from almeta.errors import AlmetaError


def small(**changes):
    fields = {
        "name": "small",
        "x": np.zeros((5, 4), np.float32),
        "y": np.array([0, 2, 2, 1, 2]),
        "class_names": ("a", "b", "c"),
        "source": "made here",
        "image_shape": (2, 2),
    }
    return Dataset(**(fields | changes))


def test_counts():
    dataset = small()
    assert len(dataset) == 5
    assert dataset.num_classes == 3
    assert dataset.class_counts.tolist() == [1, 1, 3]
    assert small(class_names=("a", "b", "c", "never")).class_counts.tolist() == [1, 1, 3, 0]


def test_is_frozen_and_prints_no_arrays():
    dataset: Any = small()
    with pytest.raises(dataclasses.FrozenInstanceError):
        dataset.name = "other"
    assert repr(small()) == "Dataset(name='small', source='made here', image_shape=(2, 2))"


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"x": np.zeros(5, np.float32)}, r"x must be \[n, d\].*\(5,\)"),
        ({"x": np.zeros((0, 4), np.float32), "y": np.zeros(0, np.int64)}, r"x must be \[n, d\]"),
        ({"x": np.zeros((5, 4))}, "x must be float32, not float64"),
        ({"y": np.zeros(4, np.int64)}, r"y must be \[n\] = \(5,\), not of shape \(4,\)"),
        ({"y": np.zeros(5, np.int32)}, "y must be int64, not int32"),
        ({"x": np.full((5, 4), np.nan, np.float32)}, "x has 20 values that are NaN or infinite"),
        ({"x": np.full((5, 4), np.inf, np.float32)}, "x has 20 values that are NaN or infinite"),
        ({"y": np.array([0, 1, 2, 3, 0])}, "labels go from 0 to 3, with 3 class names"),
        ({"y": np.array([0, 1, 2, -1, 0])}, "labels go from -1 to 2, with 3 class names"),
        ({"class_names": ("a", "b", "b")}, "class_names has duplicates"),
        ({"image_shape": (2, 3)}, r"image_shape \(2, 3\) does not multiply to d = 4"),
    ],
)
def test_mistakes(changes, message):
    with pytest.raises(AlmetaError, match=f"data set 'small': {message}"):
        small(**changes)
