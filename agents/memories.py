"""Memory modules: what is known early goes through `project` for all steps at once, the rest through `step`.

The reset happens inside the step, so that one module serves one step and a whole sequence. They are written by hand, a
few products a step, so that they can be vmapped over weights.
"""

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

LSTMState = tuple[Tensor, Tensor]

# Other processors emulate products in bfloat16, many times slower than float32.
_FAST_BFLOAT16 = torch.ops.mkldnn._is_mkldnn_bf16_supported()


def product(x: Tensor, weight: Tensor) -> Tensor:
    """Return the matrix product of float32 numbers.

    When `torch.get_float32_matmul_precision()` is "medium", it is computed and returned in bfloat16 on a CPU that is
    fast at it: torch would round the factors too, but inside the product, at half the speed.
    """
    if x.device.type == "cpu" and _FAST_BFLOAT16 and torch.get_float32_matmul_precision() == "medium":
        return x.bfloat16() @ weight.bfloat16()
    return x @ weight


def projected(early: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return early parts times a weight, plus a bias, in one product: `[..., early_size]` -> `[..., G]` float32."""
    return (product(early.flatten(0, -2), weight) + bias).view(*early.shape[:-1], -1)


def glorot(rows: int, columns: int, *sizes: int) -> nn.Parameter:
    """Return a parameter of the given sizes, uniform within the bound of Glorot & Bengio 2010 for `[rows, columns]`."""
    bound = math.sqrt(6.0 / (rows + columns))
    return nn.Parameter(torch.empty(sizes or (rows, columns)).uniform_(-bound, bound))


def emptied(part: Tensor, start: Tensor | None, first: Tensor | float = 0.0) -> Tensor:
    """Return a part `[E, ...]` of a memory with `first` in the episodes that begin, `start` `[E]` bool."""
    if start is None:
        return part
    return torch.where(start.view(-1, *[1] * (part.dim() - 1)), first, part)


class MemoryModule(nn.Module, ABC):
    """A memory whose input has two parts: one is known for all steps before the first, one comes step by step.

    Attributes:
        output_size: numbers that a step returns.
    """

    output_size: int

    @abstractmethod
    def project(self, early: Tensor) -> Tensor:
        """Return what `step` takes of the early parts, `[..., early_size]` -> `[..., G]`."""

    @abstractmethod
    def initial(self, batch: int) -> Any:
        """Return the empty memory of `batch` episodes."""

    @abstractmethod
    def step(self, early: Tensor, late: Tensor, state: Any, start: Tensor | None = None) -> tuple[Tensor, Any]:
        """Return the output `[E, output_size]` and the next memory.

        Args:
            early: `[E, G]` from `project`.
            late: `[E, late_size]`.
            state: the memory after the previous step.
            start: `[E]` bool, where the memory must be emptied first; None for nowhere.
        """


class LSTM(MemoryModule):
    """An LSTM layer (Hochreiter & Schmidhuber 1997), with one `addmm` a step.

    `project` takes the early part through the gates for all steps in one product (for the one-shot stream, 79 % of the
    multiplications); `step` adds the late part and the recurrence. Weights are Glorot-uniform and forget gates start
    with a bias of 1, as in TensorFlow's cell.

    Args:
        early_size: numbers per step that are known early.
        late_size: numbers per step that are known only at that step.
        hidden_size: units H.
    """

    def __init__(self, early_size: int, late_size: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = self.output_size = hidden_size
        gates = 4 * hidden_size
        rows = early_size + late_size + hidden_size
        self.early_weight = glorot(rows, gates, early_size, gates)
        self.late_weight = glorot(rows, gates, late_size + hidden_size, gates)
        self.bias = nn.Parameter(torch.zeros(gates))  # input, forget, output gates, then candidates
        with torch.no_grad():
            self.bias[hidden_size : 2 * hidden_size] = 1.0

    def project(self, early: Tensor) -> Tensor:
        """Return the early part of the gates, `[..., early_size]` -> `[..., 4H]`."""
        return projected(early, self.early_weight, self.bias)

    def initial(self, batch: int) -> LSTMState:
        """Return the empty memory, two tensors `[batch, H]`."""
        zeros = self.bias.new_zeros(batch, self.hidden_size)
        return zeros, zeros

    def step(
        self, early: Tensor, late: Tensor, state: LSTMState, start: Tensor | None = None
    ) -> tuple[Tensor, LSTMState]:
        """Return the hidden numbers `[E, H]`, and the next memory: these and the cell; see `MemoryModule.step`."""
        hidden, cell = (emptied(part, start) for part in state)
        gates = torch.addmm(early, torch.cat((late, hidden), -1), self.late_weight)
        size = self.hidden_size
        write, keep, show = gates[:, : 3 * size].sigmoid().chunk(3, -1)
        cell = torch.addcmul(keep * cell, write, gates[:, 3 * size :].tanh())
        hidden = show * cell.tanh()
        return hidden, (hidden, cell)


class GRU(MemoryModule):
    """A layer of gated recurrent units (Cho et al. 2014, arXiv 1406.1078), as torch's cell computes them.

    Args:
        early_size: numbers per step that are known early.
        late_size: numbers per step that are known only at that step.
        hidden_size: units H.
    """

    def __init__(self, early_size: int, late_size: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = self.output_size = hidden_size
        gates, rows = 3 * hidden_size, early_size + late_size + hidden_size
        self.early_weight = glorot(rows, gates, early_size, gates)
        self.late_weight = glorot(rows, gates, late_size, gates)
        self.hidden_weight = glorot(rows, gates, hidden_size, gates)
        self.bias = nn.Parameter(torch.zeros(gates))  # reset and update gates, then candidates
        self.hidden_bias = nn.Parameter(torch.zeros(gates))

    def project(self, early: Tensor) -> Tensor:
        """Return the early part of the gates, `[..., early_size]` -> `[..., 3H]`."""
        return projected(early, self.early_weight, self.bias)

    def initial(self, batch: int) -> Tensor:
        """Return the empty memory `[batch, H]`."""
        return self.bias.new_zeros(batch, self.hidden_size)

    def step(self, early: Tensor, late: Tensor, state: Tensor, start: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the hidden numbers `[E, H]`, twice: they are the next memory; see `MemoryModule.step`."""
        state, size = emptied(state, start), self.hidden_size
        inward = torch.addmm(early, late, self.late_weight)
        inner = torch.addmm(self.hidden_bias, state, self.hidden_weight)
        forget, keep = (inward[:, : 2 * size] + inner[:, : 2 * size]).sigmoid().chunk(2, -1)
        candidate = torch.addcmul(inward[:, 2 * size :], forget, inner[:, 2 * size :]).tanh()
        hidden = torch.lerp(candidate, state, keep)
        return hidden, hidden
