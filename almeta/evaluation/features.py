"""Learning curves of strategies and policies that ask for the cells of tables, all on the same tasks."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch

from almeta.data import load_dataset
from almeta.data.dataset import Dataset
from almeta.envs.features import NET, FeatureOptions, FeatureSimulation
from almeta.evaluation.contenders import Contender
from almeta.evaluation.playing import task_seed
from almeta.learners import Learner
from almeta.seeding import make_generator
from almeta.specs import Spec
from almeta.strategies.features import make_cell_strategy
from almeta.training.rollout import record_curves


@dataclass(frozen=True)
class CellRule(Spec):
    """A hand-made strategy of cells as a contender."""

    def __post_init__(self) -> None:
        make_cell_strategy(self)  # raises at once if it is unknown

    @property
    def digest(self) -> str:
        return str(self)

    def check(self, dataset: str) -> None:
        return

    def on(self, dataset: Dataset) -> "CellRule":
        return self

    def make(self, generator: torch.Generator) -> Any:
        return make_cell_strategy(self, generator)


@dataclass(frozen=True)
class CellSetting:
    """What all share who are compared.

    Attributes:
        env: options of the environment; `synthetic` and `group` have no effect.
        learner: how the classifier is fit.
        repeats: number of tasks drawn from each data set.
        seed: of tasks, missing cells, prices and ties.
        device: of the tables.
        options: of `load_dataset`.
    """

    env: FeatureOptions
    learner: Learner
    repeats: int
    seed: int = 0
    device: str = "cpu"
    options: dict[str, Any] | None = None


def play_tables(
    datasets: Sequence[str],
    contenders: Sequence[Contender],
    setting: CellSetting,
    track: Callable[[range], Iterable[int]] = iter,
) -> pd.DataFrame:
    """Return the curves of all contenders on all data sets, as `almeta.evaluation.curves.check_curves` reads them.

    Repeat r of a data set has the same split, missing cells and prices for every contender.

    Args:
        datasets: names.
        contenders: strategies and policies.
        setting: what they share.
        track: wraps the range of data sets, to show the progress.

    Returns:
        Columns `dataset, strategy, repeat, queries, score`, where the score is that on test rows less what was paid so
        far, and a column with the score itself, by its name.

    Raises:
        AlmetaError: if a policy was trained on a data set, or one cannot be loaded or does not fit the setting.
    """
    for contender in contenders:
        for name in datasets:
            contender.check(name)
    tables = []
    for place in track(range(len(datasets))):
        loaded = load_dataset(datasets[place], **(setting.options or {}))
        players = {str(contender): contender.on(loaded) for contender in contenders}
        tables += [_curves(loaded, name, player, setting) for name, player in players.items()]
    return pd.concat(tables)


def _curves(dataset: Dataset, name: str, contender: Contender, setting: CellSetting) -> pd.DataFrame:
    env, seed = replace(setting.env, synthetic=0.0, group=1), setting.seed
    generator = make_generator(seed, f"tables of {dataset.name}", setting.device)
    simulation = FeatureSimulation([dataset], env, setting.repeats, generator, setting.learner)
    repeats = range(setting.repeats)
    tasks = simulation.sampler.draw_seeded([task_seed(seed, dataset.name, repeat) for repeat in repeats])
    cells = [make_generator(seed, f"cells of {dataset.name} in repeat {r}", setting.device) for r in repeats]
    own = make_generator(seed, f"{name} on {dataset.name}", setting.device)
    actor: Any = contender.make(own)  # contenders of this kind act on cells
    curves, _ = record_curves(simulation, actor, own, tasks, cells, (NET, env.score))
    net, scores = curves.double().cpu().numpy()
    queries, numbers = np.indices(scores.shape).reshape(2, -1)
    return pd.DataFrame(
        {
            "dataset": dataset.name,
            "strategy": name,
            "repeat": numbers,
            "queries": queries,
            "score": net.flatten(),
            env.score: scores.flatten(),
        }
    )
