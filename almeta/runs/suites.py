"""The base class of runs on suites of data sets: trained on some, judged on those of another fold."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import torch
from rich.console import Console
from torch import Tensor

from almeta.build import build
from almeta.checks import Count, Within
from almeta.data import Dataset, canonical_name, load_dataset
from almeta.data.suites import folds, suite
from almeta.errors import AlmetaError
from almeta.evaluation.contenders import Player
from almeta.evaluation.report import Report
from almeta.evaluation.suites import Rule, SuiteSetting
from almeta.evaluation.training_report import gain_over_training
from almeta.evaluation.writers import publish
from almeta.inputs import Inputs
from almeta.learners import Learner, LogisticRegression
from almeta.policies import TrainedPolicy, find_policy
from almeta.runs.config import EvaluateConfig, Group, SplitConfig, TrainConfig
from almeta.runs.run import CHANGES_OF_STREAMS, Run
from almeta.seeding import make_generator
from almeta.specs import Spec
from almeta.strategies import Actor
from almeta.training.compute import set_compute
from almeta.training.loggers import METRICS, read_json_lines
from almeta.training.rollout import Scored, learning_curves
from almeta.training.trainer import LAST, Evaluate


@dataclass(frozen=True)
class SplitSuite(SplitConfig):
    """Data sets that are split into folds.

    Args:
        suite: its name, or a list of data sets.
        num_folds: number of folds.
        fold: the one to evaluate on, from 0; None trains on all.
        split_seed: of the split.
    """

    suite: str | Sequence[str]
    num_folds: Count = 5
    fold: Annotated[int, Within(0)] | None = None
    split_seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fold is not None and self.fold >= self.num_folds:
            raise AlmetaError(f"dataset.fold={self.fold}, but dataset.num_folds={self.num_folds}; folds count from 0")

    @classmethod
    def read(cls, values: Mapping[str, Any] | None) -> Self:
        if name := (values or {}).get("name"):
            raise AlmetaError(
                f"pools take a suite or a list of data sets; write dataset.suite=[{name}] in place of dataset={name}"
            )
        return super().read(values)

    def split(self) -> dict[str, tuple[str, ...]]:
        """Return the names of the data sets to train on and of those to evaluate on, as "train" and "test"."""
        names = tuple(map(canonical_name, suite(self.suite) if isinstance(self.suite, str) else self.suite))
        if self.fold is None:
            return {"train": names, "test": ()}
        test = folds(names, self.num_folds, self.split_seed)[self.fold]
        return {"train": tuple(name for name in names if name not in test), "test": test}


class SuiteRun(Run):
    """Training on some data sets and synthetic ones, judged on data sets of another fold.

    Attributes:
        simulates: the simulation of the kind, of data sets, options, number of episodes, generator and learner.
        maker: makes a strategy of the kind.
        reads: the inputs if the config names none.
        reference: the strategy that gains are measured over.
        whole: options of the environment that judging has in place of those of the training.
        names: of the data sets to train on and of those to judge on, as "train" and "test".
        options: of the environment.
    """

    score = "gain"
    without: ClassVar[tuple[str, ...]] = ("oracle", "vary")
    not_judged_by: ClassVar[tuple[str, ...]] = (
        *("classes", "ask_unnamed", "episodes", "num_envs", "strategies", "oracle", "jobs"),
        *CHANGES_OF_STREAMS,
    )
    simulates: ClassVar[Callable[..., Scored]]
    maker: ClassVar[Callable[..., Actor[Any]]]
    reads: ClassVar[Callable[[], Inputs]]
    reference: ClassVar[str]
    whole: ClassVar[Mapping[str, Any]] = {}
    simulation: Scored
    options: Any

    @classmethod
    @abstractmethod
    def strategies(cls) -> Sequence[Any]:
        """Return the strategies that a policy is compared with after its training, by name or with options."""

    @classmethod
    def rules(cls) -> list[Player]:
        """Return the strategies that a policy is compared with, as players."""
        return [Rule(Spec.read(strategy), cls.maker) for strategy in cls.strategies()]

    @classmethod
    def measures(cls, env: Any) -> Sequence[str]:
        """Return what is recorded under options of the environment, that which policies are judged by first."""
        return (env.score,)

    @classmethod
    def check(cls, config: TrainConfig) -> None:
        SplitSuite.read(config.dataset)
        if config.name in [str(Spec.read(strategy)) for strategy in cls.strategies()]:
            raise AlmetaError(f"name is '{config.name}', which is a strategy; choose another name for the policy")

    def build(self) -> None:
        config = self.config
        self.names = SplitSuite.read(config.dataset).split()
        self.options = build(config.env, "env")
        parts = {part: [load_dataset(name) for name in names] for part, names in self.names.items()}
        self.simulation = self.make_training(parts["train"])
        self.evaluations = {
            part: self.measuring(datasets, part) for part, datasets in parts.items() if datasets or part == "train"
        }

    def make_training(self, datasets: Sequence[Dataset]) -> Scored:
        """Return the simulation to train in."""
        return self.make_simulation(datasets, self.options, self.config.num_envs, "env")

    def make_simulation(
        self,
        datasets: Sequence[Dataset],
        options: Any,
        num_envs: int,
        purpose: str,
        simulates: Callable[..., Scored] | None = None,
    ) -> Scored:
        """Return a simulation, of the class `simulates` or that of the kind; `purpose` names its random numbers."""
        generator = make_generator(self.config.seed, purpose, self.config.device)
        return (simulates or self.simulates)(datasets, options, num_envs, generator, *self.make_parts())

    def make_parts(self) -> tuple[Any, ...]:
        """Return what simulations are made of beside data sets and options."""
        return (make_learner_of(self.config.learner),)

    def make_inputs(self) -> Inputs:
        inputs: Inputs = build(self.config.inputs, "inputs") if self.config.inputs else type(self).reads()
        return inputs

    def described_data(self) -> str:
        train, test = self.names["train"], self.names["test"]
        return (
            f"{len(train)} data sets and {self.options.synthetic:.0%} synthetic tasks; judged on {len(test)} data sets "
            "it never sees"
        )

    def options_on(self, part: str) -> Any:
        """Return the options under which an agent is measured on a part of the data."""
        return replace(self.options, **self.whole)

    def draws(self, part: str) -> list[torch.Generator] | None:
        """Return the generators of what episodes draw beside their tasks; None for that of the simulation."""
        return None

    def check_strategies(self, state: Any) -> None:
        """Raise if a strategy cannot play on such tasks; strategies of most kinds always can."""

    def measuring(self, datasets: Sequence[Dataset], part: str) -> Evaluate:
        """Return a function that measures an agent beside the reference, on the same tasks at each call."""
        seed, device, episodes = self.config.seed, self.config.device, self.config.evaluate_episodes
        options = replace(self.options_on(part), group=1, synthetic=0.0 if datasets else 1.0)
        simulation = self.make_simulation(datasets, options, episodes, f"evaluation on {part}")
        seeds = torch.randint(2**62, (episodes,), generator=make_generator(seed, f"{part} tasks"))
        tasks = simulation.sampler.draw_seeded(seeds.tolist(), cycle=True)
        # Both raise before the training begins, if the data do not fit or a strategy does not fit the learner.
        self.check_strategies(simulation.reset(tasks, self.draws(part)))
        reference: list[Tensor] = []  # its curves, played once

        def play(actor: Actor[Any]) -> Tensor:
            simulation.generator = make_generator(seed, "evaluation", device)
            ties = make_generator(seed, "evaluation ties", device)
            return learning_curves(simulation, actor, ties, tasks, self.draws(part), self.measures(options)[:1])

        def measure(agent: Actor[Any]) -> dict[str, Any]:
            if not reference:
                reference.append(play(type(self).maker(self.reference)))
            return curve_measures(play(agent), reference[0], tasks.names, self.reference)

        return measure

    def conclude(self, folder: Path) -> tuple[dict[str, Any], Report]:
        config, agent = self.config, self.agent
        summary: dict[str, Any] = {"train": self.evaluations["train"](agent)}
        metrics, figures = read_json_lines(folder / METRICS), {}
        if any(line["kind"] == "evaluation" for line in metrics):
            figures["gain_over_training"] = gain_over_training(metrics, self.reference)
        if "test" not in self.evaluations:
            verdict = "No fold was held out: there is nothing to judge the policy on."
            title = f"{config.name} after {config.batches:,} batches"
            return summary, Report(title, sentences=[verdict], figures=figures, config=config.plain())
        test = self.evaluations["test"](agent)
        repeats = max(2, -(-config.final_episodes // len(self.names["test"])))
        policy = find_policy(folder / LAST, config.name, self.kind)
        setting = self.setting(replace(self.options, **self.whole), config, config.plain(), repeats)
        report = self.compare(self.names["test"], policy, setting, config, folder)
        summary |= {"test": test, "benchmark": report.summary}
        return summary, replace(report, figures={**figures, **report.figures})

    @classmethod
    def judge(cls, config: EvaluateConfig, folder: Path) -> dict[str, Any]:
        """Compare a policy with strategies, on the chosen data set or on those held out from its training.

        Its environment is that of its training, with the changes that `config` names.
        """
        policy = find_policy(config.policy, kind=cls.kind)
        trained = policy.members[0].config
        chosen = [config.dataset] if config.dataset else [member.config["dataset"] for member in policy.members]
        datasets, options = judged_datasets(chosen)
        env = build({**trained["env"], **cls.whole, **config.changes}, "env")
        setting = cls.setting(env, config, trained, config.repeats, options)
        set_compute(config.threads, config.device, config.matmul_precision or precision_of(trained))
        report = cls.compare(datasets, policy, setting, config, folder)
        summary: dict[str, Any] = {"kind": cls.kind, "policy": config.policy, "datasets": list(datasets)}
        summary["benchmark"] = report.summary
        publish(report, folder, Console(), summary)
        return summary

    @classmethod
    def setting(
        cls,
        env: Any,
        config: TrainConfig | EvaluateConfig,
        trained: Mapping[str, Any],
        repeats: int,
        options: dict[str, Any] | None = None,
    ) -> Any:
        """Return what all who are compared share.

        Args:
            env: options of the environment.
            config: of the command.
            trained: plain config of the training, which has what `config` does not name.
            repeats: number of tasks drawn from each data set.
            options: of `load_dataset`.
        """
        learner = make_learner_of(config.learner or trained["learner"])
        return SuiteSetting(
            cls.simulates, env, learner, cls.measures(env), repeats, config.seed, config.device, options
        )

    @classmethod
    @abstractmethod
    def compare(
        cls,
        datasets: Sequence[str],
        policy: TrainedPolicy,
        setting: Any,
        config: TrainConfig | EvaluateConfig,
        folder: Path,
    ) -> Report:
        """Return the report of a policy and strategies on data sets that it never saw."""


def make_learner_of(given: Group | None) -> Learner:
    """Return the learner of a config."""
    learner: Learner = build(given, "learner") if given else LogisticRegression()
    return learner


def precision_of(trained: Mapping[str, Any]) -> str:
    """Return the matrix precision of a training; older cards lack it."""
    return str(trained.get("matmul_precision", "highest"))


def curve_measures(curves: Tensor, reference: Tensor, names: Sequence[str], rule: str) -> dict[str, Any]:
    """Return measures of curves `[T + 1, E]` and of their gain over those of a rule, on the data sets `names` `[E]`."""
    gains = (curves - reference).mean(0)
    by_dataset = {name: gains[[n == name for n in names]].mean() for name in set(names)}
    better = sum(gain > 0 for gain in by_dataset.values()) / len(by_dataset)
    return {
        "aulc": float(curves.mean()),
        f"aulc_of_{rule}": float(reference.mean()),
        "gain": float(gains.mean()),
        "better": float(better),
        "mean_return": float((curves[-1] - curves[0]).mean()),
        "episodes": curves.shape[1],
    }


def judged_datasets(chosen: Sequence[dict[str, Any]]) -> tuple[Sequence[str], dict[str, Any]]:
    """Return the names of the data sets to judge a policy on, and the loader's options.

    Raises:
        AlmetaError: if the choice has no name, or is of suites without a fold for evaluation.
    """
    first = chosen[0]
    if "suite" in first:
        if not (names := sorted({name for one in chosen for name in SplitSuite.read(one).split()["test"]})):
            raise AlmetaError("the policy's training held out no data set; choose one to judge it on: dataset=NAME")
        return names, {}
    if "name" not in first:
        raise AlmetaError(f"dataset is {first} and has no name; choose one: dataset=NAME")
    of_streams = {"name", "train_classes", "split_seed"}
    options = {key: value for key, value in first.items() if key not in of_streams and value is not None}
    return [canonical_name(first["name"])], options
