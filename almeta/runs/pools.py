"""Runs on pools, and benchmarks of strategies and policies."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
from rich.console import Console
from torch import Tensor

from almeta.build import build
from almeta.checks import Count, Within, check_arguments, check_call
from almeta.data import Dataset, canonical_name, load_dataset
from almeta.data.suites import folds, suite
from almeta.envs.pool import PoolOptions, PoolSimulation
from almeta.errors import AlmetaError
from almeta.evaluation.benchmark import Contender, Setting, StrategySpec, WithLearner, run_benchmark
from almeta.evaluation.curves import Area
from almeta.evaluation.jobs import Job
from almeta.evaluation.pool_report import pool_report
from almeta.evaluation.report import Report, Table, shown_cell
from almeta.evaluation.training_report import gain_over_training
from almeta.evaluation.writers import publish
from almeta.inputs import Candidates, PoolInputs
from almeta.learners import make_learner
from almeta.policies import TrainedPolicy, find_policy
from almeta.pool import PoolState
from almeta.runs.config import BenchmarkConfig, EvaluateConfig, TrainConfig
from almeta.runs.run import Run
from almeta.seeding import make_generator
from almeta.specs import Spec
from almeta.strategies import Actor, make_strategy
from almeta.tasks import PoolTasks
from almeta.training.compute import set_compute
from almeta.training.loggers import METRICS, read_json_lines
from almeta.training.progress import Progress
from almeta.training.rollout import learning_curves
from almeta.training.trainer import LAST, Evaluate

# What a policy is compared with at the end of its training, and by evaluate.
STRATEGIES = ("random", "margin", "entropy", "information_density", "core_set")
REFERENCE = "margin"
# Training may cut data sets to a few classes and columns; an evaluation plays them whole.
WHOLE: dict[str, Any] = {"max_classes": None, "max_features": None}


@dataclass(frozen=True)
class SplitSuite:
    """Data sets that are split into folds, as `dataset` of a config names them.

    Args:
        suite: its name, or a list of data sets.
        num_folds: parts.
        fold: the part that is for evaluation, from 0; None keeps none back.
        split_seed: names the split.
    """

    suite: str | Sequence[str]
    num_folds: Count = 5
    fold: Annotated[int, Within(0)] | None = None
    split_seed: int = 0

    def __post_init__(self) -> None:
        check_arguments(SplitSuite, vars(self), "dataset")
        if self.fold is not None and self.fold >= self.num_folds:
            raise AlmetaError(f"dataset.fold={self.fold}, but dataset.num_folds={self.num_folds}; folds count from 0")

    @classmethod
    def read(cls, values: Mapping[str, Any] | None) -> "SplitSuite":
        """Return it from a config's group; an unknown or missing key is an AlmetaError."""
        check_call(cls, values or {}, "dataset")
        return cls(**(values or {}))

    def split(self) -> dict[str, tuple[str, ...]]:
        """Return the names of the data sets to train on and of those to evaluate on, as "train" and "test".

        Raises:
            AlmetaError: for an unknown suite or data set.
        """
        names = tuple(map(canonical_name, suite(self.suite) if isinstance(self.suite, str) else self.suite))
        if self.fold is None:
            return {"train": names, "test": ()}
        test = folds(names, self.num_folds, self.split_seed)[self.fold]
        return {"train": tuple(name for name in names if name not in test), "test": test}


