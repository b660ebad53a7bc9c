"""Figures of a benchmark in several settings."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from almeta.evaluation.comparison import RANDOM
from almeta.evaluation.style import dress, legend, looks

_COLUMNS = 3  # panels side by side


def measures_over_settings(rows: pd.DataFrame, measures: Sequence[str]) -> Figure:
    """Draw each measure in each setting, and the gain over random, with 95 % intervals; a line for each strategy.

    Args:
        rows: columns `setting`, `strategy`, and of each measure and of `gain` `NAME` and `NAME_interval`; settings are
            drawn in their order.
        measures: names of the measures.
    """
    settings, strategies = list(rows["setting"].unique()), list(rows["strategy"].unique())
    panels = [*measures, "gain"]
    columns = min(len(panels), _COLUMNS)
    lines = math.ceil(len(panels) / columns)
    size = (max(4.4, 1.2 + 0.7 * len(settings)) * columns, 0.6 + 3.6 * lines)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False).ravel()
    for axis in grid[len(panels) :]:
        axis.set_visible(False)
    styles = looks(strategies)
    for axis, measure in zip(grid, panels, strict=False):
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
    legend(figure, grid[: len(panels)], loc="outside lower center", ncols=min(4, len(strategies)))
    return figure


def _name_settings(axis: Axes, settings: Sequence[str]) -> None:
    axis.set_xticks(range(len(settings)), settings)
    if max(map(len, settings)) * len(settings) > 36:
        axis.tick_params(axis="x", rotation=25)
    axis.set_xlim(-0.5, len(settings) - 0.5)
