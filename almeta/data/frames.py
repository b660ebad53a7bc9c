"""From a file of comma-separated values to a data set: numbers and categories mixed, values missing, labels as text."""

import csv
import gzip
import itertools
import math
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from almeta.data.dataset import Dataset
from almeta.errors import AlmetaError, did_you_mean

TARGETS = ("target", "label", "class")  # names, in any case, of the column with the labels where nobody names it
MISSING = ("", "?", "NA", "<NA>", "N/A", "n/a", "#N/A", "NaN", "nan", "NULL", "null", "None")
MANY = 20  # of more categories than this, and than half of the rows, a column says who a row is, not what it is like


def read_csv(path: Path, target: str | None = None) -> tuple[pd.DataFrame, str]:
    """The rows of a file with a header, and the name of the column with the labels.

    The file is UTF-8, with or without a byte order mark, compressed if its name ends so (`.gz`); cells are separated by
    commas, semicolons or tabs, whichever the header has most of; spaces around them do not count, and those of
    `MISSING` are missing. Labels are read as text, every other column as numbers if all its values are.

    Args:
        path: of the file.
        target: name of the column with the labels; None for the last one called "target", "label" or "class".

    Raises:
        AlmetaError: if the file is not there, cannot be read or is cut off, a column is named twice, the column with
            the labels is not there, or there are no rows.
    """
    if not path.is_file():
        raise AlmetaError(f"there is no file {path} (looked for in {Path.cwd()}); correct the path")
    with _reading(path):
        columns, separator = _header(path)
    twice = sorted({column for column in columns if columns.count(column) > 1 and column})
    if twice:
        raise AlmetaError(f"{path} has {columns.count(twice[0])} columns named {twice[0]!r}; give each its own name")
    target = _target(columns, target, path)
    with _reading(path):
        frame = pd.read_csv(
            path,
            sep=separator,
            encoding="utf-8-sig",
            dtype={target: str},
            names=[column or f"Unnamed: {place}" for place, column in enumerate(columns)],
            header=0,
            na_values=list(MISSING),
            keep_default_na=False,
            index_col=False,
            skipinitialspace=True,
            low_memory=False,  # a type for the whole column, not one for each part of the file
        )
    if frame.empty:
        raise AlmetaError(f"{path} has a header and no rows")
    for column in frame.select_dtypes(exclude=["number", "bool"]):
        cells = _trimmed(frame[column])
        frame[column] = cells if column == target else _as_numbers(cells, decimal_comma=separator != ",")
    return _without_row_numbers(frame, path), target


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Say which file it was that could not be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # rows with more cells than the header
            yield
    except (OSError, EOFError, ValueError, zlib.error, csv.Error, pd.errors.ParserWarning) as error:
        raise AlmetaError(
            f"{path} cannot be read: {str(error).strip()}; it must be a whole file of comma-separated values in UTF-8, "
            f"with a header"
        ) from error


def _header(path: Path) -> tuple[list[str], str]:
    """The names of the columns, and what stands between them."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
        line = file.readline()
    separator = max(",;\t", key=line.count)
    columns = [column.strip() for column in next(csv.reader([line], delimiter=separator), [])]
    if not any(columns):
        raise ValueError("its first line is empty")
    return columns, separator


def _target(columns: list[str], target: str | None, path: Path) -> str:
    """The column with the labels."""
    if target is not None:
        if target not in columns:
            raise AlmetaError(f"{path}: {did_you_mean(target, filter(None, columns), 'target column')}")
        return target
    found = [column for column in columns if column.lower() in TARGETS]
    if not found:
        raise AlmetaError(
            f"{path} has no column named {', '.join(TARGETS[:-1])} or {TARGETS[-1]}; say which one has the labels with "
            f"target=COLUMN. Columns: {', '.join(filter(None, columns))}"
        )
    return found[-1]


def _trimmed(cells: pd.Series) -> pd.Series:
    """Text without spaces around it, which also hide that a value is missing."""
    trimmed = cells.map(lambda cell: cell.strip() if isinstance(cell, str) else cell, na_action="ignore")
    return trimmed.mask(trimmed.isin(MISSING))


def _as_numbers(cells: pd.Series, decimal_comma: bool) -> pd.Series:
    """Numbers, if all values that are there are numbers, or true and false; `decimal_comma` lets 0,5 be one half."""
    numbers = pd.to_numeric(cells, errors="coerce")
    if decimal_comma and numbers.count() < cells.count():
        points = cells.astype(str).str.replace(r"^([-+]?\d*),(\d+)", r"\1.\2", regex=True)
        numbers = pd.to_numeric(points, errors="coerce")
    return numbers.astype(np.float64) if numbers.count() == cells.count() else cells


def _without_row_numbers(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Leave out a first column that has no name and counts the rows: what pandas writes unless told not to."""
    first = frame.columns[0]
    if first == "Unnamed: 0" and any((frame[first] == np.arange(len(frame)) + start).all() for start in (0, 1)):
        warnings.warn(f"{path}: the first column has no name and counts the rows; it is left out", stacklevel=2)
        return frame.drop(columns=first)
    return frame


