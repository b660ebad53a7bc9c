"""Runs on tables with missing cells: a policy that asks for cells, judged on tables it never saw."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from almeta.envs.features import NET, FeatureOptions, FeatureSimulation
from almeta.evaluation.pool_report import pool_report
from almeta.evaluation.report import Report
from almeta.evaluation.suites import SuiteSetting, play_suite
from almeta.evaluation.verdict import Question
from almeta.features import FeatureState
from almeta.inputs import Cells
from almeta.policies import TrainedPolicy
from almeta.runs.config import EvaluateConfig, TrainConfig
from almeta.runs.suites import SuiteRun
from almeta.seeding import make_generator
from almeta.strategies.features import make_cell_strategy
from almeta.training.progress import Progress


class FeaturesRun(SuiteRun):
    """Training on some data sets and synthetic ones, judged on data sets of another fold."""

    kind = "features"
    simulates, maker, reads = FeatureSimulation, staticmethod(make_cell_strategy), Cells
    reference = "cheapest"

    @classmethod
    def strategies(cls) -> Sequence[Any]:
        by_utility = ("expected_utility", {"name": "expected_utility", "cost_aware": False})
        return ("random", "cheapest", "most_uncertain_row", *by_utility)

    @classmethod
    def measures(cls, env: FeatureOptions) -> Sequence[str]:
        return (NET, env.score)

    def draws(self, part: str) -> list[torch.Generator]:
        """Return the generators of missing cells and prices."""
        seed, device, episodes = self.config.seed, self.config.device, self.config.evaluate_episodes
        return [make_generator(seed, f"{part} cells {number}", device) for number in range(episodes)]

    def check_strategies(self, state: FeatureState) -> None:
        for strategy in self.strategies():
            make_cell_strategy(strategy).check(state)

    @classmethod
    def compare(
        cls,
        datasets: Sequence[str],
        policy: TrainedPolicy,
        setting: SuiteSetting,
        config: TrainConfig | EvaluateConfig,
        folder: Path,
    ) -> Report:
        rules = cls.rules()
        curves = play_suite(datasets, [*rules, policy], setting, Progress("judging", unit="cell"))
        first, *others = map(str, rules)
        pairs = [(str(policy), other) for other in (first, *others)] + [(other, first) for other in others]
        question = Question("Which cells are worth their price?", pairs)
        judged: dict[str, Any] = {"measure": NET, "measures": setting.measures[1:], "over": "cells"}
        return pool_report(curves, cls.reference, question=question, config=config.plain(), **judged)
