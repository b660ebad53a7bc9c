"""Class sampling judged: rules and policies play the same tasks, and leave learning curves as a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import numpy as np
import pandas as pd
import torch

from almeta.classes import ClassState
from almeta.data import Dataset, load_dataset
from almeta.envs.classes import ClassOptions, ClassSimulation
from almeta.envs.scores import ScoreName
from almeta.evaluation.playing import task_seed
from almeta.learners import Learner
from almeta.seeding import make_generator
from almeta.specs import Spec
from almeta.strategies.actor import Actor
from almeta.strategies.class_shares import make_class_strategy
from almeta.training.rollout import PoolRecord, record_pools

Track = Callable[[range], Iterable[int]]


class Player(Protocol):
    """A class strategy or a policy; its text is its name in tables."""

    def on(self, dataset: Dataset) -> Player:
        """Return the player for a data set; raise an AlmetaError if it was trained on the data set's rows."""

    def make(self, generator: torch.Generator) -> Actor[ClassState]:
        """Return the actor; `generator`, on the device of the episodes, draws its random numbers."""


@dataclass(frozen=True)
class ClassRule(Spec):
    """A class strategy with options as a player."""

    def on(self, dataset: Dataset) -> Self:
        return self

    def make(self, generator: torch.Generator) -> Actor[ClassState]:
        return make_class_strategy(self, generator)


@dataclass(frozen=True)
class ClassSetting:
    """What all who are compared share.

    Attributes:
        env: options of the environment; `synthetic` and `group` have no effect.
        repeats: number of tasks drawn from each data set.
        seed: of the tasks.
        device: of the episodes.
        options: of `load_dataset`.
        measures: scores beside `env.score`.
    """

    env: ClassOptions
    learner: Learner
    repeats: int
    seed: int = 0
    device: str = "cpu"
    options: Mapping[str, Any] | None = None
    measures: Sequence[ScoreName] = ("balanced_accuracy",)

    def generator(self, purpose: str) -> torch.Generator:
        return make_generator(self.seed, purpose, self.device)

    def simulation(self, dataset: Dataset, num_envs: int) -> ClassSimulation:
        """Return a simulation of one data set, whose random numbers are the same for all."""
        env = replace(self.env, synthetic=0.0, group=1)
        generator = self.generator(f"classes of {dataset.name}")
        return ClassSimulation([dataset], env, num_envs, generator, self.learner, self.measures)

    def play(self, dataset: Dataset, player: Player) -> PoolRecord:
        """Return what a player brings on all repeats of a data set."""
        simulation = self.simulation(dataset, self.repeats)
        seeds = [task_seed(self.seed, dataset.name, repeat) for repeat in range(self.repeats)]
        generator = self.generator(f"{player} on {dataset.name}")
        tasks, measures = simulation.sampler.draw_seeded(seeds), (self.env.score, *self.measures)
        return record_pools(simulation, player.on(dataset).make(generator), generator, tasks, measures=measures)


def play_classes(
    datasets: Sequence[str], players: Sequence[Player], setting: ClassSetting, track: Track = iter
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the learning curves of players on data sets, and of which classes their rows were.

    Args:
        datasets: names.
        players: class strategies and policies.
        setting: what they share.
        track: wraps the range of (data set, player), to show the progress.

    Returns:
        Curves, with columns `dataset, strategy, repeat, queries, score` and one for each further measure; and columns
        `dataset, strategy, class, share_in_data, share_of_rows`, the means over repeats, first rows not counted.

    Raises:
        AlmetaError: before anything is played, if a data set does not fit, or a policy was trained on it.
    """
    loaded = [load_dataset(name, **(setting.options or {})) for name in datasets]
    for dataset in loaded:
        simulation = setting.simulation(dataset, 1)
        simulation.reset(simulation.sampler.draw_seeded([0]))
        for player in players:
            player.on(dataset)
    cells = [(dataset, player) for dataset in loaded for player in players]
    curves, shares = [], []
    for place in track(range(len(cells))):
        dataset, player = cells[place]
        record = setting.play(dataset, player)
        name = {"dataset": dataset.name, "strategy": str(player)}
        curves.append(_curves(name, record, setting.measures))
        shares.append(_shares(name, record, dataset))
    return pd.concat(curves, ignore_index=True), pd.concat(shares, ignore_index=True)


def _curves(name: Mapping[str, str], record: PoolRecord, measures: Sequence[str]) -> pd.DataFrame:
    scores = record.scores.transpose(1, 2).cpu().numpy()  # [K, R, T + 1]
    repeats, queries = np.indices(scores.shape[1:]).reshape(2, -1)
    columns = {key: of.ravel().astype(float) for key, of in zip(("score", *measures), scores, strict=True)}
    return pd.DataFrame({**name, "repeat": repeats, "queries": queries, **columns})


def _shares(name: Mapping[str, str], record: PoolRecord, dataset: Dataset) -> pd.DataFrame:
    picked, classes = record.picks[record.picks >= 0].cpu().numpy(), dataset.num_classes
    rows, data = (np.bincount(y, minlength=classes) for y in (dataset.y[picked], dataset.y))
    of_class = {"class": dataset.class_names, "share_in_data": data / data.sum(), "share_of_rows": rows / rows.sum()}
    return pd.DataFrame({**name, **of_class})