class PoolRun(Run):
    """Training on some data sets and synthetic ones, judged on data sets of another fold."""

    kind = "pool"
    score = "gain"

    @classmethod
    def check(cls, config: TrainConfig) -> None:
        SplitSuite.read(config.dataset)
        if config.name in STRATEGIES:
            raise AlmetaError(f"name is '{config.name}', as a strategy is called; choose another for the policy")

    def build(self) -> None:
        config = self.config
        self.names = SplitSuite.read(config.dataset).split()
        self.options: PoolOptions = build(config.env, "env")
        train = [load_dataset(name) for name in self.names["train"]]
        self.simulation: PoolSimulation = self._simulation(train, self.options, config.num_envs, "env")
        self.evaluations = {"train": self._measuring(train, "train")}
        if self.names["test"]:
            self.evaluations["test"] = self._measuring([load_dataset(name) for name in self.names["test"]], "test")

    def make_inputs(self) -> PoolInputs:
        inputs: PoolInputs = build(self.config.inputs, "inputs") if self.config.inputs else Candidates()
        return inputs

    def described_data(self) -> str:
        train, test = self.names["train"], self.names["test"]
        return (
            f"{len(train)} data sets and {self.options.synthetic:.0%} synthetic tasks; judged on {len(test)} data sets "
            "it never sees"
        )

    def _simulation(
        self, datasets: Sequence[Dataset], options: PoolOptions, num_envs: int, purpose: str
    ) -> PoolSimulation:
        generator = make_generator(self.config.seed, purpose, self.config.device)
        learner, oracle = (build(part, name) if part else None for name, part in self._parts())
        return PoolSimulation(datasets, options, num_envs, generator, learner, oracle)

    def _parts(self) -> list[tuple[str, Any]]:
        return [("learner", self.config.learner), ("oracle", self.config.oracle)]

    def _measuring(self, datasets: Sequence[Dataset], part: str) -> Evaluate:
        """Return a function that measures an agent on the same tasks at each call, margin beside it."""
        episodes = self.config.evaluate_episodes
        options = replace(self.options, **WHOLE, group=1, synthetic=0.0 if datasets else 1.0)
        simulation = self._simulation(datasets, options, episodes, f"evaluation on {part}")
        seeds = torch.randint(2**62, (episodes,), generator=make_generator(self.config.seed, f"{part} tasks"))
        tasks = simulation.sampler.draw_seeded(seeds.tolist(), cycle=True)
        simulation.reset(tasks)  # what does not fit is told before anything is trained
        reference: list[Tensor] = []  # its curves, played once

        def measure(agent: Actor[PoolState]) -> dict[str, Any]:
            if not reference:
                reference.append(self._play(simulation, make_strategy(REFERENCE), tasks))
            return _measures(self._play(simulation, agent, tasks), reference[0], tasks.names)

        return measure

    def _play(self, simulation: PoolSimulation, actor: Actor[PoolState], tasks: PoolTasks) -> Tensor:
        """Return curves `[T + 1, E]`, from the same random numbers at each call."""
        seed, device = self.config.seed, self.config.device
        simulation.generator = make_generator(seed, "evaluation", device)
        return learning_curves(simulation, actor, make_generator(seed, "evaluation ties", device), tasks)

    def conclude(self, folder: Path) -> tuple[dict[str, Any], Report]:
        config, agent = self.config, self.agent
        summary: dict[str, Any] = {"policy": config.name, "seed": config.seed, "batches": config.batches}
        summary["train"] = self.evaluations["train"](agent)
        metrics = read_json_lines(folder / METRICS)
        figures = {}
        if any(line["kind"] == "evaluation" for line in metrics):
            figures["gain_over_training"] = gain_over_training(metrics, REFERENCE)
        if "test" not in self.evaluations:
            verdict = "No fold was held out: there is nothing to judge the policy on."
            title = f"{config.name} after {config.batches:,} batches"
            return summary, Report(title, sentences=[verdict], figures=figures, config=config.plain())
        repeats = max(2, -(-config.final_episodes // len(self.names["test"])))
        policy = find_policy(folder / LAST, config.name)
        setting = Setting(
            env=replace(self.options, **WHOLE),
            learner=self.simulation.learner,
            oracle=self.simulation.oracle,
            repeats=repeats,
            seed=config.seed,
            device=config.device,
            matmul_precision=config.matmul_precision,
            threads=config.threads or 1,
        )
        test = self.evaluations["test"](agent)
        contenders: list[Contender] = [*map(StrategySpec.read, STRATEGIES), policy]
        report = compare(self.names["test"], contenders, setting, folder, config.plain())
        summary |= {"test": test, "benchmark": report.summary}
        return summary, replace(report, figures={**figures, **report.figures})

    @classmethod
    def tables_of_jobs(cls, jobs: Sequence[Job]) -> list[Table]:
        """Return a row for each job that was judged on data sets which its training held back."""
        measures = ("aulc", "gain", "better")
        rows = [
            {"policy": job.label, "seed": job.results["seed"], **{key: job.results["test"][key] for key in measures}}
            for job in jobs
            if job.results and "test" in job.results
        ]
        numbers = pd.DataFrame(rows, columns=["policy", "seed", *measures])
        note = "On data sets never trained on: the mean score along the curve, and its gain over the reference."
        return [Table("pools", numbers, numbers.map(shown_cell), title="Policies of pools", note=note)]

    @staticmethod
    def judge(config: EvaluateConfig, folder: Path) -> dict[str, Any]:
        """Compare a policy with strategies, on a data set or on those it was not trained on.

        It acts in the environment that it was trained in, where `config` does not change that.
        """
        policy = find_policy(config.policy)
        trained = policy.members[0].config
        chosen = [config.dataset] if config.dataset else [member.config["dataset"] for member in policy.members]
        datasets, options = _judged_datasets(chosen)
        changes = {key: value for key, value in config.env.items() if value is not None}
        learner, oracle = config.learner or trained["learner"], config.oracle or trained["oracle"]
        setting = Setting(
            env=build({**trained["env"], **WHOLE, **changes}, "env"),
            learner=build(learner, "learner") if learner else make_learner("logistic_regression"),
            oracle=build(oracle or {"_target_": "almeta.oracles.Oracle"}, "oracle"),
            repeats=config.repeats,
            seed=config.seed,
            device=config.device,
            # cards do not tell it
            matmul_precision=config.matmul_precision or trained.get("matmul_precision", "highest"),
            options=options,
            threads=config.threads or 1,
        )
        set_compute(setting.threads, setting.device, setting.matmul_precision)
        strategies = read_strategies(["random", REFERENCE, *config.strategies])  # the first two always
        report = compare(datasets, [*strategies, policy], setting, folder, config.plain(), jobs=config.jobs)
        summary: dict[str, Any] = {"kind": PoolRun.kind, "policy": config.policy, "datasets": list(datasets)}
        summary["benchmark"] = report.summary
        publish(report, folder, Console(), summary)
        return summary


def _measures(curves: Tensor, reference: Tensor, names: Sequence[str]) -> dict[str, Any]:
    """Sum up curves `[T + 1, E]` beside those of the reference, on the data sets `names` `[E]`."""
    gains = (curves - reference).mean(0)
    by_dataset = {name: gains[[n == name for n in names]].mean() for name in set(names)}
    better = sum(gain > 0 for gain in by_dataset.values()) / len(by_dataset)
    return {
        "aulc": float(curves.mean()),
        f"aulc_of_{REFERENCE}": float(reference.mean()),
        "gain": float(gains.mean()),
        "better": float(better),
        "mean_return": float((curves[-1] - curves[0]).mean()),
        "episodes": curves.shape[1],
    }


def compare(
    datasets: Sequence[str],
    contenders: Sequence[Contender],
    setting: Setting,
    folder: Path,
    config: dict[str, Any],
    *,
    reference: str = REFERENCE,
    area: Area = "mean",
    **running: Any,
) -> Report:
    """Play all cells that `folder` does not hold yet, and report what came of them.

    Args:
        datasets: names.
        contenders: strategies and policies.
        setting: what the cells share.
        folder: for `cells.sqlite`.
        config: plain values that the report shows.
        reference: the strategy that others are compared with beside random.
        area: under a learning curve, "mean" or "trapezoid".
        running: `jobs`, `backend` and `backend_options` of `run_benchmark`.
    """
    progress = Progress("benchmark", unit="cell")
    curves = run_benchmark(datasets, contenders, setting, folder / "cells.sqlite", track=progress, say=print, **running)
    return pool_report(curves, reference, area=area, measure=setting.env.score, config=config)


def _judged_datasets(chosen: Sequence[dict[str, Any]]) -> tuple[Sequence[str], dict[str, Any]]:
    """Names of the data sets to judge a policy on, and the loader's options: one, or those of all suites' folds.

    Raises:
        AlmetaError: if the suites hold none back.
    """
    first = chosen[0]
    if "suite" in first:
        if not (names := sorted({name for one in chosen for name in SplitSuite.read(one).split()["test"]})):
            raise AlmetaError("the policy's training held no data set back; choose one to judge it on: dataset=NAME")
        return names, {}
    of_streams = {"name", "train_classes", "split_seed"}
    options = {key: value for key, value in first.items() if key not in of_streams and value is not None}
    return [canonical_name(first["name"])], options


def read_strategies(given: Sequence[Any]) -> list[StrategySpec]:
    """Return strategies by name or with options, each once."""
    return list({str(spec): spec for spec in map(StrategySpec.read, given)}.values())


def benchmark(config: BenchmarkConfig, folder: Path) -> dict[str, Any]:
    """Benchmark as the config says, write everything to `folder`, and return the summary."""
    set_compute(config.threads, config.device, config.matmul_precision)
    datasets = [canonical_name(name) for name in chosen_datasets(config)]
    strategies = read_strategies(["random", *config.strategies])
    contenders: list[Contender] = [*strategies, *chosen_policies(config.policies, set(map(str, strategies)))]
    learners = [Spec.read(learner, "learner") for learner in config.learners]
    contenders += [WithLearner(contender, learner) for learner in learners for contender in list(contenders)]
    setting = Setting(
        env=build(config.env, "env"),
        learner=build(config.learner, "learner"),
        oracle=build(config.oracle, "oracle"),
        repeats=config.repeats,
        seed=config.seed,
        device=config.device,
        matmul_precision=config.matmul_precision,
        options={key: value for key, value in config.options.items() if value is not None},
        threads=config.threads,
    )
    others = {key: getattr(config, key) for key in ("reference", "area", "jobs", "backend", "backend_options")}
    report = compare(datasets, contenders, setting, folder, config.plain(), **others)
    publish(report, folder, Console(), report.summary)
    return dict(report.summary)


def chosen_policies(paths: Sequence[str], taken: Collection[str] = ()) -> list[TrainedPolicy]:
    """Return the policies, each by its own name; by its path where that name is taken, or several have it.

    Args:
        paths: what `find_policy` takes.
        taken: names of others.
    """
    policies = [find_policy(path) for path in paths]
    count = Counter([*taken, *(policy.name for policy in policies)])
    named = zip(paths, policies, strict=True)
    return [policy if count[policy.name] == 1 else replace(policy, name=path) for path, policy in named]


def chosen_datasets(config: BenchmarkConfig) -> list[str]:
    """Return the names in `datasets`, or those of `suite`.

    Raises:
        AlmetaError: if neither is given, or both.
    """
    if config.datasets is not None and config.suite is not None:
        raise AlmetaError(
            f"both suite={config.suite} and datasets=[{','.join(config.datasets)}] are set, perhaps one of them "
            "by a preset; add datasets=null or suite=null"
        )
    if config.suite is not None:
        return list(suite(config.suite))
    if config.datasets is None:
        raise AlmetaError("name the data sets either one by one, datasets=[iris,wine], or as a suite, suite=tables")
    return config.datasets
