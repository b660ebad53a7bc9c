"""Recognising a data set by its rows under any name, so that a copy does not count as new data.

A `sketch` is a short sample of digests of rows, small enough for a card or a checkpoint. It keeps the smallest digests
(A. Z. Broder, On the resemblance and containment of documents, 1997): two tables that share rows keep the same ones,
and the share of rows can be estimated from two sketches alone.

A row has two digests. Neither depends on the order of rows or columns, on the labels or on any name.

- `v`, of its values: numbers with 6 significant digits, categories by their text. Other rows that are removed or added
  do not change it. Rows of a few plain values, such as zeros and ones, have none: different tables share those by
  chance.
- `c`, of its values and the count of each value in its column. It also recognises tables of zeros and ones, but only
  whole copies: of a table, and of the two parts of one with a fixed test set.

Not recognised are copies with columns removed, added, scaled or coded in another way (a category as several columns of
0 and 1), a part of a table with plain values only, and a part of less than about a tenth of the rows.
"""

import dataclasses
import hashlib
from collections.abc import Mapping

import numpy as np

from almeta.data.dataset import Dataset

SIZES = {"v": 48, "c": 16}  # digests of each kind in a sketch
FEWEST = 3  # smallest number of common digests, unless a table has fewer rows: one or two may be chance
# A row has a digest of its values if these have DIGITS significant digits in all. Only numbers of two or more digits
# count, in columns of more than VALUES different values.
DIGITS, VALUES = 6, 10
BLOCK = 1 << 20  # values at once
MANY = 1 << 22  # images with more values than this have digests of their bits, which are 20 times as fast

_TEN = 10.0 ** np.arange(-60, 60)


def sketch(dataset: Dataset) -> list[str]:
    """Return at most 64 short texts for `share_of_rows`.

    They are equal for every order of rows, columns and classes, for every name, and for tables that were written to a
    file with all digits or with 6. With 7 or 8 some digests differ, because values are rounded twice.
    """
    found = _digests(dataset)
    if dataset.test_rows is not None:  # without it, or alone, it may be a table of its own
        for rows in (dataset.pool_rows, dataset.test_rows):
            part = dataclasses.replace(dataset, x=dataset.x[rows], y=dataset.y[rows], test_rows=None)
            found["c"] = np.union1d(found["c"], _digests(part)["c"])
    return [f"{kind}{digest:016x}" for kind, size in SIZES.items() for digest in found[kind][:size].tolist()]


def share_of_rows(one: list[str], other: list[str]) -> float:
    """Estimate the share, 0 to 1, of the rows of the smaller data set that are in the other, from their sketches.

    The estimate uses at most 48 rows: its standard error is below 0.08 for tables of similar size.
    """
    shares = []
    for kind, size in SIZES.items():
        first, second = ({text for text in texts if text.startswith(kind)} for texts in (one, other))
        shares.append(_share(first, second, size))
    return max(shares)


def seen_among(known: Mapping[str, list[str]], rows: list[str]) -> str | None:
    """Return the name of the first of some sketches that has more than half of the rows of another, or None."""
    return next((name for name, own in known.items() if share_of_rows(own, rows) > 0.5), None)


def _share(one: set[str], other: set[str], size: int) -> float:
    """Return the share of the smaller set that is in the other, where both sketches are complete.

    A full sketch lacks the digests above its largest.
    """
    limit = min((max(side) for side in (one, other) if len(side) >= size), default="~")
    one, other = ({text for text in side if text <= limit} for side in (one, other))
    common, fewest = len(one & other), min(len(one), len(other))
    return common / fewest if common >= max(1, min(FEWEST, fewest)) else 0.0


def _digests(dataset: Dataset) -> dict[str, np.ndarray]:
    """Return the different digests of rows by kind, uint64, sorted."""
    n, d = dataset.x.shape
    if dataset.kind == "image" and n * d > MANY:
        return {"v": np.unique(_of_pixels(dataset.x)), "c": np.empty(0, np.uint64)}
    known = {column: _of_categories(names) for column, names in dataset.categories.items()}
    step = max(1, BLOCK // n)
    plain, counted, digits = np.zeros(n, np.uint64), np.zeros(n, np.uint64), np.zeros(n, np.int64)
    for begin in range(0, d, step):
        values, significant = _of_numbers(dataset.x[:, begin : begin + step].astype(np.float64))
        for place, column in enumerate(range(begin, min(begin + step, d))):
            if column in known:
                positions = np.nan_to_num(dataset.x[:, column], nan=-1).astype(np.int64)
                values[:, place], significant[:, place] = (of[positions] for of in known[column])
            found, counts = np.unique(values[:, place], return_counts=True)
            counted += mixed(values[:, place] ^ mixed(mixed(found) ^ counts.astype(np.uint64)).sum(dtype=np.uint64))
            if len(found) > VALUES:
                digits += np.where(significant[:, place] > 1, significant[:, place], 0)
        plain += mixed(values).sum(1, dtype=np.uint64)
    return {"v": np.unique(mixed(plain[digits >= DIGITS])), "c": np.unique(mixed(counted))}


def _of_pixels(x: np.ndarray) -> np.ndarray:
    """Return a digest of the bits of each image `[n]`: pixels have an order and are not rounded."""
    weights = mixed(np.arange(x.shape[1], dtype=np.uint64)) | np.uint64(1)
    step = max(1, BLOCK // x.shape[1])
    parts = [np.ascontiguousarray(x[begin : begin + step]).view(np.uint32) for begin in range(0, len(x), step)]
    return mixed(np.concatenate([(part * weights).sum(1, dtype=np.uint64) for part in parts]))


def _of_categories(names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return a number for each category, and for a missing one at the end, and their significant digits; "7" is 7."""
    numbers = np.array([_as_number(name) for name in (*names, "")])
    values, digits = _of_numbers(numbers)
    for place in np.flatnonzero(np.isnan(numbers[:-1])):
        values[place] = int.from_bytes(hashlib.sha256(names[place].encode()).digest()[:8], "big")
    return values, digits


def _as_number(text: str) -> float:
    try:
        return float(text) if np.isfinite(float(text)) else np.nan
    except ValueError:
        return np.nan


def _of_numbers(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a number for each value, equal for values with the same 6 significant digits, and its count of digits."""
    size = np.abs(x)
    there = (size >= 1e-44) & (size <= 1e44)  # in the range of float32; not zero, not NaN
    exponent = np.floor(np.log10(np.where(there, size, 1))).astype(np.int64)
    mantissa = np.rint(size / _TEN[exponent + 55])  # 100000 .. 999999, or one step beyond at powers of ten
    for low, step in ((mantissa < 100_000, -1), (mantissa >= 1_000_000, 1)):
        exponent = np.where(low, exponent + step, exponent)
        mantissa = np.where(low, np.rint(size / _TEN[exponent + 55]), mantissa)
    mantissa = np.where(there, mantissa, 0).astype(np.int64)
    digits = np.where(there, 6, 0)
    for zeros in range(1, 6):
        digits -= there & (mantissa % 10**zeros == 0)
    signed = np.where(x < 0, -mantissa, mantissa) * 256 + np.where(there, exponent + 64, 0)
    return np.where(np.isnan(x), -1, signed).astype(np.uint64), digits


def mixed(values: np.ndarray) -> np.ndarray:
    """Scatter numbers `[n]` over all of uint64: the finaliser of SplitMix64 (G. L. Steele et al., OOPSLA 2014)."""
    bits = values + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
