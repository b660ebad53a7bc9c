"""Keys of rows: rows of one's own are known by their content, wherever they stand in a file."""

import hashlib
from typing import Any

import numpy as np
import pandas as pd

from almeta.data.rows import mixed

_ODD = np.uint64(0x9E3779B97F4A7C15)
_WORDS = {"true": 1.0, "false": 0.0}  # as the cells of a column of true and false


def row_keys(frame: pd.DataFrame) -> np.ndarray:
    """Return a key for each row, `[N]` uint64, all different: a digest of its values, and which of equal rows it is.

    Neither the order of the columns changes a key, nor whether a column is read as numbers or as text. Two different
    rows of a million have one digest with a probability of 3e-8; they then count as equal rows.

    Args:
        frame: N rows, without the column of the labels.
    """
    digests = np.zeros(len(frame), np.uint64)
    for name, column in frame.items():
        digests += mixed(_cells(column) ^ _digest(f"column {name}"))
    nth = pd.Series(digests).groupby(digests).cumcount().to_numpy(np.uint64)
    return mixed(digests + nth * _ODD)


def key_names(keys: np.ndarray) -> list[str]:
    """Return keys `[N]` as texts that no spreadsheet takes for numbers."""
    return [f"k{key:016x}" for key in keys.tolist()]


def _cells(column: pd.Series) -> np.ndarray:
    """Return a digest of each cell, `[N]` uint64."""
    if pd.api.types.is_numeric_dtype(column):
        return _bits(column.to_numpy(np.float64, na_value=np.nan))
    codes, values = pd.factorize(column)
    digests = np.array([_digest_of(value) for value in values] + [_bits(np.array([np.nan]))[0]], np.uint64)
    return digests[codes]  # -1, the last one, is a missing cell


def _digest_of(value: Any) -> np.uint64:
    text = str(value).strip()
    try:
        number = _WORDS[text.lower()] if text.lower() in _WORDS else float(text)
    except ValueError:
        return _digest(f"text {text}")
    return np.uint64(_bits(np.array([number]))[0])


def _bits(numbers: np.ndarray) -> np.ndarray:
    """Return the bits of `[N]` float64 as `[N]` uint64, the same ones for all zeros and for all NaN."""
    return np.where(np.isnan(numbers), np.nan, numbers + 0.0).view(np.uint64)


def _digest(text: str) -> np.uint64:
    return np.uint64(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little"))
