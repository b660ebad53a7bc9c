import dataclasses
import hashlib
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


def test_rows_of_a_fixed_test_set():
    assert small().pool_rows.tolist() == [0, 1, 2, 3, 4]
    assert small(test_rows=np.array([1, 4])).pool_rows.tolist() == [0, 2, 3]


def test_is_frozen_and_prints_no_arrays():
    dataset: Any = small()
    with pytest.raises(dataclasses.FrozenInstanceError):
        dataset.name = "other"
    assert repr(small()) == "Dataset(name='small', source='made here', image_shape=(2, 2))"


def test_defaults_are_a_complete_table():
    dataset = small(image_shape=None)
    assert (dataset.columns, dataset.categories, dataset.missing, dataset.kind) == ((), {}, False, "table")
    assert small().kind == "image"  # it has a shape
    assert small(image_shape=None, kind="image").kind == "image"


def test_missing_values_and_categories():
    x = np.array([[0, 1, np.nan, 2]] * 5, np.float32)
    dataset = small(x=x, image_shape=None, missing=True, categories={1: ("u", "v"), 2: ()}, columns=tuple("abcd"))
    assert np.array_equal(dataset.x, x, equal_nan=True)
    assert dataclasses.replace(dataset, name="other").categories == {1: ("u", "v"), 2: ()}


@pytest.mark.parametrize("offset, step", [(5.4e6, 0.01), (1.7e9, 1), (1.7e12, 1), (-1.7e12, 1000), (1e-3, 1e-12)])
def test_numbers_with_little_variation_stay_apart(offset, step):
    """Coordinates in metres, times in seconds and milliseconds."""
    values = offset + step * np.random.default_rng(0).permutation(1000)
    x = np.column_stack([values, np.linspace(-1, 1, 1000), np.full(1000, offset)])
    x[3, 0] = np.nan
    dataset = small(x=x, y=np.arange(1000) % 3, image_shape=None, missing=True)
    assert dataset.x.dtype == np.float32
    assert len(np.unique(dataset.x[:, 0])) == 1000  # 999 values and NaN
    there = ~np.isnan(x[:, 0])
    apart = dataset.x[there, 0].astype(float) - dataset.x[0, 0] - (values[there] - values[0])
    assert np.abs(apart).max() < 1e-4 * step + np.abs(offset) * 1e-15
    assert (dataset.x[:, 1:] == x[:, 1:].astype(np.float32)).all()


def test_other_numbers_are_only_rounded():
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.normal(size=5) * 1e6, 1 + rng.random(5), np.full(5, np.nan), [1, 2, 3, 4, np.nan]])
    dataset = small(x=x, image_shape=None, missing=True)
    assert np.array_equal(dataset.x, x.astype(np.float32), equal_nan=True)
    image = 1 + 1e-9 * rng.random((5, 4))
    assert (small(x=image).x == 1).all()  # pixels keep their geometry


