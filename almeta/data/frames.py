"""Making a data set of a table of numbers and text: labels, categories, and columns to leave out."""

import itertools
import unicodedata
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from almeta.data.dataset import Dataset, as_float32
from almeta.errors import AlmetaError, did_you_mean

MANY = 20  # a column with more categories than this, and than half of the rows, identifies rows
ENOUGH = 20  # smallest number of rows in which a column cannot repeat the labels or count the rows by chance


def dataset_of(
    frame: pd.DataFrame, target: str, name: str, source: str, where: str, keep: Sequence[str] = ()
) -> Dataset:
    """Return a data set of the columns of a frame, in their order.

    Numbers stay numbers, true and false become 1 and 0, anything else becomes categories, sorted by name. Columns that
    give away the label, or say nothing, are left out with a warning (`_useless`). Classes are sorted, by value if all
    names are numbers.

    Args:
        frame: of one row for each row of the data set.
        target: the label column, as text.
        name: of the data set.
        source: of the data set.
        where: name of the frame in messages.
        keep: columns to keep, whatever they contain.

    Raises:
        AlmetaError: for a missing label, labels that look alike, fewer than two classes, infinite values, an unknown
            column to keep, and if no column is left.
    """
    y, class_names = _labels(frame[target], where)
    for column in set(keep) - set(frame):
        raise AlmetaError(f"{where}: {did_you_mean(column, map(str, frame), 'column to keep')}")
    columns, left_out = _columns(frame, target, y, where, keep)
    told = f"left out: {', '.join(left_out)}; to use a column all the same, name it in keep=[...]" if left_out else ""
    if not columns:
        nothing = f"{where}: besides the labels in {target!r} there is no column to learn from"
        raise AlmetaError(f"{nothing}; {told}" if told else nothing)
    if told:
        warnings.warn(f"{where}: {told}", stacklevel=2)
    x = _finite(columns, where)
    return Dataset(
        name=name,
        x=x,
        y=y,
        class_names=class_names,
        source=source,
        columns=tuple(column.name for column in columns),
        categories={place: column.names for place, column in enumerate(columns) if column.names},
        missing=bool(np.isnan(x).any()),
    )


class Feature(NamedTuple):
    """A column: values `[n]` float64, or positions among the names of its categories; NaN for a missing value."""

    name: str
    values: np.ndarray
    names: tuple[str, ...]


def _columns(
    frame: pd.DataFrame, target: str, y: np.ndarray, where: str, keep: Sequence[str]
) -> tuple[list[Feature], list[str]]:
    """Return the columns to use, and those to leave out, each with the reason."""
    columns: list[Feature] = []
    left_out: list[str] = []
    for name, cells in frame.items():
        if name == target:
            continue
        numeric = pd.api.types.is_numeric_dtype(cells)  # True for bool too
        values, names = (cells.to_numpy(np.float64, na_value=np.nan), ()) if numeric else _categories(cells)
        if name not in keep and (reason := _useless(cells, values, names, y)):
            left_out.append(f"{str(name)!r} ({reason})")
            continue
        if names:
            _warn_of_numbers(cells, where)
        columns.append(Feature(str(name), values, names))
    return columns, left_out


# ---- columns that are left out


def _useless(cells: pd.Series, numbers: np.ndarray, names: tuple[str, ...], y: np.ndarray) -> str | None:
    """Return why to leave out a column, or None to use it.

    Reasons are: no value at all; a copy of the labels in other words; row numbers, in any order, also of rows that were
    picked from a larger table; and identifiers: more than `MANY` categories, for more than half of the rows, or
    different whole numbers of at least six digits.

    Args:
        cells: the column.
        numbers: `[n]` float64, its values, or positions among `names`; NaN where one is missing.
        names: of the categories; empty for a column of numbers.
        y: `[n]` labels.
    """
    known = numbers[~np.isnan(numbers)]
    if not len(known):
        return "no values"
    if _repeats(numbers, y):
        return "repeats the labels"
    if names:
        if not _tells_rows_apart(cells):
            return None
        return f"{len(names)} different values in {len(cells)} rows, like an identifier or free text: {names[0]!r}, ..."
    if (known != np.rint(known)).any() or cells.nunique() < len(cells):
        return None
    if _counts_rows(known, str(cells.name).startswith("Unnamed: ")):
        return "counts the rows"
    return "whole numbers, all different, like an identifier" if _identifies(known, str(cells.name)) else None


def _repeats(numbers: np.ndarray, y: np.ndarray) -> bool:
    """Return whether values and classes match one to one, in at least half of the rows."""
    known = ~np.isnan(numbers)
    if known.sum() < max(ENOUGH, len(y) / 2) or len(np.unique(numbers[known])) != len(np.unique(y)):
        return False
    pairs = np.unique(np.stack([numbers[known], y[known]]), axis=1)
    return pairs.shape[1] == len(np.unique(y)) == len(np.unique(pairs[1]))


def _counts_rows(values: np.ndarray, nameless: bool) -> bool:
    """Return whether different whole numbers look like row numbers: without a gap, or in order with a few gaps.

    Years without a gap, 1960 to 2020, do not.
    """
    low, high, n = values.min(), values.max(), len(values)
    if nameless and low in (0, 1) and high - low == n - 1:
        return True
    if n < ENOUGH or low < 0:
        return False
    if high - low == n - 1:
        return not 1500 <= low <= high <= 2200
    in_order = bool((np.diff(values) > 0).all())
    return low <= n and high < n * (20 if in_order else 4 if n >= 3 * ENOUGH else 1)


