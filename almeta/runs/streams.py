"""Runs on the one-shot stream."""

import copy
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from almeta import conf
from almeta.agents.agent import Agent
from almeta.agents.live import resized
from almeta.build import build
from almeta.checks import Count, Share
from almeta.data import Dataset, load_dataset
from almeta.data.rows import share_of_rows, sketch
from almeta.envs.stream import StreamOptions, StreamSimulation
from almeta.errors import AlmetaError
from almeta.evaluation.few_shot import few_shot_table, few_shot_table_of_runs
from almeta.evaluation.jobs import Job
from almeta.evaluation.published import is_published_task
from almeta.evaluation.report import Report, Table
from almeta.evaluation.stream_figures import accuracy_against_requests
from almeta.evaluation.stream_report import compare, stream_report
from almeta.evaluation.stream_settings import shown_price, table_of_settings
from almeta.evaluation.stream_tables import (
    novelty_table,
    shown_table,
    table_of_jobs,
    table_of_policies,
    tradeoffs_of_jobs,
)
from almeta.evaluation.streams import evaluate
from almeta.evaluation.training_report import learning_curves
from almeta.evaluation.writers import publish
from almeta.inputs import Images
from almeta.policies import load_trained, name_of
from almeta.runs.config import EvaluateConfig, SplitConfig, TrainConfig
from almeta.runs.run import CHANGES_OF_POOLS, Run
from almeta.seeding import make_generator
from almeta.strategies.stream import AskUnnamed
from almeta.tasks import options_for_streams, split_classes
from almeta.training.agents import Checkpoint
from almeta.training.checkpoint import check_data
from almeta.training.compute import set_compute
from almeta.training.loggers import METRICS, read_json_lines
from almeta.training.pretraining import pretrain_encoder
from almeta.training.progress import Progress
from almeta.training.trainer import Evaluate

# Number of episodes that an evaluation plays at once.
AT_ONCE = 250
# Episodes on which an image encoder is judged by itself.
FEW_SHOT_EPISODES = 1000
# The paper's rewards of an incorrect prediction: an agent that is told them is judged at those within its range.
PRICES = (-1.0, -5.0, -10.0, -20.0)


@dataclass(frozen=True)
class SplitClasses(SplitConfig):
    """A data set whose classes are split.

    Args:
        name: of the data set.
        train_classes: classes to train on, a number or a share; all others are for evaluation. Half of them by default.
        split_seed: of the split.
    """

    name: str
    train_classes: Count | Share = 0.5
    split_seed: int = 0

    def load(self) -> dict[str, Dataset]:
        """Return the classes to train on and those to evaluate on, as "train" and "test"."""
        dataset = load_dataset(self.name, **options_for_streams(self.name))
        train, test = split_classes(dataset, self.train_classes, self.split_seed)
        return {"train": train, "test": test}


