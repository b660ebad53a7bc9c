"""The contract of inputs, and what the sets of inputs of pools share."""

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from almeta.errors import AlmetaError
from almeta.pool import PoolState


class Inputs(Protocol):
    """What a policy reads of a state. An agent has one, and so has an environment that shows what the agent reads."""

    kind: ClassVar[str]

    @property
    def names(self) -> tuple[str, ...]:
        """What the numbers are called; a checkpoint keeps them, since a network is made for just these."""
        ...

    def __call__(self, state: Any) -> Any:
        """Read a state. The view returned has an `action_mask` `[E, A]` bool."""
        ...

    def observed(self, observation: Any, action_mask: Any, start: Any, device: torch.device) -> tuple[Any, bool]:
        """Read an observation of the Gymnasium environment, and say whether it is of a single episode."""
        ...


@dataclass(frozen=True)
class PoolView:
    """What a policy sees of E pools.

    Attributes:
        candidates: `[E, N, F]` float32, numbers about each row; 0 for rows that may not be picked.
        pool: `[E, G]` float32, numbers about each pool.
        action_mask: `[E, N]` bool, the rows that may be picked.
        start: `[E]` bool, where an episode begins and memory must be empty; None when that is so nowhere.
    """

    candidates: Tensor
    pool: Tensor
    action_mask: Tensor
    start: Tensor | None = None


class PoolInputs:
    """A set of inputs of pools: a subclass has the two tuples of names, and `read`.

    Attributes:
        candidate_names: of the F numbers about each row.
        pool_names: of the G numbers about each pool.
    """

    kind: ClassVar[str] = "pool"
    candidate_names: tuple[str, ...]
    pool_names: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """All names, those of candidates first."""
        return (*self.candidate_names, *self.pool_names)

    def __call__(self, state: PoolState) -> PoolView:
        candidates, pool = self.read(state)
        return PoolView(candidates.masked_fill(~state.available[..., None], 0.0), pool, state.available)

    def read(self, state: PoolState) -> tuple[Tensor, Tensor]:
        """Return numbers per candidate `[E, N, F]` and per pool `[E, G]`, float32 and finite, in the order of names."""
        raise NotImplementedError

    def observed(
        self, observation: dict[str, np.ndarray], action_mask: Any, start: Any, device: torch.device
    ) -> tuple[PoolView, bool]:
        """Read an observation of `PoolSelectionEnv` or its batch."""
        single = observation["candidates"].ndim == 2
        given = observation["action_mask"] if action_mask is None else np.asarray(action_mask)
        parts = (observation["candidates"], observation["pool"], given)
        candidates, pool, allowed = (torch.as_tensor(part[None] if single else part, device=device) for part in parts)
        mask = check_mask(allowed, candidates.shape[:2])
        return PoolView(candidates, pool, mask, episode_starts(start, len(candidates), device)), single


def check_mask(mask: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return an action mask as bool.

    Raises:
        AlmetaError: if it has another shape, or allows nothing.
    """
    if mask.shape != shape:
        raise AlmetaError(f"the action mask has the shape {list(mask.shape)}; here it is {list(shape)}")
    if not (mask.bool().any(-1)).all():
        raise AlmetaError("the action mask allows nothing; at least one action must be 1 in each episode")
    return mask.bool()


def episode_starts(start: Any, num_envs: int, device: torch.device) -> Tensor | None:
    """Where episodes begin, `[E]` bool, from one bool for all or one for each; None for nowhere."""
    return None if start is None else torch.tensor(np.broadcast_to(start, num_envs), device=device)