def _identifies(values: np.ndarray, name: str) -> bool:
    """Return whether different whole numbers look like identifiers, by name or by equal length; times do not."""
    if len(values) < ENOUGH or values.min() < 100_000:
        return False
    words = name.lower().replace("-", "_").replace(" ", "_").split("_")
    if {"id", "ids", "key", "uuid", "code", "nr", "no", "number", "index"} & set(words) or words[-1].endswith("id"):
        return True
    seconds = values[0] / 10.0 ** (3 * max(0, np.floor((np.log10(values[0]) - 9) / 3)))
    times = 10.0**8.5 <= seconds <= 10.0**9.5 and np.ptp(values) < values.max() / 2
    days = ((values // 10_000 >= 1800) & (values // 10_000 <= 2200) & (values % 10_000 <= 1231)).all()  # 20241231
    digits = np.floor(np.log10(values))
    return not times and not days and bool((digits == digits[0]).all())


def _tells_rows_apart(cells: pd.Series) -> bool:
    """Return whether text is free or an identifier, or labels are values to predict rather than classes."""
    return cells.nunique() > max(MANY, len(cells) / 2)


# ---- labels


def _labels(cells: pd.Series, where: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return class numbers `[n]` int64 and class names."""
    missing = np.flatnonzero(cells.isna())
    if len(missing):
        raise AlmetaError(
            f"{where}: {len(missing)} of {len(cells)} rows have no label in column {cells.name!r} (an empty cell, NA, "
            f"None or the like; the first is row {missing[0] + 1}); fill them in, remove the rows, or, if such a word "
            f"is a class, list the cells that are missing, as in missing=['?'] or missing=[]"
        )
    labels = cells.astype(str)
    if _tells_rows_apart(labels):
        raise AlmetaError(
            f"{where}: column {cells.name!r} has {labels.nunique()} different values in {len(labels)} rows; these are "
            f"no classes; choose another column with target=COLUMN, or group the values"
        )
    names = _in_order(labels.unique().tolist())
    _check_alike(names, f"{where}: column {cells.name!r}")
    if len(names) < 2:
        raise AlmetaError(
            f"{where}: all {len(labels)} rows have the label {names[0]!r} in column {cells.name!r}; there must be at "
            f"least two classes"
        )
    numbers = {name: number for number, name in enumerate(names)}
    return labels.map(numbers).to_numpy(np.int64), tuple(names)


def _in_order(names: list[str]) -> list[str]:
    """Sort class names by value if all of them are numbers, else by alphabet."""
    try:
        return sorted(names, key=lambda name: (float(name), name))
    except ValueError:
        return sorted(names)


def _check_alike(names: list[str], where: str) -> None:
    """Raise if two class names are two spellings of one name or one value."""
    for key, what in (
        (_value, "the same number"),
        (_look, "which differ only in case, spaces or signs that nobody sees"),
    ):
        ordered = sorted(names, key=lambda name: (key(name), name))
        for one, other in itertools.pairwise(ordered):
            if key(one) == key(other) != "":
                raise AlmetaError(
                    f"{where} has the labels {one!r} and {other!r}, {what}; write it alike, or call two classes by "
                    f"different words"
                )


def _value(name: str) -> str:
    """Return the value of a class name that is a number, or true or false; else an empty text."""
    number = {"true": "1", "false": "0"}.get(name.lower(), name.replace(",", "."))
    try:
        return repr(float(number))
    except ValueError:
        return ""


def _look(name: str) -> str:
    """Return a class name without differences that readers do not see."""
    plain = unicodedata.normalize("NFKC", name)
    if plain in (plain.lower(), plain.upper(), plain.capitalize(), plain.title()):  # "hAd" means what it says
        plain = plain.casefold()
    return "".join(sign for sign in plain if not sign.isspace() and unicodedata.category(sign) not in ("Cc", "Cf"))


# ---- values


def _finite(columns: list[Feature], where: str) -> np.ndarray:
    """Return `[n, d]` float32, NaN where a value is missing."""
    values = np.stack([column.values for column in columns], 1)
    x = as_float32(values)
    infinite = np.isinf(x)
    if infinite.any():
        column = int(infinite.any(0).argmax())
        rows = np.flatnonzero(infinite[:, column])
        raise AlmetaError(
            f"{where}: column {columns[column].name!r} has {len(rows)} values that are infinite or too large, "
            f"the first in row {rows[0] + 1} ({values[rows[0], column]:g}); leave the cell empty if it is not known"
        )
    return x


def _categories(cells: pd.Series) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return `[n]` float64 positions among the sorted names, NaN where a value is missing."""
    codes, names = pd.factorize(cells.astype(object).map(str, na_action="ignore"), sort=True)
    return np.where(codes < 0, np.nan, codes), tuple(names)


def _warn_of_numbers(cells: pd.Series, where: str) -> None:
    """Warn that a column becomes categories because of a few cells that are not numbers."""
    known = cells.dropna().astype(str)
    odd = known[pd.to_numeric(known, errors="coerce").isna()]
    if 0 < len(odd) <= 0.1 * len(known):
        warnings.warn(
            f"{where}: column {cells.name!r} is numbers but for {len(odd)} cells such as {odd.iloc[0]!r}, and is "
            f"taken as categories; leave such cells empty to have it taken as numbers",
            stacklevel=3,
        )
