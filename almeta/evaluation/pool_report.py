"""The report of a benchmark on pools, made of its learning curves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from almeta.data.catalogue import path_of
from almeta.evaluation.comparison import Comparison, compare
from almeta.evaluation.curves import (
    Area,
    Curves,
    Over,
    check_curves,
    curve_areas,
    over_money,
    repeat_means,
    split_curves,
)
from almeta.evaluation.pool_figures import gain_curves, gain_map, learning_curves, rank_diagram
from almeta.evaluation.report import Report, Table
from almeta.evaluation.statistics import mean_interval
from almeta.evaluation.verdict import Question, count_text, p_text, repeats_text, shorten, verdict

AREAS = {"mean": "the mean score along the curve", "trapezoid": "the area under the curve over its width"}


def pool_report(
    curves: pd.DataFrame,
    reference: str = "margin",
    *,
    area: Area = "mean",
    measure: str = "accuracy",
    measures: Sequence[str] = (),
    seconds: pd.DataFrame | None = None,
    config: dict[str, Any] | None = None,
    title: str | None = None,
    question: Question | None = None,
    over: Over = "queries",
) -> Report:
    """Judge strategies by their learning curves.

    The tables are `summary` (`Comparison.summary`), `aulc` (a row for each data set, a column for each strategy),
    `tests` (`Comparison.tests`) and `curves`; for each further measure `summary_MEASURE`; and `seconds` if these are
    given. The figures are `learning_curves` and `gain_curves` (further pages are `..._2`), `ranks` and `gains`, and
    `learning_curves_MEASURE`. A data set that is a file has its whole name in the CSV files, else its stem.

    Args:
        curves: see `check_curves`.
        reference: the strategy that all are compared with beside random; it may be missing.
        area: see `curve_areas`.
        measure: name of the score.
        measures: columns of the curves with further scores; the verdict does not depend on them.
        seconds: columns `dataset`, `strategy` and `seconds_a_pick`; None if they are not known.
        config: plain values that the report shows.
        title: of the report; None counts strategies, data sets and repeats.
        question: answered in the last sentence; None for none.
        over: what curves and areas are over; "money" needs the measure of that name, see `over_money`.

    Returns:
        The report. Its `summary` holds `measure`, `area`, `datasets` (by name, with `repeats` and `budget`), `unit`
        ("data set" or "repeat"), `reference`, `strategies` and `tests` (rows of the tables), `friedman`, `verdict`
        (sentences) and `figures` (file names). None stands for what is not known.

    Raises:
        AlmetaError: if the curves have gaps, or random is not among the strategies.
    """
    table = check_curves(curves, measures)
    along = over_money(table) if over == "money" else table
    whole = split_curves(along)
    blocks = dict(zip(short_names(whole).values(), whole.values(), strict=True))
    comparison = compare(curve_areas(blocks, area), reference)
    sentences, figures = verdict(comparison), _figures(blocks, comparison, measure, over)
    if question is not None:
        further = {name: curve_areas(split_curves(along, name), area) for name in question.measures}
        sentences.append(question.answer(comparison.areas, further))
    tests = comparison.tests()
    summary_table = _summary(comparison, area, measure, seconds)
    measured = [_further(along, name, reference, area, over) for name in measures if name != over]
    figures |= {stem: figure for _, drawn in measured for stem, figure in drawn.items()}
    summary = {
        "measure": measure,
        "area": area,
        "datasets": {
            name: {"repeats": len(block.repeats), "budget": int(block.queries[-1])} for name, block in whole.items()
        },
        "unit": comparison.unit,
        "reference": reference,
        "strategies": _plain_rows(comparison.summary()),  # without seconds: equal runs have equal summaries
        "tests": _plain_rows(tests),
        "friedman": comparison.friedman._asdict() if comparison.friedman else None,
        "verdict": sentences,
        "figures": [f"{stem}.png" for stem in figures],
    }
    aulc = comparison.by_dataset.set_axis(pd.Index(whole, name="dataset"))
    tables = [
        Table("curves", table),
        Table("aulc", aulc.reset_index(), shown_areas(comparison), title="AULC of each data set", is_detail=True),
        summary_table,
        *(found for found, _ in measured),
        Table("tests", tests, shown_tests(comparison), title="All pairs", is_detail=True),
        *([] if seconds is None else [Table("seconds", seconds)]),
    ]
    return Report(title or _title(comparison), "summary", tables, sentences, figures, summary, config)


def _summary(comparison: Comparison, area: Area, measure: str, seconds: pd.DataFrame | None) -> Table:
    """Return the table `summary`, with the mean seconds of a pick if they are known."""
    numbers, shown = comparison.summary(), shown_summary(comparison)
    note = _note(comparison, area, measure)
    if seconds is not None:
        each = seconds.groupby("strategy")["seconds_a_pick"].mean()[comparison.strategies]
        numbers["seconds_a_pick"] = list(each)
        shown["ms\na pick"] = [f"{1000 * mean:,.{0 if mean >= 0.1 else 2}f}" for mean in each]
        note += " ms a pick, in the files: what choosing a row took, without the refit, its mean over data sets."
    return Table("summary", numbers, shown, narrow=shown_summary(comparison, narrow=True), note=note)


def _further(
    curves: pd.DataFrame, name: str, reference: str, area: Area, over: Over
) -> tuple[Table, dict[str, Figure]]:
    """Return the summary table and the learning curves by a further measure."""
    blocks = split_curves(curves, name)
    blocks = dict(zip(short_names(blocks).values(), blocks.values(), strict=True))
    areas = curve_areas(blocks, area)
    known = set(areas.dropna().index.unique("dataset")) == set(blocks)  # where all can be compared
    table = _compared(name, compare(areas, reference)) if known else _only_means(name, areas)
    return table, pages_by_stem({f"learning_curves_{name}": learning_curves(blocks, name, over)})


def _compared(name: str, comparison: Comparison) -> Table:
    """Return the summary table of a further measure."""
    return Table(
        f"summary_{name}",
        comparison.summary(),
        shown_summary(comparison),
        narrow=shown_summary(comparison, narrow=True),
        title=f"By {name}",
    )


def _only_means(name: str, areas: pd.DataFrame) -> Table:
    """Return the summary table of a share of what some strategy has none of on a data set, such as pseudo-labels."""
    estimates = {strategy: mean_interval(means.dropna().tolist()) for strategy, means in repeat_means(areas).items()}
    numbers = pd.DataFrame(
        [(strategy, one.mean, one.half_width) for strategy, one in estimates.items()],
        columns=["strategy", "aulc", "aulc_interval"],
    ).astype({"aulc": float, "aulc_interval": float})
    cells = [_cell(mean, width, "") for mean, width in zip(numbers["aulc"], numbers["aulc_interval"], strict=True)]
    shown = pd.DataFrame({"strategy": numbers["strategy"], "AULC,\npoints": cells})
    note = (
        "–: there was nothing to share. ±: half of a 95 % interval over repeats. Nobody is ranked: not all have some."
    )
    return Table(f"summary_{name}", numbers, shown, title=f"By {name}", note=note)


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Return the short name of each data set: the stem of a file, `my` for `csv:/long/path/my.csv.gz`.

    A file keeps its whole name if its stem is also the name or the stem of another data set.
    """
    stems = {name: _stem(name) for name in names}
    count = Counter(stems.values())
    return {name: stem if count[stem] == 1 else name for name, stem in stems.items()}


