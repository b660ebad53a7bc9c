"""Draw a report: on the console, as Markdown, as LaTeX, as one HTML file, as a folder of all of it."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import IO, Any

import jinja2
import pandas as pd
import yaml
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from almeta.errors import AlmetaError
from almeta.evaluation.report import Report, Table, is_numeric
from almeta.evaluation.style import png
from almeta.files import write_atomically

_LEAST_TEXT = 8  # characters of a column of text at least; the rest is folded
_GAP = 2  # characters between columns, or at both edges

# For terminals that lack these signs.
_PLAIN = str.maketrans({"±": "+-", "–": "-", "…": "...", "─": "-"})


def publish(
    report: Report, folder: Path | str, console: Console, summary: Mapping[str, Any] | None = None
) -> list[Path]:
    """Write a report to a folder, then print it; return the paths of the files.

    The files are written first, so that an error of the console loses nothing. If they cannot be written, the report is
    printed all the same. Signs that the console's encoding lacks are replaced; a closed pipe is ignored.

    Args:
        report: to write and print.
        folder: made if it is missing.
        console: to print on.
        summary: content of `summary.json`, such as `report.summary`; None for no such file.

    Raises:
        AlmetaError: if a file cannot be written.
    """
    folder = Path(folder)
    paths: list[Path] = []
    try:
        paths = write_folder(report, folder, summary)
    finally:
        wrote = f"wrote {', '.join(path.name for path in paths)} to {folder}" if paths else ""
        if not console.quiet:
            _show(console_text(report, console, wrote), console.file, folder)
    return paths


def write_folder(report: Report, folder: Path, summary: Mapping[str, Any] | None) -> list[Path]:
    """Write a CSV file a table, a PNG file a figure, a Markdown, a LaTeX, an HTML and a JSON file; return the paths."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AlmetaError(f"could not make the folder {folder}: {error.strerror}; choose another one") from error
    images = {stem: png(figure) for stem, figure in report.figures.items()}
    contents: dict[str, bytes | str] = {
        **{f"{table.name}.csv": table.numbers.to_csv(index=False) for table in report.tables},
        f"{report.name}.md": markdown(report),
        f"{report.name}.tex": latex(report),
        **{f"{stem}.png": image for stem, image in images.items()},
        "report.html": html(report, images),
    }
    if summary is not None:
        contents["summary.json"] = json.dumps(summary, indent=2)
    for name, content in contents.items():
        write_atomically(folder / name, content)
    return [folder / name for name in contents]


# ---- console


def console_text(report: Report, like: Console, last: str = "") -> str:
    """Return the text of a report for a console: title, tables, verdict, and a last line that is not wrapped.

    Args:
        report: to draw.
        like: the console, for its width and colours.
        last: the last line.
    """
    buffer = io.StringIO()  # `like.capture()` would write to the console, too
    colours: Any = like.color_system
    console = Console(
        file=buffer, width=like.width, force_terminal=like.is_terminal, color_system=colours, no_color=like.no_color
    )
    console.print(report.title, markup=False, highlight=False, style="bold", soft_wrap=True)
    for table in report.tables:
        if table.shown is not None and not table.is_detail:
            for part in rich_tables(table, console.width):
                console.print(part)
            if table.note:
                console.print(f"{table.note}\n", markup=False, highlight=False)
    for sentence in report.sentences:
        console.print(f"- {sentence}", markup=False, highlight=False)
    if last:
        console.print(f"\n{last}", markup=False, highlight=False, soft_wrap=True)
    return buffer.getvalue()


def rich_tables(table: Table, width: int) -> list[RichTable]:
    """Return a table for a terminal of some columns: its narrow form, in parts below each other where it is too wide.

    Each part has all columns of text; those of numbers are never cut.
    """
    shown = table.shown if table.narrow is None else table.narrow
    assert shown is not None
    parts = _parts(shown, width)
    titles = [table.title] + [""] * (len(parts) - 1)
    return [_rich_table(part, title, table.groups) for part, title in zip(parts, titles, strict=True)]


