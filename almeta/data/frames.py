"""Making a data set of a table of numbers and text: labels, categories, and columns to leave out."""

import itertools
import unicodedata
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd

from almeta.data.cells import as_numbers, read_column
from almeta.data.dataset import Dataset, Kind, as_float32
from almeta.errors import AlmetaError, did_you_mean

MANY = 20  # a column with more categories than this, and than half of the rows, identifies rows
MOST_NUMBERS = 100  # more different numbers than this are amounts to predict rather than classes
NO_LABEL = ("",)  # the class names of rows whose labels are not looked at
ENOUGH = 20  # smallest number of rows in which a column cannot repeat the labels or count the rows by chance
WORDS = 3  # of a cell in the middle, from which a column is text to read rather than identifiers


@dataclass(frozen=True)
class Features:
    """The columns of a data set, as `Dataset` describes them, and why other columns are none, by their name."""

    x: np.ndarray
    columns: tuple[str, ...] = ()
    categories: dict[int, tuple[str, ...]] = field(default_factory=dict)
    missing: bool = False
    kind: Kind = "table"
    image_shape: tuple[int, int] | None = None
    set_aside: dict[str, str] = field(default_factory=dict)

    def dataset(
        self, name: str, y: np.ndarray, class_names: tuple[str, ...], source: str, test_rows: np.ndarray | None = None
    ) -> Dataset:
        """Return the data set of these features with labels."""
        features = {key: value for key, value in vars(self).items() if key != "set_aside"}
        return Dataset(name=name, y=y, class_names=class_names, source=source, test_rows=test_rows, **features)


class Make(Protocol):
    """How to make features of a frame, its labels `[n]`, and the name of both in messages.

    Labels are int64, -1 for none; or numbers, float64.

    `fitted` `[n]` bool tells which rows may be learnt from.
    """

    def __call__(self, frame: pd.DataFrame, y: np.ndarray, where: str, fitted: np.ndarray) -> Features: ...


def dataset_of(
    frame: pd.DataFrame,
    target: str,
    name: str,
    source: str,
    where: str,
    make: Make | None = None,
    is_test: np.ndarray | None = None,
    numbers: bool | None = None,
) -> Dataset:
    """Return a data set of the columns of a frame, in their order.

    Rows without a label are set aside with a warning. Classes are sorted, by value if all names are numbers.

    Args:
        frame: of one row for each row of the data set; its index holds their numbers in the file.
        target: the label column, as text.
        name: of the data set.
        source: of the data set.
        where: name of the frame in messages.
        make: of the other columns; None for `table_features`.
        is_test: `[n]` bool, the rows of the fixed test set; None if there is none.
        numbers: whether the labels are numbers to predict, in place of classes; None where they cannot be.

    Raises:
        AlmetaError: for labels that look alike or are no classes, fewer than two classes, a fixed test set without
            labels, and as `make` does; with `numbers`, for a label that is none, and if all are equal.
    """
    targets = numbers_of(frame[target], where) if numbers else None
    if targets is None:
        y, class_names = classes_of(frame[target], where, ":" not in name, numbers is not None)
    else:  # one class, so to say, of all rows with a number
        y, class_names = np.where(np.isnan(targets), -1, 0), ("a number",)
    labelled = y >= 0
    _check_labels(frame[target], y, class_names, where, targets is not None)
    places = frame.index.to_numpy(np.int64)[labelled]
    frame, y = frame[labelled].reset_index(drop=True), y[labelled]
    test_rows = None if is_test is None else np.flatnonzero(is_test[labelled])
    fitted = np.ones(len(y), bool)
    if test_rows is not None:
        fitted[test_rows] = False
        _check_test_set(y, fitted, class_names, where)
    if targets is not None:
        y, class_names = targets[labelled], ()
    found = (make or table_features)(frame.drop(columns=target), y, where, fitted)
    made = found.dataset(name, y, class_names, source, test_rows)
    return made if np.array_equal(places, np.arange(len(y))) else replace(made, numbers=places)


