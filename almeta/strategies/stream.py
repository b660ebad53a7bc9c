"""Hand-made strategies for the one-shot stream."""

import math
from typing import Any

import torch
from torch import Tensor

from almeta.strategies.actor import Memory, Outputs
from almeta.stream import Examples, StreamState


class StreamStrategy:
    """The base class: no memory, and the same utility for all slots.

    Args:
        num_slots: label slots S.
    """

    def __init__(self, num_slots: int) -> None:
        self.num_slots = num_slots

    def initial(self, num_envs: int) -> Memory:
        return ()

    def step(self, state: StreamState, memory: Memory) -> tuple[Outputs, Memory]:
        utilities = state.label.new_zeros(len(state.label), self.num_slots + 1)
        utilities[:, -1] = self.request(state)
        return Outputs(utilities), memory

    def request(self, state: StreamState) -> float | Tensor:
        """Return the utility of a request, a number or `[E]`; each slot has 0."""
        raise NotImplementedError


class AlwaysRequest(StreamStrategy):
    """Request every label."""

    def request(self, state: StreamState) -> float:
        return torch.inf


class NeverRequest(StreamStrategy):
    """Guess a label slot, never request."""

    def request(self, state: StreamState) -> float:
        return -torch.inf


class RandomRequest(StreamStrategy):
    """Request with probability `rate`, else guess a label slot.

    Args:
        rate: probability of a request, in [0, 1].
        generator: draws the requests.
    """

    def __init__(self, num_slots: int, rate: float, generator: torch.Generator) -> None:
        super().__init__(num_slots)
        if not 0.0 <= rate <= 1.0:
            raise ValueError(f"rate is {rate}; a probability lies in [0, 1]")
        self.rate, self.generator = rate, generator

    def request(self, state: StreamState) -> Tensor:
        drawn = torch.rand(len(state.label), generator=self.generator, device=state.label.device)
        return torch.where(drawn < self.rate, torch.inf, -torch.inf)


class NearestLabelled(StreamStrategy):
    """Predict the label of the nearest labelled image; request when none lies within `threshold`.

    Args:
        threshold: Euclidean distance between images (pixels in [0, 1]) beyond which a label is requested.
        capacity: images before the current one that are remembered.
    """

    def __init__(self, num_slots: int, threshold: float, capacity: int) -> None:
        super().__init__(num_slots)
        if not 0.0 <= threshold < math.inf:
            raise ValueError(f"threshold is {threshold}; a distance is finite and not negative")
        self.threshold, self.capacity = threshold, capacity

    def initial(self, num_envs: int) -> Memory:
        return None

    def step(self, state: StreamState, memory: Memory) -> tuple[Outputs, Memory]:
        if memory is None:
            num_envs, num_items = state.item.shape
            memory = Examples.none(num_envs, self.capacity + 1, num_items, self.num_slots, state.item)
        memory.remember(state)
        distances = memory.slot_distances(state.item)
        request = distances.new_full((len(distances), 1), -self.threshold)
        return Outputs(torch.cat((-distances, request), dim=-1)), memory


class AskUnnamed:
    """Another actor, that requests instead of predicting a slot whose label was never revealed in the episode.

    When a single slot is left without a label, it may be predicted: it follows from the others. Actors that were
    trained on few classes request too seldom among many; see also `almeta.agents.live.LiveStream`.

    Args:
        actor: of streams, with an encoder.
        num_slots: label slots S.
    """

    def __init__(self, actor: Any, num_slots: int) -> None:
        self._actor, self.num_slots = actor, num_slots

    @property
    def encoder_version(self) -> int | None:
        version: int | None = self._actor.encoder_version
        return version

    def encode(self, images: Tensor) -> Tensor:
        codes: Tensor = self._actor.encode(images)
        return codes

    def initial(self, num_envs: int) -> Memory:
        return self._actor.initial(num_envs), None

    def step(self, state: StreamState, memory: Memory) -> tuple[Outputs, Memory]:
        inner, named = memory  # named: [E, S] bool, None before the first step
        if named is not None and state.start is not None:
            named = named & ~state.start[:, None]
        revealed = state.label > 0
        named = revealed if named is None else named | revealed
        outputs, inner = self._actor.step(state, inner)
        follows = named.sum(-1, keepdim=True) == self.num_slots - 1
        barred = ~named & ~follows & state.action_mask[:, -1:]  # where no request is allowed, nothing is
        barred = torch.nn.functional.pad(barred, (0, 1))  # a request is none of them
        best = outputs.utilities.masked_fill(~state.action_mask, -torch.inf).argmax(-1, keepdim=True)
        utilities = outputs.utilities.masked_fill(barred, -torch.inf)
        utilities[:, -1:] = utilities[:, -1:].masked_fill(barred.gather(-1, best), torch.inf)
        return outputs._replace(utilities=utilities), (inner, named)
