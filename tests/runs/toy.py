"""A kind of problem of one's own, in one file: look at a digit and name it, a few times in a row."""

import json
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from almeta.build import build
from almeta.checks import Count, Share
from almeta.envs import Simulation
from almeta.runs import Run, register_kind
from almeta.seeding import make_generator
from almeta.training.agents import load_agent
from almeta.training.rollout import greedy, play


@dataclass(frozen=True)
class ToyOptions:
    kind: ClassVar[str] = "toy"
    digits: Count = 4
    length: Count = 5
    discount: Share = 0.0


class ToySimulation(Simulation):
    kind = "toy"

    def __init__(self, options: ToyOptions, num_envs: int, seed: int, purpose: str) -> None:
        super().__init__(num_envs, make_generator(seed, purpose))
        self.options, self.length, self.discount = options, options.length, options.discount
        self.time = self.length

    @property
    def identity(self) -> dict[str, Any]:
        return {"datasets": [], "digest": f"{self.options.digits} digits"}

    def reset(self, tasks: Tensor | None = None, generators: Any = None) -> Any:
        self.time, shape = 0, (self.length + 1, self.num_envs)
        self.digits = torch.randint(self.options.digits, shape, generator=self.generator) if tasks is None else tasks
        return self.state()

    def state(self) -> Any:
        seen = nn.functional.one_hot(self.digits[self.time], self.options.digits)
        return SimpleNamespace(seen=seen.float(), action_mask=torch.ones_like(seen, dtype=torch.bool))

    def step(self, actions: Tensor) -> Any:
        self.time += 1
        return SimpleNamespace(reward=(actions == self.digits[self.time - 1]).float())


@dataclass(frozen=True)
class Digits:
    digits: Count
    kind: ClassVar[str] = "toy"
    names: ClassVar[tuple[str, ...]] = ("digit",)

    def __call__(self, state: Any) -> Any:
        return state


class ToyNetwork(nn.Module):
    kind = "toy"

    def __init__(self, inputs: Digits, num_values: int = 0, hidden_size: Count = 8) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(inputs.digits, hidden_size), nn.Tanh())
        self.head = nn.Linear(hidden_size, inputs.digits + 1)

    def initial(self, num_envs: int) -> Any:
        return ()

    def step(self, view: Any, memory: Any) -> tuple[Tensor, Tensor, Any]:
        outputs = self.head(self.body(view.seen))
        return outputs[:, :-1], outputs[:, -1], memory


@register_kind
class ToyRun(Run):
    kind = "toy"

    def build(self) -> None:
        self.options = build(self.config.env, "env")
        self.simulation = ToySimulation(self.options, self.config.num_envs, self.config.seed, "env")
        self.evaluations = {"train": lambda agent: self.measure(agent, self.options, self.config.seed)}

    def make_inputs(self) -> Any:
        return Digits(self.options.digits)

    def described_data(self) -> str:
        return f"{self.options.digits} digits"

    @staticmethod
    def measure(agent: Any, options: ToyOptions, seed: int) -> dict[str, Any]:
        simulation = ToySimulation(options, 100, seed, "evaluation")
        steps = list(play(simulation, agent, greedy(make_generator(seed, "ties"))))
        return {"mean_return": float(torch.stack([step.outcome.reward for step in steps]).sum(0).mean())}

    def conclude(self, folder: Any) -> tuple[dict[str, Any], None]:
        return {"train": self.evaluations["train"](self.agent)}, None

    @classmethod
    def judge(cls, config: Any, folder: Any) -> dict[str, Any]:
        agent, checkpoint = load_agent(config.policy)
        summary = {"test": cls.measure(agent, build(checkpoint["config"]["env"], "env"), config.seed)}
        (folder / "summary.json").write_text(json.dumps(summary))
        return summary
