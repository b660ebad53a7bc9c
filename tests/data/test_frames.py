"""Columns that tell the label, or nothing."""

import warnings
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest

from almeta.data.frames import dataset_of, table_features

N = 60
RNG = np.random.default_rng(0)
LABELS = RNG.permutation(np.repeat(["a", "b", "c"], N // 3))


def columns(*cells, labels=LABELS, name="suspect", keep=()):
    """Which columns a table has with a suspect one, and the reason why it was left out."""
    frame = pd.DataFrame({name: list(cells), "plain": np.arange(len(labels)) % 7, "label": labels})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        make = partial(table_features, keep=keep)
        found = dataset_of(frame, "label", "made", "here", "the table", make).columns
    messages = [str(warning.message) for warning in caught]
    return found == (name, "plain"), messages


def filtered(n=N, of=200):
    return np.sort(RNG.permutation(of)[:n])


OTHER = {"a": 2.5, "b": -1.0, "c": 1e6}
ALIKE: dict[str, Any] = {
    "a copy": LABELS,
    "other words": np.array([{"a": "x", "b": "y", "c": "z"}[label] for label in LABELS]),
    "numbers": np.array([OTHER[label] for label in LABELS]),
    "a copy with gaps": [None if place % 5 == 0 else label for place, label in enumerate(LABELS)],
}
NUMBERED: dict[str, Any] = {
    "from 0": np.arange(N),
    "from 1": np.arange(N) + 1,
    "backwards": np.arange(N)[::-1],
    "shuffled": RNG.permutation(N),
    "as floats": RNG.permutation(N) * 1.0,
    "a part of a table": np.arange(N) + 5000,
    "filtered": filtered(),
    "negative": np.arange(N) - 5,
    "one cell missing": [np.nan, *range(N - 1)],
    "shuffled, one cell missing": [np.nan, *RNG.permutation(N)[1:]],
    "filtered and shuffled": RNG.permutation(filtered()),
}
IDENTIFIERS = {
    "of 6 digits": RNG.choice(900_000, N, replace=False) + 100_000,
    "of 9 digits": RNG.choice(900_000_000, N, replace=False) + 100_000_000,
    "of 18 digits, in turn": 10**17 + np.arange(N),
    "of 14 digits": RNG.choice(9 * 10**12, N, replace=False) + 10**13,
}
SOUND: dict[str, Any] = {
    "measured": RNG.normal(size=N),
    "whole numbers": RNG.permutation(N) * 37 % 50,
    "gaps": RNG.permutation(filtered(N, 100 * N)),
    "years": np.arange(N) + 1950,
    "prices": np.round(RNG.lognormal(13, 1, N)) + 100_000,
    "seconds since 1970": 1_700_000_000 + RNG.choice(10**7, N, replace=False),
    "milliseconds since 1970": 1_700_000_000_000 + RNG.choice(10**9, N, replace=False),
    "dates": [20240101 + 100 * (day // 28) + day % 28 for day in range(N)],
    "two of three classes": np.array([{"a": 0, "b": 0, "c": 1}[label] for label in LABELS]),
    "nearly a copy": [*LABELS[:-1], "a" if LABELS[-1] == "b" else "b"],
    "a finer grouping": [f"{label}{place % 2}" for place, label in enumerate(LABELS)],
}


@pytest.mark.parametrize("case", ALIKE)
def test_a_column_that_repeats_the_labels(case):
    kept, messages = columns(*ALIKE[case])
    assert not kept
    assert messages == [
        "the table: left out: 'suspect' (repeats the labels); to use a column all the same, name it in keep=[...]"
    ]
    assert columns(*ALIKE[case], keep=["suspect"]) == (True, [])


@pytest.mark.parametrize("case", NUMBERED)
def test_a_column_that_counts_the_rows(case):
    kept, messages = columns(*NUMBERED[case])
    assert not kept and "'suspect' (counts the rows)" in messages[0]
    assert columns(*NUMBERED[case], keep=["suspect"]) == (True, [])


@pytest.mark.parametrize("case", IDENTIFIERS)
def test_a_column_of_identifiers(case):
    kept, messages = columns(*IDENTIFIERS[case])
    assert not kept and "'suspect' (whole numbers, all different, like an identifier)" in messages[0]
    assert columns(*IDENTIFIERS[case], keep=["suspect"]) == (True, [])


@pytest.mark.parametrize("name", ["id", "patient_id", "PatientID", "Sample code number", "serial no"])
def test_a_column_of_large_numbers_that_is_called_an_identifier(name):
    numbers = np.round(RNG.lognormal(13, 1, N)) + 100_000
    kept, _ = columns(*numbers, name=name)
    assert not kept


@pytest.mark.parametrize("case", SOUND)
def test_a_column_that_says_something(case):
    assert columns(*SOUND[case]) == (True, [])


def test_a_few_rows_may_look_like_anything():
    assert columns(*range(12), labels=list("ab" * 6)) == (True, [])
    assert columns(*"uv" * 6, labels=list("ab" * 6)) == (True, [])
    assert columns(*range(123_456, 123_468), labels=list("ab" * 6)) == (True, [])
