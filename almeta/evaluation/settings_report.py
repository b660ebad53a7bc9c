"""The report of a benchmark in several settings: everybody plays the same tasks in each of them.

A strategy in a setting is called "SETTING: STRATEGY". Its gain over random is that within a repeat and a setting; that
between two settings is also within a repeat, whose split and first labels are the same where the settings do not change
them. Intervals are over repeats: they are about these data sets and speak of no others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from almeta.evaluation.comparison import RANDOM
from almeta.evaluation.curves import Area, Over, check_curves, curve_areas, over_money, repeat_means, split_curves
from almeta.evaluation.pool_figures import learning_curves_of
from almeta.evaluation.pool_report import AREAS, pages_by_stem
from almeta.evaluation.report import Report, Table
from almeta.evaluation.settings_figures import gain_matrix, measures_over_settings
from almeta.evaluation.statistics import Estimate, mean_interval
from almeta.evaluation.verdict import (
    BETWEEN,
    AskedPair,
    Question,
    count_text,
    gain_over_repeats,
    named_in,
    repeats_text,
    told_repeats,
    unknown_in_question,
)


def settings_report(
    curves: pd.DataFrame,
    *,
    area: Area = "mean",
    measure: str = "accuracy",
    measures: Sequence[str] = (),
    config: dict[str, Any] | None = None,
    question: Question | None = None,
    over: Over = "queries",
) -> Report:
    """Compare strategies in several settings by their learning curves.

    The settings are drawn for each data set by itself if the question is about each.

    The tables are `settings` (a row for each setting and strategy: the area under the curve of each measure, and the
    gain over random in the same setting) and `curves`. The figures are `settings`, the same numbers drawn, `gains`, the
    gains as a matrix, and `learning_curves`, a panel for each setting and data set.

    Args:
        curves: see `check_curves`, and a column `setting`.
        area: see `curve_areas`.
        measure: name of the score.
        measures: columns of the curves with further measures.
        config: plain values that the report shows.
        question: answered in the first sentence, see `asked_in_settings`; None for none.
        over: what curves and areas are over; "money" needs the measure of that name, see `over_money`.

    Returns:
        The report. Its `summary` holds `measure`, `area`, `settings` (rows of the table), `verdict` and `figures`.
    """
    blocks = {str(name): check_curves(block, measures) for name, block in curves.groupby("setting", sort=False)}
    columns = {measure: "score"} | {name: name for name in measures if name != over}
    along = {name: over_money(block) if over == "money" else block for name, block in blocks.items()}
    areas = {name: _areas(along, column, area) for name, column in columns.items()}
    rows = _rows(areas, measure, list(blocks), list(curves["strategy"].unique()))
    sentences = []
    if question is not None:
        further = {name: areas[name] if name in areas else _areas(along, name, area) for name in question.measures}
        sentences.append(question.answer(areas[measure], further))
    panels = {
        f"{setting}, {dataset}" if setting else dataset: block
        for setting, table in along.items()
        for dataset, block in split_curves(table).items()
    }
    drawn = {"": rows}
    if question is not None and question.each_dataset:
        names = (list(blocks), list(curves["strategy"].unique()))
        drawn = {str(one): _rows(_of(areas, one), measure, *names) for one in curves["dataset"].unique()}
    figures: dict[str, Figure] = {"settings": measures_over_settings(drawn, list(columns))}
    if matrix := gain_matrix(rows):
        figures["gains"] = matrix
    figures |= pages_by_stem({"learning_curves": learning_curves_of(panels, measure, over)})
    repeats = curves.groupby("strategy", sort=False)["repeat"].nunique()
    sentences += told_repeats(repeats.to_dict())
    datasets = curves["dataset"].nunique()
    title = (
        f"{count_text(curves['strategy'].nunique(), 'strategy')} in {count_text(len(blocks), 'setting')} on "
        f"{count_text(datasets, 'data set')}, {repeats_text(repeats.tolist())} each"
    )
    note = (
        f"Each measure: {AREAS[area]}, in points of 0.01. ±: half of a 95 % interval over repeats. Gain over random in "
        "the same setting and repeat."
    )
    if repeats.nunique() > 1:
        note += " Measures: over the strategy's own repeats; gains: over those that random has, too."
    summary = {
        "measure": measure,
        "area": area,
        "settings": rows.astype(object).where(rows.notna(), None).to_dict("records"),
        "verdict": sentences,
        "figures": [f"{stem}.png" for stem in figures],
    }
    table = pd.concat([block.assign(setting=name) for name, block in blocks.items()])
    tables = [
        Table("settings", rows, _shown(rows, list(columns)), note=note, groups=list(rows["setting"])),
        Table("curves", table[["setting", *table.columns.drop("setting")]]),
    ]
    return Report(title, "settings", tables, sentences, figures, summary, config)


def asked_in_settings(question: Question, settings: Sequence[str], strategies: Sequence[str]) -> Question:
    """Return the question with the names that strategies have in settings.

    A pair of strategies is asked in each setting. A pair may also name both with their settings, "clean: margin"; the
    groups of a pair must. In groups, "{setting}: margin" stands for every setting, and {other} for every other one.

    Raises:
        AlmetaError: for a name that nobody has.
    """
    known = [f"{setting}{BETWEEN}{strategy}" for setting in settings for strategy in strategies]

    def in_settings(pairs: Sequence[AskedPair]) -> list[AskedPair]:
        found: list[AskedPair] = []
        for pair in pairs:
            if not isinstance(pair, Mapping) and all(name in strategies for name in pair):
                found += [[f"{setting}{BETWEEN}{name}" for name in pair] for setting in settings]
                continue
            if isinstance(pair, Mapping):
                groups = {group: _in_all_settings(pair[group], settings) for group in ("first", "second")}
                pair = {"says": pair["says"], **groups}
            for name in named_in(pair):
                if name not in known:
                    raise unknown_in_question(name, [*known, *strategies])
            found.append(pair)
        return found

    measures = {name: in_settings(pairs) for name, pairs in question.measures.items()}
    return dataclasses.replace(question, pairs=in_settings(question.pairs), measures=measures)


def _in_all_settings(names: Sequence[str], settings: Sequence[str]) -> list[str]:
    """Return names with every setting in place of {setting} and every other one in place of {other}, each name once."""
    filled = [
        name.replace("{setting}", setting).replace("{other}", other)
        for name in names
        for setting in settings
        for other in settings
        if other != setting or "{other}" not in name
    ]
    return list(dict.fromkeys(filled))


def _areas(blocks: Mapping[str, pd.DataFrame], column: str, area: Area) -> pd.DataFrame:
    """Return the areas under the curves of a measure: a row a (data set, repeat), a column a "SETTING: STRATEGY"."""
    parts = [
        curve_areas(split_curves(block, column), area).add_prefix(f"{name}{BETWEEN}") for name, block in blocks.items()
    ]
    return pd.concat(parts, axis=1)


def _of(areas: Mapping[str, pd.DataFrame], dataset: str) -> dict[str, pd.DataFrame]:
    """Return the areas on one data set."""
    return {name: table.loc[[dataset]] for name, table in areas.items()}


def _rows(
    areas: Mapping[str, pd.DataFrame], measure: str, settings: Sequence[str], strategies: Sequence[str]
) -> pd.DataFrame:
    """Return a row for each setting and strategy: `MEASURE`, `MEASURE_interval`, `gain`, `gain_interval`."""
    rows: list[dict[str, Any]] = []
    for setting in settings:
        for strategy in strategies:
            name = f"{setting}{BETWEEN}{strategy}"
            if name not in areas[measure]:
                continue
            row: dict[str, Any] = {"setting": setting, "strategy": strategy}
            for key, table in areas.items():
                row |= _columns(key, mean_interval(repeat_means(table[[name]])[name].dropna().tolist()))
            gain = Estimate(None, None)
            if strategy != RANDOM:
                gain = gain_over_repeats(areas[measure], [name], [f"{setting}{BETWEEN}{RANDOM}"])
            rows.append(row | _columns("gain", gain))
    table = pd.DataFrame(rows)
    return table.astype(dict.fromkeys(table.columns.drop(["setting", "strategy"]), float))


def _columns(name: str, estimate: Estimate) -> dict[str, float | None]:
    return {name: estimate.mean, f"{name}_interval": estimate.half_width}


def _shown(rows: pd.DataFrame, measures: Sequence[str]) -> pd.DataFrame:
    """Return the rows as text."""
    shown = {"setting": list(rows["setting"]), "strategy": list(rows["strategy"])}
    headings = {name: name.replace("_", " ") for name in measures} | {"gain": "gain over\nrandom"}
    for name, heading in headings.items():
        sign = "+" if name == "gain" else ""
        cells = zip(rows[name], rows[f"{name}_interval"], strict=True)
        shown[heading] = [_cell(mean, half, sign) for mean, half in cells]
    return pd.DataFrame(shown)


def _cell(mean: float, half: float, sign: str) -> str:
    """Return points with their half-width; "–" for nothing."""
    if pd.isna(mean):
        return "–"
    text = f"{round(100 * mean, 2) + 0.0:{sign}.2f}"
    return text if pd.isna(half) else f"{text} ± {100 * half:.2f}"
