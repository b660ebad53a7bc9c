"""Memories of rows that a controller writes and reads: least-recently-used access, and that of the Turing machine."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from almeta.agents.memories import LSTM, LSTMState, MemoryModule, emptied, glorot

# Strength of reading per unit of what `LeastUsedAccess` learns, which is ln 2 at first: so that it begins at 7. With a
# strength of 1, all that the paper has, cosines from -1 to 1 leave the best of 128 rows a weight of 0.06 at most.
_STRENGTH = 10.0

# What a row holds before anything is written: not 0, so that the direction of a row is defined.
_BLANK = 1e-6


def cosine(keys: Tensor, rows: Tensor) -> Tensor:
    """Return the cosine of keys `[E, R, W]` and rows `[E, M, W]`, `[E, R, M]`."""
    keys, rows = (torch.nn.functional.normalize(part, dim=-1, eps=1e-8) for part in (keys, rows))
    return keys @ rows.mT


class Access(nn.Module, ABC):
    """How a controller writes and reads M rows of W numbers.

    Attributes:
        read_size: numbers that a step reads.
    """

    read_size: int

    @abstractmethod
    def initial(self, batch: int) -> Any:
        """Return the empty rows of `batch` episodes, and what the access must know of the steps before."""

    @abstractmethod
    def step(self, hidden: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Write, then read: return what was read, `[E, read_size]`, and the next state.

        Args:
            hidden: `[E, H]`, of the controller.
            state: after the previous step.
        """


