"""A causal transformer as a memory: each step attends to the steps before it."""

import torch
from torch import Tensor, nn

from almeta.agents.memories import MemoryModule, emptied, projected

# Of k steps before the present one, K at the most: keys and values `[E, 2, k, H]` of each layer, and which of the steps
# count `[E, k]`; and the early part of the last step.
TransformerState = tuple[tuple[Tensor, ...], Tensor, Tensor]


class CausalTransformer(MemoryModule):
    """Layers of attention over the steps so far (Vaswani et al. 2017, arXiv 1706.03762), normalised before each part.

    A step reads its own early part, and that of the step before beside the late part: a label that arrives one step
    late lies with its image. Order is not marked otherwise. Keys and values of up to K steps are kept.

    Args:
        early_size: numbers per step that are known early.
        late_size: numbers per step that are known only at that step.
        hidden_size: H, numbers of a step within the layers.
        layers: number of layers.
        heads: of attention; they share H.
        capacity: K, steps before the present one that are kept; if there are more, the oldest are forgotten.

    Raises:
        ValueError: if H is no multiple of `heads`.
    """

    def __init__(
        self, early_size: int, late_size: int, hidden_size: int, layers: int = 2, heads: int = 4, capacity: int = 64
    ) -> None:
        super().__init__()
        if hidden_size % heads:
            raise ValueError(f"hidden_size={hidden_size} is no multiple of heads={heads}")
        self.hidden_size = self.output_size = hidden_size
        self.heads, self.capacity = heads, capacity
        self.early = nn.Linear(early_size, 2 * hidden_size)  # as the present image, and as the one before
        self.late = nn.Linear(late_size, hidden_size, bias=False)
        self.layers = nn.ModuleList(_Layer(hidden_size, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(hidden_size)

    def project(self, early: Tensor) -> Tensor:
        """Return what a step adds as the present one and as the one before, `[..., early_size]` -> `[..., 2H]`."""
        return projected(early, self.early.weight.T, self.early.bias)

    def initial(self, batch: int) -> TransformerState:
        """Return a memory of no steps: it grows, so that short streams do not pay for K steps."""
        like, size = self.norm.weight, self.hidden_size
        kept = tuple(like.new_zeros(batch, 2, 0, size) for _ in self.layers)
        return kept, like.new_zeros(batch, 0, dtype=torch.bool), like.new_zeros(batch, size)

    def step(
        self, early: Tensor, late: Tensor, state: TransformerState, start: Tensor | None = None
    ) -> tuple[Tensor, TransformerState]:
        kept, counts, before = state
        counts, before = emptied(counts, start, False), emptied(before, start)
        present, as_before = early.chunk(2, -1)
        hidden = present + before + self.late(late)
        counts = torch.cat((counts, counts.new_ones(len(counts), 1)), 1)
        grown = []
        for layer, past in zip(self.layers, kept, strict=True):
            hidden, steps = layer(hidden, past, counts)
            grown.append(steps[:, :, -self.capacity :])
        return self.norm(hidden), (tuple(grown), counts[:, -self.capacity :], as_before)


class _Layer(nn.Module):
    def __init__(self, hidden_size: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(hidden_size), nn.LayerNorm(hidden_size)
        self.asked = nn.Linear(hidden_size, 3 * hidden_size)
        self.found = nn.Linear(hidden_size, hidden_size)
        self.wide = nn.Sequential(
            nn.Linear(hidden_size, 2 * hidden_size), nn.ReLU(), nn.Linear(2 * hidden_size, hidden_size)
        )

    def forward(self, hidden: Tensor, past: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Return the next numbers `[E, H]` of the present step, and all keys and values `[E, 2, k + 1, H]`.

        Args:
            hidden: `[E, H]`.
            past: keys and values of the steps before, `[E, 2, k, H]`.
            counts: `[E, k + 1]` bool, whether a step before, and the present one, belongs to the episode.
        """
        query, key, value = self.asked(self.first(hidden)).chunk(3, -1)
        steps = torch.cat((past, torch.stack((key, value), 1)[:, :, None]), 2)
        keys, values = steps.unflatten(-1, (self.heads, -1)).unbind(1)  # [E, k + 1, heads, H / heads]
        query = query.unflatten(-1, (self.heads, -1))
        logits = torch.einsum("ehd,ekhd->ehk", query, keys) / query.shape[-1] ** 0.5
        weight = logits.masked_fill(~counts[:, None], -torch.inf).softmax(-1)
        hidden = hidden + self.found(torch.einsum("ehk,ekhd->ehd", weight, values).flatten(1))
        return hidden + self.wide(self.second(hidden)), steps
