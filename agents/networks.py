"""Networks for streams: utilities of the slots and the request."""

import math
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self

import torch
from torch import Tensor, nn

from almeta.agents.agent import Network
from almeta.agents.encoders import ConvEncoder, ResidualEncoder
from almeta.agents.external_memories import ExternalMemory, LeastUsedAccess, TuringAccess
from almeta.agents.memories import GRU, LSTM, MemoryModule
from almeta.agents.transformer import CausalTransformer
from almeta.checks import Count, Share, Within
from almeta.errors import AlmetaError
from almeta.inputs import Images
from almeta.stream import ENCODED_AT_ONCE, Examples, StreamState, told_price

# What is remembered, and factors of the units `[E, H]`, or None for 1.
StreamMemory = tuple[Any, Tensor | None]
# Utilities `[E, S + 1]`, the state value `[E]` or None, and the next memory.
StreamStep = tuple[Tensor, Tensor | None, StreamMemory]


_SLOT_INPUTS = 7
_FAR = 1e3  # stands for the distance to an example that is not there


@dataclass(eq=False, repr=False)
class _StreamNetwork(Network):
    """What networks of streams share: an encoder of images, and how outputs become utilities.

    Args:
        code_size: numbers in a code F; 0 for no encoder.
        channels: channels of the encoder's first convolution.
        residual: make the encoder of residual blocks, `ResidualEncoder`, not of plain convolutions, `ConvEncoder`.
        fine_tune: let the encoder learn with the agent; it is frozen otherwise.
        dueling: an action's utility is a value of the state plus what the action is better than the mean of all
            (Wang et al. 2016, arXiv 1511.06581, equation 9); of no effect on agents that learn probabilities.
        dropout: share of units that Thompson sampling leaves out (`QLearning.exploration`); of no effect otherwise.

    Raises:
        AlmetaError: for an encoder of images that are not square, and for `fine_tune` without an encoder.
    """

    kind: ClassVar[str] = "stream"

    inputs: Images
    code_size: Annotated[int, Within(0)] = 64
    channels: Count = 32
    residual: bool = False
    fine_tune: bool = False
    dueling: bool = False
    dropout: Annotated[float, Within(0, 0.9)] = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.num_actions = self.inputs.num_slots + 1
        if self.code_size == 0:
            if self.fine_tune:
                raise AlmetaError("network.fine_tune=true needs an encoder; set network.code_size, such as 64")
            self.encoder = None
            return
        pixels = self.inputs.num_pixels
        side = math.isqrt(pixels)
        if side * side != pixels:
            raise AlmetaError(
                f"the encoder needs square images, which {pixels} pixels are not; set "
                "network.code_size=0 to do without it"
            )
        kind = ResidualEncoder if self.residual else ConvEncoder
        self.encoder = kind(side, self.code_size, self.channels).requires_grad_(self.fine_tune).eval()

    @property
    def encoder_version(self) -> int | None:
        """A number that changes with the encoder's weights; None while it learns, or if there is none."""
        if self.encoder is None or self.fine_tune:
            return None
        return sum(tensor._version for tensor in self.encoder.state_dict(keep_vars=True).values())

    def encode(self, images: Tensor) -> Tensor:
        """Return the codes of images, `[..., P]` -> `[..., F]`; without an encoder the images as they are."""
        if self.encoder is None:
            return images
        blocks = images.flatten(0, -2).split(ENCODED_AT_ONCE)
        with torch.set_grad_enabled(self.fine_tune and torch.is_grad_enabled()):
            return torch.cat([self.encoder(block) for block in blocks]).view(*images.shape[:-1], -1)

    def train(self, mode: bool = True) -> Self:
        """Switch to training; the encoder keeps its statistics."""
        super().train(mode)
        if self.encoder is not None:
            self.encoder.eval()
        return self

    def initial(self, num_envs: int, generator: torch.Generator | None = None) -> StreamMemory:
        """Return the empty memory.

        Args:
            num_envs: episodes E.
            generator: draws the units that are left out, for whole episodes; None leaves none out.
        """
        return self.empty(num_envs), self._units(num_envs, generator)

    def empty(self, num_envs: int) -> Any:
        """Return what is remembered before the first step."""
        raise NotImplementedError

    @property
    def num_units(self) -> int:
        """How many units there are for `dropout`."""
        raise NotImplementedError

    def _units(self, num_envs: int, generator: torch.Generator | None) -> Tensor | None:
        """Return factors of the units, `[E, num_units]`; None for 1."""
        if generator is None or self.dropout == 0:
            return None
        kept = torch.rand(num_envs, self.num_units, generator=generator, device=generator.device) >= self.dropout
        return kept / (1 - self.dropout)

    def _price(self, view: StreamState) -> list[Tensor]:
        """Return what is read of the reward of an incorrect prediction, `[E, 1]`, if it is."""
        if not self.inputs.price:
            return []
        assert view.incorrect is not None  # simulations say it, and observations that lack it are refused
        return [told_price(view.incorrect)[:, None]]

    @property
    def _num_outputs(self) -> int:
        """Outputs beside those of the actions: the value for the loss, and that for dueling."""
        return self.num_values + self.dueling

    def _split(self, outputs: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the utilities `[E, A]`, and the state value `[E]` where there is one, of outputs `[E, A + ...]`."""
        utilities, others = outputs[:, : self.num_actions], outputs[:, self.num_actions :]
        if self.dueling:
            utilities = others[:, -1:] + utilities - utilities.mean(-1, keepdim=True)
        return utilities, others[:, 0] if self.num_values else None


@dataclass(eq=False, repr=False)
class _RecurrentNetwork(_StreamNetwork):
    """[label, image] goes into a memory, and a linear layer reads it; subclasses make the memory.

    Without an encoder, the default, it reads pixels; with one, their codes. Options beside `hidden_size` are those of
    `EpisodicNetwork` of the same names.

    Args:
        hidden_size: units H.
    """

    code_size: Annotated[int, Within(0)] = 0
    hidden_size: Count = 200

    def __post_init__(self) -> None:
        super().__post_init__()
        late_size = self.inputs.num_slots + self.inputs.price
        self.memory = self.make_memory(self.code_size or self.inputs.num_pixels, late_size)
        self.head = nn.Linear(self.memory.output_size, self.num_actions + self._num_outputs)
        nn.init.xavier_uniform_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def make_memory(self, early_size: int, late_size: int) -> MemoryModule:
        """Return the memory, for images of `early_size` numbers and labels of `late_size`."""
        raise NotImplementedError

    def encode(self, images: Tensor) -> Tensor:
        """Return codes `[..., F]` of images `[..., P]`, or without an encoder what the memory makes of the pixels."""
        return self.memory.project(images) if self.encoder is None else super().encode(images)

    @torch.no_grad()
    def centre_codes(self, images: Tensor) -> None:
        """Shift the codes so that their mean over some of the images `[V, P]` is 0.

        The losses of encoders leave open where codes lie; away from 0 they share a large part, and look all alike here.
        """
        if self.encoder is not None:
            # Spread without a step in common with the number of images of a class.
            rows = torch.linspace(0, len(images) - 1, min(len(images), ENCODED_AT_ONCE), device=images.device).long()
            self.encoder.code.bias.sub_(self.encoder(images[rows]).mean(0))

    def empty(self, num_envs: int) -> Any:
        return self.memory.initial(num_envs)

    @property
    def num_units(self) -> int:
        return self.memory.output_size

    def step(self, view: StreamState, memory: StreamMemory) -> StreamStep:
        kept, units = memory
        early = view.item if self.encoder is None else self.memory.project(view.item)
        late = torch.cat((view.label, *self._price(view)), -1)
        read, kept = self.memory.step(early, late, kept, view.start)
        return *self._split(self.head(read if units is None else read * units)), (kept, units)


@dataclass(eq=False, repr=False)
class LSTMNetwork(_RecurrentNetwork):
    """The network of Woodward & Finn 2017 (section 4.1): an LSTM on [label, image], and a linear layer."""

    def make_memory(self, early_size: int, late_size: int) -> MemoryModule:
        return LSTM(early_size, late_size, self.hidden_size)


@dataclass(eq=False, repr=False)
class GRUNetwork(_RecurrentNetwork):
    """Gated recurrent units on [label, image], and a linear layer."""

    def make_memory(self, early_size: int, late_size: int) -> MemoryModule:
        return GRU(early_size, late_size, self.hidden_size)


@dataclass(eq=False, repr=False)
class MANNNetwork(_RecurrentNetwork):
    """The memory-augmented network of Santoro et al. 2016: an LSTM that writes and reads rows, least used first.

    Sizes are those of the paper. See `almeta.agents.external_memories`.

    Args:
        rows: of the memory M.
        width: numbers in a row W.
        heads: that read and write R.
        usage_decay: share of a row's usage that is left after a step.
        sharpens: each head says how sharply it reads; False is the paper's reading.
    """

    rows: Count = 128
    width: Count = 40
    heads: Count = 4
    usage_decay: Share = 0.99
    sharpens: bool = True

    def make_memory(self, early_size: int, late_size: int) -> MemoryModule:
        if self.heads > self.rows:
            raise AlmetaError(
                f"network.heads={self.heads}, each writes to a row, and network.rows={self.rows}; add rows"
            )
        access = LeastUsedAccess(self.hidden_size, self.rows, self.width, self.heads, self.usage_decay, self.sharpens)
        return ExternalMemory(early_size, late_size, self.hidden_size, access)


@dataclass(eq=False, repr=False)
class NTMNetwork(_RecurrentNetwork):
    """The neural Turing machine of Graves et al. 2014, with an LSTM as controller.

    Args:
        rows: of the memory M.
        width: numbers in a row W.
        heads: that read, and as many that write R.
    """

    rows: Count = 128
    width: Count = 40
    heads: Count = 1

    def make_memory(self, early_size: int, late_size: int) -> MemoryModule:
        access = TuringAccess(self.hidden_size, self.rows, self.width, self.heads)
        return ExternalMemory(early_size, late_size, self.hidden_size, access)


@dataclass(eq=False, repr=False)
class TransformerNetwork(_RecurrentNetwork):
    """A causal transformer over the steps of the stream.

    Args:
        layers: of attention.
        heads: of attention; they share `hidden_size`.
        capacity: steps before the current one that are remembered.
    """

    hidden_size: Count = 128
    layers: Count = 2
    heads: Count = 4
    capacity: Annotated[int, Within(1, 10_000)] = 64

    def make_memory(self, early_size: int, late_size: int) -> MemoryModule:
        if self.hidden_size % self.heads:
            raise AlmetaError(
                f"network.hidden_size={self.hidden_size} is no multiple of network.heads={self.heads}, which share it"
            )
        return CausalTransformer(early_size, late_size, self.hidden_size, self.layers, self.heads, self.capacity)


@dataclass(eq=False, repr=False)
class EpisodicNetwork(_StreamNetwork):
    """A memory of codes of images with their labels, and a small network that reads the distances to them.

    The encoder is trained beforehand on the training classes (`almeta.training.pretraining`); without one, images, or
    vectors of anything else, are compared as they are. Each step compares the
    code of the image with every labelled example; the numbers about each label slot go through one network shared by
    all slots, so that all slots are treated alike and there may be any number of them.

    Args:
        hidden_size: units of the reading network.
        capacity: images before the current one that are remembered; if there are more, the oldest are forgotten.
        guesses: remember also what it took other images to be, and compare with the mean of all images of a slot.
        order: read also which slot came last, and how often the slot has stayed and changed, so that it can tell
            streams whose classes come in runs. Without `guesses`, steps without a label count for neither. Both counts
            are of the whole stream, also where `capacity` is smaller.
    """

    slots_alike: ClassVar[bool] = True

    hidden_size: Count = 64
    capacity: Annotated[int, Within(1, 10_000)] = 32
    guesses: bool = False
    order: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        hidden_size = self.hidden_size
        self.num_slots = self.inputs.num_slots
        self.read = nn.Sequential(
            nn.Linear(
                _SLOT_INPUTS + self.guesses * (_SLOT_INPUTS + 1) + 3 * self.order + self.inputs.price, hidden_size
            ),
            nn.ReLU(),
            nn.Linear(hidden_size, hidden_size),
            nn.ReLU(),
        )
        self.slot_head = nn.Linear(2 * hidden_size, 1)
        self.other_head = nn.Linear(hidden_size, 1 + self._num_outputs)

    def empty(self, num_envs: int) -> Examples:
        """Return a memory without examples."""
        size = self.code_size or self.inputs.num_pixels
        return Examples.none(num_envs, self.capacity + 1, size, self.num_slots, self.slot_head.weight)

    @property
    def num_units(self) -> int:
        return self.hidden_size

    def step(self, view: StreamState, memory: StreamMemory) -> StreamStep:
        """Remember the label that has arrived, then compare the current image with all examples."""
        examples, units = memory
        examples.remember(view)
        read = [_slot_inputs(examples.slot_distances(view.item))]
        if self.guesses:  # the mean of many images is nearer to each of them than that of one
            read += [_slot_inputs(examples.mean_distances(view.item)), examples.counts.log1p()[..., None]]
        told = self._price(view)
        if self.order:
            examples.follow(view.start)
            read.append(examples.last[..., None])
            told += [many.log1p()[:, None] for many in (examples.stays, examples.changes)]
        read += [one[:, None].expand(-1, self.num_slots, -1) for one in told]
        slots = self.read(torch.cat(read, -1))  # [E, S, H]
        if units is not None:
            slots = slots * units[:, None]
        pooled = slots.mean(1)
        both = torch.cat((slots, pooled[:, None].expand_as(slots)), -1)
        utilities, value = self._split(torch.cat((self.slot_head(both).squeeze(-1), self.other_head(pooled)), -1))
        if self.guesses:
            said = utilities.detach().masked_fill(~view.action_mask, -torch.inf).argmax(-1)  # the last is the request
            examples.guess(torch.nn.functional.one_hot(said, self.num_actions)[:, :-1].float())
        return utilities, value, memory


def _slot_inputs(distances: Tensor) -> Tensor:
    """Return numbers about each slot `[E, S, 7]` from the distances `[E, S]` to their nearest examples, inf for none.

    These are its log distance, whether it has an example, its share of the soft nearest neighbour, the log distance of
    the nearest other slot, how much farther that is, and the share of slots that have examples, of all and of others.
    """
    known = distances.isfinite()
    log_distance = torch.where(known, distances, _FAR).log1p()
    share = torch.where(known, -distances.square(), -torch.inf)
    share = torch.where(known.any(-1, keepdim=True), share.softmax(-1), 0.0).nan_to_num(0.0)
    two = log_distance.topk(min(2, log_distance.shape[-1]), largest=False).values
    other = torch.where(log_distance == two[:, :1], two[:, -1:], two[:, :1])
    fraction = known.float().mean(-1, keepdim=True).expand_as(distances)
    others = fraction - known.float() / distances.shape[-1]
    return torch.stack((log_distance, known.float(), share, other, other - log_distance, fraction, others), -1)
