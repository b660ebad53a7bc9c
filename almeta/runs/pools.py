"""Runs on pools, and benchmarks of strategies and policies."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from almeta.build import build, find_target
from almeta.data import Dataset, canonical_name
from almeta.data.suites import suite
from almeta.envs.measures import MEASURES
from almeta.envs.pool import PoolOptions, PoolSimulation
from almeta.envs.scores import NUMBER_SCORES, SCORES
from almeta.envs.varied_pool import VariedPoolSimulation
from almeta.errors import AlmetaError, did_you_mean
from almeta.evaluation.benchmark import Contender, Entrant, Setting, StrategySpec, run_benchmark
from almeta.evaluation.curves import Area, Over
from almeta.evaluation.jobs import Job
from almeta.evaluation.pool_report import pool_report
from almeta.evaluation.report import Report, Table, shown_cell
from almeta.evaluation.settings_report import asked_in_settings, settings_report
from almeta.evaluation.verdict import Question
from almeta.evaluation.writers import publish
from almeta.inputs import Candidates
from almeta.learners import Learner, make_learner
from almeta.oracles import Oracle
from almeta.policies import TrainedPolicy, find_policy, policy_names
from almeta.runs.config import BenchmarkConfig, EvaluateConfig, Group, TrainConfig
from almeta.runs.run import CHANGES_OF_STREAMS
from almeta.runs.settings import PARTS, changed_part, read_settings
from almeta.runs.suites import SuiteRun, make_learner_of, precision_of
from almeta.specs import Spec
from almeta.strategies import is_strategy, make_strategy
from almeta.training.compute import set_compute
from almeta.training.progress import Progress
from almeta.training.rollout import Scored

# Strategies that a policy is compared with after its training, and the one that its gain is measured over.
STRATEGIES = ("random", "margin", "entropy", "information_density", "core_set")
REFERENCE = "margin"
# Training may use a few classes and columns of a data set, and a reward up to a goal; evaluation uses all, and curves.
WHOLE: dict[str, Any] = {"max_classes": None, "max_features": None, "reward_target": None}


class PoolRun(SuiteRun):
    """Training on some data sets and synthetic ones, judged on data sets of another fold."""

    kind = "pool"
    without = ()
    not_judged_by = ("classes", "ask_unnamed", "episodes", "num_envs", *CHANGES_OF_STREAMS)
    simulates, maker, reads = PoolSimulation, staticmethod(make_strategy), Candidates
    reference, whole = REFERENCE, WHOLE
    simulation: PoolSimulation

    @classmethod
    def strategies(cls) -> Sequence[str]:
        return STRATEGIES

    def make_training(self, datasets: Sequence[Dataset]) -> Scored:
        config = self.config
        varied = partial(VariedPoolSimulation, vary=config.vary) if config.vary else PoolSimulation
        return self.make_simulation(datasets, self.options, config.num_envs, "env", varied)

    def make_parts(self) -> tuple[Learner, Oracle]:
        """Return those of the config, which evaluations and benchmarks have; batches may have others (`vary`)."""
        return make_learner_of(self.config.learner), _make_oracle(self.config.oracle)

    @classmethod
    def setting(
        cls,
        env: PoolOptions,
        config: TrainConfig | EvaluateConfig,
        trained: Mapping[str, Any],
        repeats: int,
        options: dict[str, Any] | None = None,
    ) -> Setting:
        return Setting(
            env=env,
            learner=make_learner_of(config.learner or trained["learner"]),
            oracle=_make_oracle(config.oracle or trained["oracle"]),
            repeats=repeats,
            options=options or {},
            **_computing(config, precision_of(trained)),
        )

    @classmethod
    def compare(
        cls,
        datasets: Sequence[str],
        policy: TrainedPolicy,
        setting: Setting,
        config: TrainConfig | EvaluateConfig,
        folder: Path,
    ) -> Report:
        strategies, jobs = list(STRATEGIES), 1
        if isinstance(config, EvaluateConfig):
            strategies, jobs = ["random", REFERENCE, *config.strategies], config.jobs
        return compare(datasets, [*read_strategies(strategies), policy], setting, folder, config.plain(), jobs=jobs)

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


def _make_oracle(given: Group | None) -> Oracle:
    """Return the oracle of a config."""
    oracle: Oracle = build(given, "oracle") if given else Oracle()
    return oracle


def _computing(config: TrainConfig | EvaluateConfig | BenchmarkConfig, precision: str = "highest") -> dict[str, Any]:
    """Return the arguments of `Setting` that a config holds under the same names."""
    values = {key: getattr(config, key) for key in ("seed", "device", "threads", "matmul_precision")}
    return {"threads": 1, "matmul_precision": precision} | {
        key: value for key, value in values.items() if value is not None
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
        settings = make_settings(config)
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
    if config.judge is not None:
        report = replace(report, title=f"{report.title}, judged by {Spec.read(config.judge, 'learner')}")
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


def make_settings(config: BenchmarkConfig) -> dict[str, Setting]:
    """Return what the cells of each setting share; errors name the setting."""
    settings = {}
    for name, changes in read_settings(config.settings or {}).items():
        try:
            settings[name] = make_setting(config, changes)
        except AlmetaError as error:
            raise AlmetaError(f"setting {name!r}: {error}") from error
    return settings


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