class StreamRun(Run):
    """Training on streams of some classes, judged on streams of others."""

    kind = "stream"
    without = ("inputs", "learner", "oracle", "vary")
    not_judged_by = ("strategies", "learner", "oracle", "repeats", "jobs", *CHANGES_OF_POOLS)
    classes: dict[str, Dataset]

    @classmethod
    def check(cls, config: TrainConfig) -> None:
        SplitClasses.read(config.dataset)

    def build(self) -> None:
        config = self.config
        self.classes = self.classes or SplitClasses.read(config.dataset).load()
        self.simulation = self.make_simulation(config.num_envs)
        options: StreamOptions = self.simulation.options
        self.judges = {
            name: evaluation_streams(part, options, AT_ONCE, config.seed, config.device)
            for name, part in self.classes.items()
        }
        self.evaluations = {name: self._measuring(streams) for name, streams in self.judges.items()}

    def make_simulation(self, num_envs: int) -> StreamSimulation:
        """Return streams to train on."""
        options: StreamOptions = build(self.config.env, "env")
        generator = make_generator(self.config.seed, "env", self.config.device)
        return StreamSimulation(self.classes["train"], options, num_envs, generator)

    def make_inputs(self) -> Images:
        return Images(self.simulation.num_pixels, self.simulation.num_slots, self.simulation.options.tells_price)

    simulation: StreamSimulation

    def __init__(self, config: TrainConfig, classes: dict[str, Dataset] | None = None) -> None:
        """Build the run; `classes` are those of another run on the same data, "train" and "test"."""
        self.classes = classes or {}
        super().__init__(config)
        if self.agent.reveal != self.simulation.reveal:
            raise AlmetaError(
                f"{type(self.agent).__name__} plays streams with env.reveal={self.agent.reveal}, not "
                f"{self.simulation.reveal}; set it"
            )

    def described_data(self) -> str:
        train, test = self.classes["train"], self.classes["test"]
        return f"{train.num_classes:,} classes of {train.name}; judged on {test.num_classes:,} classes it never sees"

    def notes(self) -> list[str]:
        notes, network, before = super().notes(), self.agent.network, self.simulation.length - 1
        asked, steps = self.simulation.options, self.simulation.length
        if asked.script is not None and asked.length != steps:
            notes.append(f"env.script has {steps} steps, so that env.length={asked.length} has no effect")
        if (capacity := getattr(network, "capacity", before)) < before:
            notes.append(
                f"network.capacity={capacity}, but up to {before} images come before the last of a stream: the oldest "
                "are forgotten with their labels"
            )
        usual = OmegaConf.load(Path(conf.__file__).parent / "train.yaml").pretraining
        told = {key: value for key, value in self.config.pretraining.items() if value != usual[key]}
        if getattr(network, "encoder", None) is None:
            changed = [f"pretraining.{key}={value}" for key, value in told.items()]
            changed += [
                f"network.{key}={json.dumps(value)}" for key, value in _changed_options(network, "channels", "residual")
            ]
            return notes + [f"{one} has no effect: {type(network).__name__} has no encoder here" for one in changed]
        if "margin" in told and self.config.pretraining["loss"] == "prototypical":
            notes.append(f"pretraining.margin={told['margin']:g} has no effect with pretraining.loss=prototypical")
        sampler = self.simulation.sampler
        for key, most in (("ways", sampler.num_all_classes), ("shots", sampler.fewest_images)):
            if told.get(key, 0) > most:
                notes.append(f"pretraining.{key}={told[key]} is cut to {most}, all that data set {sampler.name} has")
        return notes

    def _measuring(self, simulation: StreamSimulation) -> Evaluate:
        """Return a function that measures an agent, on the same streams at each call."""
        return lambda agent: evaluate(agent, simulation, self.config.evaluate_episodes, self.config.seed).summary()

    def prepare(self) -> None:
        """Train the network's image encoder on the training classes, if it has one."""
        encoder = getattr(self.agent.network, "encoder", None)
        if encoder is not None:
            generator = make_generator(self.config.seed, "pretraining", self.config.device)
            sampler, track = self.simulation.sampler, Progress("image encoder")
            pretrain_encoder(encoder, sampler, generator, track=track, **self.config.pretraining)
            if hasattr(self.agent.network, "centre_codes"):
                self.agent.network.centre_codes(sampler.images)
            encoder.requires_grad_(getattr(self.agent.network, "fine_tune", False))

    def conclude(self, folder: Path) -> tuple[dict[str, Any], Report]:
        config, agent, judges = self.config, self.agent, self.judges
        episodes, seed, dataset = config.final_episodes, config.seed, SplitClasses.read(config.dataset).name
        results = compare(agent, config.name, judges["test"], judges["train"], episodes, seed)
        train_summary = evaluate(agent, judges["train"], episodes, seed).summary()
        title = f"{config.name} after {config.batches:,} batches, on classes of {dataset} never trained on"
        metrics, published = read_json_lines(folder / METRICS), is_published_task(dataset, config.env)
        report = stream_report(results, title, published, metrics, config.plain())
        if getattr(agent.network, "encoder", None) is not None and agent.encoder_version is not None:  # a frozen one
            few_shots = few_shot_table(agent, judges["test"].sampler, FEW_SHOT_EPISODES, seed)
            report = replace(report, tables=[*report.tables, *([few_shots] if few_shots else [])])
        summary = {"test": results.summary, "train": train_summary, **report.summary}
        if self.simulation.options.tells_price and self.simulation.rewards.drawn:
            summary["prices"] = by_price = self._judged_by_price()
            rows = {f"{config.name}, told {price}": own for price, own in by_price.items()}
            prices = shown_table("prices", table_of_policies(rows), "By the price of a mistake")
            report = replace(report, tables=[*report.tables, prices])
        return summary, report

    def _judged_by_price(self) -> dict[str, dict[str, Any]]:
        """Return the measures of an agent that is told the price of a mistake, at several prices."""
        low, high = self.simulation.rewards.bounds
        streams, rewards = copy.copy(self.judges["test"]), self.simulation.rewards
        found = {}
        for price in sorted({low, high, *(one for one in PRICES if low < one < high)}, reverse=True):
            streams.block_rewards = [replace(rewards, incorrect=price)]
            found[f"{price:g}"] = evaluate(self.agent, streams, self.config.final_episodes, self.config.seed).summary()
        return found

    @classmethod
    def tables_of_jobs(cls, jobs: Sequence[Job]) -> list[Table]:
        scripted: dict[str, list[Any]] = {}
        encoders: dict[str, list[pd.DataFrame]] = {}
        for job in jobs:
            scripted.setdefault(job.label, []).append((job.results or {}).get("scripted", []))
            if job.results and (file := job.folder / "few_shot.csv").exists():
                encoders.setdefault(job.label, []).append(pd.read_csv(file))
        few_shots = few_shot_table_of_runs(encoders)
        return [
            shown_table("table", table_of_jobs(jobs, any(map(_has_published_task, jobs)))),
            *novelty_table(scripted),
            *([few_shots] if few_shots else []),
        ]

    @classmethod
    def figures_of_jobs(cls, jobs: Sequence[Job]) -> dict[str, Figure]:
        published = any(map(_has_published_task, jobs))
        figures = {"accuracy_against_requests": accuracy_against_requests(tradeoffs_of_jobs(jobs), published)}
        runs: dict[str, list[Any]] = {}
        for job in jobs:
            metrics = read_json_lines(job.folder / METRICS) if (job.folder / METRICS).exists() else []
            if any(line["kind"] == "evaluation" for line in metrics):
                runs.setdefault(job.label, []).append(metrics)
        return figures | ({"learning_curves": learning_curves(runs)} if runs else {})

    @classmethod
    def tables_of_evaluations(cls, jobs: Sequence[Job]) -> list[Table]:
        return [table_of_settings(jobs)]

    @classmethod
    def judge(cls, config: EvaluateConfig, folder: Path) -> dict[str, Any]:
        agent, checkpoint = load_trained(config.policy)
        trained = checkpoint["config"]
        precision = config.matmul_precision or trained.get("matmul_precision", "highest")
        set_compute(config.threads, config.device, precision)
        agent.to(config.device)
        agent, simulation, tuning_simulation = streams_for(
            agent,
            checkpoint,
            config.dataset,
            config.classes,
            config.changes,
            num_envs=config.num_envs,
            seed=config.seed,
            device=config.device,
        )
        judged = simulation.dataset
        seen = config.classes == "train" and judged.name in checkpoint["datasets"]
        name, env = name_of(config.policy), asdict(simulation.options)
        title = (
            f"{name}, trained on {trained['dataset']['name']}; judged on {judged.num_classes:,} classes of "
            f"{judged.name}, {'those it was trained on' if seen else 'never trained on'}, {_of_streams(simulation)}"
        )
        actor = AskUnnamed(agent, simulation.num_slots) if config.ask_unnamed else agent
        before: StreamOptions = build(trained["env"], "env")
        may_ask = simulation.reveal != "always" and not config.ask_unnamed
        if may_ask and before.classes < simulation.options.classes:
            print(
                f"note: streams of {simulation.options.classes} classes, where the training had {before.classes}: with "
                "ask_unnamed=true the policy requests where it would predict a class that nobody has named yet"
            )
        results = compare(actor, name, simulation, tuning_simulation, config.episodes, config.seed)
        published = is_published_task(judged.name, env)
        report = stream_report(results, title, published, config=config.plain() | {"env": env})
        summary = {
            "kind": StreamRun.kind,
            "policy": config.policy,
            "name": name,
            "dataset": judged.name,
            "classes": config.classes,
            "env": env,
            **results.summary,
            **report.summary,
        }
        publish(report, folder, Console(), summary)
        return summary


