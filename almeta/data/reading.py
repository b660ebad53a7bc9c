"""Reading a table in a file into columns of numbers and text."""

import re
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from almeta.data.cells import MARKS, WORDS, Column, as_numbers, file_mark, read_column, trimmed
from almeta.data.formats import TableFile, open_table
from almeta.errors import AlmetaError, did_you_mean

TARGETS = ("target", "label", "class")  # default names of the label column, in any case


@dataclass(frozen=True)
class Columns:
    """What the columns of a file are for, and how its cells are written.

    Attributes:
        target: name of the label column; None for the last one called "target", "label" or "class".
        ignore: columns to leave out.
        as_text: columns whose cells stay as they are, besides the labels.
        missing: cells that stand for a missing value, besides empty ones; None for `MARKS` and `WORDS`, with a warning
            where a word may be a category.
        encoding: of a text file.
        labelled: whether there must be a label column.
    """

    target: str | None = None
    ignore: Sequence[str] = ()
    as_text: Sequence[str] = ()
    missing: Sequence[str] | None = None
    encoding: str = "utf-8"
    labelled: bool = True


@dataclass(frozen=True)
class Table:
    """The rows of a file, or of two, one below the other.

    Attributes:
        frame: columns of numbers or of text, NaN where a value is missing; labels are text.
        written: the same rows with cells as they are written; of one file, also the columns to leave out.
        target: the label column; None if there is none.
        sizes: the number of rows of each file.
    """

    frame: pd.DataFrame
    written: pd.DataFrame
    target: str | None
    sizes: tuple[int, ...]


def read_table(path: Path, columns: Columns | None = None, below: Path | None = None) -> Table:
    """Return the rows of a file with a header, in their order; `almeta.data.formats` describes the file.

    Spaces and invisible characters around cells are removed. Labels are text; the other columns are numbers where
    `almeta.data.cells.as_numbers` reads them as numbers.

    Numbers may have decimal points or commas. Where "1.234" may be either, the other columns decide. If they do not, a
    comma separates thousands in a file that is separated by commas; in other files the sign stands before decimals, and
    a warning says so.

    Args:
        path: of the file.
        columns: what they are for; None for the defaults.
        below: another file with these columns, in any order, whose rows are read as if they stood below.

    Raises:
        AlmetaError: if the file is missing, cannot be read or is cut off, two columns have one name, there is no label
            column, a named column is not there, or there are no rows.
    """
    columns = columns or Columns()
    paths = [path] if below is None else [path, below]
    files = [open_table(one, columns.encoding) for one in paths]
    found = _target(files[0].columns, columns, path)
    for column in dict.fromkeys((*columns.ignore, *columns.as_text)):
        if column not in files[0].columns:
            raise AlmetaError(f"{path}: {did_you_mean(column, files[0].columns, 'column')}")
    names = files[0].columns
    if below is not None:
        names = [name for name in names if name not in columns.ignore]
        _check_alike(files[0].columns, files[1].columns, columns.ignore, path, below)
    plain = list(dict.fromkeys(([] if found is None else [found]) + list(columns.as_text)))
    for name in set(plain) & set(columns.ignore):
        raise AlmetaError(f"{path}: column {name!r} is in ignore=[...], and is to be read; take it out of one of both")
    marks, words = (MARKS, WORDS) if columns.missing is None else (("", *columns.missing), ())
    written, sizes = _rows(files, names, marks, plain)
    for one, size in zip(paths, sizes, strict=True):
        if not size:
            raise AlmetaError(f"{one} has a header and no rows")
    frame = written.drop(columns=list(columns.ignore), errors="ignore")
    _read_text(frame, files, plain, marks, words, path)
    for name in plain:
        frame[name] = trimmed(frame[name], (*marks, *words) if name == found else marks)
    return Table(frame, written, found, sizes)


def _rows(
    files: Sequence[TableFile], names: list[str], marks: Sequence[str], as_text: list[str]
) -> tuple[pd.DataFrame, tuple[int, ...]]:
    """Return the rows of all files, and how many each has."""
    parts = [file.cells(marks, as_text)[names] for file in files]
    # A column of numbers in one file and of text in another is text.
    mixed = [name for name in names if len({_kind(part[name]) for part in parts}) > 1]
    if mixed:
        parts = [file.cells(marks, [*as_text, *mixed])[names] for file in files]
    return pd.concat(parts, ignore_index=True), tuple(map(len, parts))


