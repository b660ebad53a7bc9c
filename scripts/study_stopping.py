"""Whether the advice to stop is sound: pools of tables are played, and what is told is compared with the truth.

A strategy chooses the queries; a share of them is drawn at random. After every few labels `almeta.queries.stopping`
says how good the predictions are and whether to stop. What is true is read from the labels of the other rows, which it
does not see. Writes stopping.csv, with a line for each moment, and stopping.png.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from sklearn.linear_model import LogisticRegression
from statsmodels.stats.proportion import proportion_confint
from torch import Tensor

from almeta.data import Dataset, load_dataset
from almeta.data.suites import folds, suite
from almeta.evaluation.statistics import mean_interval
from almeta.evaluation.style import BLUE, GREY, RED, dress, png
from almeta.learners import make_learner
from almeta.policies import find_policy
from almeta.pool import Pool
from almeta.queries.stopping import HORIZON, ROUND, LabelledPool, advise, held_out
from almeta.seeding import make_generator
from almeta.strategies import make_strategy, strategy_names
from almeta.strategies.choosing import best_action
from almeta.tasks import PoolSampler, PoolTaskOptions, PoolTasks

POOL_SIZE, TEST_SHARE, MAX_TEST = 300, 0.4, 1000
# Of a pool; in a small one the last rows would leave next to none to be right or wrong about.
MOST_LABELLED = 0.6
# The constants of `almeta.queries.stopping` were chosen on the first half of the suite.
HALVES = ("tuned", "judged")
METHODS = ("corrected", "naive", "random rows", "weighted")
ENDS = ("", " low", " high")


def main() -> None:
    """Play, write, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suite", default="tables", help="of data sets (default tables)")
    parser.add_argument("--by", default="margin", help="strategy or policy that chooses (default margin)")
    parser.add_argument("--random-share", type=float, default=0.2, help="of the queries (default 0.2)")
    parser.add_argument("--budget", type=int, default=120, help="queries, at most (default 120)")
    parser.add_argument("--repeats", type=int, default=3, help="splits of each data set (default 3)")
    parser.add_argument("--learner", default="logistic_regression", help="default logistic_regression")
    parser.add_argument("--out", type=Path, default=Path("runs/stopping"), help="folder (default runs/stopping)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for half, names in zip(HALVES, folds(suite(options.suite), len(HALVES)), strict=True):
        for name in names:
            rows += [{"half": half, "data set": name} | row for row in study(load_dataset(name), options)]
            print(f"{half}, {name}", flush=True)
    table = pd.DataFrame(rows)
    options.out.mkdir(parents=True, exist_ok=True)
    table.to_csv(options.out / "stopping.csv", index=False)
    for half, part in table.groupby("half"):
        print(f"\n{part['data set'].nunique()} data sets, {half}")
        print(estimates(part).to_string(float_format="%.3f"))
        print(gains(part).to_string(float_format="%.3f"))
        print(summary_of(followed(part)))
    (options.out / "stopping.png").write_bytes(png(draw(table[table.half == HALVES[-1]])))


# ---- playing


def study(dataset: Dataset, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Play a data set, and yield a row for every `ROUND` labels of each repeat."""
    sampler = PoolSampler([dataset], PoolTaskOptions(pool_size=POOL_SIZE, test_share=TEST_SHARE, max_test=MAX_TEST))
    tasks = sampler.draw(options.repeats, make_generator(0, f"stopping {dataset.name}"))
    learner, budget = make_learner(options.learner), min(options.budget, int(MOST_LABELLED * tasks.x.shape[1]))
    picks, was_random = play(dataset, tasks, budget, options)
    for repeat, (x, y, order, random) in enumerate(zip(tasks.x, tasks.y, picks, was_random, strict=True)):
        order, random, classes = order[order >= 0], random[order >= 0], int(tasks.num_classes[repeat])
        sizes = range(len(order) - (len(order) - HORIZON) // ROUND * ROUND, len(order) + 1, ROUND)
        pools = {n: LabelledPool(x, order[:n], y[order[:n]], random[:n], classes, learner) for n in sizes}
        rows = torch.cat((x, tasks.test_x[repeat])), torch.cat((y, tasks.test_y[repeat]))
        hits = {n: right(pool, *rows) for n, pool in pools.items()}
        for n, pool in pools.items():
            row = told(pool, make_generator(repeat, f"stopping {dataset.name} {n}"))
            row |= {"repeat": repeat, "labels": n, "truth": hits[n][pool.unlabelled].mean()}
            if n + HORIZON in pools:
                rest = pools[n + HORIZON].unlabelled
                row["true gain"] = hits[n + HORIZON][rest].mean() - hits[n][rest].mean()
            yield row | {"test accuracy": hits[n][len(x) :].mean()}


def play(dataset: Dataset, tasks: PoolTasks, budget: int, options: argparse.Namespace) -> tuple[Tensor, Tensor]:
    """Return the rows in the order in which they were labelled, and which were drawn at random, `[E, L]`."""
    generator = make_generator(0, f"play {dataset.name}")
    actor: Any = (
        make_strategy(options.by, generator)
        if options.by in strategy_names()
        else find_policy(options.by).on(dataset).make(generator)
    )
    first = tasks.first
    labels = tasks.y.gather(1, first.clamp_min(0)).where(first >= 0, -1)
    parts = (tasks.x, tasks.exists, first, labels, tasks.num_classes)
    pool = Pool(*parts, make_learner(options.learner), budget=budget, generator=generator)
    memory, was_random = actor.initial(len(first)), [torch.zeros_like(first, dtype=torch.bool)]
    for _ in range(budget):
        state = pool.state()
        with torch.no_grad():
            outputs, memory = actor.step(state, memory)
        luck = torch.rand(len(first), 1, generator=generator) < options.random_share
        rows = best_action(outputs.utilities.masked_fill(luck, 0.0), state.available, generator)
        pool.tell(rows, tasks.y.gather(1, rows[:, None])[:, 0])
        was_random.append(luck)
    return pool.state().picks, torch.cat(was_random, 1)


def right(pool: LabelledPool, x: Tensor, y: Tensor) -> np.ndarray:
    """Return whether a learner with all labels of a pool predicts rows `[M, D]` right, `[M]` bool."""
    model = pool.learner.fit(pool.x[None, pool.rows], pool.labels[None], torch.ones(1, len(pool)), pool.num_classes)
    return (model.probabilities(x[None])[0].argmax(-1) == y).numpy()


def told(pool: LabelledPool, generator: torch.Generator) -> dict[str, Any]:
    """Return the advice, and the estimates of the accuracy by other methods."""
    advice = advise(pool, generator=generator)
    estimate, gain = advice.estimate, advice.gain
    row: dict[str, Any] = {"stop": advice.stop, "stability": advice.stability, "sentence": advice.sentence}
    row |= {"gain": gain.accuracy, "gain low": gain.low, "gain high": gain.high}
    if estimate.accuracy is None:
        return row
    known, others = held_out(pool, pool.unlabelled, generator)
    hits, random = (known.argmax(-1) == pool.labels).numpy(), pool.was_random.numpy()
    found = {
        "corrected": (estimate.accuracy, estimate.low, estimate.high),
        "naive": share(hits, np.ones(len(hits))),
        "random rows": share(hits, random.astype(float)),
        "weighted": share(hits, importance(known, others)),
    }
    return row | {f"{name}{end}": value for name, part in found.items() for end, value in zip(ENDS, part, strict=True)}


def share(hits: np.ndarray, weight: np.ndarray) -> tuple[float, float, float]:
    """Return the weighted share of hits with its 95 % interval (Jeffreys), for the effective number of rows."""
    if not weight.any():
        return np.nan, 0.0, 1.0
    mean, rows = float(weight @ hits / weight.sum()), float(weight.sum() ** 2 / (weight @ weight))
    low, high = proportion_confint(mean * rows, rows, method="jeffreys")
    return mean, float(low), float(high)


def importance(known: Tensor, others: Tensor) -> np.ndarray:
    """Return how much likelier the confidence of labelled rows `[L, C]` is among the other rows: a density ratio."""
    margins = torch.cat((known, others)).double().clamp_min(1e-4).log().topk(2, -1).values.diff().numpy()
    is_other = np.arange(len(margins)) >= len(known)
    chance = LogisticRegression().fit(margins, is_other).predict_proba(margins[: len(known)])[:, 1]
    return chance / (1 - chance).clip(1e-9)


# ---- judging


def estimates(table: pd.DataFrame) -> pd.DataFrame:
    """Return how far each estimate of the accuracy is from the truth, and how often its interval has it."""
    found = {}
    for name in METHODS:
        known = table.dropna(subset=[name])
        error, truth = known[name] - known.truth, known.truth
        found[name] = {
            "mean error": error.mean(),
            "mean absolute error": error.abs().mean(),
            "coverage": truth.between(known[f"{name} low"] - 1e-9, known[f"{name} high"] + 1e-9).mean(),
            "width": (known[f"{name} high"] - known[f"{name} low"]).mean(),
        }
    return pd.DataFrame(found).T


def gains(table: pd.DataFrame) -> pd.DataFrame:
    """Return the expected gain beside the true one, by the size of the expected one, with coverage of its interval."""
    known = table.dropna(subset=["gain", "true gain"])
    covered = known["true gain"].between(known["gain low"], known["gain high"])
    names = ["below .003", ".003 to .01", ".01 to .03", "above .03"]
    bins = pd.cut(known.gain, [-np.inf, 0.003, 0.01, 0.03, np.inf], labels=names)
    means = known.assign(coverage=covered)[["gain", "true gain", "coverage"]]
    return pd.concat([means.groupby(bins, observed=True).mean(), means.mean().to_frame("all").T])


def followed(table: pd.DataFrame) -> pd.DataFrame:
    """Return for each data set what following the advice saves, as a share of the labels, and loses in accuracy.

    Beside it: what is lost if labelling ends after the same share of the labels everywhere, which saves as much.
    """
    episodes = [episode for _, episode in table.groupby(["data set", "repeat"])]
    ends = [episode[episode.stop].iloc[0] if episode.stop.any() else episode.iloc[-1] for episode in episodes]
    last = [episode.iloc[-1] for episode in episodes]
    found = pd.DataFrame(
        {
            "data set": [end["data set"] for end in ends],
            "stopped": [bool(end.stop) for end in ends],
            "labels": [now.labels - end.labels for end, now in zip(ends, last, strict=True)],
            "saved": [1 - end.labels / now.labels for end, now in zip(ends, last, strict=True)],
            "lost": [now["test accuracy"] - end["test accuracy"] for end, now in zip(ends, last, strict=True)],
        }
    )
    kept = 1 - found.groupby("data set").saved.mean().mean()
    found["lost at a fixed share"] = [
        now["test accuracy"] - np.interp(kept * now.labels, episode.labels, episode["test accuracy"])
        for episode, now in zip(episodes, last, strict=True)
    ]
    return found.groupby("data set").mean()


def summary_of(stops: pd.DataFrame) -> str:
    """Return the means over data sets with 95 % intervals, as a line for each column."""
    lines = []
    for name in stops.columns:
        estimate = mean_interval(stops[name].tolist())
        lines.append(
            f"{name:22} {estimate.mean:7.3f} ± {estimate.half_width or np.nan:.3f}   most {stops[name].max():.3f}"
        )
    return "\n".join(lines)


def draw(table: pd.DataFrame) -> Figure:
    """Draw estimates against the truth, and accuracy lost against labels saved; a point is a data set."""
    figure = Figure(figsize=(9.5, 4.9), layout="constrained")
    left, at_right = figure.subplots(1, 2)
    means = table.groupby("data set")[["truth", "corrected", "corrected low", "corrected high", "naive"]].mean()
    judged = estimates(table)
    left.plot([0, 1], [0, 1], color=GREY, linewidth=1)
    left.vlines(means.truth, means["corrected low"], means["corrected high"], color=BLUE, alpha=0.3)
    for name, colour, marker in (("naive", RED, "s"), ("corrected", BLUE, "o")):
        label = f"{name}: mean error {judged['mean error'][name]:+.3f}, coverage {100 * judged.coverage[name]:.0f} %"
        left.plot(means.truth, means[name], marker, color=colour, markersize=4.5, label=label)
    left.set(xlabel="accuracy on the rows without a label", ylabel="estimate", xlim=(0.25, 1.02), ylim=(0.1, 1.02))
    left.set_title("Estimate against truth, with 95 % intervals", fontsize="medium")
    stops = followed(table)
    at_right.axhline(0, color=GREY, linewidth=1)
    at_right.plot(100 * stops.saved, 100 * stops.lost, "o", color=BLUE, markersize=4.5, label="a data set")
    fixed = 100 * stops.saved.mean(), 100 * stops["lost at a fixed share"].mean()
    at_right.plot(*fixed, "s", color=RED, markersize=8, label="mean, if all stop after the same share of labels")
    mean = 100 * stops.saved.mean(), 100 * stops.lost.mean()
    at_right.plot(*mean, "*", color="black", markersize=13, label="mean, if the advice is followed")
    at_right.set(xlabel="labels saved, %", ylabel="test accuracy lost, points")
    at_right.set_title("What it saves and loses to follow the advice", fontsize="medium")
    for axis in (left, at_right):
        dress(axis)
        axis.legend(loc="upper left", bbox_to_anchor=(0, -0.15), fontsize="small", frameon=False)
    return figure


if __name__ == "__main__":
    main()
