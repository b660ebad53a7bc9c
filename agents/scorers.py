"""Networks for pools: utilities of any number of rows."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from almeta.agents.agent import Network
from almeta.agents.memories import LSTM, LSTMState
from almeta.checks import Count, Weight
from almeta.errors import AlmetaError
from almeta.inputs import PoolInputs, PoolView
from almeta.strategies.actor import Memory

# The candidate input, and its sign, of each rule to start from.
Priors = dict[str, tuple[str, float]]
PRIORS: Priors = {
    "margin": ("margin", -1.0),
    "entropy": ("entropy", 1.0),
    "look_ahead": ("look-ahead", 1.0),
    "look_ahead_and_margin": ("look-ahead and margin", 1.0),
}


@dataclass(eq=False, repr=False)
class PoolScorer(Network):
    """The same small network for every candidate, which also sees the mean of all candidates' codes.

    Reordering the candidates reorders the scores, and there may be any number of them. The score is added to a rule's
    and begins at zero, so that training starts level with the rule. It always has a state value.

    Args:
        hidden_size: units H of each layer.
        prior: the rule to start from, "margin", "entropy", "look_ahead", "look_ahead_and_margin" or "none".
        prior_weight: factor of the prior; the higher, the sharper is a softmax over it.

    Raises:
        AlmetaError: if the inputs lack the prior's.
    """

    kind: ClassVar[str] = "pool"
    priors: ClassVar[Priors] = PRIORS

    inputs: PoolInputs
    hidden_size: Count = 64
    prior: Literal["margin", "entropy", "look_ahead", "look_ahead_and_margin", "none"] = "margin"
    prior_weight: Weight = 30.0

    def __post_init__(self) -> None:
        super().__post_init__()
        size, hidden_size, names = len(self.inputs.names), self.hidden_size, self.inputs.candidate_names
        self.embed = nn.Sequential(nn.Linear(size, hidden_size), nn.ReLU(), nn.Linear(hidden_size, hidden_size))
        self.candidate_part = nn.Linear(hidden_size, hidden_size)
        self.context_part = nn.Linear(hidden_size, hidden_size, bias=False)
        self.score = nn.Linear(hidden_size, 1)
        self.value = nn.Linear(hidden_size, 1)
        for head in (self.score, self.value):
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)
        name, sign = self.priors.get(self.prior, (None, 0.0))
        if name is not None and name not in names:
            raise AlmetaError(
                f"network.prior is '{self.prior}', but the inputs have no '{name}'; "
                "set it to none or choose inputs=look_ahead"
            )
        self._prior_column = None if name is None else names.index(name)
        self._prior_weight = sign * self.prior_weight

    def initial(self, num_envs: int) -> Memory:
        return ()

    def step(self, view: PoolView, memory: Memory) -> tuple[Tensor, Tensor, Memory]:
        """Return scores `[E, N]`, the value `[E]` of the pools, and the next memory."""
        codes, context = self._codes(view)
        return self._scores(view, codes, context), self.value(context).squeeze(-1), memory

    def _codes(self, view: PoolView) -> tuple[Tensor, Tensor]:
        """Return codes of the candidates `[E, N, H]`, and their mean over the rows that may be picked, `[E, H]`."""
        candidates, available = view.candidates, view.action_mask
        together = torch.cat((candidates, view.pool[..., None, :].expand(*candidates.shape[:-1], -1)), -1)
        codes = self.embed(together).relu()
        weight = available / available.sum(-1, keepdim=True).clamp_min(1)
        return codes, (weight[..., None, :] @ codes).squeeze(-2)

    def _scores(self, view: PoolView, codes: Tensor, context: Tensor) -> Tensor:
        mixed = (self.candidate_part(codes) + self.context_part(context)[..., None, :]).relu()
        scores = self.score(mixed).squeeze(-1)
        if self._prior_column is None:
            return scores
        return self._prior_weight * view.candidates[..., self._prior_column] + scores


@dataclass(eq=False, repr=False)
class RecurrentPoolScorer(PoolScorer):
    """A scorer with memory: an LSTM of H units reads the pool at every query."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.memory = LSTM(self.hidden_size, len(self.inputs.pool_names), self.hidden_size)

    def initial(self, num_envs: int) -> LSTMState:
        return self.memory.initial(num_envs)

    def step(self, view: PoolView, memory: LSTMState) -> tuple[Tensor, Tensor, LSTMState]:
        codes, context = self._codes(view)
        read, memory = self.memory.step(self.memory.project(context), view.pool, memory, view.start)
        return self._scores(view, codes, read), self.value(read).squeeze(-1), memory
