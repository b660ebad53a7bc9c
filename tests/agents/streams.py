"""A small data set, small streams of it, and one of every agent and network, for the tests of agents and training."""

import functools
import inspect
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import almeta.agents
import almeta.agents.networks
from almeta.agents import Agent, LSTMNetwork
from almeta.agents.agent import MakeNetwork
from almeta.data.dataset import Dataset
from almeta.envs.one_shot import OneShotSimulation, make_simulation
from almeta.seeding import make_generator, seeded_weights

PIXELS = 16


def glyphs(num_classes: int = 6, per_class: int = 8) -> Dataset:
    """Return images of 4 x 4 pixels, whose class is their brightest pixel; no two images are alike."""
    rng = np.random.default_rng(7)
    y = np.repeat(np.arange(num_classes), per_class)
    x = 0.2 * rng.random((len(y), PIXELS), dtype=np.float32)
    x[np.arange(len(y)), y] = 1.0
    names = tuple(f"glyph {k}" for k in range(num_classes))
    return Dataset("glyphs", x, y, names, source="made up for the tests", image_shape=(4, 4))


def make_streams(seed: int = 0, num_envs: int = 5, purpose: str = "env", **options: Any) -> OneShotSimulation:
    """Return streams of three classes of the glyphs, 8 steps long; `options` are those of `make_simulation`."""
    settings = {"classes": 3, "slots": 4, "length": 8, "rotations": False} | options
    dataset = settings.pop("dataset", None) or glyphs()
    return make_simulation(dataset, num_envs, make_generator(seed, purpose), **settings)


def public_classes(module: Any, base: type) -> dict[str, type]:
    """Return the classes below `base` that a module offers by name."""
    found = inspect.getmembers(module, inspect.isclass)
    return {name: kind for name, kind in found if issubclass(kind, base) and not name.startswith("_")}


# Every agent and every network of the package: a new one is tested as soon as it is there.
AGENTS: dict[str, type[Agent]] = {k: v for k, v in public_classes(almeta.agents, Agent).items() if v is not Agent}
NETWORKS: dict[str, type[nn.Module]] = {
    k: v for k, v in public_classes(almeta.agents.networks, nn.Module).items() if hasattr(v, "initial")
}
# Smaller than by default, where that is slow; a network that is not named here is taken as it is.
SMALL: dict[str, dict[str, Any]] = {
    "LSTMNetwork": {"hidden_size": 12},
    "EpisodicNetwork": {"code_size": 6, "channels": 4, "hidden_size": 8},
}


def small_network(name: str = "LSTMNetwork") -> MakeNetwork:
    """Return what makes a small network of the named class."""
    return functools.partial(NETWORKS[name], **SMALL.get(name, {}))


def make_agent(
    name: str, network: MakeNetwork | None = None, seed: int = 0, num_slots: int = 4, **options: Any
) -> Agent:
    """Return a fresh agent of the named class for `make_streams`, its weights drawn from the seed."""
    with seeded_weights(seed):
        return AGENTS[name](network or small_network(), num_pixels=PIXELS, num_slots=num_slots, **options)


def stream_options(name: str) -> dict[str, Any]:
    """Return the options of the streams that an agent is made for: the supervised one is told every label."""
    return {"reveal": "always"} if name == "Supervised" else {}


class Forgetful(LSTMNetwork):
    """The LSTM with its memory cut: emptied before every step, in playing and in training alike."""

    def step(self, state: Any, memory: Any) -> tuple[Tensor, Any]:
        start = torch.ones(len(state.label), dtype=torch.bool)
        return super().step(type(state)(state.item, state.label, state.action_mask, start), memory)


def trained_parameters(agent: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield the parameters that training changes, by name: all but those of a frozen encoder."""
    return ((name, value) for name, value in agent.named_parameters() if value.requires_grad)
