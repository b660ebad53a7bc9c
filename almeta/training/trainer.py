"""The training loop of all agents: collect, loss, step, log; regularly evaluate and write a checkpoint."""

import math
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from almeta.agents.agent import Agent, Rollout
from almeta.build import as_config
from almeta.envs.simulation import Simulation
from almeta.errors import AlmetaError, Interrupted
from almeta.training.agents import load_weights
from almeta.training.checkpoint import check_data, save_checkpoint
from almeta.training.loggers import METRICS, JsonLines, Logger
from almeta.training.rollout import explore

# Measures an agent greedily on fresh episodes, with random numbers of its own.
Evaluate = Callable[[Agent], dict[str, Any]]

LAST, BEST = "last.pt", "best.pt"


@dataclass(frozen=True)
class Schedule:
    """The number of batches, and the intervals between records, evaluations and checkpoints.

    Attributes:
        batches: batches to train on.
        log_every: batches per training record.
        evaluate_every: batches between evaluations; one more at the end.
        checkpoint_every: batches between checkpoints; one more at the end.
    """

    batches: int
    log_every: int = 100
    evaluate_every: int = 1000
    checkpoint_every: int = 1000

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise AlmetaError(f"{name}={value}; it must be at least 1")


@dataclass
class Trainer:
    """Trains one agent in one folder.

    Attributes:
        agent: learns.
        simulation: of training classes or data sets only.
        optimizer: of the agent's parameters.
        generator: draws the agent's exploration.
        evaluations: by the name of their classes. "train" also chooses the best checkpoint; "test" is only recorded: no
            step of training depends on it.
        folder: holds `metrics.jsonl`, `last.pt` and `best.pt`.
        schedule: batches and intervals.
        config: plain values that rebuild the run; kept in every checkpoint.
        anneal_lr: let the learning rate fall linearly to zero over the schedule.
        max_grad_norm: scale gradients down to this norm; None leaves them.
        loggers: further places for the records.
        track: wraps the range of remaining batches, to show progress.
        score: the measure that chooses the best checkpoint; higher is better.
        runs: how many agents learn at once, each from its block of the episodes; records have their figures in `runs`.
    """

    agent: Agent
    simulation: Simulation
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    evaluations: dict[str, Evaluate]
    folder: Path
    schedule: Schedule
    config: dict[str, Any]
    anneal_lr: bool = False
    max_grad_norm: float | None = None
    loggers: list[Logger] = field(default_factory=list)
    track: Callable[[range], Iterable[int]] = iter
    score: str = "mean_return"
    runs: int = 1

    batch: int = field(default=0, init=False)
    best: float | None = field(default=None, init=False)
    judged: bool = field(default=True, init=False)  # whether the evaluation after this batch is done

    def __post_init__(self) -> None:
        self._learning_rates = [group["lr"] for group in self.optimizer.param_groups]
        self._sums: dict[str, Tensor] = {}
        self._metrics = JsonLines(self.folder / METRICS)

    def train(self) -> None:
        """Train until the schedule's end, from the start or from the checkpoint that was restored.

        Raises:
            Interrupted: after Ctrl-C or SIGTERM, with a checkpoint of the last whole batch in the folder.
            AlmetaError: if a checkpoint cannot be written, or the loss or the weights are no longer finite.
        """
        with _stop_signals() as stop, closing(self._metrics):
            if not self.judged:  # a stop cut the last batch's evaluation short
                self._conclude_batch(stop)
            for _ in self.track(range(self.batch, self.schedule.batches)):
                rollout = explore(self.simulation, self.agent, self.generator)
                for lesson in self.agent.lessons(rollout, self.generator):
                    losses, scalars = zip(*map(self.agent.total_loss, lesson.blocks(self.runs)), strict=True)
                    self._descend(torch.stack(losses).sum())
                self.batch += 1
                self._count(
                    rollout, [{"loss": loss.detach(), **more} for loss, more in zip(losses, scalars, strict=True)]
                )
                if self._due(self.schedule.log_every):
                    self._log_training()
                self.judged = not self._due(self.schedule.evaluate_every)
                self._conclude_batch(stop)

    def save(self, name: str) -> None:
        """Write a checkpoint: weights, the agent's learning state, optimiser, counters, random states, sums, config."""
        if not all(weights.isfinite().all() for weights in self.agent.parameters()):
            raise self._diverged("the weights are no longer finite")
        content = {
            "batch": self.batch,
            "best": self.best,
            "judged": self.judged,
            "kind": self.simulation.kind,
            **self.simulation.identity,
            "inputs": as_config(self.agent.inputs),
            "names": list(self.agent.inputs.names),
            "agent": self.agent.state_dict(),
            "learning": self.agent.learning_state(),
            "optimizer": self.optimizer.state_dict(),
            "generators": {name: generator.get_state() for name, generator in self._generators().items()},
            "sums": self._sums,
            "metrics_size": self._metrics.size,
            "config": self.config,
        }
        save_checkpoint(self.folder / name, content)

    def restore(self, content: dict[str, Any]) -> None:
        """Continue from a checkpoint as if the run had never stopped; later lines of metrics are dropped.

        Raises:
            AlmetaError: if the checkpoint is damaged, or of other classes, another network or kind of device.
        """
        check_data(content, self.simulation.identity)
        load_weights(self.agent, content["agent"])
        device = next(self.agent.parameters()).device
        try:
            self.optimizer.load_state_dict(content["optimizer"])
            self._sums = {name: value.to(device) for name, value in content["sums"].items()}
            self.agent.load_learning_state(content.get("learning", {}))
            states = {name: content["generators"][name] for name in self._generators()}
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise AlmetaError(f"the checkpoint is damaged ({error}); use another one, such as {BEST}") from error
        if not self.anneal_lr:
            for group, rate in zip(self.optimizer.param_groups, self._learning_rates, strict=True):
                group["lr"] = rate  # the present one: a diverged run continues with a lower one
        for name, generator in self._generators().items():
            try:
                generator.set_state(states[name])
            except (RuntimeError, TypeError) as error:
                raise AlmetaError(
                    f"the checkpoint's random states do not fit device={device.type} ({error}); resume on the kind of "
                    "device that it was trained on"
                ) from error
        self.batch, self.best, self.judged = content["batch"], content["best"], content.get("judged", True)
        self._metrics.truncate(content["metrics_size"])

    def _generators(self) -> dict[str, torch.Generator]:
        return {"env": self.simulation.generator, "policy": self.generator}

    def _descend(self, loss: Tensor) -> None:
        if self.anneal_lr:
            left = 1.0 - self.batch / self.schedule.batches
            for group, rate in zip(self.optimizer.param_groups, self._learning_rates, strict=True):
                group["lr"] = rate * left
        self.optimizer.zero_grad()
        loss.backward()
        if self.max_grad_norm is not None:
            clip_gradients(self.agent, self.max_grad_norm, self.runs)
        self.optimizer.step()

    def _due(self, every: int) -> bool:
        return self.batch % every == 0 or self.batch == self.schedule.batches

    def _count(self, rollout: Rollout, scalars: list[dict[str, Tensor]]) -> None:
        """Add to the sums that a training record averages, `[runs]` each; stays on the device."""
        played = rollout.blocks(self.runs) if self.runs > 1 else [rollout]
        each = [own | self.simulation.scalars(part) for own, part in zip(scalars, played, strict=True)]
        one = torch.ones(self.runs, device=rollout.rewards.device)
        for name, value in {
            "count": one,
            **{name: torch.stack([own[name] for own in each]) for name in each[0]},
        }.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value

    def _log_training(self) -> None:
        count = self._sums.pop("count")
        means = {name: (total / count).tolist() for name, total in self._sums.items()}
        self._sums = {}
        for loss in means["loss"]:
            if not math.isfinite(loss):
                raise self._diverged(f"the loss is {loss}")
        each = [dict(zip(means, run, strict=True)) for run in zip(*means.values(), strict=True)]
        self._log({"kind": "train", "batch": self.batch, **mean_record(each)})

    def _diverged(self, symptom: str) -> AlmetaError:
        return AlmetaError(
            f"{symptom} after batch {self.batch:,}: training has diverged; lower learning_rate or set max_grad_norm, "
            f"and resume from {self.folder / LAST}"
        )

    def _conclude_batch(self, stop: "_Stop") -> None:
        """Evaluate and write a checkpoint if that is due; raise Interrupted if the run was asked to stop."""
        if not self.judged and not stop.received:
            try:
                with stop.at_once():
                    summaries = {part: evaluate(self.agent) for part, evaluate in self.evaluations.items()}
            except KeyboardInterrupt:  # the resumed run makes the evaluation
                if not stop.received:
                    raise
            else:
                self._log_evaluation(summaries)
        if self._due(self.schedule.checkpoint_every) or stop.received:
            self.save(LAST)
        if stop.received:
            raise Interrupted(f"stopped after batch {self.batch:,}; the checkpoint is {self.folder / LAST}")

    def _log_evaluation(self, summaries: dict[str, dict[str, Any]]) -> None:
        for classes, summary in summaries.items():
            self._log({"kind": "evaluation", "batch": self.batch, "classes": classes, **summary})
        self.judged = True
        score = summaries["train"][self.score] if "train" in summaries else None
        if score is not None and (self.best is None or score > self.best):
            self.best = score
            self.save(BEST)  # last: a run that continues from it has all records of this batch

    def _log(self, record: dict[str, Any]) -> None:
        for logger in (self._metrics, *self.loggers):
            logger.log(record)


