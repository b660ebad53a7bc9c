"""Figures of learning curves on pools: the curves, gains over random, ranks, gains by data set.

Margins are computed in inches from the texts, which is many times faster than an automatic layout of many panels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.textpath import TextPath
from matplotlib.ticker import MaxNLocator
from scikit_posthocs import critical_difference_diagram
from scipy.optimize import isotonic_regression

from almeta.evaluation.comparison import RANDOM, Comparison
from almeta.evaluation.curves import Curves, Over
from almeta.evaluation.statistics import half_widths, known_means
from almeta.evaluation.style import BLACK, dress, looks
from almeta.evaluation.verdict import count_text, fewer_repeats, shorten

PANELS_A_PAGE = 20
MOST_ON_A_LINE = 16  # strategies of a rank diagram
CHARACTER = 0.072  # inches, the mean width of one at FONT points
FONT = 9
MARKER = 3.5
SHARES = np.linspace(0, 1, 101)  # of the budget, where data sets have different ones
X_LABELS: dict[Over, str] = {"queries": "labels asked for", "cells": "cells asked for", "money": "money spent"}


Looks = Mapping[str, Mapping[str, Any]]  # of `looks`
Size = tuple[float, float]  # width and height in inches


class Panel(NamedTuple):
    """One panel of curves: means and half-widths of 95 % intervals `[S, Q]` over `x` `[Q]`."""

    title: str
    x: np.ndarray
    means: np.ndarray
    widths: np.ndarray


def learning_curves(blocks: Mapping[str, Curves], measure: str = "accuracy", over: Over = "queries") -> list[Figure]:
    """Draw the learning curves of each data set, their mean over data sets first; a figure for every 20 panels.

    Bands are pointwise 95 % t-intervals over repeats: they show how far a mean may move with other splits of the same
    data sets. Two strategies met the same splits, so that their difference (`gain_curves`) has narrower bands.

    Args:
        blocks: from `split_curves`.
        measure: name of the score.
        over: what the curves are drawn over.
    """
    panels = _panels(blocks)
    if len(panels) > 1:
        together = _on_one_axis(panels)
        widths = np.sqrt(np.square(together.widths).sum(axis=0)) / len(panels)  # repeats of data sets are independent
        panels.insert(0, together._replace(means=together.means.mean(axis=0), widths=widths))
    return _draw_pages(panels, _strategies(blocks), measure, _note(blocks, _over_repeats(blocks)), over)


def learning_curves_of(blocks: Mapping[str, Curves], measure: str = "accuracy", over: Over = "queries") -> list[Figure]:
    """Draw the learning curves of blocks of which no mean is of interest, such as settings; as `learning_curves`."""
    return _draw_pages(_panels(blocks), _strategies(blocks), measure, _note(blocks, _over_repeats(blocks)), over)


def _panels(blocks: Mapping[str, Curves]) -> list[Panel]:
    return [_panel(name, block.queries, block.scores) for name, block in blocks.items()]


def gain_curves(blocks: Mapping[str, Curves], measure: str = "accuracy", over: Over = "queries") -> list[Figure]:
    """Draw the gain over random along the learning curves, in points, its mean over data sets first.

    The gain is that within a repeat. Bands are its pointwise 95 % t-intervals: over repeats for a data set, over data
    sets for their mean. Arguments and pages are those of `learning_curves`; random must be among the strategies.
    """
    random = _strategies(blocks).index(RANDOM)
    gains = {name: 100 * (block.scores - block.scores[random]) for name, block in blocks.items()}
    panels = [_panel(name, block.queries, gains[name]) for name, block in blocks.items()]
    of_bands = _over_repeats(blocks)
    if len(panels) > 1:
        together = _on_one_axis(panels)
        panels.insert(0, together._replace(means=together.means.mean(axis=0), widths=half_widths(together.means)))
        of_bands.append("in the first panel over data sets")
    note = f"Gain over random in the same repeat, in points of {measure}. {_note(blocks, of_bands)}"
    return _draw_pages(panels, _strategies(blocks), "gain, points", note, over)


def rank_diagram(comparison: Comparison) -> Figure:
    """Draw the mean ranks on a line, with bars over strategies that the tests do not tell apart.

    This is the critical-difference diagram of Demšar (JMLR 7, 2006), with Holm-corrected Wilcoxon tests of each pair
    instead of one critical difference. Markers that would cover each other stand side by side. Many strategies are
    drawn as a list, in which only those that are clearly worse than the best are told from the others.

    Raises:
        ValueError: if there is a single strategy.
    """
    names = comparison.strategies
    if len(names) < 2:
        raise ValueError("a rank diagram needs at least two strategies")
    if len(names) > MOST_ON_A_LINE:
        return _rank_list(comparison)
    labels, styles, ranks = list(_labels(names).values()), looks(comparison.areas), comparison.mean_ranks.to_numpy()
    width = max(3.0, 0.7 * (len(names) - 1))
    a_rank = width / (len(names) - 1)  # inches
    places = _side_by_side(ranks, 0.12 / a_rank)
    figure = Figure()
    axis = figure.add_subplot()
    # Strategies are numbered: the diagram keeps them in sets, and the order of texts in a set changes between runs.
    drawn = critical_difference_diagram(
        dict(enumerate(places)),
        pd.DataFrame([[float(not comparison.is_clear(one, two)) for two in names] for one in names]),
        ax=axis,
        color_palette={number: styles[name]["color"] for number, name in enumerate(names)},
        text_h_margin=0.02 * (len(names) - 1),
        label_fmt_left="{label}",
        label_fmt_right="{label}",
        label_props={"fontsize": FONT},
        marker_props={"s": 0},
        elbow_props={"clip_on": False},
        crossbar_props={"marker": "o", "markersize": 4, "linewidth": 3, "color": "0.4", "clip_on": False},
    )
    for place, name in zip(places, names, strict=True):
        marker, colour = styles[name]["marker"], styles[name]["color"]
        axis.plot(place, 0, marker, color=colour, markersize=6, markeredgewidth=0, clip_on=False, zorder=4)
    for text in drawn["labels"]:
        number, is_left = int(text.get_text()), text.get_ha() == "right"
        label, rank = labels[number], f"{ranks[number]:.2f}"
        text.set_text(f"{label}  {rank}" if is_left else f"{rank}  {label}")
        text.set_x(text.get_position()[0] + (-0.05 if is_left else 0.05) / a_rank)  # off the end of its line
    axis.set(xlim=(1, len(names)), xticks=range(1, len(names) + 1))
    half = (len(names) + 1) // 2
    lengths = [0.4 + _inches(f"0.00  {label}") for label in labels]
    left = max(0.5, max(lengths[:half]) - a_rank * (places[0] - 1))
    right = max(0.5, max(lengths[half:]) - a_rank * (len(names) - places[-1]))
    _place(figure, axis, (width, 0.25 * -axis.get_ylim()[0]), (left, right, 0.15, 0.85))
    figure.text(
        (left + width / 2) / figure.get_figwidth(),
        1 - 0.1 / figure.get_figheight(),
        f"{_rank_title(comparison)}\nBars join strategies that no paired test tells apart.",
        ha="center",
        va="top",
        fontsize=FONT,
    )
    return figure


def _rank_list(comparison: Comparison) -> Figure:
    """Draw the mean ranks as a list, the best first; strategies that are clearly worse than the best are hollow."""
    names, ranks = comparison.strategies, comparison.mean_ranks.to_numpy()
    labels = list(_labels(names).values())
    figure = Figure()
    axis = figure.add_subplot()
    for row, (name, rank) in enumerate(zip(names, ranks, strict=True)):
        axis.plot([ranks[0], rank], [row, row], color="0.85", linewidth=1, zorder=1)
        axis.plot(rank, row, "o", color=BLACK, fillstyle="none" if comparison.is_clear(names[0], name) else "full")
        axis.annotate(f"{rank:.2f}", (rank, row), (7, 0), textcoords="offset points", va="center", fontsize=FONT)
    axis.axvline(ranks[0], color="0.85", linewidth=1, zorder=1)
    axis.set_yticks(range(len(names)), labels, fontsize=FONT)
    axis.set(xlim=(1, len(names)), ylim=(len(names) - 0.5, -0.5), xlabel="mean rank")
    axis.set_title(
        f"{_rank_title(comparison)}\nHollow: clearly worse than {labels[0]} by a paired test.",
        fontsize=FONT,
        loc="left",
    )
    dress(axis)
    left = 0.3 + max(map(_inches, labels))
    _place(figure, axis, (6.0, 0.2 * len(names)), (left, 0.5, 0.5, 0.5))
    return figure


def _rank_title(comparison: Comparison) -> str:
    return f"Mean rank over {count_text(len(comparison.units), comparison.unit)}, 1 is best."


def _side_by_side(ranks: np.ndarray, gap: float) -> np.ndarray:
    """Return ascending ranks, moved as little as possible so that neighbours are at least a gap apart."""
    steps = gap * np.arange(len(ranks))
    return isotonic_regression(ranks - steps).x + steps


def gain_map(comparison: Comparison) -> Figure:
    """Draw the gain in AULC over random, in points, as a table of colours: a row per data set, a column per strategy.

    Rows and columns are sorted by mean gain, the largest first; the first row is the mean over data sets. Bold numbers
    are clear by themselves (`Comparison.clear_on`).

    Raises:
        ValueError: if random is the only strategy.
    """
    if len(comparison.strategies) < 2:
        raise ValueError("there is no gain to draw: random is the only strategy")
    gains, bold = _gains(comparison)
    figure = Figure()
    axis = figure.add_subplot()
    limit = max(1e-9, float(np.quantile(gains.abs(), 0.98)))  # an outlier must not make all others pale
    image = axis.imshow(gains, cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto")
    for (row, column), gain in np.ndenumerate(gains.to_numpy()):
        axis.text(
            column,
            row,
            f"{round(gain, 1) + 0.0:+.1f}",
            ha="center",
            va="center",
            fontsize=8,
            color="white" if abs(gain) > 0.6 * limit else BLACK,
            weight="bold" if bold.iloc[row, column] else "normal",
        )
    rows, columns = list(_labels(gains.index).values()), list(_labels(gains).values())
    axis.set_yticks(range(len(rows)), rows, fontsize=FONT)
    axis.set_xticks(range(len(columns)), columns, fontsize=FONT, rotation=40, ha="left", rotation_mode="anchor")
    axis.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0)
    axis.spines[:].set_visible(False)
    if len(rows) > 1:
        axis.axhline(0.5, color="white", linewidth=4)
    width = max(0.62 * len(columns), 2.6)
    cell = width / len(columns)
    lengths = [_inches(label) for label in columns]
    ends = [(place + 0.5) * cell + 0.77 * length for place, length in enumerate(lengths)]  # cosine of 40 degrees
    left = 0.3 + max(map(_inches, rows))
    right = max(0.5, max(ends) - width + 0.2)
    _place(figure, axis, (width, 0.23 * len(rows)), (left, right, 0.95, 0.4 + 0.64 * max(lengths)))
    across, up = figure.get_size_inches()
    bar = figure.add_axes((left / across, 0.7 / up, min(width, 3.2) / across, 0.12 / up))
    beyond = "both" if gains.abs().to_numpy().max() > limit else "neither"
    figure.colorbar(image, cax=bar, orientation="horizontal", extend=beyond)
    bar.tick_params(labelsize=8)
    bar.set_xlabel("gain in AULC over random, points; bold: clear by itself", fontsize=FONT)
    return figure


def _gains(comparison: Comparison) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the gains over random in points, sorted, their mean first; and which of them are clear by themselves."""
    gains = 100 * comparison.gains_over(RANDOM).drop(columns=RANDOM)
    gains = gains[gains.mean().sort_values(ascending=False, kind="stable").index]
    gains = gains.loc[gains.mean(axis=1).sort_values(ascending=False, kind="stable").index]
    is_clear = comparison.clear_on(RANDOM).loc[gains.index, gains.columns] != 0
    if len(gains) == 1:
        return gains, is_clear
    first = f"mean of {len(gains):,} data sets"
    mean = gains.mean().to_frame(first).T
    clear = pd.DataFrame([{name: comparison.is_clear(name, RANDOM) for name in gains}], index=[first])
    return pd.concat([mean, gains]), pd.concat([clear, is_clear])


