"""Runs on pools, and benchmarks of strategies and policies."""

from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Self

import pandas as pd
import torch
from rich.console import Console
from torch import Tensor

from almeta.build import build, find_target
from almeta.checks import Count, Within
from almeta.data import Dataset, canonical_name, load_dataset
from almeta.data.suites import folds, suite
from almeta.envs.measures import MEASURES
from almeta.envs.pool import PoolOptions, PoolSimulation
from almeta.envs.scores import NUMBER_SCORES, SCORES
from almeta.envs.simulation import Simulation
from almeta.envs.varied_pool import VariedPoolSimulation
from almeta.errors import AlmetaError, did_you_mean
from almeta.evaluation.benchmark import Contender, Entrant, Setting, StrategySpec, run_benchmark
from almeta.evaluation.curves import Area, Over
from almeta.evaluation.jobs import Job
from almeta.evaluation.pool_report import pool_report
from almeta.evaluation.report import Report, Table, shown_cell
from almeta.evaluation.settings_report import asked_in_settings, settings_report
from almeta.evaluation.training_report import gain_over_training
from almeta.evaluation.verdict import Question
from almeta.evaluation.writers import publish
from almeta.inputs import Candidates, PoolInputs
from almeta.learners import Learner, LogisticRegression, make_learner
from almeta.oracles import Oracle
from almeta.policies import TrainedPolicy, find_policy, policy_names
from almeta.pool import PoolState
from almeta.runs.config import BenchmarkConfig, EvaluateConfig, SplitConfig, TrainConfig
from almeta.runs.run import CHANGES_OF_STREAMS, Run
from almeta.runs.settings import PARTS, changed_part, read_settings
from almeta.seeding import make_generator
from almeta.specs import Spec
from almeta.strategies import Actor, is_strategy, make_strategy
from almeta.tasks import PoolTasks
from almeta.training.compute import set_compute
from almeta.training.loggers import METRICS, read_json_lines
from almeta.training.progress import Progress
from almeta.training.rollout import learning_curves
from almeta.training.trainer import LAST, Evaluate

# Strategies that a policy is compared with after its training, and the one that its gain is measured over.
STRATEGIES = ("random", "margin", "entropy", "information_density", "core_set")
REFERENCE = "margin"
# Training may use a few classes and columns of a data set, and a reward up to a goal; evaluation uses all, and curves.
WHOLE: dict[str, Any] = {"max_classes": None, "max_features": None, "reward_target": None}


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
    """Training on some data sets and synthetic ones, judged on data sets of another fold, of any kind of problem.

    Attributes:
        names: of the data sets to train on and of those to judge on, as "train" and "test".
        options: of the environment.
    """

    score = "gain"
    options: Any

    def build(self) -> None:
        config = self.config
        self.names = SplitSuite.read(config.dataset).split()
        self.options = build(config.env, "env")
        parts = {part: [load_dataset(name) for name in names] for part, names in self.names.items()}
        self.simulation = self.make_training(parts["train"])
        self.evaluations = {
            part: self.measuring(datasets, part) for part, datasets in parts.items() if datasets or part == "train"
        }

    @abstractmethod
    def make_training(self, datasets: Sequence[Dataset]) -> Simulation:
        """Return the simulation to train in."""

    @abstractmethod
    def measuring(self, datasets: Sequence[Dataset], part: str) -> Evaluate:
        """Return a function that measures an agent beside the reference, on the same tasks at each call."""

    def make_learner(self) -> Learner:
        """Return the learner of the config."""
        learner: Learner = build(self.config.learner, "learner") if self.config.learner else LogisticRegression()
        return learner

    def described_data(self) -> str:
        train, test = self.names["train"], self.names["test"]
        return (
            f"{len(train)} data sets and {self.options.synthetic:.0%} synthetic tasks; judged on {len(test)} data sets "
            "it never sees"
        )