def _of_streams(simulation: StreamSimulation) -> str:
    """Return the size of streams and the price of a mistake, for a title."""
    price = shown_price(simulation.rewards.incorrect)
    return f"in streams of {simulation.options.classes} classes and {simulation.length} steps, {price} for a mistake"


def _changed_options(network: Any, *names: str) -> Iterator[tuple[str, Any]]:
    """Yield the names and values of those options of a network that are not as by default."""
    for field in fields(network) if is_dataclass(network) else ():
        if field.name in names and (value := getattr(network, field.name)) != field.default:
            yield field.name, value


def _has_published_task(job: Job) -> bool:
    try:
        env = OmegaConf.to_container(OmegaConf.create(job.config["env"]), resolve=True)
        return is_published_task(job.config["dataset"]["name"], env)  # type: ignore[arg-type]
    except (KeyError, TypeError, OmegaConfBaseException):
        return False


def evaluation_streams(
    dataset: Dataset, options: StreamOptions, num_envs: int, seed: int, device: str
) -> StreamSimulation:
    """Return streams to evaluate on, with one episode per task, drawn without regard to who acts, in random order.

    Their images are as they are.
    """
    generator = make_generator(seed, "evaluation", device)
    plain = replace(options, group=1, margin_candidates=1, stickiness=0.0, sticky_share=1.0, distort=0.0)
    return StreamSimulation(dataset, plain, num_envs, generator)


