"""Letting strategies and policies play the same tasks, cell by cell, and keeping what is finished.

A cell is one contender on one data set: all its repeats in one batch. Repeat r of a data set has the same split, the
same first labels and the same oracle for every contender, and however many repeats there are.
"""

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from torch import Tensor

from almeta.data import Dataset, load_dataset
from almeta.envs.pool import PoolSimulation
from almeta.errors import AlmetaError
from almeta.seeding import make_generator
from almeta.strategies import PoolActor, make_strategy
from almeta.tasks import PoolTasks
from almeta.training.build import build_pool_simulation
from almeta.training.rollout import learning_curves

# Numbers in the features of one batch of pools and test rows (1 GiB): repeats of larger data sets are played in turn.
_BATCH = 1 << 28

Track = Callable[[range], Iterable[int]]


class Contender(Protocol):
    """A strategy or a policy by the name that it has in tables."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    def digest(self, dataset: str) -> str:
        """A text that is equal for those who act alike on a data set.

        Raises:
            AlmetaError: if it may not be judged there, because it was trained on it.
        """
        ...

    def make(self, dataset: str, device: str) -> PoolActor:
        """Return the one who acts on a data set."""
        ...


@dataclass(frozen=True)
class StrategyByName:
    """A strategy of `almeta.strategies` as a contender."""

    name: str

    def digest(self, dataset: str) -> str:
        return f"strategy {self.name}"

    def make(self, dataset: str, device: str) -> PoolActor:
        return make_strategy(self.name)


@dataclass(frozen=True)
class Setting:
    """What all cells of a benchmark share.

    Attributes:
        config: `env`, `learner`, `oracle`, `seed` and `device`, plain values.
        repeats: tasks drawn from each data set.
        options: of `load_dataset`.
        threads: CPU threads of a cell.
    """

    config: dict[str, Any]
    repeats: int
    options: dict[str, Any]
    threads: int = 1

    def key(self, dataset: str, contender: Contender) -> str:
        """A digest of all that a cell's curves depend on."""
        parts = {key: self.config[key] for key in ("env", "learner", "oracle", "seed", "device")}
        facts = [parts, self.repeats, self.options, dataset, contender.name, contender.digest(dataset)]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def play_cell(dataset: str, contender: Contender, setting: Setting) -> np.ndarray:
    """Return the learning curves `[T + 1, repeats]` float32 of a cell; equal cells give equal curves.

    Raises:
        AlmetaError: if the data set cannot be had, or does not fit the setting.
    """
    torch.set_num_threads(setting.threads)
    seed, device = setting.config["seed"], setting.config["device"]
    actor = contender.make(dataset, device)
    generator = make_generator(seed, f"{contender.name} on {dataset}", device)
    curves: list[Tensor] = []
    for simulation, tasks in _batches(load_dataset(dataset, **setting.options), dataset, setting):
        curves.append(learning_curves(simulation, actor, generator, tasks).cpu())
    return torch.cat(curves, 1).numpy()


