"""A report is a value: what was found, as tables, sentences and figures. `almeta.evaluation.writers` draws it."""

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
        numbers: what the CSV file holds.
        shown: the same as text, a row a row; headings may hold a line break. None: the CSV file is all.
        narrow: `shown` with fewer columns, for a terminal of 80; None where `shown` fits.
        title: what stands above it.
        note: what its signs mean.
        groups: of each row; a line separates rows of different groups. Empty: there are none.
        is_detail: whether it stands in the HTML file alone, folded.
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
    own = sys.modules[__name__.partition(".")[0]].__version__  # whoever is here has imported almeta
    return {"almeta": own, "python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in PACKAGES
    }


@dataclass(frozen=True)
class Report:
    """What a benchmark, an evaluation, a training or a sweep has found.

    Attributes:
        title: what was done.
        name: stem of its Markdown file.
        tables: in the order in which they are read.
        sentences: the verdict.
        figures: by the stem of their PNG files.
        summary: plain values for `summary.json`.
        config: plain values, or None where there is none.
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
    """Whether a column of text holds numbers alone: "1,200", "+2.47 ± 2.33*", "3/0/1", "< .001", or "–" for none."""
    return all(NUMBER.fullmatch(cell) for cell in cells)
