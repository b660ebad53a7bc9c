"""Tables of one-shot streams in the form of Table 1 of Woodward & Finn (2017).

A table is a data frame of plain numbers, which the CSV file holds; `shown_table` turns it into text.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from almeta.evaluation.jobs import Job, labelled
from almeta.evaluation.published import TABLE_1, PublishedRow
from almeta.evaluation.report import Table
from almeta.evaluation.statistics import Estimate, mean_interval

Summary = Mapping[str, Any]  # what StreamMeasures.summary() returns
Policies = Mapping[str, Summary | Sequence[Summary]]  # by label: one summary, or one for each seed

# Measures in the order of the columns, and how they are headed (two lines in the terminal).
HEADINGS = {
    "accuracy": "all steps\ncorrect, %",
    "prediction_accuracy": "predictions\ncorrect, %",
    "request_rate": "steps with\nrequest, %",
    "mean_return": "mean\nreturn",
}
# Of `table_of_novelty`.
NOVELTY_HEADINGS = {
    "new": "new class,\nrequests, %",
    "new_least": "at\nleast",
    "known": "known class,\nrequests, %",
    "known_most": "at\nmost",
}
NOVELTY_NOTE = (
    "Requests along streams that show one class and then another, or the same: where a class is new, the very first "
    "step left out, and where it is known; at least and at most, of any step, stream and seed."
)
NOTE = "±: half of a 95 % interval over {over}. A step with a request is not a correct one."
NOTE_TOLD = (
    "±: half of a 95 % interval over {over}. Every label is told a step late; nobody requests, and all steps predict."
)
PUBLISHED_NOTE = "Published: Woodward & Finn 2017, Table 1, Omniglot test classes."


def table_of_policies(
    policies: Policies, baselines: Policies | None = None, published: Sequence[PublishedRow] = ()
) -> pd.DataFrame:
    """Return a row for each policy: the four measures, each with its 95 % interval.

    Args:
        policies: by label, the summary of `StreamMeasures.summary`, or one for each seed. The interval is over seeds
            if there are several, else over episodes. Equal summaries count once (a deterministic baseline, judged
            for each seed on the same episodes).
        baselines: the same, for the rows below.
        published: rows of Table 1 of Woodward & Finn to add (no intervals were published).

    Returns:
        Columns `kind` ("policy", "baseline" or "published"), `policy` (label), then for `accuracy`,
        `prediction_accuracy`, `request_rate` (shares in [0, 1]) and `mean_return` the value and its
        `..._interval` (half-width; NaN if there is none), and `interval_over` ("3 seeds", "10,000
        episodes", or "" for published rows).

    Raises:
        ValueError: if a label has no summary.
    """
    rows = [_row("policy", label, summaries) for label, summaries in policies.items()]
    rows += [_row("baseline", label, summaries) for label, summaries in (baselines or {}).items()]
    rows += [_published_row(row) for row in published]
    columns = [name for measure in HEADINGS for name in (measure, f"{measure}_interval")]
    table = pd.DataFrame(rows, columns=["kind", "policy", *columns, "interval_over"])
    return table.astype(dict.fromkeys(columns, float))


def table_of_jobs(jobs: Sequence[Job], published: bool = False) -> pd.DataFrame:
    """Return the table of `table_of_policies` for a sweep's jobs; jobs that differ only in their seed share a row.

    The label of a job has the overrides in which jobs differ. A job whose agent is told the price of a mistake has a
    row for each price that it was judged at. A baseline that scores the same in all jobs has one row, without them.
    """
    policies = {
        label if price is None else f"{label}, told {price}": summaries
        for label, by_price in summaries_of_jobs(jobs).items()
        for price, summaries in by_price.items()
    }
    baselines: dict[str, dict[str, list[Summary]]] = {}
    for job in _judged(jobs):
        for name, summary in job.results.get("baselines", {}).items():  # type: ignore[union-attr]
            baselines.setdefault(name, {}).setdefault(job.setting, []).append(summary)
    return table_of_policies(policies, _merge_equal(baselines), TABLE_1 if published else ())


def summaries_of_jobs(jobs: Sequence[Job]) -> dict[str, dict[str | None, list[Summary]]]:
    """Return the summaries of a sweep's jobs, one for each seed, by label and by the price that was told; None if none.

    A job that was judged at several prices has no summary of its own, which would be a mean over them.
    """
    found: dict[str, dict[str | None, list[Summary]]] = {}
    for job in _judged(jobs):
        results: Summary = job.results or {}
        for price, summary in (results.get("prices") or {None: results["test"]}).items():
            found.setdefault(job.label, {}).setdefault(price, []).append(summary)
    return found


def tradeoffs_of_jobs(jobs: Sequence[Job]) -> dict[str, list[Summary]]:
    """Return what `accuracy_against_requests` draws of a sweep's jobs, by label: a point, or one for each price."""
    return {
        label: [_mean_summary(summaries) for summaries in by_price.values()]
        for label, by_price in summaries_of_jobs(jobs).items()
    }


def _judged(jobs: Sequence[Job]) -> list[Job]:
    return [job for job in jobs if job.results and "test" in job.results]


def _mean_summary(summaries: Sequence[Summary]) -> Summary:
    """Return accuracy and request rate with their intervals, over seeds if there are several."""
    row = _row("policy", "", summaries)
    return {name: row[name] for name in HEADINGS} | {"intervals": {name: row[f"{name}_interval"] for name in HEADINGS}}


def _merge_equal(baselines: dict[str, dict[str, list[Summary]]]) -> dict[str, list[Summary]]:
    """Return a row for each baseline, or for each of its settings if it does not score the same in all."""
    rows: dict[str, list[Summary]] = {}
    for name, by_setting in baselines.items():
        longest = max(by_setting.values(), key=len)
        if all(summary in longest for summaries in by_setting.values() for summary in summaries):
            rows[name] = longest
        else:
            rows |= {labelled(name, setting): summaries for setting, summaries in by_setting.items()}
    return rows


def table_of_instances(summary: Summary) -> pd.DataFrame:
    """Return a row for each k-th instance of a class, as in Figure 2 of Woodward & Finn.

    The columns are `instance`, `count`, `accuracy`, `prediction_accuracy`, `request_rate`; NaN is an unknown rate.
    """
    rates = ["accuracy", "prediction_accuracy", "request_rate"]
    table = pd.DataFrame(summary["by_instance"], columns=["instance", "count", *rates])
    return table.astype(dict.fromkeys(rates, float))


def table_of_novelty(scripted: Mapping[str, Sequence[Sequence[Summary]]]) -> pd.DataFrame:
    """Return how often policies request the first image of a new class, and later ones of a class that they know.

    Args:
        scripted: by label and seed, the request rates along scripts: `script`, a letter for the class of each step,
            and `request_rates`.

    Returns:
        Columns `policy`, `new` and `known`, means over steps, scripts and seeds, and `new_least` and `known_most` of
        any; the first step of a script, where nothing is known, counts for none. NaN where there is no such step.
    """
    rows = []
    for label, seeds in scripted.items():
        rates: dict[bool, list[float]] = {True: [], False: []}
        for one in itertools.chain.from_iterable(seeds):
            script = one["script"]
            for step in range(1, len(script)):
                rates[script[step] in script[:step]].append(one["request_rates"][step])
        new, known = (pd.Series(rates[is_known], dtype=float) for is_known in (False, True))
        rows.append((label, new.mean(), new.min(), known.mean(), known.max()))
    return pd.DataFrame(rows, columns=["policy", *NOVELTY_HEADINGS])


def novelty_table(scripted: Mapping[str, Sequence[Sequence[Summary]]]) -> list[Table]:
    """Return the table of `table_of_novelty` for a report; none where nobody played scripts."""
    numbers = table_of_novelty({label: seeds for label, seeds in scripted.items() if any(seeds)})
    if numbers.empty:
        return []
    cells = {
        heading: [_cell(100 * share, math.nan, 1) for share in numbers[name]]
        for name, heading in NOVELTY_HEADINGS.items()
    }
    shown = pd.DataFrame({"policy": numbers["policy"], **cells})
    return [Table("novelty", numbers, shown, title="Does it ask because a class is new?", note=NOVELTY_NOTE)]


def shown_table(name: str, numbers: pd.DataFrame, title: str = "") -> Table:
    """Return the table for a report: shares in percent, value and interval in one cell, a dash for unknown values.

    Args:
        name: stem of its CSV file.
        numbers: from `table_of_policies` or `table_of_instances`.
        title: of the table.
    """
    groups = list(numbers["kind"]) if "kind" in numbers else []
    return Table(name, numbers, _shown(numbers), title=title, note=_note(numbers), groups=groups)


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
    policies = table[table["kind"] == "policy"]
    told = ((policies["request_rate"] == 1) & (policies["accuracy"] > 0)).all()
    note = (NOTE_TOLD if told else NOTE).format(over=overs[0] if len(overs) == 1 else "what the last column names")
    return f"{note} {PUBLISHED_NOTE}" if "published" in set(table["kind"]) else note


def _shown(table: pd.DataFrame) -> pd.DataFrame:
    columns: dict[str, list[str]] = {}
    for name in table.columns.drop("kind", errors="ignore"):
        if name in HEADINGS:
            decimals, factor = (2, 1) if name == "mean_return" else (1, 100)
            pairs = (factor * table.reindex(columns=[name, f"{name}_interval"])).to_numpy()
            columns[HEADINGS[name]] = [_cell(value, interval, decimals) for value, interval in pairs]
        elif name == "interval_over" and len({over for over in table[name] if over}) == 1:
            continue  # the note holds it
        elif not name.endswith("_interval"):
            cells = (f"{value:,}" if isinstance(value, int) else str(value) for value in table[name])
            columns[name.replace("_", " ")] = list(cells)
    return pd.DataFrame(columns)


def _cell(value: float, interval: float, decimals: int) -> str:
    if pd.isna(value):
        return "–"
    if pd.isna(interval):
        return f"{value:.1f}"
    return f"{value:.{decimals}f} ± {interval:.{decimals}f}"
