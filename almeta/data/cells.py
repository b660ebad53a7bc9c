"""Reading numbers as people write them in tables: units, separators of thousands, decimal commas, dates."""

import re
import unicodedata
import warnings
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

# Cells that are missing values. WORDS may also be categories: "NA" is Namibia, too.
MARKS = ("", "?", "<NA>", "#N/A", "NaN", "nan")
WORDS = ("NA", "N/A", "n/a", "NULL", "null", "None")
INVISIBLE = dict.fromkeys(map(ord, "\ufeff\u200b\u2060\u00ad\u200e\u200f\u202a\u202b\u202c\u202d\u202e"))
ODD = 0.1  # largest share of cells in a column of numbers that are not numbers
MANY_NUMBERS = 20  # with at most so few different numbers, odd cells may be a category: 0, 1, 2, "3+"

UNIT = r"%|[$€£¥]|EUR|USD|GBP|CHF|JPY"
AFFIXED = re.compile(
    rf"(?P<sign>[-+\u2212]?)\s*({UNIT})?\s*(?P<again>[-+\u2212]?)(?P<body>[.,]?\d.*?)\s*({UNIT})?", re.I
)
# By the sign before decimals. Thousands are groups of three digits with one sign between all groups.
BODY = {
    mark: re.compile(rf"(?P<whole>[1-9]\d{{0,2}}(?P<group>[{group}'’ \u202f])\d{{3}}((?P=group)\d{{3}})*|\d*)"
                     rf"(\{mark}(?P<decimals>\d*))?(?P<power>e[-+]?\d+)?", re.I)
    for mark, group in ((".", ","), (",", "."))
}  # fmt: skip
TIMES = ("", " %H:%M", " %H:%M:%S", "T%H:%M", "T%H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
DAYS = (
    *("%Y/%m/%d", "%Y.%m.%d", "%d.%m.%Y", "%d.%m.%y", "%m/%d/%Y", "%d/%m/%Y", "%m/%d/%y", "%d/%m/%y", "%m-%d-%Y"),
    *("%d-%m-%Y", "%d-%b-%Y", "%d-%b-%y", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y"),
)
EPOCH = pd.Timestamp("1970-01-01", tz="UTC")  # not of nanoseconds, which end in 2262
FORMATS = ("ISO8601", *(f"{day}{time}" for time in TIMES for day in DAYS))


def cleaned(text: str) -> str:
    """Return text in Unicode form NFC without surrounding spaces and invisible characters."""
    if text.isascii():
        return text.strip()
    return unicodedata.normalize("NFC", text.translate(INVISIBLE).replace("\u00a0", " ")).strip()


def trimmed(cells: pd.Series, missing: Iterable[str]) -> pd.Series:
    """Return `cleaned` cells, and NaN where a cell is one of `missing`."""
    names = {cell: cleaned(str(cell)) for cell in cells.dropna().unique()}
    found = cells.astype(object).map(names)
    return found.mask(found.isin(list(missing)))


@dataclass(frozen=True)
class Column:
    """A column of text, and the numbers that its cells may be.

    Attributes:
        cells: of every row, trimmed, NaN where a value is missing.
        as_written: the number of each different cell, by the sign before decimals; None where it is not a number.
        units: the different units of the cells; "" for a cell without one.
    """

    cells: pd.Series
    as_written: dict[str, dict[str, float | None]]
    units: frozenset[str]

    @property
    def marks(self) -> set[str]:
        """The signs before decimals with which most cells are numbers."""
        counts = {mark: sum(value is not None for value in values.values()) for mark, values in self.as_written.items()}
        fewest = max(*counts.values(), 1, len(self.as_written["."]) // 2)
        return {mark for mark, count in counts.items() if count >= fewest}

    @property
    def example(self) -> str:
        """A cell whose value depends on the sign before decimals; empty if there is none."""
        point, comma = (self.as_written[mark] for mark in ".,")
        return next((cell for cell in point if point[cell] != comma[cell]), "")


def read_column(cells: pd.Series) -> Column:
    """Read each different cell of a trimmed column with both signs before decimals."""
    found = {cell: AFFIXED.fullmatch(cell) for cell in cells.dropna().unique()}
    as_written = {mark: {cell: _value(affixed, mark) for cell, affixed in found.items()} for mark in BODY}
    units = {(affixed[2] or affixed[5] or "").upper() for affixed in found.values() if affixed}
    return Column(cells, as_written, frozenset(units))


def _value(affixed: re.Match[str] | None, mark: str) -> float | None:
    body = BODY[mark].fullmatch(affixed["body"]) if affixed else None
    if not affixed or not body or (affixed["sign"] and affixed["again"]) or (body["group"] and body["power"]):
        return None
    whole = re.sub(r"\D", "", body["whole"])
    size = float(f"{whole or 0}.{body['decimals'] or 0}{body['power'] or ''}")
    return size if (affixed["sign"] or affixed["again"]) in ("", "+") else -size


def file_mark(columns: Iterable[Column]) -> str | None:
    """Return the sign before decimals of all columns with a single one; None if there is none, or they differ."""
    found = {next(iter(column.marks)) for column in columns if len(column.marks) == 1}
    return found.pop() if len(found) == 1 else None


def as_numbers(column: Column, mark: str, where: str) -> pd.Series:
    """Return numbers if the cells are numbers, dates, or true and false; else the cells.

    Numbers may have a unit (per cent or a currency, the same in all cells) and separators of thousands. Dates are days
    since 1970. In a column of more than `MANY_NUMBERS` different numbers or dates, a share of `ODD` cells may be
    something else; in any column of numbers, cells may have no letters and digits, such as "-". Both are read as
    missing, with a warning.

    Args:
        column: of text.
        mark: the sign before decimals.
        where: name of the file in the warning.
    """
    known = column.cells.dropna()
    truth = known.str.lower().map({"true": 1.0, "false": 0.0})
    if truth.notna().all():
        return truth.reindex(column.cells.index)
    for read in (lambda: _numbers(known, column, mark), lambda: _dates(known, where)):
        numbers = read()
        odd = known[numbers.isna()]
        dashes = odd[~odd.str.contains(r"\w")]
        counted = numbers.count()
        others = 0 if len(odd) == len(dashes) < counted else len(odd)
        if others > ODD * len(known) or not counted or (others and numbers.nunique() <= MANY_NUMBERS):
            continue
        if len(odd):
            examples = ", ".join(map(repr, odd.unique()[:3]))
            warnings.warn(
                f"{where}: column {column.cells.name!r} is numbers or dates but for {len(odd)} of {len(known)} cells, "
                f"such as {examples}, which are read as missing; correct them if they are not",
                stacklevel=2,
            )
        return numbers.reindex(column.cells.index)
    return column.cells


def _numbers(known: pd.Series, column: Column, mark: str) -> pd.Series:
    """Return plain numbers, such as 1e-3, if all cells are plain, else numbers as people write them, in one unit."""
    plain = pd.to_numeric(known, errors="coerce").astype(np.float64)
    values = column.as_written[mark]
    bare = any(value and "%" not in cell for cell, value in values.items())  # zero and money may have no unit
    mixed = len(column.units - {""}) > 1 or ("%" in column.units and bare)
    if mixed or (plain.notna().all() and (mark == "." or not column.example)):
        return plain
    return known.map(values).astype(np.float64)


def _dates(known: pd.Series, where: str) -> pd.Series:
    """Return days since 1970 by the first of the `FORMATS` that fit the most cells."""
    some = known.drop_duplicates()
    some = some[some.str.contains(r"\d.*[-/. ].*\d")]
    nothing = pd.Series(np.nan, known.index)
    if len(some) <= (1 - ODD) * known.nunique():
        return nothing
    possible = [form for form in FORMATS if _parsed(some.iloc[:20], form).notna().mean() > 1 - 2 * ODD]
    found = {form: _parsed(known, form) for form in possible}
    if not found:
        return nothing
    most = max(dates.count() for dates in found.values())
    best, *others = (form for form, dates in found.items() if dates.count() == most)
    if other := next((form for form in others if not found[form].equals(found[best])), None):
        warnings.warn(
            f"{where}: column {known.name!r} has dates such as {some.iloc[0]!r}, which may mean {best} or {other} "
            f"(year %Y, month %m, day %d); they are read as {best}; write them as 2024-12-31",
            stacklevel=2,
        )
    return found[best]


def _parsed(cells: pd.Series, form: str) -> pd.Series:
    dates = pd.to_datetime(cells, format=form, errors="coerce", utc=True)
    return (dates - EPOCH) / pd.Timedelta(days=1)
