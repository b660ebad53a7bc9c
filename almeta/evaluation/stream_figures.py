"""Figures of one-shot streams: Figure 3 of Woodward & Finn (2017), and accuracy against requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from almeta.evaluation import published as paper
from almeta.evaluation.stream_tables import Policies, Summary
from almeta.evaluation.style import BLACK, GREY, RED, SKY, dress, legend, looks


def accuracy_against_requests(
    policies: Policies,
    published: bool = True,
) -> Figure:
    """Draw accuracy over predictions against request rate: up and to the left is better.

    Args:
        policies: by label, a summary (`StreamMeasures.summary`), drawn as a point with its 95 % intervals, or several
            in order (one policy at several thresholds), drawn as a curve.
        published: whether to draw Table 1 of Woodward & Finn, too.
    """
    figure = Figure(figsize=(9.6, 5.2), layout="constrained")
    axis = figure.subplots()
    dress(axis)
    if published:
        _published_table(axis)
    for label, look in looks(policies).items():
        _tradeoff(axis, label, policies[label], look)
    axis.set(xlabel="steps with a request", ylabel="predictions that are correct", xlim=(-0.03, 1.03))
    axis.set_ylim(top=1.02)
    axis.xaxis.set_major_formatter(PercentFormatter(1.0))
    axis.yaxis.set_major_formatter(PercentFormatter(1.0))
    legend(figure, [axis], loc="outside right upper")
    return figure


def requests_along_script(results: Sequence[Mapping[str, Any]], published: bool = True) -> Figure:
    """Draw the request rate along scripted episodes, as Figure 3 of Woodward & Finn: it should rise at new classes.

    Args:
        results: for each script a mapping: `script`, with a letter for each step, the same for images of one class
            ("AAAAAB"), and `request_rates`, a number in [0, 1] for each step.
        published: whether to draw the published values of the same scripts, too.

    Raises:
        ValueError: if there is no script, or one of another length than its rates.
    """
    if not results:
        raise ValueError("no scripted episodes to draw")
    widths = [len(result["script"]) for result in results]
    figure = Figure(figsize=(max(6.0, 1.5 + 0.42 * sum(widths)), 4.2), layout="constrained")
    grid = figure.subplots(1, len(results), sharey=True, squeeze=False, width_ratios=widths)
    for axis, result in zip(grid[0], results, strict=True):
        dress(axis)
        _script(axis, result["script"], result["request_rates"], published)
    grid[0, 0].set_ylabel("episodes that request the label")
    grid[0, 0].yaxis.set_major_formatter(PercentFormatter(1.0))
    legend(figure, grid.flat, loc="outside lower center", ncols=2 if len(results) == 1 else 3)
    return figure


def _script(axis: Axes, script: str, rates: Sequence[float], published: bool) -> None:
    if len(script) != len(rates):
        raise ValueError(f"script {script!r} has {len(script)} steps, its request rates are {len(rates)}")
    steps = np.arange(1, len(script) + 1)
    is_new = np.array([letter not in script[:i] for i, letter in enumerate(script)])
    heights = np.asarray(rates)
    axis.bar(steps[is_new], heights[is_new], color=RED, width=0.75, label="class not seen before")
    axis.bar(steps[~is_new], heights[~is_new], color=SKY, width=0.75, label="class seen before")
    if known := paper.FIGURE_3.get(script) if published else None:
        style: dict[str, Any] = {"markerfacecolor": "white", "markeredgecolor": BLACK, "markersize": 7}
        axis.plot(list(known), list(known.values()), "D", label=f"published: {paper.SOURCE}, Figure 3", **style)
    axis.set_xticks(steps, [f"{letter}\n{step}" for letter, step in zip(script, steps, strict=True)])
    axis.set_xlabel("class and step")
    axis.grid(visible=False, axis="x")
    axis.set(xlim=(0.4, len(script) + 0.6), ylim=(0, 1.03))


def _published_table(axis: Axes) -> None:
    supervised, *rows = paper.TABLE_1
    style: dict[str, Any] = {"color": GREY, "markerfacecolor": "white", "markeredgecolor": GREY}
    for models, marker, size, name in ((rows, "D-", 7, "RL"), ([supervised], "*", 11, "supervised")):
        rates, accuracies = [row.request_rate for row in models], [row.prediction_accuracy for row in models]
        axis.plot(rates, accuracies, marker, markersize=size, label=f"published {name}, {paper.SOURCE}", **style)
    for row in rows:
        text = row.label.removeprefix("RL (").removesuffix(")")
        place = (row.request_rate, row.prediction_accuracy)
        axis.annotate(text, place, xytext=(6, -11), textcoords="offset points", color=GREY, fontsize="small")


def _tradeoff(axis: Axes, label: str, item: Summary | Sequence[Summary], look: dict[str, Any]) -> None:
    summaries = [item] if isinstance(item, Mapping) else list(item)
    shown = [summary for summary in summaries if summary["prediction_accuracy"] is not None]
    if not shown:
        style = {**look, "linestyle": "", "markerfacecolor": "none"}
        axis.plot([], [], **style, label=f"{label} (never predicts)")
        return
    rates = [summary["request_rate"] for summary in shown]
    accuracies = [summary["prediction_accuracy"] for summary in shown]
    if len(shown) > 1:
        axis.plot(rates, accuracies, **look, label=label, markersize=4, zorder=3)
        return
    across, up = (shown[0]["intervals"][name] or 0.0 for name in ("request_rate", "prediction_accuracy"))
    axis.plot(rates, accuracies, **{**look, "linestyle": ""}, label=label, markersize=8, zorder=3)
    axis.errorbar(rates, accuracies, xerr=across, yerr=up, fmt="none", ecolor=look["color"], capsize=2)
