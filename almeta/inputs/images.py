"""What a policy reads of a one-shot stream."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from almeta.checks import Count, check_fields
from almeta.inputs.inputs import check_shape, read_mask, read_starts, to_array
from almeta.stream import StreamState


@dataclass(frozen=True)
class Images:
    """A stream's state as it is: the image, and the label that was revealed for the one before.

    Args:
        num_pixels: numbers in an image P.
        num_slots: label slots S; there are S + 1 actions, the last one is the request.
    """

    kind: ClassVar[str] = "stream"

    num_pixels: Count
    num_slots: Count

    def __post_init__(self) -> None:
        check_fields(self, "inputs")

    @property
    def names(self) -> tuple[str, ...]:
        return (f"{self.num_slots} label slots", f"{self.num_pixels} pixels")

    def __call__(self, state: StreamState) -> StreamState:
        return state

    def observed(
        self, observation: Any, action_mask: Any, start: Any, device: torch.device
    ) -> tuple[StreamState, bool]:
        given = to_array("the observation", observation)
        batch = np.atleast_2d(given)
        check_shape("the observation", batch, ["E", self.num_slots + self.num_pixels])
        label, image = torch.as_tensor(batch, device=device).split([self.num_slots, self.num_pixels], dim=-1)
        mask = read_mask(action_mask, (len(batch), self.num_slots + 1), device)
        return StreamState(image, label, mask, read_starts(start, len(batch), device)), given.ndim == 1
