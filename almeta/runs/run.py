"""The base class of runs: what each kind of problem builds, trains, judges and reports."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
from matplotlib.figure import Figure
from rich.console import Console

from almeta.envs.simulation import Simulation
from almeta.errors import AlmetaError
from almeta.evaluation.jobs import Job
from almeta.evaluation.report import Report, Table, shown_cell
from almeta.evaluation.writers import publish
from almeta.inputs import Inputs
from almeta.runs.config import EvaluateConfig, TrainConfig, check_meaning
from almeta.training.agents import build_agent
from almeta.training.trainer import Evaluate

CONFIG, SUMMARY = "config.yaml", "summary.json"
# The changes to the environment that `evaluate` offers for one kind alone.
CHANGES_OF_STREAMS = ("env.classes", "env.length", "env.rotations", "env.reward", "env.max_requests")
CHANGES_OF_POOLS = ("env.budget", "env.pool_size", "env.query_size", "env.num_first", "env.score")


class Run(ABC):
    """Training on some data, judged on others.

    Attributes:
        kind: of the problem, the same word as in its options and its simulation.
        score: the measure that chooses the best checkpoint, and that sweepers maximise.
        without: parts of a config that this kind does not use.
        not_judged_by: knobs of `evaluate` that mean nothing to this kind.
        evaluations: by the part of the data, "train" and "test".
    """

    kind: ClassVar[str]
    score: ClassVar[str] = "mean_return"
    without: ClassVar[tuple[str, ...]] = ()
    not_judged_by: ClassVar[tuple[str, ...]] = ()
    simulation: Simulation
    evaluations: dict[str, Evaluate]

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self.build()
        assert self.simulation.kind == self.kind, f"{type(self).__name__} plays problems of another kind"
        agent = self.agent = build_agent(config.plain(), self.make_inputs())
        if self.simulation.group < agent.min_group:
            raise AlmetaError(
                f"env.group is {self.simulation.group}, but {type(agent).__name__} compares episodes of one task; set "
                f"env.group to {agent.min_group} or more"
            )

    @classmethod
    def check(cls, config: TrainConfig) -> None:
        """Raise an AlmetaError if a value that only this kind has is wrong; load nothing."""
        return

    @abstractmethod
    def build(self) -> None:
        """Load the data, and make `simulation` and `evaluations`."""

    @abstractmethod
    def make_inputs(self) -> Inputs:
        """Return what the agent reads."""

    @abstractmethod
    def described_data(self) -> str:
        """Return which data the run trains and is judged on, for `describe`."""

    def describe(self) -> str:
        """Return a sentence about the agent, the length of its training, and the data."""
        config, agent = self.config, self.agent
        weights = sum(weight.numel() for weight in agent.network.parameters())
        return (
            f"training {config.name}: {type(agent).__name__} with {type(agent.network).__name__} ({weights:,} weights) "
            f"for {config.batches:,} batches of {config.num_envs} episodes, on {self.described_data()}"
        )

    @property
    def runs(self) -> int:
        """How many runs are trained at once."""
        return 1

    def notes(self) -> list[str]:
        """Return sentences on options that do not do what one may expect of them, for the start of the run."""
        return self.agent.without_effect()

    def prepare(self) -> None:
        """Train what needs training before the first batch."""
        return

    @abstractmethod
    def conclude(self, folder: Path) -> tuple[dict[str, Any], Report | None]:
        """Judge the trained agent; return further entries of `summary.json`, and a report or None.

        The entries include `["train"][score]`, which sweepers maximise.
        """

    def finish(self, folder: Path, console: Console) -> dict[str, Any]:
        """Judge the trained agent, publish its report, and return the content of its `summary.json`."""
        results, report = self.conclude(folder)
        config = self.config
        summary = {"kind": self.kind, "policy": config.name, "seed": config.seed, "batches": config.batches} | results
        publish(report or Report(self.describe()), folder, console, summary)
        return summary

    @classmethod
    def tables_of_jobs(cls, jobs: Sequence[Job]) -> list[Table]:
        """Return the tables of a sweep's finished jobs of this kind."""
        rows = [
            {"policy": job.label, "seed": job.seed, "part": part, cls.score: job.results[part][cls.score]}
            for job in jobs
            for part in ("train", "test")
            if job.results and part in job.results
        ]
        numbers = pd.DataFrame(rows, columns=["policy", "seed", "part", cls.score])
        return [Table(f"{cls.kind}_jobs", numbers, numbers.map(shown_cell), title=f"Jobs of kind {cls.kind}")]

    @classmethod
    def figures_of_jobs(cls, jobs: Sequence[Job]) -> dict[str, Figure]:
        """Return figures of a sweep's finished jobs of this kind, by name."""
        return {}

    @classmethod
    def tables_of_evaluations(cls, jobs: Sequence[Job]) -> list[Table]:
        """Return the tables of a sweep's finished evaluations of policies of this kind."""
        return []

    @classmethod
    def check_knobs(cls, given: Iterable[str]) -> None:
        """Raise an AlmetaError if one of the keys `given` to `evaluate` is in `not_judged_by`."""
        check_meaning(cls.kind, given, cls.not_judged_by)

    @classmethod
    @abstractmethod
    def judge(cls, config: EvaluateConfig, folder: Path) -> dict[str, Any]:
        """Judge a trained policy, publish a report in `folder`, and return the summary."""
