"""A small network for pools: the numbers of the pool first, joined with those of each candidate later."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from almeta.agents.agent import Network
from almeta.checks import Count
from almeta.inputs import PoolInputs, PoolView
from almeta.strategies.actor import Memory


@dataclass(eq=False, repr=False)
class StateActionNetwork(Network):
    """The network of LAL-RL (Konyushkova, Sznitman & Fua 2018, arXiv 1810.04114): Q of a state and one candidate.

    A layer with sigmoids reads the numbers of the pool. Its units and the numbers of a candidate go through a second
    one, and a linear unit gives the utility. Candidates do not see each other. A state value, for agents that need one,
    is a linear unit on the first layer.

    Args:
        hidden_size: units H of the layer that reads the pool.
        joint_size: units J of the layer that reads these and a candidate.
        first_utility: bias of the utility before training; Adam takes long to reach a value far from 0.
    """

    kind: ClassVar[str] = "pool"

    inputs: PoolInputs
    hidden_size: Count = 10
    joint_size: Count = 5
    first_utility: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        candidate, pool = len(self.inputs.candidate_names), len(self.inputs.pool_names)
        self.state = nn.Linear(pool, self.hidden_size)
        self.joint = nn.Linear(self.hidden_size + candidate, self.joint_size)
        self.utility = nn.Linear(self.joint_size, 1)
        self.value = nn.Linear(self.hidden_size, 1) if self.num_values else None
        for layer in (self.state, self.joint, self.utility):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.constant_(self.utility.bias, self.first_utility)

    def initial(self, num_envs: int) -> Memory:
        return ()

    def step(self, view: PoolView, memory: Memory) -> tuple[Tensor, Tensor | None, Memory]:
        """Return utilities `[E, N]`, the value `[E]` of the pools or None, and the next memory."""
        state = self.state(view.pool).sigmoid()  # [E, H]
        shared = state[:, None].expand(-1, view.candidates.shape[1], -1)
        joint = self.joint(torch.cat((shared, view.candidates), -1)).sigmoid()  # [E, N, J]
        value = None if self.value is None else self.value(state).squeeze(-1)
        return self.utility(joint).squeeze(-1), value, memory
