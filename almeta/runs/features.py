"""Runs on tables with missing cells: a policy that asks for cells, judged on tables it never saw."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from almeta.build import build
from almeta.data import Dataset
from almeta.envs.features import NET, FeatureOptions, FeatureSimulation
from almeta.errors import AlmetaError
from almeta.evaluation.pool_report import pool_report
from almeta.evaluation.report import Report
from almeta.evaluation.suites import Rule, SuiteSetting, play_suite
from almeta.evaluation.training_report import gain_over_training
from almeta.evaluation.verdict import Question
from almeta.evaluation.writers import publish
from almeta.features import FeatureState
from almeta.inputs import CellInputs, Cells
from almeta.learners import Learner, LogisticRegression
from almeta.policies import TrainedPolicy, find_policy
from almeta.runs.config import EvaluateConfig, TrainConfig
from almeta.runs.pools import SplitSuite, SuiteRun, curve_measures, judged_datasets
from almeta.runs.run import CHANGES_OF_STREAMS
from almeta.seeding import make_generator
from almeta.specs import Spec
from almeta.strategies import Actor
from almeta.strategies.features import make_cell_strategy
from almeta.training.compute import set_compute
from almeta.training.loggers import METRICS, read_json_lines
from almeta.training.progress import Progress
from almeta.training.rollout import learning_curves
from almeta.training.trainer import LAST, Evaluate

# Who a policy is compared with, and the one that its gain is measured over.
STRATEGIES: tuple[Any, ...] = (
    "random",
    "cheapest",
    "most_uncertain_row",
    "expected_utility",
    {"name": "expected_utility", "cost_aware": False},
)
REFERENCE = "cheapest"


class FeaturesRun(SuiteRun):
    """Training on some data sets and synthetic ones, judged on data sets of another fold."""

    kind = "features"
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
    simulation: FeatureSimulation
    options: FeatureOptions

    @classmethod
    def check(cls, config: TrainConfig) -> None:
        SplitSuite.read(config.dataset)
        if config.name in map(str, rules()):
            raise AlmetaError(f"name is '{config.name}', which is a strategy; choose another name for the policy")

    def make_training(self, datasets: Sequence[Dataset]) -> FeatureSimulation:
        return self._simulation(datasets, self.options, self.config.num_envs, "env")

    def make_inputs(self) -> CellInputs:
        inputs: CellInputs = build(self.config.inputs, "inputs") if self.config.inputs else Cells()
        return inputs

    def _simulation(
        self, datasets: Sequence[Dataset], options: FeatureOptions, num_envs: int, purpose: str
    ) -> FeatureSimulation:
        generator = make_generator(self.config.seed, purpose, self.config.device)
        return FeatureSimulation(datasets, options, num_envs, generator, self.make_learner())

    def measuring(self, datasets: Sequence[Dataset], part: str) -> Evaluate:
        episodes, seed, device = self.config.evaluate_episodes, self.config.seed, self.config.device
        options = replace(self.options, group=1, synthetic=0.0 if datasets else 1.0)
        simulation = self._simulation(datasets, options, episodes, f"evaluation on {part}")
        seeds = torch.randint(2**62, (episodes,), generator=make_generator(seed, f"{part} tasks"))
        tasks = simulation.sampler.draw_seeded(seeds.tolist(), cycle=True)
        reference: list[torch.Tensor] = []  # its curves, played once

        def cells() -> list[torch.Generator]:
            return [make_generator(seed, f"{part} cells {number}", device) for number in range(episodes)]

        def net(actor: Actor[FeatureState]) -> torch.Tensor:
            simulation.generator = make_generator(seed, "evaluation", device)
            ties = make_generator(seed, "ties", device)
            return learning_curves(simulation, actor, ties, tasks, cells(), [NET])

        simulation.reset(tasks, cells())  # raises before the training begins if the data do not fit

        def measure(agent: Actor[FeatureState]) -> dict[str, Any]:
            if not reference:
                reference.append(net(make_cell_strategy(REFERENCE)))
            return curve_measures(net(agent), reference[0], tasks.names, REFERENCE)

        return measure

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
        setting = make_setting(self.options, self.make_learner(), repeats, config)
        policy = find_policy(folder / LAST, config.name, self.kind)
        report = compare(self.names["test"], policy, setting, config.plain())
        summary |= {"test": self.evaluations["test"](agent), "benchmark": report.summary}
        return summary, replace(report, figures={**figures, **report.figures})

    @staticmethod
    def judge(config: EvaluateConfig, folder: Path) -> dict[str, Any]:
        """Compare a policy with strategies, on the chosen data set or on those held out from its training.

        Its environment is that of its training, with the changes that `config` names.
        """
        policy = find_policy(config.policy, kind=FeaturesRun.kind)
        trained = policy.members[0].config
        chosen = [config.dataset] if config.dataset else [member.config["dataset"] for member in policy.members]
        datasets, options = judged_datasets(chosen)
        env = build({**trained["env"], **config.changes}, "env")
        learner = config.learner or trained["learner"]
        made = build(learner, "learner") if learner else LogisticRegression()
        precision = config.matmul_precision or trained.get("matmul_precision", "highest")
        set_compute(config.threads, config.device, precision)
        setting = make_setting(env, made, config.repeats, config, options)
        report = compare(datasets, policy, setting, config.plain())
        summary: dict[str, Any] = {"kind": FeaturesRun.kind, "policy": config.policy, "datasets": list(datasets)}
        summary["benchmark"] = report.summary
        publish(report, folder, Console(), summary)
        return summary


def rules() -> list[Rule]:
    """Return the strategies that a policy is compared with."""
    return [Rule(spec, make_cell_strategy) for spec in map(Spec.read, STRATEGIES)]


def make_setting(
    env: FeatureOptions,
    learner: Learner,
    repeats: int,
    config: TrainConfig | EvaluateConfig,
    options: dict[str, Any] | None = None,
) -> SuiteSetting:
    """Return what all who are compared share; `options` are of `load_dataset`."""
    measures = (NET, env.score)
    return SuiteSetting(FeatureSimulation, env, learner, measures, repeats, config.seed, config.device, options)


def compare(datasets: Sequence[str], policy: TrainedPolicy, setting: SuiteSetting, config: dict[str, Any]) -> Report:
    """Return the report of a policy and all rules on data sets that it never saw; `config` is what the report shows."""
    curves = play_suite(datasets, [*rules(), policy], setting, Progress("judging", unit="cell"))
    others = list(map(str, rules()))
    pairs = [(str(policy), other) for other in others] + [(other, others[0]) for other in others[1:]]
    judged: dict[str, Any] = {"measure": NET, "measures": setting.measures[1:], "over": "cells", "config": config}
    return pool_report(curves, REFERENCE, question=Question("Which cells are worth their price?", pairs), **judged)
