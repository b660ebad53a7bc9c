"""What the commands do where the environment is pool selection."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from almeta.agents.pool import PoolAgent
from almeta.checks import check_values
from almeta.data import Dataset, canonical_name, load_dataset
from almeta.envs.pool import PoolSimulation
from almeta.errors import AlmetaError
from almeta.evaluation.benchmark import Contender, Setting, StrategyByName, run_benchmark
from almeta.evaluation.pool_report import pool_report
from almeta.evaluation.report import Report
from almeta.evaluation.training_report import gain_over_training
from almeta.evaluation.writers import publish
from almeta.policies import TrainedPolicy, find_policy
from almeta.seeding import make_generator
from almeta.strategies import PoolActor, make_strategy
from almeta.tasks import PoolTasks
from almeta.training.build import SUITE, Config, build_pool_agent, build_pool_simulation, split_suite
from almeta.training.loggers import read_json_lines
from almeta.training.progress import Progress
from almeta.training.rollout import explore_pools, learning_curves
from almeta.training.trainer import LAST

# What a policy is compared with at the end of its training, and by evaluate.
STRATEGIES = ("random", "margin", "entropy", "information_density", "core_set")
REFERENCE = "margin"
# Training may cut data sets to a few classes and columns; whoever is judged meets them whole.
WHOLE = {"max_classes": None, "max_features": None}


class PoolRun:
    """Training on some data sets and synthetic ones, judged on data sets of another fold.

    Args:
        config: the run's.

    Attributes:
        agent: who learns.
        simulation: what it learns from.
        evaluations: by the name of their data sets: "train" and, where a fold is held out, "test".
        explore: lets the agent play one batch.
        score: the measure that chooses the best checkpoint.
    """

    explore = staticmethod(explore_pools)
    score = "gain"

    def __init__(self, config: Config) -> None:
        self.config = config
        self.names = split_suite(config["dataset"])
        train = [load_dataset(name) for name in self.names["train"]]
        self.simulation = build_pool_simulation(config, train, config["num_envs"], "env")
        self.agent = build_pool_agent(config)
        if self.simulation.group < self.agent.min_group:
            raise AlmetaError(
                f"env.group is {self.simulation.group}, but {type(self.agent).__name__} compares episodes that share a "
                f"task; set env.group to {self.agent.min_group} or more"
            )
        if config["name"] in STRATEGIES:
            raise AlmetaError(f"name is '{config['name']}', as a strategy is called; choose another for the policy")
        self.evaluations = {"train": self._judge(train, "train")}
        if self.names["test"]:
            self.evaluations["test"] = self._judge([load_dataset(name) for name in self.names["test"]], "test")

    def describe(self) -> str:
        """What is trained on what, in a sentence."""
        config, names = self.config, self.names
        weights = sum(weight.numel() for weight in self.agent.parameters())
        return (
            f"training {config['name']}: {type(self.agent).__name__} with {type(self.agent.network).__name__} "
            f"({weights:,} weights) on {len(names['train'])} data sets and {config['env']['synthetic']:.0%} synthetic "
            f"tasks for {config['batches']:,} batches of {config['num_envs']} episodes; judged on "
            f"{len(names['test'])} data sets it never sees"
        )

    def _judge(self, datasets: Sequence[Dataset], part: str) -> Callable[[PoolAgent], dict[str, Any]]:
        """Return a function that measures an agent on the same tasks at each call, margin beside it."""
        config, episodes = self.config, self.config["evaluate_episodes"]
        changes = {**WHOLE, "group": 1, "synthetic": 0.0 if datasets else 1.0}
        simulation = build_pool_simulation(config, datasets, episodes, f"evaluation on {part}", **changes)
        seeds = torch.randint(2**62, (episodes,), generator=make_generator(config["seed"], f"{part} tasks"))
        tasks = simulation.sampler.draw_seeded(seeds.tolist(), cycle=True)
        simulation.reset(tasks)  # what does not fit is told before anything is trained
        reference: list[Tensor] = []  # its curves, played once

        def measure(agent: PoolAgent) -> dict[str, Any]:
            if not reference:
                reference.append(self._play(simulation, make_strategy(REFERENCE), tasks))
            curves = self._play(simulation, agent, tasks)
            gains = (curves - reference[0]).mean(0)
            by_dataset = {name: gains[[n == name for n in tasks.names]].mean() for name in set(tasks.names)}
            better = sum(gain > 0 for gain in by_dataset.values()) / len(by_dataset)
            return {
                "aulc": float(curves.mean()),
                f"aulc_of_{REFERENCE}": float(reference[0].mean()),
                "gain": float(gains.mean()),
                "better": float(better),
                "mean_return": float((curves[-1] - curves[0]).mean()),
                "episodes": episodes,
            }

        return measure

    def _play(self, simulation: PoolSimulation, actor: PoolActor, tasks: PoolTasks) -> Tensor:
        """Curves `[T + 1, E]`, from the same random numbers at each call."""
        seed, device = self.config["seed"], self.config["device"]
        simulation.generator = make_generator(seed, "evaluation", device)
        return learning_curves(simulation, actor, make_generator(seed, "evaluation ties", device), tasks)

    def prepare(self) -> None:
        """Nothing is trained beforehand."""

    def conclude(self, folder: Path) -> dict[str, Any]:
        """Judge the trained agent beside the strategies, print, write and draw; return what `summary.json` holds."""
        config, agent = self.config, self.agent
        summary: dict[str, Any] = {"policy": config["name"], "seed": config["seed"], "batches": config["batches"]}
        summary["train"] = self.evaluations["train"](agent)
        metrics = read_json_lines(folder / "metrics.jsonl")
        figures = {}
        if any(line["kind"] == "evaluation" for line in metrics):
            figures["gain_over_training"] = gain_over_training(metrics, REFERENCE)
        if "test" not in self.evaluations:
            verdict = "No fold was held out: there is nothing to judge the policy on."
            title = f"{config['name']} after {config['batches']:,} batches"
            publish(Report(title, sentences=[verdict], figures=figures, config=config), folder, Console())
            return summary
        repeats = max(2, -(-config["final_episodes"] // len(self.names["test"])))
        policy = find_policy(folder / LAST, config["name"])
        contenders: list[Contender] = [*map(StrategyByName, STRATEGIES), policy]
        setting = Setting({**config, "env": {**config["env"], **WHOLE}}, repeats, {}, config["threads"] or 1)
        test = self.evaluations["test"](agent)
        report = judge(self.names["test"], contenders, setting, folder)
        publish(replace(report, figures={**figures, **report.figures}), folder, Console())
        return summary | {"test": test, "benchmark": report.summary}


def judge(
    datasets: Sequence[str], contenders: Sequence[Contender], setting: Setting, folder: Path, **options: Any
) -> Report:
    """Play all cells that `folder` does not hold yet, and report what came of them.

    Args:
        datasets: names.
        contenders: strategies and policies.
        setting: what the cells share.
        folder: for `cells.sqlite`.
        options: `jobs`, `backend`, `reference` and `area`.
    """
    judging = {key: options[key] for key in ("reference", "area") if key in options}
    running = {key: options[key] for key in ("jobs", "backend", "backend_options") if key in options}
    progress = Progress("benchmark", unit="cell")
    curves = run_benchmark(datasets, contenders, setting, folder / "cells.sqlite", track=progress, **running)
    measure = setting.config["env"].get("score", "accuracy")
    return pool_report(curves, measure=measure, config=setting.config, **judging)


def judge_policy(config: Config, policy: TrainedPolicy, folder: Path) -> dict[str, Any]:
    """Compare a policy with strategies as evaluate's config says, on a data set or on those it was not trained on.

    Args:
        config: evaluate's.
        policy: to be judged, in the environment it was trained in where `config` does not change that.
        folder: for tables and figures.
    """
    trained = policy.members[0].config
    chosen = [config["dataset"]] if config["dataset"] else [member.config["dataset"] for member in policy.members]
    datasets, options = _chosen_datasets(chosen)
    parts = {part: config[part] or trained[part] for part in ("learner", "oracle")}
    env = {**trained["env"], **WHOLE, **{key: value for key, value in config["env"].items() if value is not None}}
    precision = config["matmul_precision"] or trained.get("matmul_precision", "highest")  # cards do not tell it
    whole = {**config, **parts, "env": env, "matmul_precision": precision}
    setting = Setting(whole, config["repeats"], options, config["threads"] or 1)
    strategies = dict.fromkeys(("random", REFERENCE, *config["strategies"]))  # these two are always in the table
    report = judge(datasets, [*map(StrategyByName, strategies), policy], setting, folder, jobs=config["jobs"])
    summary = {"policy": str(config["policy"]), "datasets": list(datasets), "benchmark": report.summary}
    publish(report, folder, Console(), summary)
    return summary


def _chosen_datasets(chosen: Sequence[Config]) -> tuple[Sequence[str], dict[str, Any]]:
    """Names of the data sets to judge a policy on, and the loader's options: one, or those of all suites' folds.

    Raises:
        AlmetaError: if the suites hold none back.
    """
    first = chosen[0]
    if "suite" in first:
        for one in chosen:
            check_values(one, SUITE, "dataset")
        if not (names := sorted({name for one in chosen for name in split_suite(one)["test"]})):
            raise AlmetaError("the policy's training held no data set back; choose one to judge it on: dataset=NAME")
        return names, {}
    of_streams = {"name", "train_classes", "split_seed"}
    options = {key: value for key, value in first.items() if key not in of_streams and value is not None}
    return [canonical_name(first["name"])], options
