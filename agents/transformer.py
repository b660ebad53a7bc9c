"""A causal transformer as a memory: each step attends to the steps before it."""

import torch
from torch import Tensor, nn

from almeta.agents.memories import MemoryModule, emptied, projected

# Keys and values `[E, layers, 2, K, H]`, which of the K steps count `[E, K]`, and the early part of the last step.
TransformerState = tuple[Tensor, Tensor, Tensor]


class CausalTransformer(MemoryModule):
    """Layers of attention over the steps so far (Vaswani et al. 2017, arXiv 1706.03762), normalised before each part.

    A step reads its own early part, and that of the step before beside the late part: a label that arrives one step
    late lies with its image. Order is not marked otherwise. Keys and values of K steps are kept.

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
        """Return a memory of K steps that do not count."""
        like, size = self.norm.weight, self.hidden_size
        kept = like.new_zeros(batch, len(self.layers), 2, self.capacity, size)
        counts = torch.zeros(batch, self.capacity, dtype=torch.bool, device=like.device)
        return kept, counts, like.new_zeros(batch, size)

    def step(
        self, early: Tensor, late: Tensor, state: TransformerState, start: Tensor | None = None
    ) -> tuple[Tensor, TransformerState]:
        kept, counts, before = state
        counts, before = emptied(counts, start, False), emptied(before, start)
        present, as_before = early.chunk(2, -1)
        hidden = present + before + self.late(late)
        counts = torch.cat((counts, counts.new_ones(len(counts), 1)), 1)
        parts = []
        for number, layer in enumerate(self.layers):
            hidden, part = layer(hidden, kept[:, number], counts)
            parts.append(part)
        kept = torch.cat((kept[..., 1:, :], torch.stack(parts, 1)), 3)
        return self.norm(hidden), (kept, counts[:, 1:], as_before)


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

    def forward(self, hidden: Tensor, kept: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Return the next numbers `[E, H]` of the present step, and its key and value `[E, 2, 1, H]`.

        Args:
            hidden: `[E, H]`.
            kept: keys and values of the steps before, `[E, 2, K, H]`.
            counts: `[E, K + 1]` bool, whether a step before, and the present one, belongs to the episode.
        """
        query, key, value = self.asked(self.first(hidden)).chunk(3, -1)
        own = torch.stack((key, value), 1)[:, :, None]
        keys, values = (
            torch.cat((kept, own), 2).unflatten(-1, (self.heads, -1)).unbind(1)
        )  # [E, K + 1, heads, H / heads]
        query = query.unflatten(-1, (self.heads, -1))
        logits = torch.einsum("ehd,ekhd->ehk", query, keys) / query.shape[-1] ** 0.5
        weight = logits.masked_fill(~counts[:, None], -torch.inf).softmax(-1)
        hidden = hidden + self.found(torch.einsum("ehk,ekhd->ehd", weight, values).flatten(1))
        return hidden + self.wide(self.second(hidden)), own