class PoolRun(SuiteRun):
    """Training on some data sets and synthetic ones, judged on data sets of another fold."""

    kind = "pool"
    simulation: PoolSimulation
    options: PoolOptions
    not_judged_by = ("classes", "ask_unnamed", "episodes", "num_envs", *CHANGES_OF_STREAMS)

    @classmethod
    def check(cls, config: TrainConfig) -> None:
        SplitSuite.read(config.dataset)
        if config.name in STRATEGIES:
            raise AlmetaError(f"name is '{config.name}', which is a strategy; choose another name for the policy")

    def make_training(self, datasets: Sequence[Dataset]) -> PoolSimulation:
        config = self.config
        varied = partial(VariedPoolSimulation, vary=config.vary) if config.vary else PoolSimulation
        return self._simulation(datasets, self.options, config.num_envs, "env", varied)

    def make_inputs(self) -> PoolInputs:
        inputs: PoolInputs = build(self.config.inputs, "inputs") if self.config.inputs else Candidates()
        return inputs

    def _simulation(
        self,
        datasets: Sequence[Dataset],
        options: PoolOptions,
        num_envs: int,
        purpose: str,
        make: Callable[..., PoolSimulation] = PoolSimulation,
    ) -> PoolSimulation:
        generator = make_generator(self.config.seed, purpose, self.config.device)
        return make(datasets, options, num_envs, generator, *self._learner_and_oracle())

    def _learner_and_oracle(self) -> tuple[Learner, Oracle]:
        """Return those of the config, which evaluations and benchmarks have; batches may have others (`vary`)."""
        config = self.config
        oracle: Oracle = build(config.oracle, "oracle") if config.oracle else Oracle()
        return self.make_learner(), oracle

    def measuring(self, datasets: Sequence[Dataset], part: str) -> Evaluate:
        episodes = self.config.evaluate_episodes
        options = replace(self.options, **WHOLE, group=1, synthetic=0.0 if datasets else 1.0)
        simulation = self._simulation(datasets, options, episodes, f"evaluation on {part}")
        seeds = torch.randint(2**62, (episodes,), generator=make_generator(self.config.seed, f"{part} tasks"))
        tasks = simulation.sampler.draw_seeded(seeds.tolist(), cycle=True)
        simulation.reset(tasks)  # raises before the training begins if the data do not fit
        reference: list[Tensor] = []  # its curves, played once

        def measure(agent: Actor[PoolState]) -> dict[str, Any]:
            if not reference:
                reference.append(self._play(simulation, make_strategy(REFERENCE), tasks))
            return curve_measures(self._play(simulation, agent, tasks), reference[0], tasks.names)

        return measure

    def _play(self, simulation: PoolSimulation, actor: Actor[PoolState], tasks: PoolTasks) -> Tensor:
        """Return curves `[T + 1, E]`, made with the same random numbers at each call."""
        seed, device = self.config.seed, self.config.device
        simulation.generator = make_generator(seed, "evaluation", device)
        return learning_curves(simulation, actor, make_generator(seed, "evaluation ties", device), tasks)

    def conclude(self, folder: Path) -> tuple[dict[str, Any], Report]:
        config, agent = self.config, self.agent
        summary: dict[str, Any] = {"train": self.evaluations["train"](agent)}
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
        learner, oracle = self._learner_and_oracle()
        setting = Setting(
            env=replace(self.options, **WHOLE),
            learner=learner,
            oracle=oracle,
            repeats=repeats,
            **_computing(config),
        )
        test = self.evaluations["test"](agent)
        contenders: list[Contender] = [*map(StrategySpec.read, STRATEGIES), policy]
        report = compare(self.names["test"], contenders, setting, folder, config.plain())
        summary |= {"test": test, "benchmark": report.summary}
        return summary, replace(report, figures={**figures, **report.figures})

    @classmethod
    def tables_of_jobs(cls, jobs: Sequence[Job]) -> list[Table]:
        """Return a row for each job that was judged on data sets held out from its training."""
        measures = ("aulc", "gain", "better")
        rows = [
            {"policy": job.label, "seed": job.results["seed"], **{key: job.results["test"][key] for key in measures}}
            for job in jobs
            if job.results and "test" in job.results
        ]
        numbers = pd.DataFrame(rows, columns=["policy", "seed", *measures])
        note = "On data sets never trained on: the mean score along the curve, and its gain over the reference."
        return [Table("pools", numbers, numbers.map(shown_cell), title="Policies of pools", note=note)]

    @classmethod
    def tables_of_evaluations(cls, jobs: Sequence[Job]) -> list[Table]:
        """Return a row for each policy and strategy in each evaluation."""
        measures = ("aulc", "mean_rank", "gain_over_random", "gain_over_reference")
        rows = [
            {
                "setting": job.setting,
                "seed": job.seed,
                "strategy": one["strategy"],
                **{key: one[key] for key in measures},
            }
            for job in jobs
            for one in (job.results or {})["benchmark"]["strategies"]
        ]
        numbers = pd.DataFrame(rows, columns=["setting", "seed", "strategy", *measures])
        groups = list(numbers["setting"] + numbers["seed"])
        return [Table("settings", numbers, numbers.map(shown_cell), title="Policies of pools", groups=groups)]

    @staticmethod
    def judge(config: EvaluateConfig, folder: Path) -> dict[str, Any]:
        """Compare a policy with strategies, on the chosen data set or on those held out from its training.

        Its environment is that of its training, with the changes that `config` names.
        """
        policy = find_policy(config.policy)
        trained = policy.members[0].config
        chosen = [config.dataset] if config.dataset else [member.config["dataset"] for member in policy.members]
        datasets, options = judged_datasets(chosen)
        changes = config.changes
        learner, oracle = config.learner or trained["learner"], config.oracle or trained["oracle"]
        setting = Setting(
            env=build({**trained["env"], **WHOLE, **changes}, "env"),
            learner=build(learner, "learner") if learner else make_learner("logistic_regression"),
            oracle=build(oracle or {"_target_": "almeta.oracles.Oracle"}, "oracle"),
            repeats=config.repeats,
            options=options,
            **_computing(config, trained.get("matmul_precision", "highest")),  # cards lack it
        )
        set_compute(setting.threads, setting.device, setting.matmul_precision)
        strategies = read_strategies(["random", REFERENCE, *config.strategies])
        report = compare(datasets, [*strategies, policy], setting, folder, config.plain(), jobs=config.jobs)
        summary: dict[str, Any] = {"kind": PoolRun.kind, "policy": config.policy, "datasets": list(datasets)}
        summary["benchmark"] = report.summary
        publish(report, folder, Console(), summary)
        return summary


