"""Runs on class sampling: a policy that asks for classes, trained on some tables and judged on others."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from almeta.envs.classes import ClassOptions, ClassSimulation
from almeta.envs.scores import ScoreName
from almeta.evaluation.comparison import RANDOM
from almeta.evaluation.curves import check_curves, curve_areas, split_curves
from almeta.evaluation.pool_report import pool_report
from almeta.evaluation.report import Report, Table
from almeta.evaluation.suites import SuiteSetting, play_suite
from almeta.evaluation.verdict import Question
from almeta.inputs import ClassInputs
from almeta.policies import TrainedPolicy
from almeta.runs.config import EvaluateConfig, TrainConfig
from almeta.runs.suites import SuiteRun
from almeta.strategies.class_shares import class_strategy_names, make_class_strategy
from almeta.training.progress import Progress
from almeta.training.rollout import picked_rows

# The measure beside that of the options.
BALANCED: ScoreName = "balanced_accuracy"


class ClassRun(SuiteRun):
    """Training on some data sets and synthetic ones, judged on data sets of another fold."""

    kind = "classes"
    simulates = staticmethod(partial(ClassSimulation, measures=(BALANCED,)))
    maker, reads = staticmethod(make_class_strategy), ClassInputs
    reference = "proportional"
    # Training may use a few classes and columns of a data set; evaluation uses all.
    whole = {"max_classes": None, "max_features": None}

    @classmethod
    def strategies(cls) -> Sequence[Any]:
        return class_strategy_names()

    @classmethod
    def measures(cls, env: ClassOptions) -> Sequence[str]:
        return (env.score, BALANCED)

    def options_on(self, part: str) -> ClassOptions:
        # The data sets of training are no test: what is drawn of them will do.
        options: ClassOptions = self.options if part == "train" else super().options_on(part)
        return options

    def described_data(self) -> str:
        return f"classes of {super().described_data()}"

    @classmethod
    def compare(
        cls,
        datasets: Sequence[str],
        policy: TrainedPolicy,
        setting: SuiteSetting,
        config: TrainConfig | EvaluateConfig,
        folder: Path,
    ) -> Report:
        shares: list[pd.DataFrame] = []

        def note(names: dict[str, str], simulation: ClassSimulation) -> None:
            shares.append(pd.DataFrame({**names, **class_shares(simulation)}))

        rules = cls.rules()
        curves = play_suite(datasets, [*rules, policy], setting, Progress("judging", unit="cell"), note)
        others = [name for name in map(str, rules) if name not in (cls.reference, RANDOM)]
        pairs = [(str(policy), cls.reference), (cls.reference, RANDOM), *((other, cls.reference) for other in others)]
        question = Question("Which classes should be asked for?", pairs)
        judged: dict[str, Any] = {"measure": setting.env.score, "measures": setting.measures[1:], "question": question}
        report = pool_report(curves, cls.reference, config=config.plain(), **judged)
        # Who asks for rare classes may lose by one measure and win by another.
        areas = curve_areas(split_curves(check_curves(curves, [BALANCED]), BALANCED))
        sentences = [*report.sentences, Question(f"By {BALANCED}:", pairs).answer(areas)]
        summary = {**report.summary, "verdict": sentences}
        tables = [*report.tables, Table("classes", pd.concat(shares, ignore_index=True))]
        return replace(report, sentences=sentences, summary=summary, tables=tables)


def class_shares(simulation: ClassSimulation) -> dict[str, Any]:
    """Return the share of each class in the data, and in the rows that were asked for in finished episodes."""
    (dataset,), (_, picks) = simulation.sampler.datasets, picked_rows(simulation)
    picked = dataset.y[picks[picks >= 0].cpu().numpy()]
    rows, data = (np.bincount(y, minlength=dataset.num_classes) for y in (picked, dataset.y))
    return {"class": dataset.class_names, "share_in_data": data / data.sum(), "share_of_rows": rows / rows.sum()}
