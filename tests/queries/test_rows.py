"""Rows of any kind as features."""

import datetime
import decimal

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch

from almeta.data import Dataset
from almeta.data.preparation import prepare
from almeta.errors import AlmetaError
from almeta.queries.rows import COMPONENTS, read_rows

RANDOM = np.random.default_rng(0)


def test_numbers_are_scaled_and_filled_in():
    x = read_rows(np.array([[0.0, 1.0], [2.0, np.nan], [4.0, 3.0]]))
    assert x.dtype == torch.float32
    assert x[:, 0].tolist() == pytest.approx([-(1.5**0.5), 0, 1.5**0.5], rel=1e-6)
    assert float(x[1, 1]) == pytest.approx(0)  # the median of 1 and 3 is their mean


def test_a_frame_is_prepared_as_the_same_data_set_is():
    colours = np.array([0, 1, 2, 1, 0, np.nan])
    numbers = np.array([1.0, 5, 2, np.nan, 4, 3])
    data = Dataset(
        "mine",
        np.stack([numbers, colours], 1),
        np.zeros(6, np.int64),
        ("",),
        "",
        categories={1: ("blue", "green", "red")},
        missing=True,
    )
    names = ["blue", "green", "red", "green", "blue", None]
    for frame in (
        pd.DataFrame({"size": numbers, "colour": names}),
        pd.DataFrame({"size": numbers, "colour": pd.Categorical(names)}, index=list("uvwxyz")),
    ):
        assert np.array_equal(read_rows(frame).numpy(), prepare(data, np.arange(6), np.arange(0))[0])


def test_dates_and_truth_values_are_numbers():
    days = pd.to_datetime(["2024-01-01", "2024-01-02", "2024-01-03"])
    x = read_rows(pd.DataFrame({"day": days, "known": [True, False, True]}))
    assert x[:, 0].tolist() == pytest.approx([-(1.5**0.5), 0, 1.5**0.5], abs=1e-6)
    assert x[0, 1] == x[2, 1] != x[1, 1]


def test_dates_of_any_type_times_and_decimals_are_numbers():
    days = [datetime.date(2024, 1, day) for day in range(1, 31)]
    columns = {
        "date": days,
        "period": pd.PeriodIndex(days, freq="D"),
        "zone": pd.to_datetime(days).tz_localize("Europe/Berlin"),
        "took": [datetime.timedelta(hours=day) for day in range(30)],
        "price": [decimal.Decimal(f"{day}.5") for day in range(30)],
    }
    x = read_rows(pd.DataFrame(columns))
    even = (np.arange(30) - 14.5) / np.arange(30).std()
    for column in x.T:
        assert column.numpy() == pytest.approx(even, abs=1e-4)


def test_columns_without_names_may_be_kept():
    frame = pd.DataFrame(np.stack([RANDOM.random(60), np.arange(60)], 1))
    assert read_rows(frame, keep=[1]).shape == (60, 2)  # type: ignore[list-item]


def test_half_precision_and_transparency():
    x = torch.rand(7, 3)
    assert read_rows(x.bfloat16()).equal(read_rows(x.bfloat16().float()))
    images = RANDOM.random((5, 4, 4, 4))
    assert read_rows(images).equal(read_rows(images[..., :3]))


def test_columns_that_identify_rows_or_repeat_the_labels_are_set_aside():
    frame = pd.DataFrame({"size": RANDOM.random(60), "id": range(60), "answer": ["yes", "no"] * 30})
    y = np.array([0, 1] * 20 + [-1] * 20)
    with pytest.warns(UserWarning, match=r"'id' \(counts the rows\), 'answer' \(repeats the labels\)"):
        assert read_rows(frame, y).shape == (60, 1)
    assert read_rows(frame, y, keep=["id", "answer"]).shape == (60, 4)


def test_a_column_of_text_that_is_left_out_comes_with_how_to_read_it():
    frame = pd.DataFrame({"a": np.arange(60) % 9, "review": [f"the {k} th film is good" for k in range(60)]})
    with pytest.warns(UserWarning, match=r"like free text: .*; to learn from text alone, give X\['review'\]$"):
        read_rows(frame)
    assert len(read_rows(frame["review"])) == 60


def test_texts_are_tf_idf():
    texts = ["good film", "bad film", "good good plot"]
    x = read_rows(texts)
    assert x.shape == (3, 4)
    assert torch.linalg.vector_norm(x, dim=1).tolist() == pytest.approx([1, 1, 1])
    assert read_rows(pd.Series(texts)).equal(x)
    assert float(x[0] @ x[2]) > float(x[1] @ x[2]) == 0


def test_wide_sparse_rows_keep_their_leading_directions():
    dense = np.outer(RANDOM.random(200), RANDOM.random(500)) * (RANDOM.random((200, 500)) < 0.5)
    x = read_rows(scipy.sparse.csr_matrix(dense))
    assert x.shape == (200, COMPONENTS)
    left, size, _ = np.linalg.svd(dense)
    assert x[:, 0].abs().numpy() == pytest.approx(np.abs(left[:, 0] * size[0]), abs=1e-3)
    narrow = scipy.sparse.coo_matrix(dense[:, :50])
    assert np.allclose(read_rows(narrow).numpy(), dense[:, :50])


def test_images_share_one_scale():
    images = RANDOM.integers(0, 255, (20, 4, 5))
    x = read_rows(images)
    assert x.shape == (20, 20)
    assert float(x.square().mean()) == pytest.approx(1, rel=1e-5)
    colours = np.repeat(images[..., None], 3, 3)
    assert read_rows(colours).numpy() == pytest.approx(x.numpy(), abs=1e-6)


def test_tensors_are_arrays():
    x = torch.rand(7, 3)
    assert read_rows(x).equal(read_rows(x.numpy()))


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.empty((0, 3)), r"X has the shape \[0, 3\]"),
        (np.zeros(4), r"X has the shape \[4\]"),
        (np.array([[1.0, np.inf]]), "1 infinite values; use NaN"),
        (np.array([["a", 1], ["b", 2]], dtype=object), "no numbers .*; make it a pandas data frame"),
        (np.full((2, 3, 3), np.nan), "images with NaN"),
        (scipy.sparse.csr_matrix(np.array([[np.nan, 1.0]])), "NaN or infinite"),
        (["!", "?"], "2 texts and no word"),
        (["a text", None], "row 1 is None; write '' there"),
        (np.zeros((5, 3, 8, 8)), r"\[5, 3, 8, 8\]; images in colour are \[N, H, W, channels\]"),
        (pd.DataFrame({"a": [[1], [2, 3]]}), "column 'a' has cells that are lists"),
        (pd.DataFrame({"a": [np.inf, 1.0]}), "column 'a' has 1 values that are infinite"),
    ],
)
def test_bad_rows(X, message):
    with pytest.raises(AlmetaError, match=message):
        read_rows(X)
