"""Keys of rows: by content, wherever the rows and columns stand and however a column was read."""

import numpy as np
import pandas as pd
import pytest

from almeta.queries.keys import row_keys

FRAME = pd.DataFrame({"a": [1.0, np.nan, 3.5, -0.0], "b": ["x", "1", None, "x"], "c": [True, False, True, True]})


def test_keys_stay_what_they_are():
    """Files of answers hold them: another formula would lose all answers."""
    assert row_keys(pd.DataFrame({"a": [1, 2], "b": ["x", None]})).tolist() == [795742499774037604, 9423563126276633694]


def test_rows_and_columns_may_change_places():
    order = [2, 0, 3, 1]
    np.testing.assert_array_equal(row_keys(FRAME.iloc[order]), row_keys(FRAME)[order])
    np.testing.assert_array_equal(row_keys(FRAME[["c", "a", "b"]]), row_keys(FRAME))


@pytest.mark.parametrize(
    "cells, others",
    [
        ([1, 0], [1.0, -0.0]),
        ([1, 0], ["1.0", " 0 "]),
        ([True, False], ["TRUE", "false"]),
        ([2.5, np.nan], ["2.5", None]),
        (np.array([0.1, 3], np.float32), np.array([0.1, 3], np.float32).astype(float)),
        (["a", "b"], pd.Categorical(["a", "b"])),
    ],
)
def test_it_does_not_matter_how_a_column_was_read(cells, others):
    keys, same = row_keys(pd.DataFrame({"a": cells})), row_keys(pd.DataFrame({"a": others}))
    np.testing.assert_array_equal(keys, same)
    assert keys[0] != keys[1]


def test_equal_rows_are_told_apart_and_the_first_keep_their_keys():
    frame = pd.DataFrame({"a": [1, 1, 2, 1], "b": ["x", "x", "x", "x"]})
    keys = row_keys(frame)
    assert len(set(keys.tolist())) == 4
    np.testing.assert_array_equal(row_keys(frame[:3]), keys[:3])


def test_each_cell_counts():
    keys = {int(row_keys(FRAME)[0])}
    for column, other in [("a", 1.5), ("a", np.nan), ("b", "y"), ("b", "X"), ("b", None), ("c", False)]:
        changed = FRAME.astype(object)
        changed.loc[0, column] = other
        keys.add(int(row_keys(changed)[0]))
    keys.add(int(row_keys(FRAME.rename(columns={"a": "d"}))[0]))
    assert len(keys) == 8


def test_no_two_rows_of_many_have_one_key():
    numbers = np.arange(200_000)
    frame = pd.DataFrame({"a": numbers % 500, "b": numbers // 500})
    assert len(np.unique(row_keys(frame))) == len(frame)
    assert row_keys(frame[:0]).shape == (0,)
