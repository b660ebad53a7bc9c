"""What every strategy finds useful, and what it picks first, on the same tasks of two features.

Writes a picture for each strategy, NAME.png, and one of all of them, overview.png.
"""

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import rankdata

from almeta.data import load_dataset
from almeta.envs import PoolOptions, PoolSimulation
from almeta.errors import AlmetaError
from almeta.evaluation.style import RED, png
from almeta.learners import make_learner
from almeta.scripts.errors import in_one_line
from almeta.seeding import make_generator
from almeta.strategies import make_strategy, strategy_names
from almeta.training.rollout import greedy, play

TASKS = ("blobs", "moons", "checkerboard")
ROWS, PICKS = 200, 8
# The learner of a strategy is the first of these that can do what the strategy needs.
LEARNERS = ("logistic_regression", "mlp")
MARKERS = "os^D"


@dataclass(frozen=True)
class Look:
    """One strategy on one task.

    Attributes:
        x: `[N, 2]`, the rows.
        y: `[N]`, their classes, which the strategy does not see.
        utilities: `[N]`, before the first pick; -inf for rows with a label.
        picks: `[P]`, the rows picked, in order.
        query_size: picks that were answered together.
    """

    x: np.ndarray
    y: np.ndarray
    utilities: np.ndarray
    picks: list[int]
    query_size: int


@in_one_line
def main() -> None:
    """Read the arguments, play, draw, write; nothing is drawn if there is an unknown strategy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--strategies", nargs="+", default=strategy_names("classes"), help="names (default all of classes)"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/gallery"), help="folder (default runs/gallery)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    learners = {name: suitable_learner(name) for name in options.strategies}
    options.out.mkdir(parents=True, exist_ok=True)
    seen: dict[str, list[Look]] = {}
    for name, learner in learners.items():
        if learner is None:
            print(f"{name}: left out, as none of {', '.join(LEARNERS)} can do what it needs")
            continue
        seen[name] = [look(name, learner, task) for task in TASKS]
        (options.out / f"{name}.png").write_bytes(png(picture(name, learner, seen[name])))
        print(f"{name}, with {learner}", flush=True)
    if not seen:
        print("wrote nothing: there is no strategy to draw")
        return
    (options.out / "overview.png").write_bytes(png(overview(seen)))
    print(f"wrote {len(seen)} pictures and overview.png to {options.out}")


# ---- playing


def simulate(task: str, learner: str, query_size: int = 1) -> PoolSimulation:
    """Return one pool of a task; it is the same for all."""
    options = PoolOptions(pool_size=ROWS, test_share=0.4, budget=PICKS, query_size=query_size)
    data = load_dataset(task, n=round(ROWS / 0.6) + 1)
    return PoolSimulation([data], options, 1, make_generator(0, f"gallery of {task}"), make_learner(learner))


def suitable_learner(strategy: str) -> str | None:
    """Return the first learner that can do what a strategy needs; None if there is none, as for strategies of texts.

    Raises:
        AlmetaError: if there is no such strategy.
    """
    made = make_strategy(strategy)
    for learner in LEARNERS:
        state = simulate(TASKS[0], learner).reset()
        try:
            made.check(state)
        except AlmetaError:
            continue
        return learner
    return None


def look(name: str, learner: str, task: str) -> Look:
    """Play the first picks; those of a strategy that spreads the picks of a query are one query."""
    strategy = make_strategy(name, make_generator(0, f"gallery of {name}"))
    query_size = PICKS if strategy.spreads else 1
    simulation = simulate(task, learner, query_size)
    with torch.no_grad():
        steps = list(play(simulation, strategy, greedy(make_generator(0, "gallery"))))
    state, utilities = steps[0].state, steps[0].outputs.utilities[0]
    picks = [int(step.actions) for step in steps]
    return Look(state.x[0].numpy(), simulation.tasks.y[0].numpy(), utilities.numpy(), picks, query_size)


# ---- drawing


def picture(name: str, learner: str, looks: Sequence[Look]) -> Figure:
    """Draw a strategy on every task."""
    figure = Figure(figsize=(3.6 * len(looks), 4), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, len(looks)))
    for axis, task, one in zip(axes, TASKS, looks, strict=True):
        draw(axis, one, number=True)
        axis.set_title(task, fontsize="medium")
    answers = "answered together" if looks[0].query_size > 1 else "answered one by one"
    figure.suptitle(f"{name}, with {learner}: {len(looks[0].picks)} picks, {answers}")
    figure.supxlabel(
        "light: high utility before the first pick.  Black: the first labels, a shape for each class.", fontsize="small"
    )
    return figure


def overview(seen: dict[str, list[Look]], columns: int = 7) -> Figure:
    """Draw all strategies, a panel for each, on the first task."""
    lines = math.ceil(len(seen) / columns)
    figure = Figure(figsize=(1.75 * columns, 1.85 * lines + 0.3), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for axis in axes[len(seen) :]:
        axis.remove()
    for axis, (name, looks) in zip(axes, seen.items(), strict=False):
        draw(axis, looks[0])
        axis.set_title(name.replace("_", " "), fontsize=8, pad=3)
    return figure


def draw(axis: Axes, one: Look, number: bool = False) -> None:
    """Draw the rows by the rank of their utility, the first labels by class, and the picks."""
    open_rows = np.isfinite(one.utilities)
    scale = 1.0 if number else 0.45
    rank = rankdata(one.utilities[open_rows])  # utilities have no common unit, their order has
    x, y = one.x.T
    axis.scatter(x[open_rows], y[open_rows], 22 * scale, rank, cmap="viridis", vmin=1, vmax=len(x), linewidths=0)
    for row in np.flatnonzero(~open_rows):
        marker = MARKERS[one.y[row] % len(MARKERS)]
        axis.scatter(x[row], y[row], 55 * scale, "black", marker=marker, edgecolors="white", linewidths=0.8)
    rings = {"facecolors": "none", "edgecolors": RED, "linewidths": 1.8 * scale**0.5}
    axis.scatter(x[one.picks], y[one.picks], 90 * scale, **rings)
    if number:
        for count, place in enumerate(one.x[one.picks], 1):
            axis.annotate(str(count), place, (5, 5), textcoords="offset points", fontsize=9, color=RED)
    axis.set(xticks=[], yticks=[])
    axis.set_aspect("equal", "datalim")
    axis.spines[:].set_color("0.8")


if __name__ == "__main__":
    main()