def table_features(
    frame: pd.DataFrame,
    y: np.ndarray,
    where: str,
    fitted: np.ndarray,
    keep: Sequence[str] = (),
    as_text: str | None = None,
) -> Features:
    """Return each column of a frame as a feature.

    Numbers stay numbers, true and false become 1 and 0, anything else becomes categories, sorted by name. Columns that
    give away the label, or say nothing, are left out with a warning (`_useless`).

    Args:
        frame: without the labels.
        y: `[n]` int64, their class numbers, -1 where there is none; or numbers, float64.
        where: name of the frame in messages.
        fitted: of no use here: nothing is learnt from rows.
        keep: columns to keep, whatever they contain.
        as_text: how the caller learns from one column of text, with {} for its name: a hint where one is left out.
            None if it cannot.

    Raises:
        AlmetaError: for infinite values, an unknown column to keep, and if no column is left.
    """
    for column in set(keep) - set(frame):
        raise AlmetaError(f"{where}: {did_you_mean(column, map(str, frame), 'column to keep')}")
    columns, set_aside = _columns(frame, y, where, keep)
    left_out = ", ".join(f"{name!r} ({reason})" for name, reason in set_aside.items())
    told = f"left out: {left_out}; to use a column all the same, name it in keep=[...]" if left_out else ""
    texts = [name for name in set_aside if as_text and _is_text(frame[name])]
    if as_text and texts:
        told += f"; to learn from text alone, give {' or '.join(map(as_text.format, texts))}"
    if not columns:
        nothing = f"{where}: besides the labels there is no column to learn from"
        raise AlmetaError(f"{nothing}; {told}" if told else nothing)
    if told:
        warnings.warn(f"{where}: {told}", stacklevel=2)
    x = _finite(columns, where)
    return Features(
        x,
        tuple(column.name for column in columns),
        {place: column.names for place, column in enumerate(columns) if column.names},
        bool(np.isnan(x).any()),
        set_aside=set_aside,
    )


class Feature(NamedTuple):
    """A column: values `[n]` float64, or positions among the names of its categories; NaN for a missing value."""

    name: str
    values: np.ndarray
    names: tuple[str, ...]


