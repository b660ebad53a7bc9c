"""Result tables in the form of Table 1 of Woodward & Finn (2017): for the terminal, for a file, for a README.

A table is first a data frame of plain numbers (what the CSV holds); :func:`rich_table` and
:func:`markdown_table` show the same frame with percents and intervals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from almeta.evaluation.published import TABLE_1, PublishedRow
from almeta.evaluation.statistics import Estimate, mean_interval
from almeta.files import write_atomically

Summary = Mapping[str, Any]  # what StreamMeasures.summary() returns
Policies = Mapping[str, Summary | Sequence[Summary]]  # by label: one summary, or one for each seed

# Measures in the order of the columns, and how they are headed (two lines in the terminal).
HEADINGS = {
    "accuracy": "all steps\ncorrect, %",
    "prediction_accuracy": "predictions\ncorrect, %",
    "request_rate": "steps with\nrequest, %",
    "mean_return": "mean\nreturn",
}
NOTE = "±: half of a 95 % interval over {over}. A step with a request is not a correct one."
PUBLISHED_NOTE = "Published: Woodward & Finn 2017, Table 1, Omniglot test classes."


def table_of_policies(policies: Policies, baselines: Policies | None = None, published: bool = False) -> pd.DataFrame:
    """One row a policy: the four measures, each with its 95 % interval.

    Args:
        policies: label to the summary of :meth:`StreamMeasures.summary`, or to several, one for each seed.
        The
            interval is over the seeds where there are several, else over episodes. Equal summaries are one
            measurement, not two (a baseline without chance, judged once for each seed on the same episodes).
        baselines: the same, for the rows below.
        published: also the rows of Table 1 of Woodward & Finn (no intervals were published).

    Returns:
        Columns ``kind`` ("policy", "baseline" or "published"), ``policy`` (label), then for ``accuracy``,
        ``prediction_accuracy``, ``request_rate`` (shares in [0, 1]) and ``mean_return`` the value and its
        ``..._interval`` (half-width; NaN where there is none), and ``interval_over`` ("3 seeds", "10,000
        episodes", or "" for published rows).

    Raises:
        ValueError: if a label has no summary.
    """
    rows = [_row("policy", label, summaries) for label, summaries in policies.items()]
    rows += [_row("baseline", label, summaries) for label, summaries in (baselines or {}).items()]
    if published:
        rows += [_published_row(row) for row in TABLE_1]
    columns = [name for measure in HEADINGS for name in (measure, f"{measure}_interval")]
    table = pd.DataFrame(rows, columns=["kind", "policy", *columns, "interval_over"])
    return table.astype(dict.fromkeys(columns, float))


def table_of_instances(summary: Summary) -> pd.DataFrame:
    """One row for each k-th instance of a class, as in Figure 2 of Woodward & Finn.

    Args:
        summary: what :meth:`StreamMeasures.summary` returns.

    Returns:
        Columns ``instance``, ``count``, ``accuracy``, ``prediction_accuracy``, ``request_rate``; NaN where a
        rate is not known.
    """
    rates = ["accuracy", "prediction_accuracy", "request_rate"]
    table = pd.DataFrame(summary["by_instance"], columns=["instance", "count", *rates])
    return table.astype(dict.fromkeys(rates, float))


def rich_table(table: pd.DataFrame, title: str = "") -> Table:
    """The table for the terminal, with a line between policies, baselines and published rows.

    Args:
        table: from :func:`table_of_policies` or :func:`table_of_instances`.
        title: printed above.

    Returns:
        What ``rich.print`` shows.
    """
    shown = _shown(table)
    kinds = table["kind"] if "kind" in table else pd.Series("", index=table.index)
    result = Table(title=escape(title) or None, caption=_note(table) or None, box=SIMPLE_HEAD)
    result.collapse_padding, result.pad_edge = True, False
    result.title_justify = result.caption_justify = "left"
    for heading in shown.columns:
        if heading in ("policy", "interval over"):
            result.add_column(heading, min_width=12 if heading == "policy" else 8, overflow="fold")
        else:
            result.add_column(heading, justify="right", no_wrap=True)
    for (_, cells), last in zip(shown.iterrows(), kinds != kinds.shift(-1), strict=True):
        result.add_row(*map(escape, cells), end_section=bool(last))
    return result


def markdown_table(table: pd.DataFrame) -> str:
    """The table in Markdown, ending in a newline; arguments as for :func:`rich_table`."""
    shown = _shown(table)
    headings = [heading.replace("\n", " ") for heading in shown.columns]
    lines = [headings, ["---"] * len(headings), *shown.to_numpy().tolist()]
    text = "".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |\n" for line in lines)
    return f"{text}\n{note}\n" if (note := _note(table)) else text


def write_table(table: pd.DataFrame, folder: Path | str, name: str = "table") -> list[Path]:
    """Write ``name.csv`` (plain numbers) and ``name.md`` (as shown) into a folder that exists.

    Returns:
        The two paths.

    Raises:
        AlmetaError: if the folder cannot be written to.
    """
    csv, markdown = Path(folder) / f"{name}.csv", Path(folder) / f"{name}.md"
    write_atomically(csv, table.to_csv(index=False).encode())
    write_atomically(markdown, markdown_table(table).encode())
    return [csv, markdown]


def _row(kind: str, label: str, summaries: Summary | Sequence[Summary]) -> dict[str, Any]:
    several = [summaries] if isinstance(summaries, Mapping) else summaries
    different = [summary for i, summary in enumerate(several) if summary not in several[:i]]
    if not different:
        raise ValueError(f"no summary of policy {label!r}")
    one = different[0]
    over = f"{one['episodes']:,} episodes" if len(different) == 1 else f"{len(different)} seeds"
    row: dict[str, Any] = {"kind": kind, "policy": label, "interval_over": over}
    for measure in HEADINGS:
        if len(different) == 1:
            estimate = Estimate(one[measure], one["intervals"][measure])
        else:
            estimate = mean_interval([summary[measure] for summary in different])
        row |= {measure: estimate.mean, f"{measure}_interval": estimate.half_width}
    return row


def _published_row(row: PublishedRow) -> dict[str, Any]:
    measures = {measure: getattr(row, measure) for measure in HEADINGS}
    return {"kind": "published", "policy": f"published: {row.label}", "interval_over": "", **measures}


def _note(table: pd.DataFrame) -> str:
    if "kind" not in table:
        return ""
    overs = sorted({over for over in table["interval_over"] if over})
    note = NOTE.format(over=overs[0] if len(overs) == 1 else "what the last column names")
    return f"{note} {PUBLISHED_NOTE}" if "published" in set(table["kind"]) else note


def _shown(table: pd.DataFrame) -> pd.DataFrame:
    """The table as text: shares in percent, value and interval in one cell, a dash for what is not known."""
    columns: dict[str, list[str]] = {}
    for name in table.columns.drop("kind", errors="ignore"):
        if name in HEADINGS:
            decimals, factor = (2, 1) if name == "mean_return" else (1, 100)
            pairs = (factor * table.reindex(columns=[name, f"{name}_interval"])).to_numpy()
            columns[HEADINGS[name]] = [_cell(value, interval, decimals) for value, interval in pairs]
        elif name == "interval_over" and len({over for over in table[name] if over}) == 1:
            continue  # the note says it
        elif not name.endswith("_interval"):
            columns[name.replace("_", " ")] = [
                f"{value:,}" if isinstance(value, int) else str(value) for value in table[name]
            ]
    return pd.DataFrame(columns)


def _cell(value: float, interval: float, decimals: int) -> str:
    if pd.isna(value):
        return "–"
    if pd.isna(interval):
        return f"{value:.1f}"
    return f"{value:.{decimals}f} ± {interval:.{decimals}f}"
