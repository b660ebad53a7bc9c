"""Reading a file of comma-separated values into a table of numbers and text."""

import csv
import gzip
import itertools
import re
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pandas as pd

from almeta.data.cells import MARKS, WORDS, Column, as_numbers, cleaned, file_mark, read_column, trimmed
from almeta.data.files import check_unpacked, is_there, unreadable
from almeta.errors import AlmetaError, did_you_mean

TARGETS = ("target", "label", "class")  # default names of the label column, in any case
WIDE = 10_000  # with more columns, a warning says that reading takes long


@dataclass(frozen=True)
class Header:
    """The beginning of a file.

    Attributes:
        columns: names, "Unnamed: 0" and so on for columns without one.
        separator: between cells.
        above: number of lines above the names: 1 if Excel names the separator there, `sep=;`.
    """

    columns: list[str]
    separator: str
    above: int


def read_csv(path: Path, target: str | None = None, missing: Sequence[str] | None = None) -> tuple[pd.DataFrame, str]:
    """Return the rows of a file with a header, and the name of the label column.

    The file is UTF-8, with or without a byte order mark, and compressed if its name ends in `.gz`. Cells are separated
    by commas, semicolons or tabs, whichever gives the header most columns, or as the first line says (`sep=|`).
    Spaces and invisible characters around cells are removed. Labels are text; the other columns are numbers where
    `almeta.data.cells.as_numbers` reads them as numbers.

    Numbers may have decimal points or commas. Where "1.234" may be either, the other columns decide. If they do not, a
    comma separates thousands in a file that is separated by commas; in other files the sign stands before decimals, and
    a warning says so.

    Args:
        path: of the file.
        target: name of the label column; None for the last one called "target", "label" or "class".
        missing: cells that stand for a missing value, besides empty ones; None for `MARKS` and `WORDS`, with a warning
            where a word may be a category.

    Raises:
        AlmetaError: if the file is missing, cannot be read or is cut off, two columns have one name, there is no label
            column, or there are no rows.
    """
    if not (is_there(path) and path.is_file()):
        raise AlmetaError(f"there is no file {path} (looked for in {Path.cwd()}); correct the path")
    with _reading(path):
        check_unpacked(path)
        header = _header(path)
    if len(header.columns) > WIDE:
        warnings.warn(f"{path} has {len(header.columns):,} columns; reading it may take minutes", stacklevel=2)
    found = _target(header.columns, target, path)
    marks, words = (MARKS, WORDS) if missing is None else (("", *missing), ())
    frame = _parse(path, header, marks, {found: str})
    if frame.empty:
        raise AlmetaError(f"{path} has a header and no rows")
    as_text = [str(name) for name in frame.select_dtypes(exclude=["number", "bool"])]
    cells = {name: trimmed(frame[name], marks) for name in as_text}
    columns_of_text = {name: read_column(trimmed(cells[name], words)) for name in as_text if name != found}
    others: dict[str, Column] = {}
    if header.separator != "," or any(column.marks == {","} for column in columns_of_text.values()):
        raw = _parse(path, header, marks, str)
        others = {name: read_column(trimmed(raw[name], words)) for name in header.columns if name not in cells}
    numbers = _numbers(columns_of_text, others, header.separator, str(path))
    for name in as_text:
        if name != found and not pd.api.types.is_numeric_dtype(numbers[name]):
            _warn_of_words(cells[name], words, path)
    for name, column in (numbers | {found: trimmed(cells[found], words)}).items():
        frame[name] = column
    return frame, found


def _numbers(text: dict[str, Column], others: dict[str, Column], separator: str, where: str) -> dict[str, pd.Series]:
    """Return the columns of text, as numbers if they are, and those of `others` whose points separate thousands."""
    whole = file_mark([*text.values(), *others.values()])
    found: dict[str, pd.Series] = {}
    for name, column in (text | others).items():
        told = column.marks.copy().pop() if len(column.marks) == 1 else whole
        mark = told or ("." if separator == "," or name in others else ",")
        if told is None and separator != "," and column.marks and column.example:
            warnings.warn(
                f"{where}: column {name!r} has cells such as {column.example!r}, whose comma or point may stand before "
                f"decimals or thousands; it is read as {column.as_written[mark][column.example]:g}; write numbers "
                f"without separators of thousands",
                stacklevel=3,
            )
        if name in text or (mark == "," and column.example):
            found[name] = as_numbers(column, mark, where)
    return found