def _kind(cells: pd.Series) -> tuple[bool, bool]:
    return pd.api.types.is_numeric_dtype(cells), pd.api.types.is_bool_dtype(cells)


def _read_text(
    frame: pd.DataFrame,
    files: Sequence[TableFile],
    plain: Sequence[str],
    marks: Sequence[str],
    words: Sequence[str],
    path: Path,
) -> None:
    """Replace the columns of text in a frame, `plain` ones apart, by numbers or trimmed text."""
    names = [str(name) for name in frame if name not in plain]
    cells = {name: trimmed(frame[name], marks) for name in names if not pd.api.types.is_numeric_dtype(frame[name])}
    text = {name: read_column(trimmed(column, words)) for name, column in cells.items()}
    others: dict[str, Column] = {}
    separator = files[0].separator
    if separator != "," or any(column.marks == {","} for column in text.values()):
        raw, _ = _rows(files, list(map(str, frame)), marks, list(map(str, frame)))
        others = {name: read_column(trimmed(raw[name], words)) for name in names if name not in cells}
    numbers = _numbers(text, others, separator, str(path))
    for name, column in cells.items():
        if not pd.api.types.is_numeric_dtype(numbers[name]):
            _warn_of_words(column, words, path)
    for name, column in numbers.items():
        frame[name] = column


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
                stacklevel=4,
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
            stacklevel=4,
        )


# ---- columns


def _target(names: list[str], columns: Columns, path: Path) -> str | None:
    """Return the label column; None if there is none and there need not be one.

    Raises:
        AlmetaError: if there must be one, or two columns have one name.
    """
    target = columns.target
    free = [name for name in names if name not in (*columns.ignore, *columns.as_text)]
    candidates = [target] if target is not None else [name for name in free if name.lower() in TARGETS]
    found = next((name for name in reversed(candidates) if name in names), None)
    if found is None and _lacks_header(names, columns.labelled):
        raise AlmetaError(
            f"{path} seems to have no header line: it begins with {', '.join(names[:5])}; add a line with the names "
            f"of the columns above"
        )
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise AlmetaError(f"{path} has {names.count(twice[0])} columns named {twice[0]!r}; give each its own name")
    if target is not None and found not in free:
        if found is not None:
            raise AlmetaError(
                f"{path}: column {found!r} has the labels; it cannot be ignored, or be something else, too"
            )
        way_out = "" if columns.labelled else "; name no target if no row has a label yet"
        raise AlmetaError(f"{path}: {did_you_mean(target, names, 'target column')}{way_out}")
    if found is None and columns.labelled:
        raise AlmetaError(
            f"{path} has no column named {', '.join(TARGETS[:-1])} or {TARGETS[-1]}; say which one has the labels with "
            f"target=COLUMN. Columns: {', '.join(names)}"
        )
    return found


def _lacks_header(names: Iterable[str], labelled: bool) -> bool:
    """Return whether names look like the cells of a row; where there need be no labels, years may be columns."""
    numbers = [re.fullmatch(r"[-+]?[\d.,]*\d(e[-+]?\d+)?", name, re.I) is not None for name in names]
    return any(numbers) if labelled else len(numbers) > 1 and sum(numbers) >= len(numbers) - 1


def _check_alike(names: list[str], others: list[str], ignore: Sequence[str], path: Path, below: Path) -> None:
    """Raise unless another file has the columns of the first; warn of columns that it has besides."""
    needed = [name for name in names if name not in ignore]
    if lacking := [name for name in needed if name not in others]:
        raise AlmetaError(
            f"{below} has no column {lacking[0]!r}, which {path} has; add it, or leave it out with "
            f"ignore=[{lacking[0]}]. Its columns: {', '.join(others)}"
        )
    if twice := [name for name in needed if others.count(name) > 1]:
        raise AlmetaError(f"{below} has {others.count(twice[0])} columns named {twice[0]!r}; give each its own name")
    if more := [name for name in others if name not in names]:
        columns = ", ".join(map(repr, more))
        warnings.warn(f"{below}: the columns {columns} are not in {path}, and are left out", stacklevel=3)