def dataset_of(frame: pd.DataFrame, target: str, name: str, source: str, where: str) -> Dataset:
    """A data set of the columns of a frame, in their order.

    Numbers stay numbers, true and false become 1 and 0, anything else becomes categories, sorted by name. Left out,
    with a warning, are columns without a single value, and those of more than `MANY` categories that are also more
    than half as many as there are rows. Classes are sorted, by value where all their names are numbers.

    Args:
        frame: a row each.
        target: the column of the labels, as text.
        name: of the data set.
        source: of the data set.
        where: what the frame is called in messages.

    Raises:
        AlmetaError: for a missing label, fewer than two classes, infinite values, and when no column is left.
    """
    y, class_names = _labels(frame[target], where)
    columns: list[str] = []
    values: list[np.ndarray] = []
    categories: dict[int, tuple[str, ...]] = {}
    for column in frame.columns.drop(target):
        cells = frame[column]
        if cells.isna().all():
            warnings.warn(f"{where}: column {column!r} has no values; it is left out", stacklevel=2)
            continue
        if pd.api.types.is_numeric_dtype(cells):  # True for bool too
            values.append(_numbers(cells, where))
        elif _tells_rows_apart(cells):
            warnings.warn(
                f"{where}: column {column!r} has {cells.nunique()} different values in {len(cells)} rows, like an "
                f"identifier or free text ({cells.dropna().iloc[0]!r}, ...); it is left out",
                stacklevel=2,
            )
            continue
        else:
            positions, categories[len(values)] = _categories(cells, where)
            values.append(positions)
        columns.append(str(column))
    if not values:
        raise AlmetaError(f"{where}: besides the labels in {target!r} there is no column to learn from")
    x = np.stack(values, 1)
    return Dataset(
        name=name,
        x=x,
        y=y,
        class_names=class_names,
        source=source,
        columns=tuple(columns),
        categories=categories,
        missing=bool(np.isnan(x).any()),
    )


def _labels(cells: pd.Series, where: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Class numbers `[n]` int64 and class names."""
    missing = np.flatnonzero(cells.isna())
    if len(missing):
        raise AlmetaError(
            f"{where}: {len(missing)} of {len(cells)} rows have no label in column {cells.name!r} (an empty cell, NA "
            f"or the like; the first is row {missing[0] + 1}); fill in the labels, or remove the rows"
        )
    labels = cells.astype(str)
    if _tells_rows_apart(labels):
        raise AlmetaError(
            f"{where}: column {cells.name!r} has {labels.nunique()} different values in {len(labels)} rows; these are "
            f"no classes; choose another column with target=COLUMN, or group the values"
        )
    names = _in_order(labels.unique().tolist())
    for one, other in itertools.pairwise(names):
        if _number(one) == _number(other):
            raise AlmetaError(
                f"{where}: column {cells.name!r} has the labels {one!r} and {other!r}, the same number; write it alike"
            )
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


def _number(name: str) -> float:
    """The value of a class name that is a number, else one that equals no other."""
    try:
        return float(name)
    except ValueError:
        return math.nan


def _numbers(cells: pd.Series, where: str) -> np.ndarray:
    """`[n]` float32, NaN where a value is missing."""
    values = cells.to_numpy(np.float64, na_value=np.nan)
    with np.errstate(over="ignore"):
        numbers = values.astype(np.float32)
    infinite = np.flatnonzero(np.isinf(numbers))
    if len(infinite):
        raise AlmetaError(
            f"{where}: column {cells.name!r} has {len(infinite)} values that are infinite or too large, the first in "
            f"row {infinite[0] + 1} ({values[infinite[0]]:g}); leave the cell empty if the value is not known"
        )
    return numbers


def _categories(cells: pd.Series, where: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """`[n]` float32 positions among the sorted names, NaN where a value is missing."""
    known = cells[cells.notna()].astype(str)
    odd = known[pd.to_numeric(known, errors="coerce").isna()]
    if 0 < len(odd) <= 0.1 * len(known):
        warnings.warn(
            f"{where}: column {cells.name!r} is numbers but for {len(odd)} cells such as {odd.iloc[0]!r}, and is "
            f"taken as categories; leave such cells empty to have it taken as numbers",
            stacklevel=3,
        )
    codes, names = pd.factorize(known, sort=True)
    positions = np.full(len(cells), np.nan, np.float32)
    positions[cells.notna().to_numpy()] = codes
    return positions, tuple(names)


def _tells_rows_apart(cells: pd.Series) -> bool:
    """Whether text is an identifier or free, or labels are numbers to be predicted rather than classes."""
    return cells.nunique() > max(MANY, len(cells) / 2)
