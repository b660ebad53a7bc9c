"""States of one-shot streams in which an image is one number."""

import torch

from almeta.stream import StreamState


def state(items, labels=None, slots=2, mask=None, start=None):
    """A state of one number an image: `state([1.0, 2.0], [None, 0])`, the labels as slots or None."""
    label = torch.zeros(len(items), slots)
    for e, slot in enumerate(labels or []):
        if slot is not None:
            label[e, slot] = 1
    allowed = torch.ones(len(items), slots + 1, dtype=torch.bool) if mask is None else torch.tensor(mask)
    began = None if start is None else torch.tensor(start)
    return StreamState(torch.tensor(items, dtype=torch.float32)[:, None], label, allowed, began)
