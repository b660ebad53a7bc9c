"""What a policy picks, beside rules: how uncertain, dense, far and rare its rows are, pick by pick.

python scripts/study_picks.py --contenders transfer,margin,look_ahead --out runs/picks

Draws picks.png, and writes its numbers to picks.csv. A pick's rank is that of its row among all rows that could be
picked, from 0 for the lowest to 1; a random pick has .5 on average.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from almeta.checks import Count, check_value
from almeta.data import load_dataset
from almeta.data.suites import suite
from almeta.envs import PoolOptions
from almeta.errors import AlmetaError, did_you_mean
from almeta.evaluation.benchmark import Contender, Setting, StrategySpec
from almeta.evaluation.style import dress, legend, looks, png
from almeta.inputs.candidates import candidate_numbers, ranks
from almeta.learners import make_learner
from almeta.oracles import Oracle
from almeta.policies import find_policy, policy_names
from almeta.pool import PoolState
from almeta.scripts.errors import in_one_line
from almeta.seeding import make_generator
from almeta.strategies import is_strategy, make_strategy, strategy_names
from almeta.training.progress import Progress
from almeta.training.rollout import greedy, play

# What is drawn, and the number of `Candidates` whose rank it is.
MEASURES = {
    "uncertain: rank of how small the learner's margin is": "margin",
    "dense: rank of the density": "density",
    "far: rank of the distance to the nearest pick": "distance to the nearest pick",
    "rare: rank of how rare the predicted class is among labels": "share of the predicted class among labels",
}
REVERSED = {"margin", "share of the predicted class among labels"}
AHEAD = "telling: rank of the accuracy expected one label ahead"


@in_one_line
def main() -> None:
    """Read the arguments, play, draw, write; nothing is played if an argument cannot be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--contenders", default="transfer,margin,look_ahead,random", help="policies and strategies, with commas"
    )
    parser.add_argument("--suite", default="tables", help="of data sets (default tables)")
    parser.add_argument("--repeats", type=int, default=8, help="tasks drawn from each data set (default 8)")
    parser.add_argument("--budget", type=int, default=20, help="picks (default 20)")
    parser.add_argument("--learner", default="logistic_regression", help="default logistic_regression")
    parser.add_argument("--out", type=Path, default=Path("runs/picks"), help="folder (default runs/picks)")
    options = parser.parse_args()
    for name in ("repeats", "budget"):
        check_value(f"--{name}", getattr(options, name), Count)
    if options.out.exists() and not options.out.is_dir():
        raise AlmetaError(f"--out is {options.out}, which is a file; name a folder")
    setting = Setting(PoolOptions(budget=options.budget), make_learner(options.learner), Oracle(), options.repeats)
    names = [name.strip() for name in options.contenders.split(",")]
    contenders = [find(name) for name in dict.fromkeys(filter(None, names))]
    if not contenders:
        raise AlmetaError("--contenders names nobody; name policies and strategies, such as transfer,margin")
    pairs = [(contender, dataset) for contender in contenders for dataset in suite(options.suite)]
    turns = Progress("picks", unit="cell")(range(len(pairs)))
    rows = pd.concat([picks(*pairs[turn], setting) for turn in turns])
    options.out.mkdir(parents=True, exist_ok=True)
    rows.to_csv(options.out / "picks.csv", index=False)
    (options.out / "picks.png").write_bytes(png(draw(rows)))
    print(f"wrote picks.csv and picks.png to {options.out}")


def find(name: str) -> Contender:
    """Return a strategy, a shipped policy, or one at a path.

    Raises:
        AlmetaError: if there is none of that name.
    """
    if is_strategy(name):
        return StrategySpec.read(name)
    if name in policy_names() or Path(name).exists():
        return find_policy(name)
    raise AlmetaError(did_you_mean(name, [*policy_names(), *strategy_names()], "policy or strategy"))


def picks(contender: Contender, dataset: str, setting: Setting) -> pd.DataFrame:
    """Play all repeats of a data set, and return the mean rank of each pick by each measure."""
    loaded = load_dataset(dataset)
    generator = make_generator(setting.seed, f"{contender} on {dataset}")
    simulation = setting.simulation(loaded, setting.repeats, "picks")
    tasks = simulation.sampler.draw_seeded(setting.seeds(loaded))
    rows = []
    with torch.no_grad():
        actor = contender.on(loaded).make(generator)
        for number, step in enumerate(play(simulation, actor, greedy(generator), tasks), 1):
            means = {name: float(rank.gather(1, step.actions[:, None]).mean()) for name, rank in ranked(step.state)}
            rows.append({"contender": str(contender), "dataset": dataset, "pick": number, **means})
    return pd.DataFrame(rows)


def ranked(state: PoolState) -> Sequence[tuple[str, Tensor]]:
    """Return the ranks `[E, N]` of the rows that may be picked, by each measure."""
    numbers = candidate_numbers(state, MEASURES.values())
    known = [(name, -numbers[key] if key in REVERSED else numbers[key]) for name, key in MEASURES.items()]
    known.append((AHEAD, make_strategy("look_ahead").score(state)))
    return [(name, ranks(values, state.available)) for name, values in known]


def draw(rows: pd.DataFrame) -> Figure:
    """Draw a panel for each measure: its mean over data sets at each pick, a line for each contender."""
    measures = [*MEASURES, AHEAD]
    means = rows.groupby(["contender", "pick"], sort=False)[measures].mean()
    styles = looks(rows.contender.unique())
    figure = Figure(figsize=(3.2 * len(measures), 3.6), layout="constrained")
    axes = figure.subplots(1, len(measures), sharey=True)
    for axis, measure in zip(axes, measures, strict=True):
        for name, style in styles.items():
            line = means.loc[name, measure]
            axis.plot(line.index, line, label=name, markevery=4, markersize=3.5, **style)
        title, what = measure.split(": ")
        axis.set_title(title)
        axis.set_xlabel(f"pick\n{what}", fontsize=8)
        dress(axis)
    axes[0].set_ylabel("mean rank")
    axes[0].set_ylim(0, 1.03)  # lines at 1 show whole
    legend(figure, axes, loc="outside lower center", ncols=len(styles))
    return figure


if __name__ == "__main__":
    main()
