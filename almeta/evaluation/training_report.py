"""Figures over training, from the lines of `metrics.jsonl`, of pools and of streams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter, StrMethodFormatter

from almeta.evaluation import published as paper
from almeta.evaluation.stream_tables import Summary
from almeta.evaluation.style import BLACK, BLUE, GREY, ORANGE, RED, SKY, dress, legend, looks

INSTANCES = {1: ("1st", RED), 2: ("2nd", ORANGE), 5: ("5th", SKY), 10: ("10th", BLUE)}
CLASSES = ("train", "test")
PANELS = {"request_rate": "label requested", "accuracy": "predicted correctly"}

Metrics = Sequence[Mapping[str, Any]]


def gain_over_training(metrics: Metrics, reference: str) -> Figure:
    """Draw a policy's gain over a strategy during its training, on training and on held-out data sets of pools.

    Args:
        metrics: lines of `metrics.jsonl`. Those of `kind` "evaluation" are drawn; they hold `batch`, `classes`
            ("train" or "test") and `gain`, in units of the score.
        reference: the strategy.

    Raises:
        ValueError: if there is no evaluation line.
    """
    evaluations = _evaluations(metrics)
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axis = figure.subplots()
    dress(axis)
    own = looks(["policy"])["policy"]
    for part, name, style in (
        ("train", "training tasks", _on_training(own)),
        ("test", "data sets never trained on", own),
    ):
        lines = [line for line in evaluations if line["classes"] == part]
        gains = [100 * line["gain"] for line in lines]
        axis.plot([line["batch"] for line in lines], gains, **style, markevery=_between(lines), label=name)
    axis.axhline(0.0, color=GREY, linewidth=1)
    axis.set(ylabel=f"gain over {reference}, points of mean score", xlim=(0, None))
    _count_batches(axis)
    legend(figure, [axis], loc="outside lower center", ncols=2)
    return figure


def learning_curve(metrics: Metrics, baselines: Mapping[str, Summary] | None = None, policy: str = "policy") -> Figure:
    """Draw the mean return over training on training and on test classes, with baselines as horizontal lines.

    Args:
        metrics: as for `instances_over_training`.
        baselines: label to a summary on test classes.
        policy: the label of the one that is trained.

    Raises:
        ValueError: if there is no evaluation line.
    """
    evaluations = _evaluations(metrics)
    figure = Figure(figsize=(9.6, 4.6), layout="constrained")
    axis = figure.subplots()
    dress(axis)
    styles = looks([policy, *(baselines or {})])
    own, last = styles[policy], evaluations[-1]["batch"]
    for classes, name, style in (("train", "training classes", _on_training(own)), ("test", "test classes", own)):
        lines = [line for line in evaluations if line["classes"] == classes]
        batches, returns = [line["batch"] for line in lines], np.array([line["mean_return"] for line in lines])
        axis.plot(batches, returns, **style, markevery=_between(lines), label=f"{policy}, {name}", zorder=3)
        widths = np.array([line["intervals"]["mean_return"] or 0.0 for line in lines])
        axis.fill_between(batches, returns - widths, returns + widths, color=style["color"], alpha=0.15, linewidth=0)
    for label, summary in sorted((baselines or {}).items(), key=lambda item: -item[1]["mean_return"]):
        height = summary["mean_return"]
        axis.plot([0, last or 1], [height] * 2, **styles[label], label=f"{label}: {height:.1f}")
    axis.set(ylabel="mean return of an episode", xlim=(0, None))
    _count_batches(axis)
    legend(figure, [axis], loc="outside right upper")
    return figure


def instances_over_training(metrics: Metrics, published: bool = True) -> Figure:
    """Draw requests and correct predictions of the 1st, 2nd, 5th and 10th instance of a class over training.

    The form of Figure 2 of Woodward & Finn: training classes on the left, test classes on the right, requests
    above, correct predictions below.

    Args:
        metrics: lines of `metrics.jsonl`. Those of `kind` "evaluation" are drawn; they hold `batch`, `classes`
            ("train" or "test") and a summary (`StreamMeasures.summary`).
        published: also the published values of Figure 2 that are known. A value from a later batch than the run has
            reached stands at the right edge.

    Raises:
        ValueError: if there is no evaluation line.
    """
    evaluations = _evaluations(metrics)
    last = max(line["batch"] for line in evaluations)
    figure = Figure(figsize=(9.5, 6.6))
    figure.set_layout_engine("constrained", w_pad=0.12)
    grid = figure.subplots(2, 2, sharex=True, sharey=True)
    for axis, (measure, classes) in zip(grid.flat, [(m, c) for m in PANELS for c in CLASSES], strict=True):
        dress(axis)
        lines = [line for line in evaluations if line["classes"] == classes]
        for instance, (name, colour) in INSTANCES.items():
            rates = [_instance_rate(line, instance, measure) for line in lines]
            batches = [line["batch"] for line in lines]
            axis.plot(batches, rates, ".-", color=colour, markersize=4, label=f"{name} instance")
        if published:
            _published_instances(axis, measure, classes, last)
        axis.set(xlim=(0, last or 1), ylim=(-0.03, 1.03))
        axis.yaxis.set_major_formatter(PercentFormatter(1.0))
    for axis, classes in zip(grid[0], CLASSES, strict=True):
        axis.set_title(f"{'training' if classes == 'train' else 'test'} classes")
    for axis, name in zip(grid[:, 0], PANELS.values(), strict=True):
        axis.set_ylabel(f"instances {name}")
    for axis in grid[1]:
        _count_batches(axis)
    source = f"published: known values of Figure 2 of {paper.SOURCE}" if published else None
    legend(figure, grid.flat, loc="outside lower center", ncols=4, fontsize="small", title=source)
    return figure


def _evaluations(metrics: Metrics) -> list[Mapping[str, Any]]:
    evaluations = sorted((line for line in metrics if line["kind"] == "evaluation"), key=lambda line: line["batch"])
    if not evaluations:
        raise ValueError("no evaluation to draw: metrics holds no line of kind 'evaluation'")
    return evaluations


def _count_batches(axis: Axes) -> None:
    axis.set_xlabel("training batches")
    axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axis.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def _between(lines: Sequence[Any]) -> int:
    """Points from one marker to the next: a dozen markers a curve."""
    return max(1, len(lines) // 12)


def _on_training(look: dict[str, Any]) -> dict[str, Any]:
    """The look of a policy on what it is trained on: paler and thinner than where it is judged."""
    return {**look, "alpha": 0.45, "linewidth": 1, "markerfacecolor": "white"}


def _instance_rate(line: Mapping[str, Any], instance: int, measure: str) -> float:
    """The rate at one instance; NaN, a gap in the curve, where none was seen."""
    rates = (row[measure] for row in line["by_instance"] if row["instance"] == instance)
    rate = next(rates, None)
    return float("nan") if rate is None else rate


def _published_instances(axis: Axes, measure: str, classes: str, last: int) -> None:
    points = [point for point in paper.FIGURE_2 if point.classes == classes]
    batch = points[0].batch
    style: dict[str, Any] = {"marker": "o" if batch <= last else ">", "markersize": 7, "linestyle": ""}
    style |= {"markeredgecolor": BLACK, "zorder": 4}
    for point in points:
        rate = getattr(point, measure)
        if rate is not None:
            colour = INSTANCES[point.instance][1]
            axis.plot(min(batch, last), rate, markerfacecolor=colour, clip_on=False, **style)
    label = f"published, batch {batch:,}" + ("" if batch <= last else " (beyond the edge)")
    axis.plot([], [], markerfacecolor="white", label=label, **style)
    if measure == "request_rate" and classes == "train":
        level = [paper.PLATEAU_REQUEST_RATE] * 2
        label = "published plateau, then switch (shaded)"
        axis.plot([0, paper.PLATEAU_END], level, color=GREY, linewidth=5, alpha=0.5, zorder=1, label=label)
        axis.axvspan(*paper.SWITCH, color=GREY, alpha=0.2, linewidth=0)
