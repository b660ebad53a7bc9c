"""Memory modules with `initial(batch)` and `step(...)`; the reset happens inside the step."""

import math

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


class LSTM(nn.Module):
    """An LSTM layer whose input has two parts: one is known for all steps before the first, one comes step by step.

    `project` takes the first part through the gates for all steps in one product (for the one-shot stream, 79 % of the
    multiplications); `step` adds the second part and the recurrence. It is written by hand, one `addmm` a step, so that
    it can be vmapped and captured in a CUDA graph. Weights are Glorot-uniform and forget gates start with a bias of 1,
    as in TensorFlow's cell.

    Args:
        early_size: numbers per step that are known early.
        late_size: numbers per step that are known only at that step.
        hidden_size: units H.
    """

    def __init__(self, early_size: int, late_size: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        gates = 4 * hidden_size
        bound = math.sqrt(6.0 / (early_size + late_size + hidden_size + gates))
        self.early_weight = nn.Parameter(torch.empty(early_size, gates).uniform_(-bound, bound))
        self.late_weight = nn.Parameter(torch.empty(late_size + hidden_size, gates).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(gates))  # input, forget, output gates, then candidates
        with torch.no_grad():
            self.bias[hidden_size : 2 * hidden_size] = 1.0

    def project(self, early: Tensor) -> Tensor:
        """Return the early part of the gates, `[..., early_size]` -> `[..., 4H]`."""
        gates = product(early.flatten(0, -2), self.early_weight) + self.bias  # float32 again
        return gates.view(*early.shape[:-1], -1)

    def initial(self, batch: int) -> LSTMState:
        """Return the empty memory, two tensors `[batch, H]`."""
        zeros = self.bias.new_zeros(batch, self.hidden_size)
        return zeros, zeros

    def step(self, gates: Tensor, late: Tensor, state: LSTMState, start: Tensor | None = None) -> LSTMState:
        """Return the next memory (hidden, cell); hidden `[E, H]` is also the output.

        Args:
            gates: `[E, 4H]` from `project`.
            late: `[E, late_size]`.
            state: the memory after the previous step.
            start: `[E]` bool, where the memory must be emptied first; None for nowhere.
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