def _stem(name: str) -> str:
    file = path_of(name)
    if file is None:
        return name
    return (file.with_suffix("") if file.suffix.lower() == ".gz" else file).stem


# ---- tables for people


def shown_summary(comparison: Comparison, narrow: bool = False) -> pd.DataFrame:
    """Return the summary as text: points with half-widths, counts, a star where a difference is clear.

    A narrow one fits a terminal of 80 columns. It lacks the interval of the AULC, which tells how different the data
    sets are, not the strategies, and the numbers of repeats and of clear data sets, which the verdict holds.
    """
    table = comparison.summary()
    widths = [float("nan")] * len(table) if narrow else table["aulc_interval"]
    shown = {
        "strategy": list(table["strategy"]),
        "AULC,\npoints": [_cell(mean, width, "") for mean, width in zip(table["aulc"], widths, strict=True)],
        "mean\nrank": [f"{rank:.2f}" for rank in table["mean_rank"]],
    }
    if "repeats" in table and not narrow:
        shown["repeats"] = [f"{count:,}" for count in table["repeats"]]
    rows = table.to_dict("records")
    for key, opponent in comparison.opponents.items():
        name = shorten(opponent, 20)
        shown[f"gain over\n{name}"] = [_gain(row, key) for row in rows]
        shown[f"against\n{name}"] = [_counts(row, key, ("wins", "ties", "losses")) for row in rows]
        if comparison.unit == "data set" and not narrow:
            shown[f"clear against\n{name}"] = [_counts(row, key, ("clear_wins", "clear_losses")) for row in rows]
    return pd.DataFrame(shown)


