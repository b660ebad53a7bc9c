"""Letting strategies and policies play the same tasks, cell by cell, and keeping what is finished.

A cell is one contender on one data set: all its repeats in one batch. Repeat r of a data set has the same split and
the same first labels, however many repeats there are, and with that the same oracle's answers for every contender.
"""

import hashlib
import importlib
import itertools
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
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
from almeta.training import build as building
from almeta.training.build import build_pool_simulation, set_compute, set_matmul_precision
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

    def __post_init__(self) -> None:
        make_strategy(self.name)  # an unknown one is told at once

    def digest(self, dataset: str) -> str:
        return f"strategy {self.name}"

    def make(self, dataset: str, device: str) -> PoolActor:
        return make_strategy(self.name)


@dataclass(frozen=True)
class Setting:
    """What all cells of a benchmark share.

    Attributes:
        config: `env`, `learner`, `oracle`, `seed`, `device` and `matmul_precision`, plain values.
        repeats: tasks drawn from each data set.
        options: of `load_dataset`.
        threads: CPU threads of a cell.
    """

    config: dict[str, Any]
    repeats: int
    options: dict[str, Any]
    threads: int = 1

    def key(self, dataset: str, content: str, contender: Contender) -> str:
        """A digest of all that a cell's curves depend on; `content` is one of the data set's rows."""
        parts = {key: self.config[key] for key in ("env", "learner", "oracle", "seed", "device", "matmul_precision")}
        facts = [
            _code(),
            parts,
            self.repeats,
            self.options,
            dataset,
            content,
            contender.name,
            contender.digest(dataset),
        ]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def simulation(self, dataset: Dataset, num_envs: int, purpose: str) -> PoolSimulation:
        """Where tasks of one data set are played; `purpose` names the random numbers of oracle and learner."""
        return build_pool_simulation(self.config, [dataset], num_envs, purpose, synthetic=0.0, group=1)

    def seeds(self, dataset: str) -> list[int]:
        """What draws the task of each repeat."""
        return [task_seed(self.config["seed"], dataset, repeat) for repeat in range(self.repeats)]


@cache
def _code() -> str:
    """A digest of the code that a curve comes from: cells of an older almeta are played again."""
    root = Path(building.__file__).parents[1]
    rooms = ("data", "tasks", "learners", "strategies", "envs", "agents")
    files = [*sorted(path for room in rooms for path in (root / room).glob("*.py")), root / "oracles.py"]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def play_cell(dataset: str, contender: Contender, setting: Setting) -> np.ndarray:
    """Return the learning curves `[T + 1, repeats]` float32 of a cell; equal cells give equal curves.

    Raises:
        AlmetaError: if the data set cannot be had, or does not fit the setting.
    """
    with _computing({**setting.config, "threads": setting.threads}):
        return _play(dataset, contender, setting)


@contextmanager
def _computing(config: dict[str, Any]) -> Iterator[None]:
    """Threads and precision as a config says within the block, and afterwards as they were."""
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    try:
        set_compute(config)
        yield
    finally:
        torch.set_num_threads(threads)
        set_matmul_precision(precision)


def _play(dataset: str, contender: Contender, setting: Setting) -> np.ndarray:
    seed, device = setting.config["seed"], setting.config["device"]
    actor = contender.make(dataset, device)
    generator = make_generator(seed, f"{contender.name} on {dataset}", device)
    curves: list[Tensor] = []
    for simulation, tasks in _batches(load_dataset(dataset, **setting.options), dataset, setting):
        curves.append(learning_curves(simulation, actor, generator, tasks).cpu())
    # Where the budget is what empties the smallest pool, it is that of the batch with the smallest one.
    shortest = min(map(len, curves))
    return torch.cat([curve[:shortest] for curve in curves], 1).numpy()