def _labels(names: Iterable[str]) -> dict[str, str]:
    """Return a short label of each name; the names themselves if two labels would be equal."""
    names = list(names)
    short = {name: _literal(shorten(name, 36)) for name in names}
    return short if len(set(short.values())) == len(names) else {name: _literal(name) for name in names}


def _literal(text: str) -> str:
    """Return what matplotlib shows as `text`: it reads what stands between two dollars as a formula."""
    return text.replace("$", r"\$")


def _inches(text: str) -> float:
    return float(TextPath((0, 0), text, size=FONT).get_extents().x1) / 72


def _panel(name: str, queries: np.ndarray, values: np.ndarray) -> Panel:
    by_repeat = values.swapaxes(0, 1)
    return Panel(name, queries, known_means(by_repeat), half_widths(by_repeat))


def _over_repeats(blocks: Mapping[str, Curves]) -> list[str]:
    return ["over repeats"] if any(len(block.repeats) > 1 for block in blocks.values()) else []


def _note(blocks: Mapping[str, Curves], over: list[str]) -> str:
    """Return what the bands are, and who has played fewer repeats."""
    bands = f"Bands: 95 % interval {', '.join(over)}." if over else "One repeat: no bands."
    played = pd.DataFrame([block.played for block in blocks.values()]).max().to_dict()
    return f"{bands} {fewer_repeats(played)}".strip()


