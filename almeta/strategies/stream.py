"""Hand-made rules for the one-shot stream, and the contract that they share with learned policies."""

import math
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from almeta.strategies.choosing import best_action

# What an actor remembers between steps: any structure of tensors with leading axis E.
Memory = Any


@dataclass(frozen=True)
class StreamState:
    """What may be known at one step of E streams.

    Attributes:
        item: `[E, F]` float32, the current image as `StreamActor.encode` returned it.
        label: `[E, S]` float32, the label slot of the previous image one-hot if it was revealed, else zeros.
        action_mask: `[E, S + 1]` bool, which actions are allowed; the last one is the request.
        start: `[E]` bool, where an episode begins and memory must be empty; None when that is so nowhere.
    """

    item: Tensor
    label: Tensor
    action_mask: Tensor
    start: Tensor | None = None


class StreamActor(Protocol):
    """Whoever acts in a stream: strategy or agent.

    `encode` sees all images of all steps at once, before the first action, so that whatever does not depend
    on the actions is computed in one product. `step` may look at the past only.
    """

    @property
    def encoder_version(self) -> int | None:
        """Equal numbers mean that an image is encoded alike, so that its code may be kept; None: do not keep it."""
        ...

    def encode(self, images: Tensor) -> Tensor:
        """Turn images `[..., P]` in [0, 1] into items `[..., F]`."""
        ...

    def initial(self, num_envs: int) -> Memory:
        """Return the empty memory of `num_envs` episodes."""
        ...

    def step(self, state: StreamState, memory: Memory) -> tuple[Tensor, Memory]:
        """Return outputs `[E, O]` and the next memory."""
        ...

    def greedy(self, outputs: Tensor, action_mask: Tensor, generator: torch.Generator) -> Tensor:
        """Return the best allowed action `[E]` int64 of outputs `[E, O]`."""
        ...


class _StreamStrategy:
    """What the strategies share: images taken as they are, no memory, the best utility wins."""

    encoder_version = None

    def __init__(self, num_slots: int) -> None:
        self.num_slots = num_slots

    def encode(self, images: Tensor) -> Tensor:
        return images

    def initial(self, num_envs: int) -> Memory:
        return ()

    def greedy(self, outputs: Tensor, action_mask: Tensor, generator: torch.Generator) -> Tensor:
        return best_action(outputs, action_mask, generator)

    def _utilities(self, state: StreamState, request: float | Tensor) -> Tensor:
        """Equal utilities `[E, S + 1]` for all slots (0), `request` for a request."""
        utilities = state.label.new_zeros(state.label.shape[0], self.num_slots + 1)
        utilities[:, -1] = request
        return utilities


class AlwaysRequest(_StreamStrategy):
    """Request every label."""

    def step(self, state: StreamState, memory: Memory) -> tuple[Tensor, Memory]:
        return self._utilities(state, torch.inf), memory


class NeverRequest(_StreamStrategy):
    """Guess a label slot, never request."""

    def step(self, state: StreamState, memory: Memory) -> tuple[Tensor, Memory]:
        return self._utilities(state, -torch.inf), memory


class RandomRequest(_StreamStrategy):
    """Request with probability `rate`, else guess a label slot.

    Args:
        num_slots: label slots S.
        rate: probability of a request, in [0, 1].
        generator: draws the requests.
    """

    def __init__(self, num_slots: int, rate: float, generator: torch.Generator) -> None:
        super().__init__(num_slots)
        if not 0.0 <= rate <= 1.0:
            raise ValueError(f"rate is {rate}; a probability lies in [0, 1]")
        self.rate = rate
        self.generator = generator

    def step(self, state: StreamState, memory: Memory) -> tuple[Tensor, Memory]:
        num_envs, device = state.label.shape[0], state.label.device
        request = torch.rand(num_envs, generator=self.generator, device=device) < self.rate
        return self._utilities(state, torch.where(request, torch.inf, -torch.inf)), memory


@dataclass
class Examples:
    """The images an actor has seen and the labels it was given: a ring of K places, changed in place.

    Attributes:
        items: `[E, K, F]` float32.
        labels: `[E, K, S]` float32, one-hot, zeros where no label is known.
        time: how many steps were remembered; the next one goes to place `time % K`.
    """

    items: Tensor
    labels: Tensor
    time: int = 0

    @staticmethod
    def none(num_envs: int, capacity: int, num_items: int, num_slots: int, like: Tensor) -> "Examples":
        """Return an empty ring on the device and of the dtype of `like`."""
        items = like.new_zeros(num_envs, capacity, num_items)
        return Examples(items, like.new_zeros(num_envs, capacity, num_slots))

    def remember(self, state: StreamState) -> None:
        """Attach the label that has just arrived to the previous image and take the current one in."""
        place = self.time % self.items.shape[1]
        self.labels[:, place - 1] = state.label  # place 0 follows the last one
        self.labels[:, place] = 0.0
        self.items[:, place] = state.item
        if state.start is not None:
            self.labels.masked_fill_(state.start[:, None, None], 0.0)
        self.time += 1

    def slot_distances(self, item: Tensor) -> Tensor:
        """Return the Euclidean distance `[E, S]` from `item` `[E, F]` to each slot's nearest example, inf if none."""
        distances = torch.cdist(item[:, None], self.items).transpose(1, 2)  # [E, K, 1]
        return distances.where(self.labels > 0, torch.inf).amin(1)


class NearestLabelled(_StreamStrategy):
    """Predict the label of the nearest labelled image; request when none lies within `threshold`.

    Args:
        num_slots: label slots S.
        threshold: Euclidean distance between images (pixels in [0, 1]) beyond which a label is requested.
        capacity: how many of the images before the current one are remembered.
    """

    def __init__(self, num_slots: int, threshold: float, capacity: int) -> None:
        super().__init__(num_slots)
        if not 0.0 <= threshold < math.inf:
            raise ValueError(f"threshold is {threshold}; a distance is finite and not negative")
        self.threshold = threshold
        self.capacity = capacity

    def initial(self, num_envs: int) -> Memory:
        return None

    def step(self, state: StreamState, memory: Memory) -> tuple[Tensor, Memory]:
        if memory is None:
            num_envs, num_items = state.item.shape
            memory = Examples.none(num_envs, self.capacity + 1, num_items, self.num_slots, state.item)
        memory.remember(state)
        distances = memory.slot_distances(state.item)
        request = distances.new_full((len(distances), 1), -self.threshold)
        return torch.cat((-distances, request), dim=-1), memory
