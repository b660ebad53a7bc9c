"""Figures of one-shot streams, as PNG files: Figures 2 and 3 of Woodward & Finn (2017), and two of our own.

Drawn with matplotlib's objects alone, so that no window, no global figure and no display is needed.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter, StrMethodFormatter

from almeta.evaluation import published as paper
from almeta.evaluation.tables import Summary
from almeta.files import write_atomically

# The palette of Okabe & Ito, told apart with any colour vision.
BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PINK, SKY, BLACK = "#CC79A7", "#56B4E9", "#000000"
CYCLE = (BLUE, RED, GREEN, ORANGE, PINK, SKY, BLACK)
GREY = "#8A8A8A"
INSTANCES = {1: ("1st", RED), 2: ("2nd", ORANGE), 5: ("5th", SKY), 10: ("10th", BLUE)}
CLASSES = ("train", "test")
PANELS = {"request_rate": "label requested", "accuracy": "predicted correctly"}
SOURCE = "Woodward & Finn 2017"

Metrics = Sequence[Mapping[str, Any]]


def instances_over_training(metrics: Metrics, path: Path | str, published: bool = True) -> Path:
    """Requests and correct predictions of the 1st, 2nd, 5th and 10th instance of a class over training.

    The form of Figure 2 of Woodward & Finn: training classes on the left, test classes on the right, requests
    above, correct predictions below.

    Args:
        metrics: lines of ``metrics.jsonl``; used are those of ``kind`` "evaluation", with ``batch``,
        ``classes``
            ("train" or "test") and a summary (:meth:`StreamMeasures.summary`).
        path: the PNG file.
        published: also the published values of Figure 2 that are known. A value from a later batch than the
        run has
            reached stands at the right edge.

    Returns:
        The path.

    Raises:
        ValueError: if there is no evaluation line.
        AlmetaError: if the file cannot be written.
    """
    evaluations = _evaluations(metrics)
    last = max(line["batch"] for line in evaluations)
    figure = Figure(figsize=(9.5, 6.6))
    figure.set_layout_engine("constrained", w_pad=0.12)
    grid = figure.subplots(2, 2, sharex=True, sharey=True)
    for axis, (measure, classes) in zip(grid.flat, [(m, c) for m in PANELS for c in CLASSES], strict=True):
        _style(axis)
        lines = [line for line in evaluations if line["classes"] == classes]
        for instance, (name, colour) in INSTANCES.items():
            rates = [_instance_rate(line, instance, measure) for line in lines]
            axis.plot(
                [line["batch"] for line in lines],
                rates,
                ".-",
                color=colour,
                markersize=4,
                label=f"{name} instance",
            )
        if published:
            _published_instances(axis, measure, classes, last)
        axis.set(xlim=(0, last or 1), ylim=(-0.03, 1.03))
        axis.yaxis.set_major_formatter(PercentFormatter(1.0))
        axis.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    for axis, classes in zip(grid[0], CLASSES, strict=True):
        axis.set_title(f"{'training' if classes == 'train' else 'test'} classes")
    for axis, name in zip(grid[:, 0], PANELS.values(), strict=True):
        axis.set_ylabel(f"instances {name}")
    for axis in grid[1]:
        axis.set_xlabel("training batches")
    source = f"published: known values of Figure 2 of {SOURCE}" if published else None
    _legend(figure, grid.flat, loc="outside lower center", ncols=4, fontsize="small", title=source)
    return _save(figure, path)


def requests_along_script(results: Sequence[Mapping[str, Any]], path: Path | str, published: bool = True) -> Path:
    """Request rate along scripted episodes: it must follow novelty, not the clock (Figure 3 of Woodward &
    Finn).

    Args:
        results: one mapping a script: ``script``, a letter a step, equal letters for images of one class
            ("AAAAAB"), and ``request_rates``, as many numbers in [0, 1].
        path: the PNG file.
        published: also the published values of the same scripts.

    Returns:
        The path.

    Raises:
        ValueError: if there is no script, or one of another length than its rates.
        AlmetaError: if the file cannot be written.
    """
    if not results:
        raise ValueError("no scripted episodes to draw")
    widths = [len(result["script"]) for result in results]
    figure = Figure(figsize=(max(6.0, 1.5 + 0.42 * sum(widths)), 4.2), layout="constrained")
    grid = figure.subplots(1, len(results), sharey=True, squeeze=False, width_ratios=widths)
    for axis, result in zip(grid[0], results, strict=True):
        _style(axis)
        _script(axis, result["script"], result["request_rates"], published)
    grid[0, 0].set_ylabel("episodes that request the label")
    grid[0, 0].yaxis.set_major_formatter(PercentFormatter(1.0))
    _legend(figure, grid.flat, loc="outside lower center", ncols=2 if len(results) == 1 else 3)
    return _save(figure, path)


def accuracy_against_requests(
    points: Mapping[str, Summary | Sequence[Summary]],
    path: Path | str,
    published: bool = True,
    baselines: Mapping[str, Summary | Sequence[Summary]] | None = None,
) -> Path:
    """Accuracy over predictions against request rate: up and to the left is better.

    Args:
        points: label to a summary (:meth:`StreamMeasures.summary`), drawn as a point with its 95 % intervals,
        or to
            several in order (one policy at several thresholds), drawn as a curve.
        path: the PNG file.
        published: also the rows of Table 1 of Woodward & Finn.
        baselines: the same as ``points``, drawn with squares.

    Returns:
        The path.

    Raises:
        AlmetaError: if the file cannot be written.
    """
    figure = Figure(figsize=(9.6, 5.2), layout="constrained")
    axis = figure.subplots()
    _style(axis)
    if published:
        _published_table(axis)
    marked = [(label, item, "o") for label, item in points.items()]
    marked += [(label, item, "s") for label, item in (baselines or {}).items()]
    for index, (label, item, marker) in enumerate(marked):
        _tradeoff(axis, label, item, marker, CYCLE[index % len(CYCLE)])
    axis.set(xlabel="steps with a request", ylabel="predictions that are correct", xlim=(-0.03, 1.03))
    axis.set_ylim(top=1.02)
    axis.xaxis.set_major_formatter(PercentFormatter(1.0))
    axis.yaxis.set_major_formatter(PercentFormatter(1.0))
    _legend(figure, [axis], loc="outside right upper")
    return _save(figure, path)


def learning_curve(metrics: Metrics, path: Path | str, baselines: Mapping[str, Summary] | None = None) -> Path:
    """Mean return over training on training and on test classes, with baselines as horizontal lines.

    Args:
        metrics: as for :func:`instances_over_training`.
        path: the PNG file.
        baselines: label to a summary on test classes.

    Returns:
        The path.

    Raises:
        ValueError: if there is no evaluation line.
        AlmetaError: if the file cannot be written.
    """
    evaluations = _evaluations(metrics)
    figure = Figure(figsize=(9.6, 4.6), layout="constrained")
    axis = figure.subplots()
    _style(axis)
    for classes, name, colour in (("train", "training classes", ORANGE), ("test", "test classes", BLUE)):
        lines = [line for line in evaluations if line["classes"] == classes]
        batches, returns = (
            [line["batch"] for line in lines],
            np.array([line["mean_return"] for line in lines]),
        )
        axis.plot(batches, returns, ".-", color=colour, markersize=4, label=name, zorder=3)
        widths = np.array([line["intervals"]["mean_return"] or 0.0 for line in lines])
        axis.fill_between(batches, returns - widths, returns + widths, color=colour, alpha=0.2, linewidth=0)
    styles = ("--", "-.", ":", (0, (6, 2, 1, 2, 1, 2)), (0, (1, 3)))
    ranked = sorted((baselines or {}).items(), key=lambda item: -item[1]["mean_return"])
    for index, (label, summary) in enumerate(ranked):
        height = summary["mean_return"]
        axis.axhline(height, color=GREY, linestyle=styles[index % len(styles)], label=f"{label}: {height:.1f}")
    axis.set(xlabel="training batches", ylabel="mean return of an episode", xlim=(0, None))
    axis.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    _legend(figure, [axis], loc="outside right upper")
    return _save(figure, path)


def gain_over_training(metrics: Metrics, path: Path | str, reference: str) -> Path:
    """A query policy's gain over a strategy during training, on training and on held-out data sets.

    Args:
        metrics: lines of ``metrics.jsonl`` of a run on pools.
        path: the PNG file.
        reference: the strategy.

    Returns:
        The path.

    Raises:
        ValueError: if there is no evaluation line.
        AlmetaError: if the file cannot be written.
    """
    evaluations = _evaluations(metrics)
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axis = figure.subplots()
    _style(axis)
    for part, name, colour in (("train", "training tasks", ORANGE), ("test", "data sets never trained on", BLUE)):
        lines = [line for line in evaluations if line["classes"] == part]
        gains = [100 * line["gain"] for line in lines]
        axis.plot([line["batch"] for line in lines], gains, ".-", color=colour, markersize=4, label=name)
    axis.axhline(0.0, color=GREY, linewidth=1)
    axis.set(xlabel="training batches", ylabel=f"gain over {reference}, points of mean score", xlim=(0, None))
    axis.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    _legend(figure, [axis], loc="outside lower center", ncols=2)
    return _save(figure, path)


def _evaluations(metrics: Metrics) -> list[Mapping[str, Any]]:
    evaluations = sorted((line for line in metrics if line["kind"] == "evaluation"), key=lambda line: line["batch"])
    if not evaluations:
        raise ValueError("no evaluation to draw: metrics holds no line of kind 'evaluation'")
    return evaluations


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


def _script(axis: Axes, script: str, rates: Sequence[float], published: bool) -> None:
    if len(script) != len(rates):
        raise ValueError(f"script {script!r} has {len(script)} steps, its request rates are {len(rates)}")
    steps = np.arange(1, len(script) + 1)
    is_new = np.array([letter not in script[:i] for i, letter in enumerate(script)])
    heights = np.asarray(rates)
    axis.bar(steps[is_new], heights[is_new], color=RED, width=0.75, label="class not seen before")
    axis.bar(steps[~is_new], heights[~is_new], color=SKY, width=0.75, label="class seen before")
    known = paper.FIGURE_3.get(script, {}) if published else {}
    if known:
        style: dict[str, Any] = {"markerfacecolor": "white", "markeredgecolor": BLACK, "markersize": 7}
        axis.plot(list(known), list(known.values()), "D", label=f"published: {SOURCE}, Figure 3", **style)
    axis.set_xticks(steps, [f"{letter}\n{step}" for letter, step in zip(script, steps, strict=True)])
    axis.set_xlabel("class and step")
    axis.grid(visible=False, axis="x")
    axis.set(xlim=(0.4, len(script) + 0.6), ylim=(0, 1.03))


def _published_table(axis: Axes) -> None:
    supervised, *rows = paper.TABLE_1
    style: dict[str, Any] = {"color": GREY, "markerfacecolor": "white", "markeredgecolor": GREY}
    rates, accuracies = [row.request_rate for row in rows], [row.prediction_accuracy for row in rows]
    axis.plot(rates, accuracies, "D-", markersize=7, zorder=2, label=f"published RL, {SOURCE}", **style)
    place, label = (
        (supervised.request_rate, supervised.prediction_accuracy),
        f"published supervised, {SOURCE}",
    )
    axis.plot(*place, "*", markersize=11, label=label, **style)
    for row in rows:
        text = row.label.removeprefix("RL (").removesuffix(")")
        place = (row.request_rate, row.prediction_accuracy)
        axis.annotate(text, place, xytext=(6, -11), textcoords="offset points", color=GREY, fontsize="small")


def _tradeoff(axis: Axes, label: str, item: Summary | Sequence[Summary], marker: str, colour: str) -> None:
    summaries = [item] if isinstance(item, Mapping) else list(item)
    shown = [summary for summary in summaries if summary["prediction_accuracy"] is not None]
    if not shown:
        axis.plot([], [], marker, color=colour, markerfacecolor="none", label=f"{label} (never predicts)")
        return
    rates = [summary["request_rate"] for summary in shown]
    accuracies = [summary["prediction_accuracy"] for summary in shown]
    style: dict[str, Any] = {
        "color": colour,
        "label": label,
        "markersize": 7 if len(shown) == 1 else 4,
        "zorder": 3,
    }
    if len(shown) > 1:
        axis.plot(rates, accuracies, f"{marker}-", **style)
        return
    across, up = (shown[0]["intervals"][name] or 0.0 for name in ("request_rate", "prediction_accuracy"))
    axis.plot(rates, accuracies, marker, **style)
    axis.errorbar(rates, accuracies, xerr=across, yerr=up, fmt="none", ecolor=colour, capsize=2)


def _style(axis: Axes) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(color="0.9", linewidth=0.8)
    axis.set_axisbelow(True)


def _legend(figure: Figure, axes: Iterable[Axes], **place: Any) -> None:
    """One legend beside all panels, with each label once and the published ones last."""
    pairs = [pair for axis in axes for pair in zip(*axis.get_legend_handles_labels(), strict=True)]
    handles = {label: handle for handle, label in pairs}
    labels = sorted(handles, key=lambda label: label.startswith("published"))
    figure.legend([handles[label] for label in labels], labels, frameon=False, title_fontsize="small", **place)


def _save(figure: Figure, path: Path | str) -> Path:
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=150, format="png")
    write_atomically(Path(path), buffer.getvalue())
    return Path(path)
