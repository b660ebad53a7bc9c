"""What the commands do where the environment is the one-shot stream."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from almeta.agents.agent import Agent
from almeta.envs.stream import StreamSimulation
from almeta.errors import AlmetaError
from almeta.evaluation.published import is_published_task
from almeta.evaluation.stream_report import compare, stream_report
from almeta.evaluation.streams import evaluate
from almeta.evaluation.writers import publish
from almeta.seeding import make_generator
from almeta.training.build import (
    Config,
    build_agent,
    build_simulation,
    choose_classes,
    load_agent,
    load_split,
    read_part,
    set_compute,
)
from almeta.training.loggers import read_json_lines
from almeta.training.pretraining import pretrain_encoder
from almeta.training.progress import Progress
from almeta.training.rollout import explore_streams


class StreamRun:
    """Training on streams of some classes, judged on streams of others.

    Args:
        config: the run's.

    Attributes:
        agent: who learns.
        simulation: what it learns from.
        evaluations: by the name of their classes.
        explore: lets the agent play one batch.
        score: the measure that chooses the best checkpoint.
    """

    explore = staticmethod(explore_streams)
    score = "mean_return"

    def __init__(self, config: Config) -> None:
        self.config = config
        self.classes = load_split(config)
        self.simulation = build_simulation(config, self.classes["train"], config["num_envs"], "env")
        self.agent = build_agent(config, self.simulation)
        self.judges = {name: build_simulation(config, part, 250, "evaluation") for name, part in self.classes.items()}
        self.evaluations = {name: self._judge(streams) for name, streams in self.judges.items()}

    def describe(self) -> str:
        """What is trained on what, in a sentence."""
        config, train, test = self.config, self.classes["train"], self.classes["test"]
        weights = sum(weight.numel() for weight in self.agent.parameters())
        return (
            f"training {config['name']}: {type(self.agent).__name__} with {type(self.agent.network).__name__} "
            f"({weights:,} weights) on {train.num_classes:,} classes of {train.name} for {config['batches']:,} batches "
            f"of {config['num_envs']} episodes; judged on {test.num_classes:,} classes it never sees"
        )

    def _judge(self, simulation: StreamSimulation) -> Callable[[Agent], dict[str, Any]]:
        """Return a function that measures an agent on the simulation's classes, on the same streams at each call."""

        def measure(agent: Agent) -> dict[str, Any]:
            return evaluate(agent, simulation, self.config["evaluate_episodes"], self.config["seed"]).summary()

        return measure

    def prepare(self) -> None:
        """Train the network's image encoder on the training classes, if it has one."""
        encoder = getattr(self.agent.network, "encoder", None)
        if encoder is not None:
            generator = make_generator(self.config["seed"], "pretraining", self.config["device"])
            progress = Progress("image encoder")
            pretrain_encoder(encoder, self.simulation.sampler, generator, track=progress, **self.config["pretraining"])

    def conclude(self, folder: Path) -> dict[str, Any]:
        """Judge the trained agent and the baselines, print, write and draw; return what `summary.json` holds."""
        config, agent, judges = self.config, self.agent, self.judges
        episodes, seed = config["final_episodes"], config["seed"]
        published = is_published_task(config["dataset"]["name"], config["env"])
        results = compare(agent, config["name"], judges["test"], judges["train"], episodes, seed)
        train_summary = evaluate(agent, judges["train"], episodes, seed).summary()
        classes = config["dataset"]["name"]
        title = f"{config['name']} after {config['batches']:,} batches, on classes of {classes} never trained on"
        metrics = read_json_lines(folder / "metrics.jsonl")
        report = stream_report(results, title, published, metrics, config)
        publish(report, folder, Console())
        return {
            "policy": config["name"],
            "seed": seed,
            "batches": config["batches"],
            "test": results.summary,
            "train": train_summary,
            **report.summary,
        }


def judge_streams(config: Config, folder: Path) -> dict[str, Any]:
    """Judge as evaluate's config says, write everything to `folder`, and return the content of `summary.json`."""
    agent, checkpoint = load_agent(config["policy"])
    trained = checkpoint["config"]
    set_compute({**config, "matmul_precision": config["matmul_precision"] or trained["matmul_precision"]})
    agent.to(config["device"])
    changes = {key: value for key, value in config["env"].items() if value is not None}
    streams = {**config, "env": {**trained["env"], **changes}}
    read_part(streams["env"], "env")
    if streams["env"]["classes"] > streams["env"]["slots"]:
        raise AlmetaError(
            f"the policy tells {streams['env']['slots']} classes apart; choose env.classes={streams['env']['slots']} "
            "or fewer"
        )
    judged, tuning = choose_classes(checkpoint, config["dataset"], config["classes"])
    simulation, tuning_simulation = (
        build_simulation(streams, part, config["num_envs"], "evaluation") for part in (judged, tuning)
    )
    if simulation.num_pixels != agent.num_pixels:
        raise AlmetaError(
            f"the policy reads images of {agent.num_pixels} pixels, "
            f"those of '{judged.name}' have {simulation.num_pixels}"
        )
    seen = config["classes"] == "train" and judged.name == checkpoint["dataset"]
    title = (
        f"{trained['name']}, trained on {trained['dataset']['name']}; judged on {judged.num_classes:,} classes of "
        f"{judged.name}, {'those it was trained on' if seen else 'never trained on'}"
    )
    published = is_published_task(judged.name, streams["env"])
    results = compare(agent, trained["name"], simulation, tuning_simulation, config["episodes"], config["seed"])
    report = stream_report(results, title, published, config=streams)
    summary = {
        "policy": str(config["policy"]),
        "dataset": judged.name,
        "classes": config["classes"],
        **results.summary,
        **report.summary,
    }
    publish(report, folder, Console(), summary)
    return summary