def mean_record(each: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the record of one run; of several the means of their numbers, and the records themselves as `runs`."""
    if len(each) == 1:
        return each[0]
    numbers = [name for name in each[0] if all(isinstance(own[name], float) for own in each)]
    return {name: sum(own[name] for own in each) / len(each) for name in numbers} | {"runs": each}


@torch.no_grad()
def clip_gradients(agent: nn.Module, max_norm: float, runs: int = 1) -> None:
    """Scale the gradients down to a norm; with several runs those of each, which lie along the first axis."""
    if runs == 1:
        nn.utils.clip_grad_norm_(agent.parameters(), max_norm)
        return
    gradients = [weight.grad for weight in agent.parameters() if weight.grad is not None]
    norms = torch.stack([gradient.flatten(1).norm(dim=1) for gradient in gradients]).norm(dim=0)  # [runs]
    scale = (max_norm / (norms + 1e-6)).clamp_max(1.0)
    for gradient in gradients:
        gradient.mul_(scale.view(-1, *[1] * (gradient.dim() - 1)))


@dataclass
class _Stop:
    """Whether the run was asked to stop, and whether a signal may interrupt what it does now."""

    received: bool = False
    interruptible: bool = False

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Let a signal raise KeyboardInterrupt within the block."""
        self.interruptible = True
        try:
            yield
        finally:
            self.interruptible = False


@contextmanager
def _stop_signals() -> Iterator[_Stop]:
    """Record Ctrl-C and SIGTERM within the block instead of stopping; a second signal stops the run."""
    stop = _Stop()

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    def remember(number: int, frame: object) -> None:
        stop.received = True
        restore()
        if stop.interruptible:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # only there may handlers be set
        yield stop
        return
    previous = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        restore()
