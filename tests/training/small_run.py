"""A run of the trainer small enough for tests, in this process or, killed on request, in one of its own."""

import os
import signal
from pathlib import Path
from typing import Any

import torch

from almeta import files
from almeta.agents import Agent
from almeta.envs.stream import StreamSimulation
from almeta.evaluation.streams import evaluate
from almeta.seeding import make_generator
from almeta.tasks import split_classes
from almeta.training import checkpoint
from almeta.training.checkpoint import CONFIG_KEYS
from almeta.training.trainer import LAST, Evaluate, Interrupted, Schedule, Trainer
from tests.agents.streams import glyphs, make_agent, make_streams, small_network, stream_options

# Agents and, after a dash, the network where it is not the LSTM, and after another one what `OPTIONS` has.
RUNS = (
    *("QLearning", "Reinforce", "PPO", "Supervised", "QLearning-EpisodicNetwork"),
    *("QLearning-EpisodicNetwork-thompson", "QLearning-TransformerNetwork-target"),
)
TARGETED: dict[str, Any] = {"through_target": False, "target_rate": 0.1}
# Options of the agent, and of the network.
OPTIONS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "thompson": (
        TARGETED | {"exploration": "thompson"},
        {"fine_tune": True, "guesses": True, "order": True, "residual": True, "dropout": 0.3, "dueling": True},
    ),
    "target": (TARGETED | {"exploration": "boltzmann"}, {"code_size": 6, "channels": 4}),
}
EVERY = {"log_every": 3, "evaluate_every": 4, "checkpoint_every": 6}


def make_trainer(
    name: str, folder: Path, batches: int, seed: int = 0, options: dict[str, Any] | None = None, **changes: Any
) -> Trainer:
    """Return a trainer at its start; `options` go to the agent, `changes` to the schedule and the trainer."""
    folder.mkdir(parents=True, exist_ok=True)
    kind, network, recipe = (*name.split("-"), "", "")[:3]
    of_agent, of_network = OPTIONS.get(recipe, ({}, {}))
    classes = dict(zip(("train", "test"), split_classes(glyphs(8), 4, seed=0), strict=True))
    make_network = small_network(network or "LSTMNetwork", **of_network)
    agent = make_agent(kind, make_network, seed, **of_agent | (options or {}))
    schedule = {key: changes.pop(key, value) for key, value in EVERY.items()}
    streams = {part: make_streams(dataset=data, **stream_options(kind)) for part, data in classes.items()}
    settings: dict[str, Any] = {
        "agent": agent,
        "simulation": make_streams(seed, dataset=classes["train"], **stream_options(kind)),
        "optimizer": torch.optim.Adam((p for p in agent.parameters() if p.requires_grad), 3e-3, fused=True),
        "generator": make_generator(seed, "policy"),
        "evaluations": {part: judge(simulation) for part, simulation in streams.items()},
        "config": {**dict.fromkeys(CONFIG_KEYS), "seed": seed, "agent": {"name": name}, "network": {}, "env": {}},
        "anneal_lr": name == "Reinforce",
        "max_grad_norm": 1.0 if name == "PPO" else None,
    }
    return Trainer(folder=folder, schedule=Schedule(batches, **schedule), **(settings | changes))


def judge(simulation: StreamSimulation) -> Evaluate:
    """Return a function that measures an agent on 20 episodes, the same at each call."""

    def measure(agent: Agent) -> dict[str, Any]:
        return evaluate(agent, simulation, 20, seed=1).summary()

    return measure


def kill_in_batch(trainer: Trainer, batch: int) -> None:
    """Let the process kill itself, as `kill -9` does, in the middle of a batch."""
    loss = trainer.agent.loss

    def loss_or_death(rollout: Any) -> Any:
        if trainer.batch + 1 == batch:
            os.kill(os.getpid(), signal.SIGKILL)
        return loss(rollout)

    trainer.agent.loss = loss_or_death  # type: ignore[method-assign]


def kill_in_save(number: int) -> None:
    """Let the process kill itself with half of its so-manieth `last.pt` written."""
    write = checkpoint.write_atomically
    saves: list[Path] = []

    def fsync(descriptor: int) -> None:
        if len(saves) == number:
            os.truncate(descriptor, os.fstat(descriptor).st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    def write_or_death(path: Path, content: bytes) -> None:
        saves.extend([path] if path.name == LAST else [])
        write(path, content)

    files.os.fsync, checkpoint.write_atomically = fsync, write_or_death  # type: ignore[assignment]


def main(name: str, folder: Path, batches: int, *requests: str) -> int:
    """Train, with kill-at=BATCH or kill-in-save=NUMBER if that is requested; return the exit status."""
    torch.set_num_threads(1)
    trainer = make_trainer(name, folder, batches)
    for request in requests:
        what, _, value = request.partition("=")
        if what == "kill-at":
            kill_in_batch(trainer, int(value))
        elif what == "kill-in-save":
            kill_in_save(int(value))
    try:
        trainer.train()
    except Interrupted as stop:
        print(stop)
        return 3
    return 0
