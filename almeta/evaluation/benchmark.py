"""Benchmarks: strategies and policies play the same tasks, cell by cell, and finished cells are kept.

A cell is one contender on one data set, with all repeats. Repeat r of a data set has the same split, first labels and
oracle's answers for every contender, however many repeats there are.
"""

import hashlib
import importlib.metadata
import json
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Protocol

import joblib
import numpy as np
import pandas as pd
import torch
from torch.nn.utils.rnn import pad_sequence

from almeta.checks import Within, check_value
from almeta.data import Dataset, load_dataset, takes_option
from almeta.data.catalogue import path_of
from almeta.envs.pool import PoolOptions, PoolSimulation
from almeta.envs.scores import ScoreName
from almeta.errors import AlmetaError
from almeta.evaluation.cells import CellStore, Played
from almeta.evaluation.workers import in_workers, make_workers
from almeta.learners import Learner, make_learner
from almeta.oracles import Oracle
from almeta.pool import PoolState
from almeta.seeding import make_generator
from almeta.sources import closure_digest, source_digest
from almeta.specs import Spec
from almeta.strategies import Actor, PoolStrategy, make_strategy
from almeta.tasks import PoolTasks
from almeta.training.compute import set_compute, set_matmul_precision
from almeta.training.rollout import PoolRecord, record_pools

# Most numbers in the features of one batch of pools and test rows (1 GiB). More repeats are split into batches.
_BATCH = 1 << 28

Track = Callable[[range], Iterable[int]]
Cell = tuple[str, str]  # the names of a data set and of a contender
_log = logging.getLogger(__name__)


class Contender(Protocol):
    """A strategy or a policy; its text is its name in tables."""

    @property
    def digest(self) -> str:
        """A text that is equal for contenders that act alike."""

    def check(self, dataset: str) -> None:
        """Raise an AlmetaError if it was trained on a data set of that name."""

    def on(self, dataset: Dataset) -> "Contender":
        """Return the contender for a data set; raise an AlmetaError if it was trained on the data set's rows."""

    def make(self, generator: torch.Generator) -> Actor[PoolState]:
        """Return the actor; `generator`, on the device of the pools, draws its random numbers."""


@dataclass(frozen=True)
class StrategySpec(Spec):
    """A strategy with options as a contender."""

    def __post_init__(self) -> None:
        make_strategy(self)  # raises at once if it is unknown

    @classmethod
    def read(cls, given: "str | Mapping[str, Any] | Spec", kind: str = "strategy") -> "StrategySpec":
        """Return the contender of a name or a mapping; see `Spec.read`."""
        spec = Spec.read(given, kind)
        return cls(spec.name, spec.options)

    @property
    def digest(self) -> str:
        made = make_strategy(self)
        kinds = [type(one) for one in (made, *made.parts)]
        packages = dict.fromkeys(package for kind in kinds for package in kind.packages)
        versions = (f"{package} {importlib.metadata.version(package)}" for package in packages)
        return " ".join(("strategy", str(self), closure_digest(*(kind.__module__ for kind in kinds)), *versions))

    def check(self, dataset: str) -> None:
        return

    def on(self, dataset: Dataset) -> "StrategySpec":
        return self

    def make(self, generator: torch.Generator) -> Actor[PoolState]:
        return make_strategy(self, generator)


@dataclass(frozen=True)
class Entrant:
    """A contender with a learner or a number of repeats of its own.

    Attributes:
        contender: who acts.
        learner: what it plays with; None for the setting's.
        repeats: how many of the setting's repeats it plays at most, the first ones; None for all.
    """

    contender: Contender
    learner: Spec | None = None
    repeats: int | None = None

    def __post_init__(self) -> None:
        check_value(f"repeats of strategy {self.contender}", self.repeats, Annotated[int, Within(2)] | None)
        if self.learner is not None:
            make_learner(self.learner)  # raises at once if it is unknown

    def __str__(self) -> str:
        return f"{self.contender} with {self.learner}" if self.learner else str(self.contender)

    @property
    def digest(self) -> str:
        return self.contender.digest

    def check(self, dataset: str) -> None:
        self.contender.check(dataset)

    def on(self, dataset: Dataset) -> "Entrant":
        return replace(self, contender=self.contender.on(dataset))

    def make(self, generator: torch.Generator) -> Actor[PoolState]:
        return self.contender.make(generator)


# Modules that, beside the learner, turn picks into curves. A change to one of them makes old cells invalid.
_CORE = (
    "almeta.data.preparation",
    "almeta.envs.pool",
    "almeta.envs.scores",
    "almeta.envs.simulation",
    "almeta.geometry",
    "almeta.oracles",
    "almeta.pool",
    "almeta.seeding",
    "almeta.strategies.choosing",
    "almeta.tasks.pool",
    "almeta.training.rollout",
)