def _parts(shown: pd.DataFrame, width: int) -> list[pd.DataFrame]:
    """Return the columns of text with as many of those of numbers as fit beside them, in parts."""
    numeric = {name for name, cells in shown.items() if is_numeric(cells)}
    left = width - sum(_LEAST_TEXT + _GAP for name in shown if name not in numeric)
    parts: list[set[Any]] = [set()]
    room = left
    for name in (name for name in shown if name in numeric):
        lines = [line for text in (str(name), *shown[name]) for line in text.split("\n")]
        needed = max(map(len, lines)) + _GAP
        if needed > room and parts[-1]:
            parts.append(set())
            room = left
        parts[-1].add(name)
        room -= needed
    return [shown[[name for name in shown if name in part or name not in numeric]] for part in parts]


def _rich_table(shown: pd.DataFrame, title: str, groups: Sequence[str]) -> RichTable:
    """Return a table with a line between groups."""
    result = RichTable(title=escape(title) or None, box=SIMPLE_HEAD, title_justify="left")
    result.collapse_padding, result.pad_edge = True, False
    for heading, cells in shown.items():
        if is_numeric(cells):
            result.add_column(str(heading), justify="right", no_wrap=True)
        else:
            result.add_column(str(heading), min_width=_LEAST_TEXT, overflow="fold")
    groups = list(groups) or [""] * len(shown)
    ends = [group != following for group, following in zip(groups, [*groups[1:], None], strict=True)]
    for cells, end in zip(shown.to_numpy(), ends, strict=True):
        result.add_row(*map(escape, cells), end_section=end)
    return result


def _show(text: str, file: IO[str], folder: Path) -> None:
    """Print text, with other signs for those that the console lacks; report an error instead of raising it."""
    encoding = getattr(file, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.translate(_PLAIN).encode(encoding, errors="replace").decode(encoding)
    try:
        file.write(text)
        file.flush()
    except OSError as error:
        if file is sys.stdout:  # its buffer would fail again when Python ends
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())
        if not isinstance(error, BrokenPipeError):
            print(f"could not print the results ({error.strerror}); they are in {folder}", file=sys.stderr)


# ---- Markdown


def markdown(report: Report) -> str:
    """Return a report in Markdown: title, verdict, tables."""
    parts = [f"# {report.title}\n"]
    if report.sentences:
        parts.append("".join(f"- {sentence}\n" for sentence in report.sentences))
    for table in report.tables:
        if table.shown is not None and not table.is_detail:
            parts += [f"## {table.title}\n"] if table.title else []
            parts.append(markdown_table(table.shown))
            parts += [f"{table.note}\n"] if table.note else []
    return "\n".join(parts)


def markdown_table(shown: pd.DataFrame) -> str:
    """Return a table of text in Markdown, ending in a newline."""
    headings = [str(heading).replace("\n", " ") for heading in shown.columns]
    lines = [headings, ["---"] * len(headings), *shown.to_numpy().tolist()]
    return "".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |\n" for line in lines)


# ---- LaTeX

# Signs that not every font of LaTeX has; pandas escapes those that LaTeX itself uses.
_SIGNS = str.maketrans({"±": r"$\pm$", "–": "--", "…": r"\ldots{}", "<": "$<$", ">": "$>$"})


def latex(report: Report) -> str:
    """Return the tables of a report in LaTeX, for the package booktabs; titles and notes are comments."""
    tables = [table for table in report.tables if table.shown is not None and not table.is_detail]
    parts = [f"% {report.title}; needs \\usepackage{{booktabs}}"]
    for table in tables:
        parts += ["", *(f"% {text}" for text in (table.title, table.note) if text), latex_table(table.shown)]
    return "\n".join(parts)


def latex_table(shown: pd.DataFrame) -> str:
    """Return a table of text as a `tabular` of LaTeX, ending in a newline."""
    sides = "".join("r" if is_numeric(cells) else "l" for _, cells in shown.items())
    plain = shown.rename(columns=lambda heading: str(heading).replace("\n", " "))
    return plain.to_latex(index=False, escape=True, column_format=sides).translate(_SIGNS)


# ---- HTML


def html(report: Report, images: Mapping[str, bytes]) -> str:
    """Return a report as one HTML file that needs no network; `images` are its figures as PNG, by stem."""
    template = files("almeta.evaluation").joinpath("report.html").read_text("utf-8")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(template).render(
        report=report,
        tables=[table for table in report.tables if table.shown is not None],
        is_numeric=is_numeric,
        figures={stem.replace("_", " "): base64.b64encode(image).decode() for stem, image in images.items()},
        config=yaml.safe_dump(report.config, sort_keys=False, allow_unicode=True) if report.config else "",
    )