def _warn_of_words(cells: pd.Series, words: Sequence[str], path: Path) -> None:
    """Warn that a word that may be a category is read as missing."""
    found = cells[cells.isin(words)]
    if len(found):
        warnings.warn(
            f"{path}: column {cells.name!r} has {len(found)} cells {', '.join(map(repr, found.unique()))}, which are "
            f"read as missing; if it is a category, list the cells that are missing, as in missing=['?'] or missing=[]",
            stacklevel=3,
        )


def _parse(path: Path, header: Header, missing: Sequence[str], dtype: type | dict[str, type]) -> pd.DataFrame:
    """Return the rows below the header."""
    with _reading(path):
        return pd.read_csv(
            path,
            compression="gzip" if path.suffix.lower() == ".gz" else None,
            sep=header.separator,
            encoding="utf-8-sig",
            dtype=dtype,
            names=header.columns,
            header=0,
            skiprows=header.above,
            na_values=list(missing),
            keep_default_na=False,
            index_col=False,
            skipinitialspace=True,
            low_memory=False,  # one type for the whole column, not for each part of the file
        )


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn errors of reading into an `AlmetaError` that names the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # rows with more cells than the header
            yield
    except PermissionError as error:
        raise unreadable(path) from error
    except (OSError, EOFError, ValueError, zlib.error, csv.Error, pd.errors.ParserWarning) as error:
        raise AlmetaError(
            f"{path} cannot be read: {str(error).strip()}; it must be a whole file of comma-separated values in UTF-8, "
            f"with a header"
        ) from error


def _opened(path: Path) -> IO[str]:
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _header(path: Path) -> Header:
    """Return the names of the columns and the separator, the one that splits the first record into most cells."""
    with _opened(path) as file:
        excel = re.fullmatch(r'"?sep=(.)"?[\r\n]*', file.readline(), re.I)
    above = int(bool(excel))
    records = {separator: _first_record(path, separator, above) for separator in (excel[1] if excel else ",;\t")}
    separator = max(records, key=lambda separator: len(records[separator]))
    columns = [cleaned(column) for column in records[separator]]
    if not any(columns):
        raise ValueError("its first line is empty, or a quote in it is not closed")
    return Header([column or f"Unnamed: {place}" for place, column in enumerate(columns)], separator, above)


def _first_record(path: Path, separator: str, above: int) -> list[str]:
    """Return the first record below some lines of a file; an empty one if the separator does not fit."""
    with _opened(path) as file:
        lines = itertools.islice(file, above, None)
        try:
            return next(csv.reader(lines, delimiter=separator, skipinitialspace=True), [])
        except csv.Error:  # a cell is too long: the quoted cells have another separator
            return []


def _target(columns: list[str], target: str | None, path: Path) -> str:
    """Return the label column.

    Raises:
        AlmetaError: if there is none, or two columns have one name.
    """
    candidates = [target] if target is not None else [name for name in columns if name.lower() in TARGETS]
    found = next((name for name in reversed(candidates) if name in columns), None)
    if found is None and any(re.fullmatch(r"[-+]?[\d.,]*\d(e[-+]?\d+)?", name, re.I) for name in columns):
        raise AlmetaError(
            f"{path} seems to have no header line: it begins with {', '.join(columns[:5])}; add a line with the names "
            f"of the columns above"
        )
    if twice := [name for name, count in Counter(columns).items() if count > 1]:
        raise AlmetaError(f"{path} has {columns.count(twice[0])} columns named {twice[0]!r}; give each its own name")
    if found is None and target is not None:
        raise AlmetaError(f"{path}: {did_you_mean(target, columns, 'target column')}")
    if found is None:
        raise AlmetaError(
            f"{path} has no column named {', '.join(TARGETS[:-1])} or {TARGETS[-1]}; say which one has the labels with "
            f"target=COLUMN. Columns: {', '.join(columns)}"
        )
    return found
