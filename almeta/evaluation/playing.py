"""Playing the cells of a benchmark: a contender, a data set, and all repeats.

Whatever changes here makes the cells that are kept invalid.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from almeta.data import Dataset, load_dataset, takes_option
from almeta.data.catalogue import path_of
from almeta.envs.measures import MeasureName
from almeta.envs.pool import PoolOptions, PoolSimulation, check_oracle
from almeta.envs.scores import NumberScoreName, ScoreName
from almeta.evaluation.cells import Played
from almeta.evaluation.contenders import Contender, Entrant
from almeta.learners import Learner, make_learner
from almeta.oracles import Oracle
from almeta.seeding import make_generator
from almeta.sources import source_digest, thing_digest
from almeta.tasks import PoolTasks
from almeta.training.compute import set_compute, set_matmul_precision
from almeta.training.rollout import PoolRecord, record_pools

# Most numbers in the features of one batch of pools and test rows (1 GiB). More repeats are split into batches.
_BATCH = 1 << 28

# Modules that, beside the learner, turn picks into curves. A change to one of them makes old cells invalid.
_CORE = (
    "almeta.data.preparation",
    "almeta.envs.measures",
    "almeta.envs.pool",
    "almeta.envs.scores",
    "almeta.envs.simulation",
    "almeta.evaluation.playing",
    "almeta.geometry",
    "almeta.learners.attacks",
    "almeta.learners.learner",
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
        measures: what is measured beside `env.score`.
        judge: the learner that is measured; None for the one by which rows are chosen.
        datasets: names of those that are played; None for all of the benchmark.

    Raises:
        AlmetaError: for an oracle that cannot have the effect asked for, see `check_oracle`.
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
    measures: tuple[ScoreName | NumberScoreName | MeasureName, ...] = ()
    judge: Learner | None = None
    datasets: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        check_oracle(self.oracle, self.env.query_size, self.measures)

    @property
    def scores(self) -> tuple[ScoreName | NumberScoreName | MeasureName, ...]:
        """The names of all measures, that of `env` first."""
        return (self.env.score, *self.measures)

    def played(self, datasets: Sequence[str]) -> Sequence[str]:
        """Return the names of those that are played of a benchmark's data sets."""
        return datasets if self.datasets is None else self.datasets

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
            asdict(self.env),
            self.measures,
            thing_digest(own.learner),
            own.judge and thing_digest(own.judge),
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
        parts = (self.learner, self.oracle, self.measures, self.judge)
        return PoolSimulation([dataset], options, num_envs, generator, *parts)

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


def _known(dataset: str, content: str) -> str:
    """Return what tells a data set from others: a file is known by its content, wherever it lies."""
    return content if path_of(dataset) else dataset


def task_seed(seed: int, dataset: str, repeat: int) -> int:
    """Return the seed of the task of one repeat."""
    digest = hashlib.sha256(f"{seed}/{dataset}/{repeat}".encode()).digest()
    return int.from_bytes(digest[:7], "big")