def _batches(dataset: Dataset, name: str, setting: Setting) -> Iterator[tuple[PoolSimulation, PoolTasks]]:
    """Yield the repeats of a data set in batches of bounded memory, each with a simulation to play it in."""
    seeds = setting.seeds(name)
    one = setting.simulation(dataset, 1, "size").sampler.draw_seeded(seeds[:1])
    size = max(1, _BATCH // (one.x.numel() + one.test_x.numel()))
    for begin in range(0, len(seeds), size):
        batch = seeds[begin : begin + size]
        # The random numbers of oracle and learner are named without the contender: they are the same for all.
        simulation = setting.simulation(dataset, len(batch), f"benchmark on {name} from repeat {begin}")
        yield simulation, simulation.sampler.draw_seeded(batch)


def _try_out(name: str, setting: Setting) -> str:
    """Begin one task of a data set, so that what does not fit is told early, and return a digest of its rows."""
    dataset = load_dataset(name, **setting.options)
    simulation = setting.simulation(dataset, 1, "trial")
    simulation.reset(simulation.sampler.draw_seeded(setting.seeds(name)[:1]))
    digest = hashlib.sha256(repr((dataset.x.shape, dataset.class_names, dict(dataset.categories))).encode())
    for part in (dataset.x, dataset.y):
        digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()


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
    backend_options: dict[str, Any] | None = None,
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
        backend_options: of that, such as `scheduler_host` of dask.
        track: wraps the range of cells still to come, to show how far it is.

    Returns:
        Columns `dataset, strategy, repeat, queries, score`.

    Raises:
        AlmetaError: if a name stands twice, a policy was trained on a data set, or a data set cannot be had or does not
            fit the setting, before anything is played; if a cell cannot be played, and finished ones are kept.
    """
    _check_names(datasets, contenders)
    for contender in contenders:
        for dataset in datasets:
            contender.digest(dataset)  # raises where it may not be judged, before files are read
    contents = {dataset: _try_out(dataset, setting) for dataset in datasets}
    keys = {(d, c.name): setting.key(d, contents[d], c) for d in datasets for c in contenders}
    workers = _make_workers(min(jobs, len(keys)), backend, backend_options or {})
    with closing(CellStore(store)) as cells:
        open_ = [(d, c) for d in datasets for c in contenders if keys[d, c.name] not in cells]
        # Played in another process, where nothing is known of this one but what is handed over.
        calls = [delayed(_play_named)(dataset, contender, setting) for dataset, contender in open_]
        # What comes back all at once comes in portions, so that what is finished is kept.
        portion = max(1, len(calls) if workers.return_generator else workers.n_jobs)
        results = itertools.chain.from_iterable(
            workers(calls[begin : begin + portion]) for begin in range(0, len(calls), portion)
        )
        for _, (dataset, name, curves) in zip(track(range(len(open_))), results, strict=True):
            cells.keep(keys[dataset, name], dataset, name, curves)
        return pd.concat([_long(d, c.name, cells.read(keys[d, c.name])) for d in datasets for c in contenders])


def _make_workers(jobs: int, backend: str | None, options: dict[str, Any]) -> Parallel:
    """Joblib's pool of workers; results come as they are finished, where the backend can.

    Raises:
        AlmetaError: if there is no such backend here.
    """
    try:
        if backend == "ray":  # an optional package, which tells joblib of itself when it is asked to
            importlib.import_module(f"{backend}.util.joblib").register_ray()
        workers = Parallel(n_jobs=jobs, backend=backend, **options)
        unordered = {"return_as": "generator_unordered"} if workers._backend.supports_return_generator else {}
        return Parallel(n_jobs=jobs, backend=backend, **unordered, **options)
    except (ImportError, TypeError, ValueError) as error:
        raise AlmetaError(
            f"backend '{backend}' cannot be used here ({error}); choose loky, or install and start what it needs"
        ) from error


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
        AlmetaError: if the file is something else, or cannot be written or read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._database = sqlite3.connect(path)
        except sqlite3.Error as error:
            raise self._foreign(error) from error
        self._ask(
            "CREATE TABLE IF NOT EXISTS cells "
            "(key TEXT PRIMARY KEY, dataset TEXT, strategy TEXT, steps INTEGER, repeats INTEGER, scores BLOB)"
        )
        self._ask("SELECT key, dataset, strategy, steps, repeats, scores FROM cells")  # its columns are these

    def _ask(self, query: str, *values: str) -> Any:
        """The first row of the answer; None if it has none."""
        try:
            return self._database.execute(query, values).fetchone()
        except sqlite3.Error as error:
            raise self._foreign(error) from error

    def _foreign(self, error: sqlite3.Error) -> AlmetaError:
        return AlmetaError(f"{self._path} is no file of benchmark cells ({error}); choose another, or remove it")

    def __contains__(self, key: str) -> bool:
        return self._ask("SELECT 1 FROM cells WHERE key = ?", key) is not None

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
        steps, repeats, scores = self._ask("SELECT steps, repeats, scores FROM cells WHERE key = ?", key)
        return np.frombuffer(scores, "<f4").reshape(steps, repeats)

    def close(self) -> None:
        """Close the file."""
        self._database.close()