def _columns(
    frame: pd.DataFrame, y: np.ndarray, where: str, keep: Sequence[str]
) -> tuple[list[Feature], dict[str, str]]:
    """Return the columns to use, and those to leave out, each with the reason."""
    columns: list[Feature] = []
    left_out: dict[str, str] = {}
    for name, cells in frame.items():
        numeric = pd.api.types.is_numeric_dtype(cells)  # True for bool too
        values, names = (cells.to_numpy(np.float64, na_value=np.nan), ()) if numeric else _categories(cells)
        if name not in keep and (reason := _useless(cells, values, names, y)):
            left_out[str(name)] = reason
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
        y: `[n]` labels, -1 where there is none; or numbers, float64.
    """
    known = numbers[~np.isnan(numbers)]
    if not len(known):
        return "no values"
    has_label = (y >= 0) | (y.dtype == np.float64)
    if _repeats(numbers[has_label], y[has_label]):
        return "repeats the labels"
    if names:
        if not _tells_rows_apart(cells):
            return None
        like = "free text" if _is_text(cells) else "an identifier"
        return f"{len(names)} different values in {len(cells)} rows, like {like}: {names[0]!r}, ..."
    if (known != np.rint(known)).any() or cells.nunique() < max(cells.count(), len(cells) / 2):
        return None
    if _counts_rows(known, len(cells), str(cells.name).startswith("Unnamed: ")):
        return "counts the rows"
    return "whole numbers, all different, like an identifier" if _identifies(known, str(cells.name)) else None


def _repeats(numbers: np.ndarray, y: np.ndarray) -> bool:
    """Return whether values and classes match one to one, in at least half of the rows; of numbers also in order."""
    known = ~np.isnan(numbers)
    if known.sum() < max(ENOUGH, len(y) / 2) or len(np.unique(numbers[known])) != len(np.unique(y)):
        return False
    pairs = np.unique(np.stack([numbers[known], y[known]]), axis=1)
    steps = np.diff(pairs[1])  # in the order of the values
    in_order = y.dtype != np.float64 or bool((steps > 0).all() or (steps < 0).all())
    return in_order and pairs.shape[1] == len(np.unique(y)) == len(np.unique(pairs[1]))


def _counts_rows(values: np.ndarray, rows: int, nameless: bool) -> bool:
    """Return whether different whole numbers look like row numbers: within as many as there are rows, or a few more.

    Years without a gap, 1960 to 2020, do not.
    """
    low, high, n = values.min(), values.max(), len(values)
    if nameless and low in (0, 1) and high - low < rows:
        return True
    if n < ENOUGH:
        return False
    if high - low < rows:
        return not 1500 <= low <= high <= 2200
    in_order = bool((np.diff(values) > 0).all())
    return 0 <= low <= n and high < n * (20 if in_order else 4 if n >= 3 * ENOUGH else 1)


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


def _is_text(cells: pd.Series) -> bool:
    """Return whether most cells are texts of several words."""
    known = cells.dropna().astype(str)
    return bool(len(known)) and known.str.split().str.len().median() >= WORDS


# ---- labels


def classes_of(
    cells: pd.Series, where: str, shipped: bool = False, or_numbers: bool = False
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return class numbers `[n]` int64, -1 where there is no label, and class names.

    Args:
        cells: the labels, as text.
        where: name of the frame in messages.
        shipped: whether the table is one that almeta ships.
        or_numbers: whether the caller could read numbers to predict as well, with numbers=true.

    Raises:
        AlmetaError: for labels that look alike, or are no classes: a different one for most rows, or many amounts.
    """
    labels = cells.dropna().astype(str)
    names = _in_order(labels.unique().tolist())
    told = f"{where}: column {cells.name!r} has {len(names)} different"
    way_out = "choose another column with target=COLUMN, or group the values"
    if or_numbers and all(map(value_of, names)):
        way_out += "; to predict the numbers themselves, set numbers=true"
    if _tells_rows_apart(labels):
        raise AlmetaError(f"{told} values in {len(labels)} rows; these are no classes; {way_out}")
    if not shipped and _are_amounts(names):
        raise AlmetaError(
            f"{told} numbers, {names[0]} to {names[-1]}, and at most {MOST_NUMBERS} may be classes; these look like "
            f"amounts; {way_out}; number classes 0, 1, 2, ... without a gap, or call them by words"
        )
    # Of the tables that almeta ships, vowel has the classes hAd and had.
    check_alike(names, f"{where}: column {cells.name!r}", (value_of,) if shipped else (value_of, look_of))
    numbers = {name: number for number, name in enumerate(names)}
    y = labels.map(numbers).astype(np.int64).reindex(cells.index, fill_value=-1)
    return y.to_numpy(), tuple(names)


def numbers_of(cells: pd.Series, where: str) -> np.ndarray:
    """Return labels as numbers `[n]` float64, NaN where there is none.

    Raises:
        AlmetaError: if many are no numbers, one is infinite, or all are equal.
    """
    if cells.isna().all():
        return np.full(len(cells), np.nan)
    column = read_column(cells.astype(object).map(str, na_action="ignore"))
    found = as_numbers(column, column.marks.pop() if len(column.marks) == 1 else ".", where)
    told = f"{where}: column {cells.name!r}"
    if not pd.api.types.is_numeric_dtype(found):
        odd = next(
            cell for cell in column.as_written["."] if all(of[cell] is None for of in column.as_written.values())
        )
        raise AlmetaError(
            f"{told} has {odd!r}, which is no number; correct it, leave the cell empty, or leave numbers=true out to "
            "predict classes"
        )
    if np.isinf(found).any():
        raise AlmetaError(f"{told} has {int(np.isinf(found).sum())} numbers that are infinite; correct them")
    if found.nunique() == 1:
        raise AlmetaError(f"{told}: all {found.count()} numbers are {found.max():g}; there is nothing to predict")
    return found.to_numpy(np.float64)