@dataclass(frozen=True)
class Setting:
    """What all cells of a benchmark share.

    Attributes:
        env: options of the environment; `synthetic` and `group` have no effect.
        repeats: number of tasks drawn from each data set.
        seed: of the tasks.
        device: of the pools.
        options: of `load_dataset`; each data set gets those that its loader takes.
        threads: CPU threads of a cell.
        measures: measures of the learner beside `env.score`.
    """

    env: PoolOptions
    learner: Learner
    oracle: Oracle
    repeats: int
    seed: int = 0
    device: str = "cpu"
    matmul_precision: str = "highest"
    options: dict[str, Any] = field(default_factory=dict)
    threads: int = 1
    measures: tuple[ScoreName, ...] = ()

    @property
    def scores(self) -> tuple[ScoreName, ...]:
        """The names of all measures, that of `env` first."""
        return (self.env.score, *self.measures)

    def of(self, contender: Contender) -> "Setting":
        """Return the setting with what a contender brings: its learner and its number of repeats."""
        if not isinstance(contender, Entrant):
            return self
        learner = self.learner if contender.learner is None else make_learner(contender.learner)
        return replace(self, learner=learner, repeats=min(self.repeats, contender.repeats or self.repeats))

    def options_of(self, dataset: str) -> dict[str, Any]:
        """Return the options that a data set's loader takes."""
        return {key: value for key, value in self.options.items() if takes_option(dataset, key)}

    def key(self, dataset: str, content: str, contender: Contender) -> str:
        """Return a digest of all that a cell's curves depend on; `content` is the digest of the data set's rows."""
        own = self.of(contender)
        facts = [
            source_digest(*_CORE),
            closure_digest(type(own.learner).__module__),
            asdict(self.env),
            self.measures,
            joblib.hash(own.learner),
            repr(self.oracle),
            [own.repeats, self.seed, self.device, self.matmul_precision, self.options_of(dataset)],
            _known(dataset, content),
            content,
            str(contender),
            contender.digest,
        ]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def simulation(self, dataset: Dataset, num_envs: int, purpose: str) -> PoolSimulation:
        """Return a simulation of one data set; `purpose` names the random numbers of oracle and learner."""
        generator = make_generator(self.seed, purpose, self.device)
        options = replace(self.env, synthetic=0.0, group=1)
        return PoolSimulation([dataset], options, num_envs, generator, self.learner, self.oracle, self.measures)

    def known_as(self, dataset: Dataset) -> str:
        """Return what names the random numbers of a data set: the name, or a file's content, at whatever path."""
        return _known(dataset.name, dataset.content)

    def seeds(self, dataset: Dataset) -> list[int]:
        """Return the seed of each repeat's task."""
        return [task_seed(self.seed, self.known_as(dataset), repeat) for repeat in range(self.repeats)]


def play_cell(dataset: str, contender: Contender, setting: Setting) -> Played:
    """Return what a cell brings; equal cells give equal curves and picks.

    Raises:
        AlmetaError: if the data set cannot be loaded, or does not fit the setting.
    """
    with _computing(setting):
        return _play(dataset, contender, setting.of(contender))


@contextmanager
def _computing(setting: Setting) -> Iterator[None]:
    """Use the setting's threads and precision within the block, and restore the old ones after it."""
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    try:
        set_compute(setting.threads, setting.device, setting.matmul_precision)
        yield
    finally:
        torch.set_num_threads(threads)
        set_matmul_precision(precision)


def _play(dataset: str, contender: Contender, setting: Setting) -> Played:
    loaded = load_dataset(dataset, **setting.options_of(dataset))
    generator = make_generator(setting.seed, f"{contender} on {setting.known_as(loaded)}", setting.device)
    actor = contender.make(generator)
    return _joined(
        [
            record_pools(simulation, actor, generator, tasks, oracles, setting.scores)
            for simulation, tasks, oracles in _batches(loaded, setting)
        ]
    )


def _joined(records: Sequence[PoolRecord]) -> Played:
    """Return the batches of a cell as one.

    A budget of None empties the smallest pool of a batch, and a class may be in the pools of some batches only: batches
    may have different lengths and numbers of first labels.
    """
    steps = min(record.scores.shape[1] for record in records)
    scores = torch.cat([record.scores[:, :steps] for record in records], 2)
    first = pad_sequence([row for record in records for row in record.first], batch_first=True, padding_value=-1)
    picks = torch.cat([record.picks[:, : steps - 1] for record in records])
    seconds = sum(record.seconds for record in records)
    return Played(scores.cpu().numpy(), torch.cat([first, picks], 1).cpu().numpy(), seconds)