def _computing(config: TrainConfig | EvaluateConfig | BenchmarkConfig, precision: str = "highest") -> dict[str, Any]:
    """Return the arguments of `Setting` that a config holds under the same names."""
    values = {key: getattr(config, key) for key in ("seed", "device", "threads", "matmul_precision")}
    return {"threads": 1, "matmul_precision": precision} | {
        key: value for key, value in values.items() if value is not None
    }


def curve_measures(curves: Tensor, reference: Tensor, names: Sequence[str], rule: str = REFERENCE) -> dict[str, Any]:
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


def compare(
    datasets: Sequence[str],
    contenders: Sequence[Contender],
    setting: Setting,
    folder: Path,
    config: dict[str, Any],
    *,
    reference: str = REFERENCE,
    area: Area = "mean",
    over: Over = "queries",
    question: Question | None = None,
    **running: Any,
) -> Report:
    """Play all cells that are missing in `cells.sqlite` of a folder, and return the report of a benchmark.

    Args:
        datasets: names.
        contenders: strategies and policies.
        setting: what the cells share.
        folder: for `cells.sqlite`.
        config: plain values that the report shows.
        reference: the strategy that others are compared with beside random.
        area: see `curve_areas`.
        over: see `pool_report`.
        question: what the report is to tell; None for nothing beside its verdict.
        running: `jobs`, `backend` and `backend_options` of `run_benchmark`.
    """
    progress = Progress("benchmark", unit="cell")
    found = run_benchmark(datasets, contenders, setting, folder / "cells.sqlite", track=progress, say=print, **running)
    report = pool_report(
        found.curves,
        reference,
        area=area,
        measure=setting.env.score,
        measures=setting.measures,
        seconds=found.seconds,
        config=config,
        question=question,
        over=over,
    )
    return replace(report, tables=[*report.tables, Table("picks", found.picks)])


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


