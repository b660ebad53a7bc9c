"""What a policy reads of a one-shot stream."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from almeta.checks import Count, check_fields
from almeta.inputs.inputs import check_shape, read_mask, read_starts, to_array
from almeta.stream import StreamState, price_told


@dataclass(frozen=True)
class Images:
    """A stream's state as it is: the image, and the label that was revealed for the one before.

    Args:
        num_pixels: numbers in an image P.
        num_slots: label slots S; there are S + 1 actions, the last one is the request.
        price: whether it reads the reward of an incorrect prediction, too.
    """

    kind: ClassVar[str] = "stream"

    num_pixels: Count
    num_slots: Count
    price: bool = False

    def __post_init__(self) -> None:
        check_fields(self, "inputs")

    @property
    def names(self) -> tuple[str, ...]:
        told = ("reward of an incorrect prediction",) if self.price else ()
        return (f"{self.num_slots} label slots", f"{self.num_pixels} pixels", *told)

    def __call__(self, state: StreamState) -> StreamState:
        return state

    def observed(
        self, observation: Any, action_mask: Any, start: Any, device: torch.device
    ) -> tuple[StreamState, bool]:
        given = to_array("the observation", observation)
        batch = np.atleast_2d(given)
        width = self.num_slots + self.num_pixels
        way_out = "; make the environment with tells_price=True" if self.price else ""
        check_shape("the observation", batch, ["E", width + self.price], way_out)
        label, image, price = torch.as_tensor(batch, device=device).tensor_split([self.num_slots, width], dim=-1)
        mask = read_mask(action_mask, (len(batch), self.num_slots + 1), device)
        incorrect = price_told(price[:, 0]) if self.price else None
        return StreamState(image, label, mask, read_starts(start, len(batch), device), incorrect), given.ndim == 1
