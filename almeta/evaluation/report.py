"""Reports as values: tables, sentences and figures. `almeta.evaluation.writers` draws them."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

PACKAGES = ("torch", "numpy", "scikit-learn", "gymnasium")
NUMBER = re.compile(r"(–|[<+-]? ?[\d.,]*\d(e[+-]?\d+)?( ± [\d.,]+)?\*?|\d+(/\d+)+)")


@dataclass(frozen=True)
class Table:
    """One table: numbers for programs, and text for people.

    Attributes:
        name: stem of its CSV file.
        numbers: content of the CSV file.
        shown: the same rows as text; headings may hold a line break. None shows the table nowhere.
        narrow: `shown` with fewer columns, for a terminal of 80 columns; None if `shown` fits.
        note: text below the table, such as the meaning of signs.
        groups: of each row; a line separates rows of different groups. Empty without groups.
        is_detail: whether only the HTML file shows it, folded.
    """

    name: str
    numbers: pd.DataFrame
    shown: pd.DataFrame | None = None
    narrow: pd.DataFrame | None = None
    title: str = ""
    note: str = ""
    groups: Sequence[str] = ()
    is_detail: bool = False


def versions() -> dict[str, str]:
    """Return the versions of almeta, Python and the packages on which numbers depend."""
    own = sys.modules[__name__.partition(".")[0]].__version__
    packages = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {"almeta": own, "python": platform.python_version()} | packages


@dataclass(frozen=True)
class Report:
    """The results of a benchmark, an evaluation, a training or a sweep.

    Attributes:
        name: stem of its Markdown file.
        sentences: the verdict.
        figures: by the stem of their PNG files.
        summary: plain values for `summary.json`.
        config: plain values.
        versions: by package.
    """

    title: str
    name: str = "report"
    tables: Sequence[Table] = ()
    sentences: Sequence[str] = ()
    figures: Mapping[str, Figure] = field(default_factory=dict)
    summary: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] | None = None
    versions: Mapping[str, str] = field(default_factory=versions)


def shown_cell(value: object) -> str:
    """Return a value as text, a number with 4 decimals."""
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def is_numeric(cells: Iterable[str]) -> bool:
    """Whether a column of text holds only numbers: "1,200", "+2.47 ± 2.33*", "3/0/1", "< .001", or "–" for none."""
    return all(NUMBER.fullmatch(cell) for cell in cells)
