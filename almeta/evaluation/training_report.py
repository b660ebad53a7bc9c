"""Figures of the training on pools and on streams, drawn from the lines of `metrics.jsonl`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter, StrMethodFormatter

from almeta.evaluation import published as paper
from almeta.evaluation.statistics import mean_interval
from almeta.evaluation.stream_tables import Summary
from almeta.evaluation.style import BLACK, BLUE, GREY, ORANGE, RED, SKY, dress, legend, looks

INSTANCES = {1: ("1st", RED), 2: ("2nd", ORANGE), 5: ("5th", SKY), 10: ("10th", BLUE)}
CLASSES = ("train", "test")
PANELS = {"request_rate": "label requested", "accuracy": "predicted correctly"}

Metrics = Sequence[Mapping[str, Any]]


def gain_over_training(metrics: Metrics, reference: str) -> Figure:
    """Draw the gain of a policy of pools over a strategy during its training.

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
    names = {"train": "training tasks", "test": "data sets never trained on"}
    for lines, style in _by_part(evaluations, looks(["policy"])["policy"], names):
        axis.plot([line["batch"] for line in lines], [100 * line["gain"] for line in lines], **style)
    axis.axhline(0.0, color=GREY, linewidth=1)
    axis.set(ylabel=f"gain over {reference}, points of mean score", xlim=(0, None))
    _count_batches(axis)
    legend(figure, [axis], loc="outside lower center", ncols=2)
    return figure


def learning_curve(metrics: Metrics, baselines: Mapping[str, Summary] | None = None, policy: str = "policy") -> Figure:
    """Draw the mean return over training on training and on test classes, with baselines as horizontal lines.

    Args:
        metrics: as for `instances_over_training`.
        baselines: summaries on test classes, by label.
        policy: label of the agent.

    Raises:
        ValueError: if there is no evaluation line.
    """
    evaluations = _evaluations(metrics)
    figure = Figure(figsize=(9.6, 4.6), layout="constrained")
    axis = figure.subplots()
    dress(axis)
    styles = looks([policy, *(baselines or {})])
    last = evaluations[-1]["batch"]
    names = {"train": f"{policy}, training classes", "test": f"{policy}, test classes"}
    for lines, style in _by_part(evaluations, styles[policy], names):
        batches, returns = [line["batch"] for line in lines], np.array([line["mean_return"] for line in lines])
        axis.plot(batches, returns, **style, zorder=3)
        widths = np.array([line["intervals"]["mean_return"] or 0.0 for line in lines])
        axis.fill_between(batches, returns - widths, returns + widths, color=style["color"], alpha=0.15, linewidth=0)
    for label, summary in sorted((baselines or {}).items(), key=lambda item: -item[1]["mean_return"]):
        height = summary["mean_return"]
        axis.plot([0, last or 1], [height] * 2, **styles[label], label=f"{label}: {height:.1f}")
    axis.set(ylabel="mean return of an episode", xlim=(0, None))
    _count_batches(axis)
    legend(figure, [axis], loc="outside right upper")
    return figure


def learning_curves(runs: Mapping[str, Sequence[Metrics]]) -> Figure:
    """Draw the mean return on test classes over the training of several settings.

    Args:
        runs: by setting, the lines of `metrics.jsonl` of its runs, one for each seed. The curve is their mean, with a
            95 % interval over seeds if there are several; batches that not all of them have reached are left out.

    Raises:
        ValueError: if no run has an evaluation on test classes.
    """
    figure = Figure(figsize=(9.6, 4.6), layout="constrained")
    axis = figure.subplots()
    dress(axis)
    styles = looks(runs)
    for label, several in runs.items():
        returns = [{line["batch"]: line["mean_return"] for line in _on_test_classes(metrics)} for metrics in several]
        batches = sorted(set.intersection(*map(set, returns)))
        estimates = [mean_interval([one[batch] for one in returns]) for batch in batches]
        means = np.array([one.mean for one in estimates])
        widths = np.array([one.half_width or 0.0 for one in estimates])
        style = styles[label] | {"markevery": max(1, len(batches) // 12)}
        axis.plot(batches, means, **style, label=label, zorder=3)
        axis.fill_between(batches, means - widths, means + widths, color=style["color"], alpha=0.15, linewidth=0)
    axis.set(ylabel="mean return, test classes", xlim=(0, None))
    _count_batches(axis)
    legend(figure, [axis], loc="outside right upper")
    return figure


def instances_over_training(metrics: Metrics, published: bool = True) -> Figure:
    """Draw requests and correct predictions of the 1st, 2nd, 5th and 10th instance of a class over training.

    The panels are those of Figure 2 of Woodward & Finn: training classes on the left, test classes on the right,
    requests above, correct predictions below.

    Args:
        metrics: lines of `metrics.jsonl`. Those of `kind` "evaluation" are drawn; they hold `batch`, `classes`
            ("train" or "test") and a summary (`StreamMeasures.summary`).
        published: whether to draw the known values of Figure 2, too. Values of later batches than the last one of the
            run are drawn at the right edge.

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


def _on_test_classes(metrics: Metrics) -> list[Mapping[str, Any]]:
    return [line for line in _evaluations(metrics) if line["classes"] == "test"]


def _count_batches(axis: Axes) -> None:
    axis.set_xlabel("training batches")
    axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axis.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def _by_part(
    evaluations: Metrics, look: dict[str, Any], names: Mapping[str, str]
) -> Iterator[tuple[Metrics, dict[str, Any]]]:
    """Yield the evaluations of each part in `names` and the style of its curve, which is paler on the training part."""
    pale = {"alpha": 0.45, "linewidth": 1, "markerfacecolor": "white"}
    for part, name in names.items():
        lines = [line for line in evaluations if line["classes"] == part]
        style = look | (pale if part == "train" else {})
        yield lines, style | {"label": name, "markevery": max(1, len(lines) // 12)}  # some 12 markers


def _instance_rate(line: Mapping[str, Any], instance: int, measure: str) -> float:
    """Return the rate at one instance; NaN, a gap in the curve, if it is unknown."""
    rates = (row[measure] for row in line["by_instance"] if row["instance"] == instance)
    rate = next(rates, None)
    return float("nan") if rate is None else rate


def _published_instances(axis: Axes, measure: str, classes: str, last: int) -> None:
    points = [point for point in paper.FIGURE_2 if point.classes == classes]
    batch = points[0].batch
    style: dict[str, Any] = {"marker": "o" if batch <= last else ">", "markersize": 7, "linestyle": ""}
    style |= {"markeredgecolor": BLACK, "zorder": 4}
    for point in points:
        if (rate := getattr(point, measure)) is not None:
            colour = INSTANCES[point.instance][1]
            axis.plot(min(batch, last), rate, markerfacecolor=colour, clip_on=False, **style)
    label = f"published, batch {batch:,}" + ("" if batch <= last else " (beyond the edge)")
    axis.plot([], [], markerfacecolor="white", label=label, **style)
    if measure == "request_rate" and classes == "train":
        level = [paper.PLATEAU_REQUEST_RATE] * 2
        label = "published plateau, then switch (shaded)"
        axis.plot([0, paper.PLATEAU_END], level, color=GREY, linewidth=5, alpha=0.5, zorder=1, label=label)
        axis.axvspan(*paper.SWITCH, color=GREY, alpha=0.2, linewidth=0)
