"""What a policy reads of a one-shot stream: the image, and the label that was revealed for the one before."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from almeta.checks import Count
from almeta.inputs.inputs import check_mask, episode_starts
from almeta.stream import StreamState


@dataclass(frozen=True)
class Images:
    """A stream's state as it is.

    Args:
        num_pixels: numbers in an image P.
        num_slots: label slots S; there are S + 1 actions, the last one is the request.
    """

    kind: ClassVar[str] = "stream"

    num_pixels: Count
    num_slots: Count

    @property
    def names(self) -> tuple[str, ...]:
        """The label's slots, then the pixels, each as one name."""
        return (f"{self.num_slots} label slots", f"{self.num_pixels} pixels")

    def __call__(self, state: StreamState) -> StreamState:
        return state

    def observed(
        self, observation: np.ndarray, action_mask: Any, start: Any, device: torch.device
    ) -> tuple[StreamState, bool]:
        """Read an observation of `OneShotStreamEnv` `[S + P]`, or of its batch `[E, S + P]`."""
        batch = torch.as_tensor(np.atleast_2d(observation), device=device)
        label, image = batch.split([self.num_slots, self.num_pixels], dim=-1)
        shape = (len(batch), self.num_slots + 1)
        mask = np.ones(shape) if action_mask is None else np.atleast_2d(action_mask)
        allowed = check_mask(torch.as_tensor(mask, device=device), shape)
        return StreamState(image, label, allowed, episode_starts(start, len(batch), device)), observation.ndim == 1