def read_strategies(given: Sequence[Any]) -> list[Contender]:
    """Return strategies by name or with options, each once.

    Beside its options a strategy may have a `learner` and a number of `repeats` of its own, see `Entrant`.
    """
    return list(dict.fromkeys(map(_read_strategy, given)))


def _read_strategy(given: Any) -> Contender:
    own = {key: given[key] for key in ("learner", "repeats") if key in given} if isinstance(given, Mapping) else {}
    if isinstance(given, str) and given in policy_names() and not is_strategy(given):
        find_policy(given)  # one of streams has no place here
        raise AlmetaError(f"'{given}' is a policy, not a strategy; name it as policies=[{given}]")
    if not own:
        return StrategySpec.read(given)
    strategy = StrategySpec.read({key: value for key, value in given.items() if key not in own})
    learner = own.get("learner")
    return Entrant(strategy, None if learner is None else Spec.read(learner, "learner"), own.get("repeats"))


def _with_learner(contender: Contender, learner: Spec) -> list[Contender]:
    """Return a contender with a further learner; nothing of one that has its own."""
    entrant = contender if isinstance(contender, Entrant) else Entrant(contender)
    return [replace(entrant, learner=learner)] if entrant.learner is None else []


def benchmark(config: BenchmarkConfig, folder: Path) -> dict[str, Any]:
    """Run a benchmark, publish its report in `folder`, and return its summary."""
    set_compute(config.threads, config.device, config.matmul_precision)
    datasets = [canonical_name(name) for name in chosen_datasets(config)]
    strategies = read_strategies(["random", *config.strategies])
    contenders: list[Contender] = [*strategies, *chosen_policies(config.policies, set(map(str, strategies)))]
    learners = [Spec.read(learner, "learner") for learner in config.learners]
    contenders += [one for learner in learners for contender in contenders for one in _with_learner(contender, learner)]
    question, names = Question(**config.question) if config.question else None, list(map(str, contenders))
    running = {key: getattr(config, key) for key in ("jobs", "backend", "backend_options")}
    judging: dict[str, Any] = {"area": config.area, "over": config.over, "config": config.plain()}
    if config.settings:
        settings = {name: make_setting(config, changes) for name, changes in read_settings(config.settings).items()}
        _check_scores(settings)
        if question:
            question = asked_in_settings(question, list(settings), names)
            question.check_measures(next(iter(settings.values())).measures)
        report = compare_in_settings(datasets, contenders, settings, folder, question=question, **judging, **running)
    else:
        if question:
            question.check(names)
        setting = make_setting(config)
        if question:
            question.check_measures(setting.measures)
        judging["reference"] = config.reference
        report = compare(datasets, contenders, setting, folder, question=question, **judging, **running)
    publish(report, folder, Console(), report.summary)
    return dict(report.summary)


def _check_scores(settings: Mapping[str, Setting]) -> None:
    """Raise AlmetaError unless all settings have the same score: a report is about one."""
    (first, setting), *others = settings.items()
    score = setting.env.score
    for name, other in others:
        if other.env.score != score:
            raise AlmetaError(
                f"settings.{name} has env.score={other.env.score}, and settings.{first} has {score}: all are judged by "
                f"one score; leave env.score out of settings, and add scores=[{score},{other.env.score}] to record both"
            )


def make_setting(config: BenchmarkConfig, changes: Mapping[str, Any] | None = None) -> Setting:
    """Return what the cells of a benchmark share, with the changes of one of its settings."""
    changed = {part: changed_part(getattr(config, part), (changes or {}).get(part), part) for part in PARTS}
    env = _pool_options(changed["env"])
    score, *measures = _measures_of(config, env)
    return Setting(
        env=replace(env, score=score),
        measures=tuple(measures),
        learner=build(changed["learner"], "learner"),
        judge=None if changed["judge"] is None else make_learner(changed["judge"]),
        oracle=build(changed["oracle"], "oracle"),
        repeats=config.repeats,
        options={key: value for key, value in changed["options"].items() if value is not None},
        datasets=_played(config, (changes or {}).get("datasets")),
        **_computing(config),
    )


