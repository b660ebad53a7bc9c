"""Rules and policies of any kind of problem play the same tasks on data sets, and leave learning curves as a table."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from almeta.data import Dataset, load_dataset
from almeta.evaluation.contenders import Player
from almeta.evaluation.playing import task_seed
from almeta.learners import Learner
from almeta.seeding import make_generator
from almeta.specs import Spec
from almeta.strategies import Actor
from almeta.training.rollout import Scored, record_curves


@dataclass(frozen=True)
class Rule:
    """A hand-made strategy as a player.

    Args:
        spec: its name and options.
        maker: makes it, for a generator, such as `make_cell_strategy`.

    Raises:
        AlmetaError: if the name or an option is unknown, or a value is out of range.
    """

    spec: Spec
    maker: Callable[[Spec, torch.Generator | None], Actor[Any]]

    def __post_init__(self) -> None:
        self.maker(self.spec, None)

    def __str__(self) -> str:
        return str(self.spec)

    def check(self, dataset: str) -> None:
        return

    def on(self, dataset: Dataset) -> Self:
        return self

    def make(self, generator: torch.Generator) -> Actor[Any]:
        return self.maker(self.spec, generator)


@dataclass(frozen=True)
class SuiteSetting:
    """What all who are compared share.

    Attributes:
        simulate: the simulation of the kind of problem, of data sets, options, number of episodes, generator, learner.
        env: its options; `synthetic` and `group` have no effect.
        learner: how the classifier is fit.
        measures: what is recorded, of the simulation's `scores`; the first is the one that is compared.
        repeats: number of tasks drawn from each data set.
        seed: of the tasks, of what else is drawn in them, and of ties.
        device: of the episodes.
        options: of `load_dataset`.
    """

    simulate: Callable[..., Scored]
    env: Any
    learner: Learner
    measures: Sequence[str]
    repeats: int
    seed: int = 0
    device: str = "cpu"
    options: Mapping[str, Any] | None = None

    def generator(self, purpose: str) -> torch.Generator:
        return make_generator(self.seed, purpose, self.device)

    def simulation(self, dataset: Dataset, num_envs: int) -> Scored:
        """Return a simulation of one data set, whose random numbers are the same for all players."""
        env, generator = replace(self.env, synthetic=0.0, group=1), self.generator(f"{self.env.kind} of {dataset.name}")
        return self.simulate([dataset], env, num_envs, generator, self.learner)

    def seeds(self, dataset: Dataset) -> list[int]:
        """Return the seed of each repeat's task."""
        return [task_seed(self.seed, dataset.name, repeat) for repeat in range(self.repeats)]

    def try_out(self, dataset: Dataset) -> None:
        """Begin one task; raise an AlmetaError if the data set does not fit."""
        simulation = self.simulation(dataset, 1)
        simulation.reset(simulation.sampler.draw_seeded(self.seeds(dataset)[:1]))

    def play(self, dataset: Dataset, player: Player) -> tuple[Tensor, Scored]:
        """Return a player's curves `[K, T + 1, R]` by the K measures, and the simulation in which it has played."""
        simulation, generator = self.simulation(dataset, self.repeats), self.generator(f"{player} on {dataset.name}")
        # What is drawn at the start of an episode beside its task: missing cells and prices, where there are such.
        draws = [self.generator(f"cells of {dataset.name} in repeat {repeat}") for repeat in range(self.repeats)]
        tasks = simulation.sampler.draw_seeded(self.seeds(dataset))
        return record_curves(simulation, player.make(generator), generator, tasks, draws, self.measures)[0], simulation


def play_suite(
    datasets: Sequence[str],
    players: Sequence[Player],
    setting: SuiteSetting,
    track: Callable[[range], Iterable[int]] = iter,
    note: Callable[[dict[str, str], Any], None] = lambda name, simulation: None,
) -> pd.DataFrame:
    """Return the learning curves of players on data sets.

    Repeat r of a data set has the same task, and the same is drawn in it, for every player.

    Args:
        datasets: names.
        players: rules and policies.
        setting: what they share.
        track: wraps the range of (data set, player), to show the progress.
        note: hears of the finished episodes of each player on each data set: `dataset` and `strategy` by name, and the
            simulation.

    Returns:
        Columns `dataset, strategy, repeat, queries, score`, and one for each further measure.

    Raises:
        AlmetaError: before anything is played, if a policy was trained on a data set, or one cannot be loaded or does
            not fit the setting.
    """
    for player in players:
        for dataset in datasets:
            player.check(dataset)  # before files are read
    loaded = [load_dataset(name, **(setting.options or {})) for name in datasets]
    for one in loaded:
        setting.try_out(one)
    cells = [(one, player.on(one)) for one in loaded for player in players]
    curves = []
    for place in track(range(len(cells))):
        one, player = cells[place]
        scores, simulation = setting.play(one, player)
        name = {"dataset": one.name, "strategy": str(player)}
        curves.append(_curves(name, scores, setting.measures[1:]))
        note(name, simulation)
    return pd.concat(curves, ignore_index=True)


def _curves(name: Mapping[str, str], scores: Tensor, further: Sequence[str]) -> pd.DataFrame:
    by_repeat = scores.transpose(1, 2).cpu().numpy()  # [K, R, T + 1]
    repeats, queries = np.indices(by_repeat.shape[1:]).reshape(2, -1)
    columns = {key: of.ravel().astype(float) for key, of in zip(("score", *further), by_repeat, strict=True)}
    return pd.DataFrame({**name, "repeat": repeats, "queries": queries, **columns})