def _are_amounts(names: Sequence[str]) -> bool:
    """Return whether labels are more than `MOST_NUMBERS` numbers that do not simply number the classes from 0 or 1."""
    values = {value_of(name) for name in names}
    if len(names) <= MOST_NUMBERS or "" in values:
        return False
    numbers = {*map(float, values)}
    return numbers not in ({*range(len(names))}, {*range(1, len(names) + 1)})


def _check_labels(cells: pd.Series, y: np.ndarray, names: tuple[str, ...], where: str, numbers: bool = False) -> None:
    """Raise unless there are labels of two classes; warn of rows without a label."""
    missing = np.flatnonzero(y < 0)
    hint = "if a word such as NA or None is a class, list the cells that are missing, as in missing=['?'] or missing=[]"
    if len(missing) == len(y):
        raise AlmetaError(f"{where}: no row has a label in column {cells.name!r}; fill some in; {hint}")
    if len(names) < 2 and not numbers:
        rows = (
            f"all {len(y)} rows have"
            if not len(missing)
            else f"{len(missing)} of {len(y)} rows have no label, and all others"
        )
        raise AlmetaError(
            f"{where}: {rows} the label {names[0]!r} in column {cells.name!r}; there must be at least two classes"
            f"{f'; {hint}' if len(missing) else ''}"
        )
    if len(missing):
        warnings.warn(
            f"{where}: {len(missing)} of {len(y)} rows have no label in column {cells.name!r} (the first is row "
            f"{missing[0] + 1}), and are set aside; {hint}",
            stacklevel=3,
        )


def _check_test_set(y: np.ndarray, fitted: np.ndarray, names: tuple[str, ...], where: str) -> None:
    """Raise unless a fixed test set and the other rows have labels; warn of classes that the test set alone has."""
    for rows, called in ((~fitted, "the test set"), (fitted, "rows outside the test set")):
        if not rows.any():
            raise AlmetaError(f"{where}: {called} has no row with a label; fill some in")
    if unseen := sorted(set(y[~fitted]) - set(y[fitted])):
        classes = ", ".join(repr(names[k]) for k in unseen)
        warnings.warn(f"{where}: only the test set has rows of {classes}, which nobody can learn", stacklevel=3)


def _in_order(names: list[str]) -> list[str]:
    """Sort class names by value if all of them are numbers, else by alphabet."""
    try:
        return sorted(names, key=lambda name: (float(name), name))
    except ValueError:
        return sorted(names)


def check_alike(names: list[str], where: str, keys: Sequence[Callable[[str], str]]) -> None:
    """Raise if two class names are two spellings of one name or one value."""
    for key in keys:
        what = "the same number" if key is value_of else "which differ only in case, spaces or signs that nobody sees"
        ordered = sorted(names, key=lambda name: (key(name), name))
        for one, other in itertools.pairwise(ordered):
            if key(one) == key(other) != "":
                raise AlmetaError(
                    f"{where} has the labels {one!r} and {other!r}, {what}; write it alike, or call two classes by "
                    f"different words"
                )


def value_of(name: str) -> str:
    """Return the value of a class name that is a number, or true or false; else an empty text."""
    number = {"true": "1", "false": "0"}.get(name.lower(), name.replace(",", "."))
    try:
        return repr(float(number))
    except ValueError:
        return ""


def look_of(name: str) -> str:
    """Return a class name without differences that readers do not see."""
    plain = unicodedata.normalize("NFKC", name).casefold()
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
