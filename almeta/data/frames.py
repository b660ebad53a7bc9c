"""From a table of numbers and text to a data set: labels, categories, and columns that are left out."""

import itertools
import unicodedata
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from almeta.data.dataset import Dataset, as_float32
from almeta.errors import AlmetaError, did_you_mean

MANY = 20  # of more categories than this, and than half of the rows, a column says who a row is, not what it is like
ENOUGH = 20  # rows, at least, in which a column of numbers cannot repeat the labels or count the rows by chance


def dataset_of(
    frame: pd.DataFrame, target: str, name: str, source: str, where: str, keep: Sequence[str] = ()
) -> Dataset:
    """A data set of the columns of a frame, in their order.

    Numbers stay numbers, true and false become 1 and 0, anything else becomes categories, sorted by name. Columns
    that tell the label, or nothing, are left out with a warning, see `_useless`. Classes are sorted, by value where all
    their names are numbers.

    Args:
        frame: a row each.
        target: the column of the labels, as text.
        name: of the data set.
        source: of the data set.
        where: what the frame is called in messages.
        keep: columns that are not left out, whatever is in them.

    Raises:
        AlmetaError: for a missing label, labels that differ in what nobody sees, fewer than two classes, infinite
            values, a column to keep that is not there, and when no column is left.
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
    """A column: its values `[n]` float64, or positions among the names of its categories; NaN where one is missing."""

    name: str
    values: np.ndarray
    names: tuple[str, ...]


def _columns(
    frame: pd.DataFrame, target: str, y: np.ndarray, where: str, keep: Sequence[str]
) -> tuple[list[Feature], list[str]]:
    """The columns to use, and those that are left out, each with the reason."""
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
    """Why a column is to be left out, None if it is not.

    Left out are columns without a single value; those that say in other words what the labels say; row numbers, in any
    order, also of rows that were picked from a larger table; and identifiers: more than `MANY` categories that are also
    more than half as many as the rows, or whole numbers of six and more digits, all different.

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
    """Whether each value stands for one class and each class for one value, in at least half of the rows."""
    known = ~np.isnan(numbers)
    if known.sum() < max(ENOUGH, len(y) / 2) or len(np.unique(numbers[known])) != len(np.unique(y)):
        return False
    pairs = np.unique(np.stack([numbers[known], y[known]]), axis=1)
    return pairs.shape[1] == len(np.unique(y)) == len(np.unique(pairs[1]))


def _counts_rows(values: np.ndarray, nameless: bool) -> bool:
    """Whether different whole numbers look like row numbers: without a gap, or in order and with a few gaps.

    Years without a gap, 1960 to 2020, are none.
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
    """Whether different whole numbers look like identifiers: all of as many digits, or called so; but no times."""
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
    """Whether text is an identifier or free, or labels are numbers to be predicted rather than classes."""
    return cells.nunique() > max(MANY, len(cells) / 2)


# ---- labels


def _labels(cells: pd.Series, where: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Class numbers `[n]` int64 and class names."""
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
    """Class names by their value if all of them are numbers, else by alphabet."""
    try:
        return sorted(names, key=lambda name: (float(name), name))
    except ValueError:
        return sorted(names)


def _check_alike(names: list[str], where: str) -> None:
    """Raise if two class names are one name, or one value, that was written in two ways."""
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
    """The value of a class name that is a number, or true or false; else empty."""
    number = {"true": "1", "false": "0"}.get(name.lower(), name.replace(",", "."))
    try:
        return repr(float(number))
    except ValueError:
        return ""


def _look(name: str) -> str:
    """A class name without what readers do not see, or do not tell apart."""
    plain = unicodedata.normalize("NFKC", name)
    if plain in (plain.lower(), plain.upper(), plain.capitalize(), plain.title()):  # "hAd" means what it says
        plain = plain.casefold()
    return "".join(sign for sign in plain if not sign.isspace() and unicodedata.category(sign) not in ("Cc", "Cf"))


# ---- values


def _finite(columns: list[Feature], where: str) -> np.ndarray:
    """`[n, d]` float32, NaN where a value is missing."""
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
    """`[n]` float64 positions among the sorted names, NaN where a value is missing."""
    known = cells[cells.notna()].astype(str)
    codes, names = pd.factorize(known, sort=True)
    positions = np.full(len(cells), np.nan)
    positions[cells.notna().to_numpy()] = codes
    return positions, tuple(names)


def _warn_of_numbers(cells: pd.Series, where: str) -> None:
    """Say that a column is categories because of a few cells that are no numbers."""
    known = cells[cells.notna()].astype(str)
    odd = known[pd.to_numeric(known, errors="coerce").isna()]
    if 0 < len(odd) <= 0.1 * len(known):
        warnings.warn(
            f"{where}: column {cells.name!r} is numbers but for {len(odd)} cells such as {odd.iloc[0]!r}, and is "
            f"taken as categories; leave such cells empty to have it taken as numbers",
            stacklevel=3,
        )