def _on_one_axis(panels: Sequence[Panel]) -> Panel:
    """Return all means and half-widths `[data sets, S, Q]` on one x, under the title of their mean.

    The x are queries, or shares of the budget where data sets have different queries.
    """
    title, x = f"mean of {len(panels):,} data sets", panels[0].x
    if any(not np.array_equal(panel.x, x) for panel in panels):
        title, x = f"mean of {len(panels):,}, by share of the budget", SHARES
        panels = [_by_share(panel) for panel in panels]
    return Panel(title, x, np.stack([panel.means for panel in panels]), np.stack([panel.widths for panel in panels]))


def _by_share(panel: Panel) -> Panel:
    shares = panel.x / max(panel.x[-1], 1)
    means, widths = (np.stack([np.interp(SHARES, shares, line) for line in lines]) for lines in panel[2:])
    return Panel(panel.title, SHARES, means, widths)


def _strategies(blocks: Mapping[str, Curves]) -> list[str]:
    return next(iter(blocks.values())).strategies


def _draw_pages(panels: list[Panel], strategies: list[str], label: str, note: str, over: Over) -> list[Figure]:
    size = math.ceil(len(panels) / math.ceil(len(panels) / PANELS_A_PAGE))  # pages of equal size
    pages = [panels[start : start + size] for start in range(0, len(panels), size)]
    numbers = [f" Page {number} of {len(pages)}." * (len(pages) > 1) for number in range(1, len(pages) + 1)]
    labels = (X_LABELS[over], label)
    return [_draw_page(page, strategies, labels, note + number) for page, number in zip(pages, numbers, strict=True)]


