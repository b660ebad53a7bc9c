"""Figures of a benchmark in several settings."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from almeta.evaluation.comparison import RANDOM
from almeta.evaluation.style import BLACK, dress, legend, looks
from almeta.evaluation.verdict import shorten

_COLUMNS = 3  # most panels side by side


def gain_matrix(rows: pd.DataFrame) -> Figure | None:
    """Draw the gain over random as a table of colours, in points: a row for each strategy, a column for each setting.

    Bold numbers have a 95 % interval without 0. None if only random plays.

    Args:
        rows: columns `setting`, `strategy`, `gain` and `gain_interval`.
    """
    settings, strategies = (list(rows[key].unique()) for key in ("setting", "strategy"))
    strategies = [name for name in strategies if name != RANDOM]
    if not strategies:
        return None
    tables = (rows.pivot(index="strategy", columns="setting", values=key) for key in ("gain", "gain_interval"))
    gains, widths = (100 * table.loc[strategies, settings].to_numpy(float) for table in tables)
    limit = max(1e-9, float(np.nanmax(np.abs(gains))))
    figure = Figure(figsize=(3.6 + 0.85 * len(settings), 1.5 + 0.4 * len(strategies)), layout="constrained")
    axis = figure.subplots()
    axis.imshow(gains, cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto")
    for (row, column), gain in np.ndenumerate(gains):
        colour = "white" if abs(gain) > 0.6 * limit else BLACK
        weight = "bold" if abs(gain) > widths[row, column] else "normal"
        axis.text(column, row, f"{gain:+.1f}", ha="center", va="center", fontsize=8, color=colour, weight=weight)
    axis.set_yticks(range(len(strategies)), [shorten(name, 44) for name in strategies], fontsize=8)
    axis.set_xticks(range(len(settings)), settings, fontsize=8, rotation=30, ha="right", rotation_mode="anchor")
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    axis.set_title("Gain over random, points. Bold: 95 % interval without 0.", fontsize=9, loc="left")
    return figure


def measures_over_settings(tables: Mapping[str, pd.DataFrame], measures: Sequence[str]) -> Figure:
    """Draw each measure in each setting, and the gain over random, with 95 % intervals; a line for each strategy.

    Args:
        tables: by what the panels are about, or "": columns `setting`, `strategy`, and of each measure and of `gain`
            `NAME` and `NAME_interval`; settings are drawn in their order.
        measures: names of the measures.
    """
    first = next(iter(tables.values()))
    strategies = list(first["strategy"].unique())
    panels = [*measures, "gain"] if strategies != [RANDOM] else list(measures)
    lines = math.ceil(len(panels) / _COLUMNS)  # of each table
    columns = math.ceil(len(panels) / lines)
    width = max(4.4, 1.2 + 0.7 * first["setting"].nunique())
    figure = Figure(figsize=(width * columns, 0.6 + 3.6 * lines * len(tables)), layout="constrained")
    grid = figure.subplots(lines * len(tables), columns, squeeze=False).reshape(len(tables), lines * columns)
    for axes, (name, rows) in zip(grid, tables.items(), strict=True):
        _draw_panels(axes, rows, panels)
        axes[0].set_title(name, loc="left")
        for axis in axes[len(panels) :]:
            axis.set_visible(False)
    legend(figure, grid.flat, loc="outside lower center", ncols=min(4, len(strategies)))
    return figure


def _draw_panels(axes: Iterable[Axes], rows: pd.DataFrame, panels: Sequence[str]) -> None:
    settings, strategies = list(rows["setting"].unique()), list(rows["strategy"].unique())
    styles = looks(strategies)
    for axis, measure in zip(axes, panels, strict=False):
        dress(axis)
        for place, strategy in enumerate(strategies):
            if measure == "gain" and strategy == RANDOM:
                axis.axhline(0, color=styles[strategy]["color"], linewidth=1)
                continue
            shift = 0.3 * ((place + 0.5) / len(strategies) - 0.5)  # so that intervals do not cover each other
            of_strategy = rows[rows["strategy"] == strategy].set_index("setting").reindex(settings)
            means, widths = of_strategy[measure].astype(float), of_strategy[f"{measure}_interval"].astype(float)
            places = np.arange(len(settings)) + shift
            axis.errorbar(
                places,
                100 * means,
                100 * widths.fillna(0),
                capsize=2,
                linewidth=1.2,
                label=strategy,
                **styles[strategy],
            )
        _name_settings(axis, settings)
        axis.set_ylabel(f"{'gain over random' if measure == 'gain' else measure.replace('_', ' ')}, points")


def _name_settings(axis: Axes, settings: Sequence[str]) -> None:
    axis.set_xticks(range(len(settings)), settings)
    if max(map(len, settings)) * len(settings) > 36:
        for label in axis.get_xticklabels():
            label.set(rotation=25, ha="right", rotation_mode="anchor")
    axis.set_xlim(-0.5, len(settings) - 0.5)