Batch = tuple[PoolSimulation, PoolTasks, list[torch.Generator]]


def _batches(dataset: Dataset, setting: Setting) -> Iterator[Batch]:
    """Yield the repeats of a data set in batches of bounded memory.

    A batch is a simulation, the tasks to play in it, and for each task the generator of the oracle's answers.
    """
    seeds, name = setting.seeds(dataset), setting.known_as(dataset)
    one = setting.simulation(dataset, 1, "size").sampler.draw_seeded(seeds[:1])
    size = max(1, _BATCH // (one.x.numel() + one.test_x.numel()))
    for begin in range(0, len(seeds), size):
        batch = seeds[begin : begin + size]
        # The random numbers of oracle and learner are named without the contender: they are the same for all.
        simulation = setting.simulation(dataset, len(batch), f"benchmark on {name} from repeat {begin}")
        repeats = range(begin, begin + len(batch))
        oracles = [make_generator(setting.seed, f"oracle on {name} in repeat {r}", setting.device) for r in repeats]
        yield simulation, simulation.sampler.draw_seeded(batch), oracles


def _try_out(dataset: Dataset, setting: Setting) -> PoolSimulation:
    """Return a simulation that has begun one task, which raises early if the data set or the learner does not fit."""
    simulation = setting.simulation(dataset, 1, "trial")
    simulation.reset(simulation.sampler.draw_seeded(setting.seeds(dataset)[:1]))
    return simulation


def _leaves_out_rows(simulation: PoolSimulation) -> bool:
    """Return whether the pool is as small as asked for, and rows are in neither pool nor test."""
    (dataset,), tasks = simulation.sampler.datasets, simulation.tasks
    pool, tests = tasks.x.shape[1], tasks.test_x.shape[1]
    return pool == simulation.options.pool_size and pool + tests < len(dataset.x)


def _check_learners(contenders: Sequence[Contender], dataset: Dataset, setting: Setting) -> None:
    """Raise an AlmetaError if a strategy needs what its learner cannot do; each learner is fit once."""
    states: dict[str, PoolState] = {}
    for contender in contenders:
        strategy = contender.contender if isinstance(contender, Entrant) else contender
        actor = make_strategy(strategy) if isinstance(strategy, StrategySpec) else None
        if isinstance(actor, PoolStrategy):
            own = setting.of(contender)
            name = joblib.hash(own.learner)
            if name not in states:
                states[name] = _try_out(dataset, own).state()
            actor.check(states[name])


def _known(dataset: str, content: str) -> str:
    """Return what tells a data set from others: a file is known by its content, wherever it lies."""
    return content if path_of(dataset) else dataset


def task_seed(seed: int, dataset: str, repeat: int) -> int:
    """Return the seed of the task of one repeat."""
    digest = hashlib.sha256(f"{seed}/{dataset}/{repeat}".encode()).digest()
    return int.from_bytes(digest[:7], "big")


class Results(NamedTuple):
    """The tables of a benchmark.

    Attributes:
        curves: columns `dataset, strategy, repeat, queries, score`, and one for each further measure.
        picks: columns `dataset, strategy, repeat, query, row`: the rows of the data set, counted from 0, in the order
            in which they were picked; the first labels have query 0.
        seconds: columns `dataset, strategy, seconds_a_pick, seconds_a_query`: means of what the contender took to
            choose, without the learner's refit.
    """

    curves: pd.DataFrame
    picks: pd.DataFrame
    seconds: pd.DataFrame


def run_benchmark(
    datasets: Sequence[str],
    contenders: Sequence[Contender],
    setting: Setting,
    store: Path,
    jobs: int = 1,
    backend: str | None = None,
    backend_options: dict[str, Any] | None = None,
    track: Track = iter,
    say: Callable[[str], None] = _log.info,
) -> Results:
    """Play all cells that are not finished yet, and return the tables of all.

    Args:
        datasets: names.
        contenders: strategies and policies.
        setting: what the cells share.
        store: an SQLite file with the finished cells, also of other settings; made if it is missing.
        jobs: number of cells played at once.
        backend: of joblib, such as "loky" (processes), "dask" or "ray"; None for its default.
        backend_options: of the backend, such as `scheduler_host` of dask.
        track: wraps the range of open cells, to show the progress.
        say: prints notes about damaged cells and about pools that leave out rows.

    Raises:
        AlmetaError: before any cell is played, if a name occurs twice, a policy was trained on a data set, a data set
            cannot be loaded or does not fit the setting, or a learner cannot do what a strategy needs; later, if a cell
            fails (finished cells are kept).
    """
    keys, players = _open(datasets, contenders, setting, say)
    workers = make_workers(min(jobs, len(keys)), backend, backend_options or {})
    with closing(CellStore(store)) as cells:
        if damaged := sum(map(cells.is_damaged, keys.values())):
            say(f"{damaged} of {len(keys)} cells in {store} are damaged: they are played again")
        calls = [(cell, players[cell], setting) for cell, key in keys.items() if key not in cells]
        for _, (cell, played) in zip(track(range(len(calls))), in_workers(workers, _play_named, calls), strict=True):
            cells.keep(keys[cell], *cell, played)
        read = {cell: cells.read(key) for cell, key in keys.items()}
    return Results(
        pd.concat([_curves(*cell, played, setting) for cell, played in read.items()]),
        pd.concat([_picks(*cell, played) for cell, played in read.items()]),
        pd.DataFrame([_seconds(*cell, played, setting) for cell, played in read.items()]),
    )


def _open(
    datasets: Sequence[str], contenders: Sequence[Contender], setting: Setting, say: Callable[[str], None]
) -> tuple[dict[Cell, str], dict[Cell, Contender]]:
    """Check all that can be checked before a cell is played; return the key and the contender of each cell."""
    _check_names(datasets, contenders)
    for contender in contenders:
        for dataset in datasets:
            contender.check(dataset)  # before files are read
    check_options(datasets, setting.options)
    keys: dict[Cell, str] = {}
    players: dict[Cell, Contender] = {}
    cut: list[str] = []
    for name in datasets:
        loaded = load_dataset(name, **setting.options_of(name))
        if _leaves_out_rows(_try_out(loaded, setting)):
            cut.append(f"{name} ({len(loaded.x):,} rows)")
        if name == datasets[0]:
            _check_learners(contenders, loaded, setting)
        for contender in contenders:
            cell = (name, str(contender))
            players[cell] = contender.on(loaded)
            keys[cell] = setting.key(name, loaded.content, players[cell])
    if cut:
        say(f"pools of {setting.env.pool_size} rows (env.pool_size) are drawn from {', '.join(cut)}")
    return keys, players


def _play_named(cell: Cell, contender: Contender, setting: Setting) -> tuple[Cell, Played]:
    return cell, play_cell(cell[0], contender, setting)


def _check_names(datasets: Sequence[str], contenders: Sequence[Contender]) -> None:
    for kind, names in (("data set", list(datasets)), ("strategy or policy", [str(c) for c in contenders])):
        if not names:
            raise AlmetaError(f"no {kind} is named; a benchmark needs at least one")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise AlmetaError(f"the {kind} '{twice[0]}' is named twice; name it once")


def check_options(datasets: Sequence[str], options: Mapping[str, Any]) -> None:
    """Raise an AlmetaError for an option that no data set's loader takes."""
    for key, value in options.items():
        if not any(takes_option(dataset, key) for dataset in datasets):
            load_dataset(datasets[0], **{key: value})  # raises, and names the options that the loader takes


def _curves(dataset: str, strategy: str, played: Played, setting: Setting) -> pd.DataFrame:
    """Return the rows of a cell in the table of curves."""
    scores = played.scores.swapaxes(1, 2)  # [K, R, T + 1]
    repeats, queries = np.indices(scores.shape[1:]).reshape(2, -1)
    names = ("score", *setting.measures)
    columns = {name: curves.ravel().astype(float) for name, curves in zip(names, scores, strict=True)}
    return pd.DataFrame(
        {"dataset": dataset, "strategy": strategy, "repeat": repeats, "queries": queries, **columns},
    )


def _picks(dataset: str, strategy: str, played: Played) -> pd.DataFrame:
    """Return the rows of a cell in the table of picks."""
    repeats, places = np.indices(played.picks.shape).reshape(2, -1)
    first = played.picks.shape[1] - (played.scores.shape[1] - 1)
    columns = {"repeat": repeats, "query": np.maximum(places - first + 1, 0), "row": played.picks.ravel()}
    table = pd.DataFrame({"dataset": dataset, "strategy": strategy, **columns})
    return table[table["row"] >= 0]


def _seconds(dataset: str, strategy: str, played: Played, setting: Setting) -> dict[str, Any]:
    """Return the row of a cell in the table of seconds."""
    _, points, repeats = played.scores.shape
    picks = points - 1
    each = {"seconds_a_pick": picks, "seconds_a_query": math.ceil(picks / setting.env.query_size)}
    means = {name: played.seconds / (count * repeats) for name, count in each.items()}
    return {"dataset": dataset, "strategy": strategy, **means}