def _draw_page(panels: list[Panel], strategies: list[str], labels: tuple[str, str], note: str) -> Figure:
    columns = min(4, math.ceil(math.sqrt(len(panels))))
    rows = math.ceil(len(panels) / columns)
    width, height = (6.0, 4.0) if len(panels) == 1 else (3.6, 2.5) if len(panels) <= 4 else (2.9, 2.0)
    same_queries = all(np.array_equal(panel.x, panels[0].x) for panel in panels)
    figure, styles = Figure(), looks(strategies)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=same_queries)
    for axis in grid.flat[len(panels) :]:
        axis.set_visible(False)
    for place, (axis, panel) in enumerate(zip(grid.flat, panels, strict=False)):
        _draw_panel(axis, panel, styles, _literal(shorten(panel.title, int(width / CHARACTER))))
        if place % columns == 0:
            axis.set_ylabel(labels[1], fontsize=FONT)
        if place + columns >= len(panels):  # nothing below it
            axis.set_xlabel(labels[0], fontsize=FONT)
            axis.tick_params(labelbottom=True)
    _lay_out(figure, styles, note, (rows, columns), (width, height), gap=0.35 if same_queries else 0.5)
    return figure


def _lay_out(figure: Figure, styles: Looks, note: str, shape: tuple[int, int], panel: Size, gap: float) -> None:
    """Set the size of the page for a grid of panels, with the legend and the note below it; all in inches."""
    (rows, columns), (width, height) = shape, panel
    left, right, top, beside = 0.75, 0.2, 0.35, 0.55
    total = left + columns * width + (columns - 1) * beside + right
    labels = list(_labels(styles).values())
    per_row = max(1, min(len(labels), int((total - 0.2) / (0.9 + max(map(_inches, labels))))))
    bottom = 0.85 + 0.2 * math.ceil(len(labels) / per_row)
    tall = top + rows * height + (rows - 1) * gap + bottom
    figure.set_size_inches(total, tall)
    edges = {"left": left / total, "right": 1 - right / total, "bottom": bottom / tall, "top": 1 - top / tall}
    figure.subplots_adjust(**edges, wspace=beside / width, hspace=gap / height)
    figure.legend(
        [Line2D([], [], linewidth=1.3, markersize=MARKER, **style) for style in styles.values()],
        labels,
        ncols=per_row,
        loc="lower center",
        bbox_to_anchor=(0.5, 0.28 / tall),
        frameon=False,
        fontsize=FONT,
        handlelength=4,
        borderaxespad=0,
        borderpad=0,
    )
    figure.text(0.5, 0.08 / tall, note, ha="center", va="bottom", fontsize=FONT, color="0.35")


