"""Which options of `look_ahead` to use: they are chosen on some tables, and judged on others.

All choices play the same tasks as margin does, so many repeats of each data set. For each of five folds, the
choice that gains most over margin on the data sets of the other folds is judged on those of the fold.
"""

import argparse
import itertools
import time
from collections.abc import Sequence
from typing import Any

import pandas as pd

from almeta.data.suites import folds, suite
from almeta.envs import PoolOptions
from almeta.evaluation.benchmark import Setting, StrategySpec, play_cell
from almeta.evaluation.statistics import mean_interval
from almeta.learners import make_learner
from almeta.oracles import Oracle

CHOICES: dict[str, Sequence[float]] = {
    "weight": (0.25, 0.5, 0.75),
    "noise": (0.5, 1.0),
    "margin": (0.0, 1.0),
}


def main() -> None:
    """Play, choose, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suite", default="tables", help="of data sets (default tables)")
    parser.add_argument("--folds", type=int, default=5, help="parts of the suite (default 5)")
    parser.add_argument("--repeats", type=int, default=8, help="tasks drawn from each data set (default 8)")
    parser.add_argument("--seed", type=int, default=0, help="of the tasks (default 0)")
    parser.add_argument("--learner", default="logistic_regression", help="default logistic_regression")
    options = parser.parse_args()
    start = time.perf_counter()
    setting = Setting(PoolOptions(), make_learner(options.learner), Oracle(), options.repeats, options.seed)
    names = suite(options.suite)
    gains = pd.DataFrame({name: gains_over_margin(name, setting) for name in names}).T
    print(choices(gains).to_string(float_format="%.2f"))
    judged = held_out(gains, folds(names, options.folds))
    print("\n" + by_fold(judged).to_string(float_format="%.2f"))
    print(f"\nchosen on the other folds: {summary_of(judged.gain)}")
    print(f"{time.perf_counter() - start:.0f} seconds")


def specs() -> list[StrategySpec]:
    """Return `look_ahead` with each combination of the choices."""
    combinations = itertools.product(*CHOICES.values())
    return [StrategySpec.read({"name": "look_ahead", **dict(zip(CHOICES, one, strict=True))}) for one in combinations]


def gains_over_margin(dataset: str, setting: Setting) -> dict[str, float]:
    """Return for each choice the gain over margin in the area under the learning curve, in points."""
    contenders = [StrategySpec.read("margin"), *specs()]
    margin, *others = (100 * float(play_cell(dataset, contender, setting).scores[0].mean()) for contender in contenders)
    print(f"{dataset}: margin {margin:.2f}", flush=True)
    return {str(spec): area - margin for spec, area in zip(specs(), others, strict=True)}


def choices(gains: pd.DataFrame) -> pd.DataFrame:
    """Return for each choice its gain over all data sets, half of the 95 % interval, and how often it is ahead."""
    found = {}
    for name, gain in gains.items():
        estimate = mean_interval(gain.tolist())
        found[name] = {"gain": estimate.mean, "half width": estimate.half_width, "ahead": (gain > 0).sum()}
    return pd.DataFrame(found).T.sort_values("gain", ascending=False)


def held_out(gains: pd.DataFrame, parts: Sequence[Sequence[str]]) -> pd.DataFrame:
    """Return for each data set its fold, the choice that gains most on the other folds, and what it gains here."""
    found: dict[str, dict[str, Any]] = {}
    for fold, part in enumerate(parts, 1):
        chosen = gains.drop(index=list(part)).mean().idxmax()
        found |= {name: {"fold": fold, "chosen": chosen, "gain": gains.loc[name, chosen]} for name in part}
    return pd.DataFrame(found).T.astype({"fold": int, "gain": float})


def by_fold(judged: pd.DataFrame) -> pd.DataFrame:
    """Return the choice of each fold, its mean gain there, and on how many data sets it is ahead."""
    each = judged.groupby(["fold", "chosen"]).gain
    return pd.DataFrame({"gain": each.mean(), "ahead": each.agg(lambda gain: (gain > 0).sum()), "of": each.size()})


def summary_of(gain: pd.Series) -> str:
    """Return the mean gain with its 95 % interval over data sets, and how often it is above 0, as a text."""
    estimate = mean_interval(gain.tolist())
    interval = f"{estimate.mean:+.2f} ± {estimate.half_width or 0:.2f}"
    return f"{interval} points over margin, ahead on {(gain > 0).sum()} of {len(gain)}"


if __name__ == "__main__":
    main()