def test_content_is_that_of_the_rows():
    x = np.random.default_rng(0).random((5, 4), dtype=np.float32)
    content = small(x=x).content
    assert content == small(x=x, name="other", source="elsewhere").content
    wanted = hashlib.sha256(b"((5, 4), ('a', 'b', 'c'), {})" + x.tobytes() + small().y.tobytes()).hexdigest()
    assert content == wanted
    changes: list[dict[str, Any]] = [{"x": x + 1}, {"y": np.array([1, 2, 2, 1, 2])}, {"class_names": ("a", "b", "d")}]
    assert len({content, *(small(**{"x": x} | change).content for change in changes)}) == 4
    fixed = [small(x=x, test_rows=np.array(rows)).content for rows in ([0], [1], [0, 1])]
    assert len({content, *fixed}) == 4
    names: dict[str, Any] = {"image_shape": None, "x": np.zeros((5, 4), np.float32)}
    assert small(**names, categories={0: ("u",)}).content != small(**names, categories={0: ("v",)}).content


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"x": np.zeros(5, np.float32)}, r"x must be \[n, d\].*\(5,\)"),
        ({"x": np.zeros((0, 4), np.float32), "y": np.zeros(0, np.int64)}, r"x must be \[n, d\]"),
        ({"x": np.zeros((5, 4), int)}, "x must be float32 or float64, not int64"),
        ({"y": np.zeros(4, np.int64)}, r"y must be \[n\] = \(5,\), not of shape \(4,\)"),
        ({"y": np.zeros(5, np.int32)}, "y must be int64, not int32"),
        ({"x": np.full((5, 4), np.nan, np.float32)}, "x has 20 values that are NaN or infinite"),
        ({"x": np.full((5, 4), np.inf, np.float32)}, "x has 20 values that are NaN or infinite"),
        ({"y": np.array([0, 1, 2, 3, 0])}, "labels go from 0 to 3, with 3 class names"),
        ({"y": np.array([0, 1, 2, -1, 0])}, "labels go from -1 to 2, with 3 class names"),
        ({"class_names": ("a", "b", "b")}, "class_names has duplicates"),
        ({"x": np.full((5, 4), np.inf, np.float32), "missing": True}, "x has 20 infinite values; only NaN"),
        ({"columns": ("a", "b")}, "2 columns have names, of d = 4"),
        (
            {"image_shape": None, "kind": "sound"},
            r"kind is 'sound'; it must be one of \('table', 'image', 'text', 'tokens'\)",
        ),
        ({"test_rows": np.array([0.0])}, r"test_rows must be \[M\] int64, not float64"),
        ({"test_rows": np.array([[0]])}, r"test_rows must be \[M\] int64"),
        ({"test_rows": np.array([1, 1])}, "test_rows must be different numbers of rows, 0 to 4, in order"),
        ({"test_rows": np.array([2, 1])}, "test_rows must be different numbers of rows, 0 to 4, in order"),
        ({"test_rows": np.array([-1])}, "test_rows must be different"),
        ({"test_rows": np.array([5])}, "test_rows must be different"),
        ({"test_rows": np.zeros(0, np.int64)}, "test_rows must be different"),
        ({"test_rows": np.arange(5)}, "all rows are test rows; leave some for the pool"),
        ({"categories": {4: ("u",)}}, "categories of a column 4, of d = 4"),
        (
            {"x": np.ones((5, 4), np.float32), "categories": {0: ("u",)}},
            "column 0 has values that are no position among",
        ),
        (
            {"x": np.full((5, 4), 0.5, np.float32), "categories": {0: ("u", "v")}},
            "column 0 has values that are no posi",
        ),
        (
            {"x": np.full((5, 4), 0.5, np.float32), "image_shape": None, "kind": "tokens"},
            "the tokens of a text are whole numbers of at least 0",
        ),
        (
            {"x": np.full((5, 4), -1, np.float32), "image_shape": None, "kind": "tokens"},
            "the tokens of a text are whole numbers of at least 0",
        ),
        (
            {"x": np.full((5, 4), -1, np.float32), "image_shape": None, "kind": "text"},
            "the counts of a text are at lea",
        ),
        ({"image_shape": (2, 3)}, r"image_shape \(2, 3\) does not multiply to d = 4"),
    ],
)
def test_mistakes(changes, message):
    with pytest.raises(AlmetaError, match=f"data set 'small': {message}"):
        small(**changes)


# ---- numbers as targets


def numbers(**changes):
    return small(**({"y": np.array([0.5, -2, 2, 1e6, 2]), "class_names": (), "image_shape": None} | changes))


def test_without_class_names_targets_are_numbers():
    assert (numbers().target, numbers().num_classes, small().target) == ("numbers", 0, "classes")
    assert numbers().content != numbers(y=np.array([0.5, -2, 2, 1e6, 3])).content


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"y": np.arange(5)}, "y must be float64, not int64, as there are no class names"),
        ({"y": np.array([0.5, np.nan, 2, 1, 2])}, "y has 1 targets that are NaN or infinite"),
        ({"y": np.full(5, 2.5)}, "all targets are 2.5; there is nothing to predict"),
        ({"class_names": ("a", "b")}, "y must be int64, not float64"),
    ],
)
def test_other_targets_are_refused(changes, message):
    with pytest.raises(AlmetaError, match=f"data set 'small': {message}"):
        numbers(**changes)


def test_where_classes_are_needed_numbers_are_refused():
    small().check_classes("a stream")
    with pytest.raises(AlmetaError, match="data set 'small' has numbers as targets; a stream is for classes: choose"):
        numbers().check_classes("a stream")
