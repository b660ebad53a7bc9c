"""The contract of inputs, and what the sets of inputs of pools share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from almeta.errors import AlmetaError
from almeta.features import FeatureState
from almeta.pool import PoolState


class Inputs(Protocol):
    """What a policy reads of a state: numbers that have names."""

    kind: ClassVar[str]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the numbers; checkpoints keep them, since a network is made for exactly these numbers."""
        ...

    def __call__(self, state: Any) -> Any:
        """Return a view of a state, which has an `action_mask` `[E, A]` bool."""
        ...

    def observed(self, observation: Any, action_mask: Any, start: Any, device: torch.device) -> tuple[Any, bool]:
        """Return a view of an observation of the Gymnasium environment, and whether it is of a single episode.

        Raises:
            AlmetaError: if the observation, the mask or the start has another shape, or a mask allows nothing.
        """
        ...


@dataclass(frozen=True)
class PoolView:
    """What a policy reads of E pools.

    Attributes:
        candidates: `[E, N, F]` float32, numbers about each row; 0 for rows that may not be picked.
        pool: `[E, G]` float32, numbers about each pool.
        action_mask: `[E, N]` bool, the rows that may be picked.
        start: `[E]` bool, where an episode begins and memory must be emptied; None for nowhere.
    """

    candidates: Tensor
    pool: Tensor
    action_mask: Tensor
    start: Tensor | None = None


class CandidateInputs:
    """A set of inputs about candidates, of which a state says which are `available`.

    A subclass has a `kind`, the two tuples of names, and `read`.

    Attributes:
        candidate_names: names of the F numbers about each candidate.
        pool_names: names of the G numbers about all of them.
    """

    kind: ClassVar[str]
    candidate_names: tuple[str, ...]
    pool_names: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """All names, those of candidates first."""
        return (*self.candidate_names, *self.pool_names)

    def __call__(self, state: Any) -> PoolView:
        if getattr(state, "target", "classes") == "numbers":
            raise AlmetaError(
                f"the targets are numbers, and {type(self).__name__} reads class probabilities: a policy has nothing "
                "to go by; choose strategies of numbers, such as predictive_variance, or a data set with classes"
            )
        candidates, pool = self.read(state)
        return PoolView(candidates.masked_fill(~state.available[..., None], 0.0), pool, state.available)

    def read(self, state: Any) -> tuple[Tensor, Tensor]:
        """Return numbers per candidate `[E, N, F]` and per pool `[E, G]`, float32 and finite, in the order of names."""
        raise NotImplementedError

    def observed(
        self, observation: Mapping[str, Any], action_mask: Any, start: Any, device: torch.device
    ) -> tuple[PoolView, bool]:
        if not isinstance(observation, Mapping) or not {"candidates", "pool"} <= observation.keys():
            raise AlmetaError("the observation has no 'candidates' and 'pool'; pass on what a pool environment returns")
        candidates, pool = (to_array(f"observation['{name}']", observation[name]) for name in ("candidates", "pool"))
        single = candidates.ndim == 2
        if single:
            candidates, pool = candidates[None], pool[None]
        same = ": make the environment with inputs=policy.inputs"
        check_shape("observation['candidates']", candidates, ["E", "N", len(self.candidate_names)], same)
        check_shape("observation['pool']", pool, [len(candidates), len(self.pool_names)], same)
        given = observation.get("action_mask") if action_mask is None else action_mask
        mask, starts = read_mask(given, candidates.shape[:2], device), read_starts(start, len(candidates), device)
        numbers = [torch.as_tensor(part, device=device) for part in (candidates, pool)]
        return PoolView(numbers[0], numbers[1], mask, starts), single


class PoolInputs(CandidateInputs):
    """A set of inputs for pools, whose candidates are rows: a subclass has the two tuples of names, and `read`."""

    kind: ClassVar[str] = "pool"

    def read(self, state: PoolState) -> tuple[Tensor, Tensor]:
        """Return numbers per row `[E, N, F]` and per pool `[E, G]`, float32 and finite, in the order of names."""
        raise NotImplementedError


class CellInputs(CandidateInputs):
    """A set of inputs for tables with missing cells, which are the candidates, N times D of them."""

    kind: ClassVar[str] = "features"

    def read(self, state: FeatureState) -> tuple[Tensor, Tensor]:
        """Return numbers per cell `[E, N * D, F]` and per table `[E, G]`, float32 and finite, in the order of names."""
        raise NotImplementedError


def to_array(name: str, given: Any, dtype: type = np.float32) -> np.ndarray:
    """Return an array or a list of numbers as an array.

    Raises:
        AlmetaError: if it holds other things, or its rows differ in length.
    """
    try:
        return np.asarray(given, dtype)
    except (TypeError, ValueError) as error:
        raise AlmetaError(f"{name} is no array of numbers; give numbers in rows of equal length") from error


def check_shape(name: str, array: np.ndarray, wanted: Sequence[int | str], way_out: str = "") -> None:
    """Raise AlmetaError unless an array has the wanted shape, in which a text such as "N" stands for any length."""
    pairs = zip(array.shape, wanted, strict=False)
    if array.ndim != len(wanted) or not all(isinstance(want, str) or want == size for size, want in pairs):
        shape = ", ".join(map(str, wanted))
        raise AlmetaError(f"{name} has the shape {list(array.shape)}; here it is [{shape}]{way_out}")


def read_mask(given: Any, shape: Sequence[int], device: torch.device) -> Tensor:
    """Return the action mask `[E, A]` bool of an array or a list of numbers; None allows everything.

    Raises:
        AlmetaError: if it has another shape, or allows nothing.
    """
    if given is None:
        return torch.ones(*shape, dtype=torch.bool, device=device)
    mask = np.atleast_2d(to_array("the action mask", given, bool))
    check_shape("the action mask", mask, shape)
    if not mask.any(-1).all():
        raise AlmetaError("the action mask allows nothing; at least one action must be 1 in each episode")
    return torch.as_tensor(mask, device=device)


def read_starts(given: Any, num_envs: int, device: torch.device) -> Tensor | None:
    """Return where episodes begin, `[E]` bool, from one bool for all or one for each; None means nowhere.

    Raises:
        AlmetaError: if there are more or fewer.
    """
    if given is None:
        return None
    starts = to_array("episode_start", given, bool)
    if starts.ndim:
        check_shape("episode_start", starts, [num_envs])
    return torch.tensor(np.broadcast_to(starts, num_envs), device=device)
