"""What a benchmark over pools leaves behind: tables, words and figures, from its learning curves."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from almeta.errors import AlmetaError
from almeta.evaluation.benchmark_figures import gain_curves, gain_map, learning_curves, rank_diagram
from almeta.evaluation.comparison import Comparison, compare
from almeta.evaluation.curves import Area, Curves, check_curves, curve_areas, split_curves, write_curves
from almeta.evaluation.tables import markdown_table, rich_table
from almeta.evaluation.verdict import count_text, shorten, verdict
from almeta.files import write_atomically

TABLES = ("curves.csv", "aulc.csv", "summary.csv", "tests.csv", "summary.md")
AREAS = {"mean": "the mean score along the curve", "trapezoid": "the area under the curve over its width"}


def report(
    curves: pd.DataFrame,
    folder: Path,
    console: Console,
    reference: str = "margin",
    *,
    area: Area = "mean",
    measure: str = "accuracy",
) -> dict[str, Any]:
    """Judge strategies by their learning curves: print the table and the verdict, write everything to a folder.

    Left there are `curves.csv`, `aulc.csv` (a row a data set, a column a strategy), `summary.csv`
    (:meth:`Comparison.summary`), `tests.csv` (:meth:`Comparison.tests`), `summary.md`, `summary.json`, and
    `learning_curves.png`, `gain_curves.png` (more pages `..._2.png` where there are many data sets), `ranks.png`
    and `gains.png`.

    Args:
        curves: columns `dataset`, `strategy`, `repeat`, `queries`, `score`; see
            :func:`~almeta.evaluation.curves.check_curves`.
        folder: made if it is not there.
        console: printed to.
        reference: a strategy that all are compared with beside random; a missing one is told, no error.
        area: how a curve is summed up, see :func:`~almeta.evaluation.curves.curve_areas`.
        measure: what the score is called.

    Returns:
        The content of `summary.json`: `measure`, `area`, `datasets` (by name, with `repeats` and `budget`),
        `unit` ("data set" or "repeat"), `reference`, `strategies` and `tests` (rows of the tables),
        `friedman`, `verdict` (sentences), `figures` (file names). None stands for what is not known.

    Raises:
        AlmetaError: if the curves have gaps, random is not among the strategies, or a file cannot be written.
    """
    table = check_curves(curves)
    blocks = split_curves(table)
    comparison = compare(curve_areas(blocks, area), reference)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AlmetaError(f"could not make the folder {folder}: {error.strerror}; choose another one") from error

    sentences = verdict(comparison)
    _print(comparison, _note(comparison, area, measure), sentences, console)
    write_curves(table, folder / "curves.csv")
    _write_tables(comparison, _note(comparison, area, measure), sentences, folder)
    figures = _draw(blocks, comparison, measure, folder)
    content: dict[str, Any] = {
        "measure": measure,
        "area": area,
        "datasets": {
            name: {"repeats": len(block.repeats), "budget": int(block.queries[-1])} for name, block in blocks.items()
        },
        "unit": comparison.unit,
        "reference": reference,
        "strategies": _plain_rows(comparison.summary()),
        "tests": _plain_rows(comparison.tests()),
        "friedman": comparison.friedman._asdict() if comparison.friedman else None,
        "verdict": sentences,
        "figures": [path.name for path in figures],
    }
    write_atomically(folder / "summary.json", json.dumps(content, indent=2, allow_nan=False).encode())
    files = ", ".join([*TABLES, "summary.json", *content["figures"]])
    console.print(f"wrote {files} to {folder}", markup=False, highlight=False, soft_wrap=True)
    return content


def shown_summary(comparison: Comparison, narrow: bool = False) -> pd.DataFrame:
    """The summary as text, for people: points with half-widths, counts, a star where a difference is clear.

    A narrow one fits a terminal of 80 columns: without the interval of the AULC, which says how different the data
    sets are rather than the strategies, and without the counts of clear data sets, which the verdict tells.
    """
    table = comparison.summary()
    widths = [float("nan")] * len(table) if narrow else table["aulc_interval"]
    shown = {
        "strategy": list(table["strategy"]),
        "AULC,\npoints": [_cell(mean, width, "") for mean, width in zip(table["aulc"], widths, strict=True)],
        "mean\nrank": [f"{rank:.2f}" for rank in table["mean_rank"]],
    }
    rows = table.to_dict("records")
    for key, opponent in comparison.opponents.items():
        name = shorten(opponent, 20)
        shown[f"gain over\n{name}"] = [_gain(row, key) for row in rows]
        shown[f"against\n{name}"] = [_counts(row, key, ("wins", "ties", "losses")) for row in rows]
        if comparison.unit == "data set" and not narrow:
            shown[f"clear against\n{name}"] = [_counts(row, key, ("clear_wins", "clear_losses")) for row in rows]
    return pd.DataFrame(shown)


def _print(comparison: Comparison, note: str, sentences: list[str], console: Console) -> None:
    table = rich_table(shown_summary(comparison, narrow=True), _title(comparison))
    names = table.columns[0]
    names.justify, names.no_wrap, names.overflow, names.min_width = "left", False, "fold", 10
    console.print(table)
    for text in (note, "", *(f"- {sentence}" for sentence in sentences), ""):
        console.print(text, markup=False, highlight=False)


def _write_tables(comparison: Comparison, note: str, sentences: list[str], folder: Path) -> None:
    _write_csv(comparison.by_dataset.reset_index(), folder / "aulc.csv")
    _write_csv(comparison.summary(), folder / "summary.csv")
    _write_csv(comparison.tests(), folder / "tests.csv")
    lines = "".join(f"- {sentence}\n" for sentence in sentences)
    if comparison.unit == "data set":
        note += " Clear against: data sets clearly better / worse by the paired t-test over repeats, Holm-corrected."
    markdown = f"# {_title(comparison)}\n\n{lines}\n{markdown_table(shown_summary(comparison))}\n{note}\n"
    write_atomically(folder / "summary.md", markdown.encode())


def _draw(blocks: Mapping[str, Curves], comparison: Comparison, measure: str, folder: Path) -> list[Path]:
    figures = learning_curves(blocks, folder / "learning_curves.png", measure)
    if len(comparison.strategies) > 1:
        figures += gain_curves(blocks, folder / "gain_curves.png", measure)
        figures += [rank_diagram(comparison, folder / "ranks.png"), gain_map(comparison, folder / "gains.png")]
    return figures


def _title(comparison: Comparison) -> str:
    repeats = comparison.areas.groupby("dataset").size()
    low, high = repeats.min(), repeats.max()
    times = count_text(low, "repeat") if low == high else f"{low:,} to {high:,} repeats"
    datasets = count_text(len(repeats), "data set")
    return f"{count_text(len(comparison.strategies), 'strategy')} on {datasets}, {times} each"


def _note(comparison: Comparison, area: Area, measure: str) -> str:
    unit = comparison.unit
    text = f"AULC: {AREAS[area]}, here of {measure}; a point is 0.01. ±: half of a 95 % interval over {unit}s. "
    text += f"Against: {unit}s better / equal / worse. "
    return text + f"*: clear at 5 % by the paired Wilcoxon test over {unit}s, Holm-corrected over all pairs."


def _cell(mean: float, width: float, sign: str) -> str:
    """A mean and, if known, its half-width, in points."""
    text = f"{round(100 * mean, 2) + 0.0:{sign}.2f}"
    return text if pd.isna(width) else f"{text} ± {100 * width:.2f}"


def _gain(row: Mapping[Hashable, Any], key: str) -> str:
    gain, width, is_clear = (row[name.format(key)] for name in ("gain_over_{}", "gain_over_{}_interval", "is_clear_{}"))
    if pd.isna(gain):
        return "–"
    return _cell(gain, width, "+") + ("*" if is_clear else "")


def _counts(row: Mapping[Hashable, Any], key: str, names: Sequence[str]) -> str:
    counts = [row[f"{name}_{key}"] for name in names]
    return "–" if pd.isna(counts[0]) else "/".join(str(count) for count in counts)


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    write_atomically(path, table.to_csv(index=False).encode())


def _plain_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of plain values, None for what is missing."""
    return table.astype(object).where(table.notna(), None).to_dict("records")