class LeastUsedAccess(Access):
    """Least-recently-used access of Santoro et al. 2016 (arXiv 1605.06065), equations 1 to 8.

    Each of R heads has a key k and a gate a. It writes its key to the row that it read last, with weight sigmoid(a),
    and to a row that is hardly used, with the rest; that row is emptied first. Then it reads by the cosine of keys and
    rows. The usage of a row decays by `usage_decay` a step and grows by its weights of reading and writing. Of the R
    rows that are used least each head has its own: where the paper gives all to each head, the heads would write alike.

    With `sharpens` each head also says how sharply it reads: cosines are multiplied by a strength, as in the Turing
    machine. The paper has none (its equation 3 is `sharpens=False`).

    Args:
        hidden_size: units of the controller H.
        rows: M.
        width: W, numbers in a row.
        heads: R.
        usage_decay: share of the usage that is left after a step, in [0, 1].
        sharpens: whether each head says how sharply it reads.
    """

    def __init__(
        self, hidden_size: int, rows: int, width: int, heads: int, usage_decay: float, sharpens: bool = True
    ) -> None:
        super().__init__()
        self.rows, self.width, self.heads, self.usage_decay = rows, width, heads, usage_decay
        self.read_size = heads * width
        self._sizes = [width, 1, int(sharpens)]  # key, gate, strength
        self.weight = glorot(hidden_size, heads * sum(self._sizes))
        self.bias = nn.Parameter(torch.zeros(heads * sum(self._sizes)))

    def initial(self, batch: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return rows `[batch, M, W]`, the last weights of reading `[batch, R, M]`, and usage `[batch, M]`."""
        memory = self.bias.new_full((batch, self.rows, self.width), _BLANK)
        return memory, memory.new_zeros(batch, self.heads, self.rows), memory.new_zeros(batch, self.rows)

    def step(
        self, hidden: Tensor, state: tuple[Tensor, Tensor, Tensor]
    ) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        memory, last, usage = state
        told = torch.addmm(self.bias, hidden, self.weight).unflatten(-1, (self.heads, -1))
        key, gate, strength = told.split(self._sizes, -1)
        key, gate = key.tanh(), gate.sigmoid()
        # Stable, so that equally used rows are taken in their order, on every device.
        order = usage.argsort(dim=-1, stable=True)[:, : self.heads]
        unused = torch.zeros_like(last).scatter(2, order[..., None], 1.0)
        write = gate * last + (1 - gate) * unused
        memory = memory * (1 - unused.sum(1))[..., None] + write.mT @ key
        alike = cosine(key, memory)
        if strength.shape[-1]:
            alike = _STRENGTH * torch.nn.functional.softplus(strength) * alike
        read = alike.softmax(-1)
        usage = self.usage_decay * usage + (read + write).sum(1)
        return (read @ memory).flatten(1), (memory, read, usage)


class TuringAccess(Access):
    """Content and place: the access of the neural Turing machine (Graves et al. 2014, arXiv 1410.5401), section 3.

    R heads read and as many write. A head finds rows by the cosine with its key, sharpened by a strength, mixes these
    weights with its last ones, shifts them by -1, 0 or 1 rows, and sharpens them. A head that writes erases, then adds.

    Args:
        hidden_size: units of the controller H.
        rows: M.
        width: W, numbers in a row.
        heads: R.
    """

    def __init__(self, hidden_size: int, rows: int, width: int, heads: int) -> None:
        super().__init__()
        self.rows, self.width, self.heads = rows, width, heads
        self.read_size = heads * width
        self._sizes = [width, 1, 1, 3, 1]  # key, strength, gate, shift, sharpness
        own = 2 * heads * sum(self._sizes) + 2 * heads * width  # and what the writing heads erase and add
        self.weight = glorot(hidden_size, own)
        self.bias = nn.Parameter(torch.zeros(own))

    def initial(self, batch: int) -> tuple[Tensor, Tensor]:
        """Return rows `[batch, M, W]`, and the last weights `[batch, 2R, M]`, all on the first row."""
        memory = self.bias.new_full((batch, self.rows, self.width), _BLANK)
        first = torch.arange(self.rows, device=memory.device) == 0
        return memory, first.to(memory).expand(batch, 2 * self.heads, -1)

    def step(self, hidden: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        memory, last = state
        told = torch.addmm(self.bias, hidden, self.weight)
        where, what = told.split([2 * self.heads * sum(self._sizes), 2 * self.heads * self.width], -1)
        erase, add = what.unflatten(-1, (2, self.heads, -1)).unbind(1)
        where = where.unflatten(-1, (2 * self.heads, -1))
        write = self._address(where[:, self.heads :], last[:, self.heads :], memory)
        kept = 1 - write[..., None] * erase.sigmoid()[:, :, None]  # [E, R, M, W]
        memory = memory * kept.prod(1) + write.mT @ add.tanh()
        read = self._address(where[:, : self.heads], last[:, : self.heads], memory)
        return (read @ memory).flatten(1), (memory, torch.cat((read, write), 1))

    def _address(self, where: Tensor, last: Tensor, memory: Tensor) -> Tensor:
        """Return the weights `[E, R, M]` of heads that had weights `last`."""
        key, strength, gate, shift, sharpness = where.split(self._sizes, -1)
        softplus = torch.nn.functional.softplus
        content = (softplus(strength) * cosine(key.tanh(), memory)).softmax(-1)
        mixed = torch.lerp(last, content, gate.sigmoid())
        around = torch.stack((mixed.roll(1, -1), mixed, mixed.roll(-1, -1)), -1)
        shifted = (around @ shift.softmax(-1)[..., None]).squeeze(-1)
        sharp = (shifted + 1e-12) ** (1 + softplus(sharpness))
        return sharp / sharp.sum(-1, keepdim=True)


class ExternalMemory(MemoryModule):
    """An LSTM as controller, and rows that it writes and reads: it hears what was read one step before.

    Args:
        early_size: numbers per step that are known early.
        late_size: numbers per step that are known only at that step.
        hidden_size: units of the controller H.
        access: how it writes and reads.
    """

    def __init__(self, early_size: int, late_size: int, hidden_size: int, access: Access) -> None:
        super().__init__()
        self.controller = LSTM(early_size, late_size + access.read_size, hidden_size)
        self.access = access
        self.output_size = hidden_size + access.read_size

    def project(self, early: Tensor) -> Tensor:
        return self.controller.project(early)

    def initial(self, batch: int) -> tuple[LSTMState, Tensor, Any]:
        """Return the memory of the controller, what was read last `[batch, read_size]`, and the state of the access."""
        read = self.controller.bias.new_zeros(batch, self.access.read_size)
        return self.controller.initial(batch), read, self.access.initial(batch)

    def step(
        self, early: Tensor, late: Tensor, state: tuple[LSTMState, Tensor, Any], start: Tensor | None = None
    ) -> tuple[Tensor, tuple[LSTMState, Tensor, Any]]:
        controller, read, kept = state
        if start is not None:
            blank = self.access.initial(len(start))
            kept = tuple(emptied(old, start, new) for old, new in zip(kept, blank, strict=True))
            read = emptied(read, start)
        hidden, controller = self.controller.step(early, torch.cat((late, read), -1), controller, start)
        read, kept = self.access.step(hidden, kept)
        return torch.cat((hidden, read), -1), (controller, read, kept)