def _batches(dataset: Dataset, name: str, setting: Setting) -> Iterator[tuple[PoolSimulation, PoolTasks]]:
    """Yield the repeats of a data set in batches of bounded memory, each with a simulation to play it in."""
    seeds = [task_seed(setting.config["seed"], name, repeat) for repeat in range(setting.repeats)]
    size = max(1, _BATCH // dataset.x.size)
    for begin in range(0, len(seeds), size):
        batch = seeds[begin : begin + size]
        # The random numbers of oracle and learner are named without the contender: they are the same for all.
        purpose = f"benchmark on {name} from repeat {begin}"
        simulation = build_pool_simulation(setting.config, [dataset], len(batch), purpose, synthetic=0.0, group=1)
        yield simulation, simulation.sampler.draw_seeded(batch)


def task_seed(seed: int, dataset: str, repeat: int) -> int:
    """What draws the task of one repeat."""
    digest = hashlib.sha256(f"{seed}/{dataset}/{repeat}".encode()).digest()
    return int.from_bytes(digest[:7], "big")


def run_benchmark(
    datasets: Sequence[str],
    contenders: Sequence[Contender],
    setting: Setting,
    store: Path,
    jobs: int = 1,
    backend: str | None = None,
    track: Track = iter,
) -> pd.DataFrame:
    """Play all cells that are not finished yet, several at once, and return all curves.

    Args:
        datasets: names.
        contenders: strategies and policies.
        setting: what the cells share.
        store: an SQLite file, made if need be, that keeps finished cells; those of other settings in it are left alone.
        jobs: cells at once.
        backend: joblib's, such as "loky" (processes), "dask" or "ray"; None for its default.
        track: wraps the range of cells still to come, to show how far it is.

    Returns:
        Columns `dataset, strategy, repeat, queries, score`.

    Raises:
        AlmetaError: if a name stands twice, a policy was trained on a data set, or a cell cannot be played; finished
            cells are kept.
    """
    _check_names(datasets, contenders)
    keys = {(dataset, c.name): setting.key(dataset, c) for dataset in datasets for c in contenders}
    with closing(CellStore(store)) as cells:
        open_ = [(d, c) for d in datasets for c in contenders if keys[d, c.name] not in cells]
        workers = Parallel(n_jobs=min(jobs, max(1, len(open_))), backend=backend, return_as="generator_unordered")
        # Played in another process, where nothing is known of this one but what is handed over.
        results = workers(delayed(_play_named)(dataset, contender, setting) for dataset, contender in open_)
        for _, (dataset, name, curves) in zip(track(range(len(open_))), results, strict=True):
            cells.keep(keys[dataset, name], dataset, name, curves)
        return pd.concat([_long(d, c.name, cells.read(keys[d, c.name])) for d in datasets for c in contenders])


def _play_named(dataset: str, contender: Contender, setting: Setting) -> tuple[str, str, np.ndarray]:
    return dataset, contender.name, play_cell(dataset, contender, setting)


def _check_names(datasets: Sequence[str], contenders: Sequence[Contender]) -> None:
    for kind, names in (("data set", list(datasets)), ("strategy or policy", [c.name for c in contenders])):
        if not names:
            raise AlmetaError(f"no {kind} is named; a benchmark needs at least one")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise AlmetaError(f"the {kind} '{twice[0]}' is named twice; name it once")


def _long(dataset: str, strategy: str, curves: np.ndarray) -> pd.DataFrame:
    """Curves `[T + 1, R]` as rows of a table."""
    queries, repeats = np.indices(curves.shape)
    columns = {"repeat": repeats.T.ravel(), "queries": queries.T.ravel(), "score": curves.T.ravel().astype(float)}
    return pd.DataFrame({"dataset": dataset, "strategy": strategy, **columns})


class CellStore:
    """Finished cells in an SQLite file: what is kept survives whatever stops the benchmark.

    Args:
        path: the file.

    Raises:
        AlmetaError: if the file is something else, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._database = sqlite3.connect(path)
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS cells "
                "(key TEXT PRIMARY KEY, dataset TEXT, strategy TEXT, steps INTEGER, repeats INTEGER, scores BLOB)"
            )
        except sqlite3.Error as error:
            raise AlmetaError(
                f"{path} is no file of benchmark cells ({error}); choose another, or remove it"
            ) from error

    def __contains__(self, key: str) -> bool:
        return self._database.execute("SELECT 1 FROM cells WHERE key = ?", (key,)).fetchone() is not None

    def keep(self, key: str, dataset: str, strategy: str, curves: np.ndarray) -> None:
        """Keep the curves `[T + 1, R]` float32 of a cell.

        Raises:
            AlmetaError: if they cannot be written.
        """
        row = (key, dataset, strategy, *curves.shape, curves.astype("<f4").tobytes())
        try:
            with self._database:  # commits
                self._database.execute("INSERT OR REPLACE INTO cells VALUES (?, ?, ?, ?, ?, ?)", row)
        except sqlite3.Error as error:
            raise AlmetaError(f"could not write {self._path} ({error}); make room and start again") from error

    def read(self, key: str) -> np.ndarray:
        """The curves `[T + 1, R]` of a cell that was kept."""
        query = "SELECT steps, repeats, scores FROM cells WHERE key = ?"
        steps, repeats, scores = self._database.execute(query, (key,)).fetchone()
        return np.frombuffer(scores, "<f4").reshape(steps, repeats)

    def close(self) -> None:
        """Close the file."""
        self._database.close()
