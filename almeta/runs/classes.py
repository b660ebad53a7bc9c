"""Runs on class sampling: a policy that asks for classes, trained on some tables and judged on others."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from rich.console import Console
from torch import Tensor

from almeta.build import build
from almeta.classes import ClassState
from almeta.data import Dataset
from almeta.envs.classes import ClassOptions, ClassSimulation
from almeta.envs.scores import ScoreName
from almeta.errors import AlmetaError
from almeta.evaluation.comparison import RANDOM
from almeta.evaluation.contenders import Player
from almeta.evaluation.curves import check_curves, curve_areas, split_curves
from almeta.evaluation.pool_report import pool_report
from almeta.evaluation.report import Report, Table
from almeta.evaluation.suites import Rule, SuiteSetting, play_suite
from almeta.evaluation.training_report import gain_over_training
from almeta.evaluation.verdict import Question
from almeta.evaluation.writers import publish
from almeta.inputs import ClassInputs
from almeta.learners import Learner, LogisticRegression
from almeta.policies import TrainedPolicy, find_policy
from almeta.runs.config import EvaluateConfig, TrainConfig
from almeta.runs.pools import SplitSuite, SuiteRun, curve_measures, judged_datasets
from almeta.runs.run import CHANGES_OF_STREAMS
from almeta.seeding import make_generator
from almeta.specs import Spec
from almeta.strategies import Actor
from almeta.strategies.class_shares import class_strategy_names, make_class_strategy
from almeta.training.compute import set_compute
from almeta.training.loggers import METRICS, read_json_lines
from almeta.training.progress import Progress
from almeta.training.rollout import learning_curves, picked_rows
from almeta.training.trainer import LAST, Evaluate

# The rule that gains are measured over.
REFERENCE = "proportional"
# The measure beside that of the options.
BALANCED: ScoreName = "balanced_accuracy"
# Training may use a few classes and columns of a data set; evaluation uses all.
WHOLE: dict[str, Any] = {"max_classes": None, "max_features": None}


class ClassRun(SuiteRun):
    """Training on some data sets and synthetic ones, judged on data sets of another fold."""

    kind = "classes"
    without = ("oracle", "vary")
    not_judged_by = (
        "classes",
        "ask_unnamed",
        "episodes",
        "num_envs",
        "strategies",
        "oracle",
        "jobs",
        *CHANGES_OF_STREAMS,
    )
    simulation: ClassSimulation
    options: ClassOptions

    @classmethod
    def check(cls, config: TrainConfig) -> None:
        SplitSuite.read(config.dataset)
        if config.name in class_strategy_names():
            raise AlmetaError(f"name is '{config.name}', which is a class strategy; choose another name for the policy")

    def make_training(self, datasets: Sequence[Dataset]) -> ClassSimulation:
        return self._simulation(datasets, self.options, self.config.num_envs, "env")

    def _simulation(
        self, datasets: Sequence[Dataset], options: ClassOptions, num_envs: int, purpose: str
    ) -> ClassSimulation:
        generator = make_generator(self.config.seed, purpose, self.config.device)
        return ClassSimulation(datasets, options, num_envs, generator, self.make_learner())

    def make_inputs(self) -> ClassInputs:
        inputs: ClassInputs = build(self.config.inputs, "inputs") if self.config.inputs else ClassInputs()
        return inputs

    def described_data(self) -> str:
        train, test = self.names["train"], self.names["test"]
        return (
            f"classes of {len(train)} data sets and {self.options.synthetic:.0%} synthetic tasks; judged on "
            f"{len(test)} data sets it never sees"
        )

    def measuring(self, datasets: Sequence[Dataset], part: str) -> Evaluate:
        seed, device, episodes = self.config.seed, self.config.device, self.config.evaluate_episodes
        whole = {} if part == "train" else WHOLE  # the data sets of training are no test: what is drawn of them will do
        options = replace(self.options, **whole, group=1, synthetic=0.0 if datasets else 1.0)
        simulation = self._simulation(datasets, options, episodes, f"evaluation on {part}")
        seeds = torch.randint(2**62, (episodes,), generator=make_generator(seed, f"{part} tasks"))
        tasks = simulation.sampler.draw_seeded(seeds.tolist(), cycle=True)
        simulation.reset(tasks)  # raises before the training begins if the data do not fit

        def curves(actor: Actor[ClassState]) -> Tensor:
            simulation.generator = make_generator(seed, "evaluation", device)
            return learning_curves(simulation, actor, make_generator(seed, "evaluation ties", device), tasks)

        reference: list[Tensor] = []  # its curves, played once

        def measure(agent: Actor[ClassState]) -> dict[str, Any]:
            if not reference:
                reference.append(curves(make_class_strategy(REFERENCE)))
            return curve_measures(curves(agent), reference[0], tasks.names, REFERENCE)

        return measure

    def conclude(self, folder: Path) -> tuple[dict[str, Any], Report]:
        config, agent = self.config, self.agent
        summary: dict[str, Any] = {"train": self.evaluations["train"](agent)}
        metrics, figures = read_json_lines(folder / METRICS), {}
        if any(line["kind"] == "evaluation" for line in metrics):
            figures["gain_over_training"] = gain_over_training(metrics, REFERENCE)
        if "test" not in self.evaluations:
            verdict = "No fold was held out: there is nothing to judge the policy on."
            title = f"{config.name} after {config.batches:,} batches"
            return summary, Report(title, sentences=[verdict], figures=figures, config=config.plain())
        repeats = max(2, -(-config.final_episodes // len(self.names["test"])))
        setting = make_setting(replace(self.options, **WHOLE), self.make_learner(), repeats, config)
        report = compare(
            self.names["test"], find_policy(folder / LAST, config.name, self.kind), setting, config.plain()
        )
        summary |= {"test": self.evaluations["test"](agent), "benchmark": report.summary}
        return summary, replace(report, figures={**figures, **report.figures})

    @staticmethod
    def judge(config: EvaluateConfig, folder: Path) -> dict[str, Any]:
        """Compare a policy with the rules, on the chosen data set or on those held out from its training."""
        policy = find_policy(config.policy, kind=ClassRun.kind)
        trained = policy.members[0].config
        chosen = [config.dataset] if config.dataset else [member.config["dataset"] for member in policy.members]
        datasets, options = judged_datasets(chosen)
        learner = config.learner or trained["learner"]
        env = build({**trained["env"], **WHOLE, **config.changes}, "env")
        made = build(learner, "learner") if learner else LogisticRegression()
        setting = make_setting(env, made, config.repeats, config, options)
        precision = config.matmul_precision or trained.get("matmul_precision", "highest")
        set_compute(config.threads, config.device, precision)
        report = compare(datasets, policy, setting, config.plain())
        summary: dict[str, Any] = {"kind": ClassRun.kind, "policy": config.policy, "datasets": list(datasets)}
        summary["benchmark"] = report.summary
        publish(report, folder, Console(), summary)
        return summary


def make_setting(
    env: ClassOptions,
    learner: Learner,
    repeats: int,
    config: TrainConfig | EvaluateConfig,
    options: dict[str, Any] | None = None,
) -> SuiteSetting:
    """Return what all who are compared share; `options` are of `load_dataset`."""
    simulate = partial(ClassSimulation, measures=(BALANCED,))
    return SuiteSetting(simulate, env, learner, (env.score, BALANCED), repeats, config.seed, config.device, options)


def compare(datasets: Sequence[str], policy: TrainedPolicy, setting: SuiteSetting, config: dict[str, Any]) -> Report:
    """Return the report of a policy and all rules on data sets that it never saw; `config` is what the report shows."""
    shares: list[pd.DataFrame] = []

    def note(names: dict[str, str], simulation: ClassSimulation) -> None:
        shares.append(pd.DataFrame({**names, **class_shares(simulation)}))

    rules, name = class_strategy_names(), str(policy)
    players: list[Player] = [*(Rule(Spec(rule), make_class_strategy) for rule in rules), policy]
    curves = play_suite(datasets, players, setting, Progress("judging", unit="cell"), note)
    others = [rule for rule in rules if rule not in (REFERENCE, RANDOM)]
    pairs = [[name, REFERENCE], [REFERENCE, RANDOM], *([rule, REFERENCE] for rule in others)]
    question = Question("Which classes should be asked for?", pairs)
    judged: dict[str, Any] = {"measure": setting.env.score, "measures": [BALANCED], "question": question}
    report = pool_report(curves, REFERENCE, config=config, **judged)
    # Who asks for rare classes may lose by one measure and win by another.
    areas = curve_areas(split_curves(check_curves(curves, [BALANCED]), BALANCED))
    sentences = [*report.sentences, Question(f"By {BALANCED}:", pairs).answer(areas)]
    summary = {**report.summary, "verdict": sentences}
    return replace(
        report, sentences=sentences, summary=summary, tables=[*report.tables, Table("classes", pd.concat(shares))]
    )


def class_shares(simulation: ClassSimulation) -> dict[str, Any]:
    """Return the share of each class in the data, and in the rows that were asked for in finished episodes."""
    (dataset,), (_, picks) = simulation.sampler.datasets, picked_rows(simulation)
    picked = dataset.y[picks[picks >= 0].cpu().numpy()]
    rows, data = (np.bincount(y, minlength=dataset.num_classes) for y in (picked, dataset.y))
    return {"class": dataset.class_names, "share_in_data": data / data.sum(), "share_of_rows": rows / rows.sum()}