def streams_for(
    agent: Agent,
    checkpoint: Checkpoint,
    dataset: dict[str, Any] | None,
    classes: str,
    changes: Mapping[str, Any],
    num_envs: int,
    seed: int,
    device: str = "cpu",
) -> tuple[Agent, StreamSimulation, StreamSimulation]:
    """Return a trained agent that fits streams, the streams, and those to tune thresholds on.

    Streams may have more classes than those of the training if the agent's network treats all slots alike. Where they
    are longer, its memory is made large enough, which is told.

    Args:
        agent: the agent.
        checkpoint: of the agent.
        dataset: see `choose_classes`; so is `classes`.
        classes: which classes are shown.
        changes: options that differ from those of the training; of `reward`, those of its parts that do.
        num_envs: episodes played at once.
        seed: of the streams.
        device: of the streams.

    Raises:
        AlmetaError: if the agent cannot play them, or was trained on them.
    """
    env = checkpoint["config"]["env"]
    reward = {**(env.get("reward") or {}), **changes.get("reward", {})}
    trained: StreamOptions = build(env, "env")
    options: StreamOptions = build({**env, **changes, "reward": reward}, "env")
    inputs: Any = agent.inputs
    options = replace(options, slots=max(options.classes, inputs.num_slots))
    agent = _fitted(agent, options, trained.length)
    judged, train = choose_classes(checkpoint, dataset, classes)
    own_shape = judged.image_shape
    judged, train = (_as_read(part, inputs.num_pixels) for part in (judged, train))
    if train.num_classes < options.classes <= judged.num_classes:  # such as 10 classes of digits
        train = judged
    if (shape := judged.image_shape) != own_shape:
        print(f"images of {judged.name} are brought from {own_shape} to {shape} pixels, which the policy reads")
    shown, tuning = (evaluation_streams(part, options, num_envs, seed, device) for part in (judged, train))
    return agent, shown, tuning


def _fitted(agent: Agent, options: StreamOptions, trained_length: int) -> Agent:
    """Return an agent that has the slots of streams, and remembers them if they are longer than in its training."""
    assert options.slots is not None
    needed = options.length - 1 if options.length > trained_length else 0
    fitted = agent.for_streams(options.slots, needed)
    if (before := getattr(agent.network, "capacity", needed)) < needed:
        print(
            f"streams of {options.length} steps are longer than in training: network.capacity={before} is {needed} here"
        )
    return fitted


def _as_read(dataset: Dataset, num_pixels: int) -> Dataset:
    """Return a data set with images of so many pixels, as a policy reads them; one without images is an AlmetaError."""
    side, own = math.isqrt(num_pixels), dataset.x.shape[1]
    if own == num_pixels:
        return dataset
    if dataset.image_shape is None or side**2 != num_pixels:
        raise AlmetaError(
            f"the policy reads images of {num_pixels} pixels, and the rows of '{dataset.name}' are of {own} numbers; "
            "judge it on images"
        )
    images = torch.as_tensor(dataset.x).view(-1, *dataset.image_shape)
    return replace(dataset, x=resized(images, side).flatten(1).numpy(), image_shape=(side, side), columns=())


def choose_classes(checkpoint: Checkpoint, dataset: dict[str, Any] | None, classes: str) -> tuple[Dataset, Dataset]:
    """Return the classes to judge a trained agent on, and those on which baselines may choose their threshold.

    The latter are the training part of the same data set. With all classes of a data set they are among the judged
    ones, which favours the baselines.

    Args:
        checkpoint: of the agent.
        dataset: `name`, `train_classes` and `split_seed`; what is missing or None is that of the agent's training, but
            of another data set half of the classes are for training.
        classes: "test", "train", "all", or "unseen": the test classes of its own data set, all of another one.

    Raises:
        AlmetaError: if classes of the agent's training would be mixed with others.
    """
    own = asdict(SplitClasses.read(checkpoint["config"]["dataset"]))
    given = {key: value for key, value in (dataset or {}).items() if value is not None}
    halved = {"train_classes": 0.5} if given.get("name", own["name"]) != own["name"] else {}
    chosen = SplitClasses.read(own | halved | given)
    parts = chosen.load()
    train = parts["train"]
    if classes == "unseen":
        classes = "test" if train.name in checkpoint["datasets"] else "all"
    if train.name in checkpoint["datasets"]:
        if classes == "all" or {**asdict(chosen), "name": own["name"]} != own:
            raise AlmetaError(
                f"the policy was trained on classes of '{own['name']}' (train_classes={own['train_classes']}, "
                f"split_seed={own['split_seed']}); to judge it there, choose classes=test (or train) of that split"
            )
        check_data(checkpoint, {"datasets": [train.name], "digest": train.fingerprint})
        return parts[classes], train
    judged, trained_on = load_dataset(chosen.name) if classes == "all" else parts[classes], checkpoint.get("rows", {})
    for name, rows in trained_on.items():  # files of version 0.1 have none
        if share_of_rows(rows.split(), sketch(judged)) > 0:
            raise AlmetaError(
                f"the policy was trained on images of '{name}' that '{judged.name}' has, too; judge it on others"
            )
    return judged, train
