"""Small streams, and one of every agent and network, for the tests of agents and of training."""

import functools
import inspect
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

import almeta.agents
import almeta.agents.networks
from almeta.agents import Agent
from almeta.agents.agent import MakeNetwork, Rollout
from almeta.agents.networks import StreamStep
from almeta.data.dataset import Dataset
from almeta.envs.simulation import Simulation
from almeta.envs.stream import StreamOptions, StreamSimulation
from almeta.inputs import Images
from almeta.seeding import make_generator, seeded_weights
from almeta.strategies.actor import Memory
from almeta.stream import StreamState
from almeta.training.rollout import Step, explore, greedy, play

PIXELS, SLOTS = 16, 4


def glyphs(num_classes: int = 6, per_class: int = 8, noise: float = 0.2) -> Dataset:
    """Return images of 4 x 4 pixels, whose class is their brightest pixel; with noise no two are alike."""
    y = np.repeat(np.arange(num_classes), per_class)
    x = np.float32(noise) * np.random.default_rng(7).random((len(y), PIXELS), dtype=np.float32)
    x[np.arange(len(y)), y] = 1.0
    names = tuple(f"glyph {k}" for k in range(num_classes))
    return Dataset("glyphs", x, y, names, source="made up for the tests", image_shape=(4, 4))


def make_streams(seed: int = 0, num_envs: int = 5, dataset: Dataset | None = None, **options: Any) -> StreamSimulation:
    """Return streams of three classes of glyphs, 8 steps long; `options` are those of `StreamOptions`."""
    settings: dict[str, Any] = {"classes": 3, "slots": SLOTS, "length": 8, "rotations": False} | options
    return StreamSimulation(dataset or glyphs(), StreamOptions(**settings), num_envs, make_generator(seed, "env"))


def public_classes(module: Any, base: type) -> dict[str, Any]:
    """Return the classes below `base` that a module offers by name."""
    found = inspect.getmembers(module, inspect.isclass)
    return {name: kind for name, kind in found if issubclass(kind, base) and not name.startswith("_")}


# Every agent and every network of the package: a new one is tested as soon as it is there.
AGENTS: dict[str, Any] = {k: v for k, v in public_classes(almeta.agents, Agent).items() if v is not Agent}
NETWORKS: dict[str, Any] = {
    k: v for k, v in public_classes(almeta.agents.networks, nn.Module).items() if hasattr(v, "encode")
}
# Smaller than by default, where that is slow; a network that is not named here is taken as it is.
SMALL: dict[str, dict[str, Any]] = {
    "LSTMNetwork": {"hidden_size": 12},
    "GRUNetwork": {"hidden_size": 12},
    "MANNNetwork": {"hidden_size": 12, "rows": 6, "width": 5, "heads": 2},
    "NTMNetwork": {"hidden_size": 12, "rows": 6, "width": 5},
    "TransformerNetwork": {"hidden_size": 12, "heads": 2},
    "EpisodicNetwork": {"code_size": 6, "channels": 4, "hidden_size": 8},
}


def small_network(name: str = "LSTMNetwork", **options: Any) -> MakeNetwork:
    """Return what makes a small network of the named class."""
    return functools.partial(NETWORKS[name], **(SMALL.get(name, {}) | options))


def forgetful(name: str, **options: Any) -> MakeNetwork:
    """Return what makes the named network with its memory cut: emptied before every step, wherever it is used."""

    network: Any = NETWORKS[name]

    class Forgetful(network):
        def step(self, view: StreamState, memory: Memory) -> StreamStep:
            everywhere = torch.ones(len(view.label), dtype=torch.bool)
            return super().step(replace(view, start=everywhere), memory)

    return functools.partial(Forgetful, **(SMALL.get(name, {}) | options))


def make_agent(name: str, network: MakeNetwork | None = None, seed: int = 0, **options: Any) -> Any:
    """Return a fresh agent of the named class for `make_streams`, its weights drawn from the seed."""
    with seeded_weights(seed):
        return AGENTS[name](network or small_network(), Images(PIXELS, SLOTS), **options)


def stream_options(name: str) -> dict[str, Any]:
    """Return the options of the streams that an agent is made for: the supervised one is told every label."""
    return {"reveal": AGENTS[name].reveal}


def play_exploring(simulation: Simulation, agent: Agent, luck: int | torch.Generator = 0) -> Rollout:
    """Return one batch played as in training; `luck` is a generator or a seed."""
    generator = make_generator(luck, "policy") if isinstance(luck, int) else luck
    return explore(simulation, agent, generator)


def play_greedily(simulation: Simulation, actor: Any, seed: int = 0) -> list[Step]:
    """Return the steps of one batch played as in an evaluation."""
    return list(play(simulation, actor, greedy(make_generator(seed, "policy"))))