def _pool_options(config: Mapping[str, Any]) -> PoolOptions:
    """Return the options of the environment; those of another kind of problem are an AlmetaError."""
    target = config.get("_target_")
    kind = getattr(find_target(target, "env"), "kind", None) if isinstance(target, str) else PoolOptions.kind
    if kind != PoolOptions.kind:
        raise AlmetaError(
            f"env._target_ is {target}, of kind '{kind}', and a benchmark plays pools: choose env=pool; policies and "
            "rules of other kinds are compared by scripts/train.py, as with experiment=study/features or study/classes"
        )
    options: PoolOptions = build(config, "env")
    return options


def _played(config: BenchmarkConfig, names: Any) -> tuple[str, ...] | None:
    """Return the data sets of a setting, which are among those of the benchmark; None for all of them."""
    if names is None:
        return None
    several = [names] if isinstance(names, str) else names
    if not isinstance(several, list | tuple) or not several or not all(isinstance(name, str) for name in several):
        raise AlmetaError(f"settings has datasets={names!r}; it must be a name, or a list with at least one")
    all_names = [canonical_name(name) for name in chosen_datasets(config)]
    played = tuple(map(canonical_name, several))
    for name in played:
        if name not in all_names:
            raise AlmetaError(did_you_mean(name, all_names, "data set of a setting"))
    return played


def compare_in_settings(
    datasets: Sequence[str],
    contenders: Sequence[Contender],
    settings: Mapping[str, Setting],
    folder: Path,
    config: dict[str, Any],
    *,
    area: Area = "mean",
    over: Over = "queries",
    question: Question | None = None,
    **running: Any,
) -> Report:
    """Play all cells of several settings that are missing in a folder, and return the report; arguments as `compare`.

    The settings differ in what they change; repeats and measures are the same.
    """
    progress = Progress("benchmark", unit="cell")
    found = run_benchmark(datasets, contenders, settings, folder / "cells.sqlite", track=progress, say=print, **running)
    first = next(iter(settings.values()))
    judged: dict[str, Any] = {"measure": first.env.score, "measures": first.measures, "question": question}
    report = settings_report(found.curves, area=area, over=over, config=config, **judged)
    return replace(report, tables=[*report.tables, Table("seconds", found.seconds), Table("picks", found.picks)])


def _measures_of(config: BenchmarkConfig, env: PoolOptions) -> list[Any]:
    """Return the measures of a benchmark, each once, the one that its verdict is about first."""
    if config.scores == []:
        raise AlmetaError(
            "scores=[] names no measure; name one, as scores=[accuracy], or scores=null for env.score alone"
        )
    known = {str(name): name for name in (*SCORES, *NUMBER_SCORES, *MEASURES)}
    if unknown := [name for name in config.scores or [] if name not in known]:
        raise AlmetaError(did_you_mean(unknown[0], known, "measure"))
    names = list(dict.fromkeys([*(config.scores or [env.score]), *(["money"] if config.over == "money" else [])]))
    if names[0] in MEASURES:
        raise AlmetaError(
            f"scores=[{','.join(names)}] begins with {names[0]}, which is no score of a learner; put one before it, "
            "such as accuracy"
        )
    if env.score not in (PoolOptions.score, names[0]):
        raise AlmetaError(
            f"env.score={env.score}, but scores=[{','.join(names)}] begins with another measure, and the first one is "
            f"what the verdict is about; leave env.score out, or put {env.score} first"
        )
    return [known[name] for name in names]


def chosen_policies(paths: Sequence[str], taken: Collection[str] = ()) -> list[TrainedPolicy]:
    """Return the policies, each with its own name, or with its path if the name is `taken` or several have it."""
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
