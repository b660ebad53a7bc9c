"""What agents remember: modules with `initial(batch)` and `step(...)`, the reset inside the step."""

import math

import torch
from torch import Tensor, nn

LSTMState = tuple[Tensor, Tensor]

# Elsewhere products in bfloat16 are emulated, many times slower than in float32.
_FAST_BFLOAT16 = torch.ops.mkldnn._is_mkldnn_bf16_supported()


def product(x: Tensor, weight: Tensor) -> Tensor:
    """Matrix product of float32 numbers.

    Computed and returned in bfloat16 on a CPU that is fast at it when `torch.get_float32_matmul_precision()` is
    "medium": torch would round the factors by itself then, but inside the product, at half the speed.
    """
    if x.device.type == "cpu" and _FAST_BFLOAT16 and torch.get_float32_matmul_precision() == "medium":
        return x.bfloat16() @ weight.bfloat16()
    return x @ weight


class LSTM(nn.Module):
    """An LSTM layer whose input comes in two parts: known for all steps before the first, and step by step.

    `project` takes the first part through the gates for all steps in one product (for the one-shot stream, 79 %
    of the multiply work); `step` adds the second part and the recurrence. Written by hand, one `addmm` a step,
    so that it can be vmapped and captured in a CUDA graph. Glorot-uniform weights, as in TensorFlow's cell.

    Args:
        early_size: numbers per step known early.
        late_size: numbers per step known only at that step.
        hidden_size: units H.
        forget_bias: added to the forget gates.
    """

    def __init__(self, early_size: int, late_size: int, hidden_size: int, forget_bias: float = 1.0) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        bound = math.sqrt(6.0 / (early_size + late_size + hidden_size + 4 * hidden_size))
        self.early_weight = nn.Parameter(torch.empty(early_size, 4 * hidden_size).uniform_(-bound, bound))
        self.late_weight = nn.Parameter(torch.empty(late_size + hidden_size, 4 * hidden_size).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(4 * hidden_size))  # input, forget, output gates, then candidates
        with torch.no_grad():
            self.bias[hidden_size : 2 * hidden_size] = forget_bias

    def project(self, early: Tensor) -> Tensor:
        """`[..., early_size]` -> `[..., 4H]`, the early part of the gates."""
        gates = product(early.flatten(0, -2), self.early_weight) + self.bias  # float32 again
        return gates.view(*early.shape[:-1], -1)

    def initial(self, batch: int) -> LSTMState:
        """Return the empty memory, two tensors `[batch, H]`."""
        zeros = self.bias.new_zeros(batch, self.hidden_size)
        return zeros, zeros

    def step(self, gates: Tensor, late: Tensor, state: LSTMState, start: Tensor | None = None) -> LSTMState:
        """Take one step.

        Args:
            gates: `[E, 4H]` from `project`.
            late: `[E, late_size]`.
            state: the memory after the previous step.
            start: `[E]` bool, where the memory must be emptied first; None for nowhere.

        Returns:
            The new memory (hidden, cell); hidden is also the output `[E, H]`.
        """
        hidden, cell = state
        if start is not None:
            hidden = hidden.masked_fill(start[:, None], 0.0)
            cell = cell.masked_fill(start[:, None], 0.0)
        gates = torch.addmm(gates, torch.cat((late, hidden), -1), self.late_weight)
        size = self.hidden_size
        write, keep, show = gates[:, : 3 * size].sigmoid().chunk(3, -1)
        cell = torch.addcmul(keep * cell, write, gates[:, 3 * size :].tanh())
        return show * cell.tanh(), cell