def shown_areas(comparison: Comparison) -> pd.DataFrame:
    """Return the mean AULC of each strategy on each data set as text, in points; the best strategy is the first."""
    points = comparison.by_dataset[comparison.strategies].map(lambda mean: _cell(mean, float("nan"), ""))
    return points.rename_axis("data set").reset_index()


def shown_tests(comparison: Comparison) -> pd.DataFrame:
    """Return the tests of all pairs as text."""
    columns = ["first", "second", "difference,\npoints", "better / equal /\nworse", "p", "p,\nHolm"]
    rows = [
        (
            pair.first,
            pair.second,
            _cell(pair.mean, pair.half_width, "+") + "*" * pair.is_clear,
            f"{pair.wins}/{pair.ties}/{pair.losses}",
            *("–" if p is None else p_text(p).lstrip("p =") for p in (pair.p_value, pair.p_holm)),
        )
        for pair in comparison.pairs.values()
    ]
    return pd.DataFrame(rows, columns=columns)


def _title(comparison: Comparison) -> str:
    repeats = comparison.areas.groupby("dataset").count().to_numpy()
    datasets = count_text(len(repeats), "data set")
    times = repeats_text(repeats.ravel().tolist())
    return f"{count_text(len(comparison.strategies), 'strategy')} on {datasets}, {times} each"


def _note(comparison: Comparison, area: Area, measure: str) -> str:
    unit = comparison.unit
    text = f"AULC: {AREAS[area]}, here of {measure}; a point is 0.01. ±: half of a 95 % interval over {unit}s. "
    text += f"Against: {unit}s better / equal / worse. "
    text += f"*: clear at 5 % by the paired Wilcoxon test over {unit}s, Holm-corrected over all pairs."
    if unit == "data set":
        text += " Clear against, in the files: data sets clearly better / worse by the paired t-test over repeats, "
        text += "Holm-corrected over data sets."
    if comparison.repeats.nunique() > 1:
        text += " AULC: over a strategy's own repeats. Gains and tests: over the repeats that both strategies have. "
        text += f"Ranks: over the first {comparison.repeats.min():,} repeats, which all have."
    return text


def _cell(mean: float, width: float | None, sign: str) -> str:
    """Return a mean and, if known, its half-width, in points."""
    if pd.isna(mean):
        return "–"
    text = f"{round(100 * mean, 2) + 0.0:{sign}.2f}"
    return text if width is None or pd.isna(width) else f"{text} ± {100 * width:.2f}"


def _gain(row: Mapping[Hashable, Any], key: str) -> str:
    gain = row[f"gain_over_{key}"]
    if pd.isna(gain):
        return "–"
    return _cell(gain, row[f"gain_over_{key}_interval"], "+") + "*" * row[f"is_clear_{key}"]


def _counts(row: Mapping[Hashable, Any], key: str, names: Sequence[str]) -> str:
    counts = [row[f"{name}_{key}"] for name in names]
    return "–" if pd.isna(counts[0]) else "/".join(str(count) for count in counts)


def _figures(blocks: Mapping[str, Curves], comparison: Comparison, measure: str, over: Over) -> dict[str, Figure]:
    pages = {"learning_curves": learning_curves(blocks, measure, over)}
    if len(comparison.strategies) > 1:
        pages["gain_curves"] = gain_curves(blocks, measure, over)
        pages |= {"ranks": [rank_diagram(comparison)], "gains": [gain_map(comparison)]}
    return pages_by_stem(pages)


def pages_by_stem(pages: Mapping[str, Sequence[Figure]]) -> dict[str, Figure]:
    """Return figures of several pages by the stem of their files."""
    return {
        f"{stem}_{number}" if number > 1 else stem: figure
        for stem, figures in pages.items()
        for number, figure in enumerate(figures, 1)
    }


def _plain_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows of plain values, None for what is missing."""
    return table.astype(object).where(table.notna(), None).to_dict("records")