def _draw_panel(axis: Axes, panel: Panel, styles: Looks, title: str) -> None:
    dress(axis)
    alpha = min(0.2, 0.7 / len(styles))
    between = max(1, len(panel.x) // 5)  # points from one marker to the next
    for place, (style, means, widths) in enumerate(zip(styles.values(), panel.means, panel.widths, strict=True)):
        shift = place * between // len(styles)  # so that markers of curves that agree do not cover each other
        axis.plot(panel.x, means, linewidth=1.3, markersize=MARKER, markevery=(shift, between), zorder=3, **style)
        axis.fill_between(panel.x, means - widths, means + widths, color=style["color"], alpha=alpha, linewidth=0)
    axis.set_title(title, fontsize=FONT, loc="left")
    axis.tick_params(labelsize=8)
    axis.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10], integer=panel.x[-1] > 1))
    axis.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axis.margins(x=0.02)


def _place(figure: Figure, axis: Axes, size: Size, margins: tuple[float, float, float, float]) -> None:
    """Set the size of the axes and their margins left, right, below and above, in inches; size the figure to fit."""
    (width, height), (left, right, bottom, top) = size, margins
    total, tall = left + width + right, bottom + height + top
    figure.set_size_inches(total, tall)
    axis.set_position((left / total, bottom / tall, width / total, height / tall))
