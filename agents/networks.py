"""Networks for streams: utilities of the slots and the request."""

import math
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn

from almeta.agents.agent import Network
from almeta.agents.encoders import ConvEncoder
from almeta.agents.memories import LSTM, LSTMState
from almeta.checks import Count, Within
from almeta.errors import AlmetaError
from almeta.inputs import Images
from almeta.stream import ENCODED_AT_ONCE, Examples, StreamState

# Utilities `[E, S + 1]`, the state value `[E]` or None, and the next memory.
StreamStep = tuple[Tensor, Tensor | None, Any]


_SLOT_INPUTS = 7
_FAR = 1e3  # stands for the distance to an example that is not there


@dataclass(eq=False, repr=False)
class LSTMNetwork(Network):
    """The network of Woodward & Finn 2017 (section 4.1): an LSTM on [label, image], and a linear layer.

    Args:
        hidden_size: LSTM units H.
    """

    kind: ClassVar[str] = "stream"
    encoder_version: ClassVar[None] = None

    inputs: Images
    hidden_size: Count = 200

    def __post_init__(self) -> None:
        super().__post_init__()
        self.num_actions = self.inputs.num_slots + 1
        self.memory = LSTM(self.inputs.num_pixels, self.inputs.num_slots, self.hidden_size)
        self.head = nn.Linear(self.hidden_size, self.num_actions + self.num_values)
        nn.init.xavier_uniform_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def encode(self, images: Tensor) -> Tensor:
        """Return the images' part of the gates, `[..., P]` -> `[..., 4H]`."""
        return self.memory.project(images)

    def initial(self, num_envs: int) -> LSTMState:
        return self.memory.initial(num_envs)

    def step(self, view: StreamState, memory: LSTMState) -> StreamStep:
        memory = self.memory.step(view.item, view.label, memory, view.start)
        return *_split(self.head(memory[0]), self.num_actions), memory


@dataclass(eq=False, repr=False)
class EpisodicNetwork(Network):
    """A memory of codes of images with their labels, and a small network that reads the distances to them.

    The encoder is trained beforehand on the training classes (`almeta.training.pretraining`) and then frozen. Each step
    compares the code of the image with every labelled example; the numbers about each label slot go through one network
    shared by all slots, so that all slots are treated alike and there may be any number of them.

    Args:
        code_size: numbers in a code F.
        channels: channels of the encoder's first convolution.
        hidden_size: units of the reading network.
        capacity: images before the current one that are remembered; if there are more, the oldest are forgotten.

    Raises:
        AlmetaError: for images that are not square.
    """

    kind: ClassVar[str] = "stream"

    inputs: Images
    code_size: Count = 64
    channels: Count = 32
    hidden_size: Count = 64
    capacity: Annotated[int, Within(1, 10_000)] = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        pixels, hidden_size = self.inputs.num_pixels, self.hidden_size
        side = math.isqrt(pixels)
        if side * side != pixels:
            raise AlmetaError(f"the encoder needs square images, which {pixels} pixels are not; choose another network")
        self.num_slots = self.inputs.num_slots
        self.encoder = ConvEncoder(side, self.code_size, self.channels).requires_grad_(False).eval()
        self.read = nn.Sequential(
            nn.Linear(_SLOT_INPUTS, hidden_size), nn.ReLU(), nn.Linear(hidden_size, hidden_size), nn.ReLU()
        )
        self.slot_head = nn.Linear(2 * hidden_size, 1)
        self.other_head = nn.Linear(hidden_size, 1 + self.num_values)

    @property
    def encoder_version(self) -> int:
        """A number that changes with the encoder's weights."""
        return sum(tensor._version for tensor in self.encoder.state_dict(keep_vars=True).values())

    def encode(self, images: Tensor) -> Tensor:
        """Return the codes of images, `[..., P]` -> `[..., F]`."""
        blocks = images.flatten(0, -2).split(ENCODED_AT_ONCE)
        with torch.no_grad():
            return torch.cat([self.encoder(block) for block in blocks]).view(*images.shape[:-1], -1)

    def initial(self, num_envs: int) -> Examples:
        """Return a memory without examples."""
        return Examples.none(num_envs, self.capacity + 1, self.code_size, self.num_slots, self.slot_head.weight)

    def step(self, view: StreamState, memory: Examples) -> StreamStep:
        """Remember the label that has arrived, then compare the current image with all examples."""
        memory.remember(view)
        slots = self.read(_slot_inputs(memory.slot_distances(view.item)))  # [E, S, H]
        pooled = slots.mean(1)
        both = torch.cat((slots, pooled[:, None].expand_as(slots)), -1)
        outputs = torch.cat((self.slot_head(both).squeeze(-1), self.other_head(pooled)), -1)
        return *_split(outputs, self.num_slots + 1), memory

    def train(self, mode: bool = True) -> "EpisodicNetwork":
        """Switch to training; the frozen encoder keeps its statistics."""
        super().train(mode)
        self.encoder.eval()
        return self


def _split(outputs: Tensor, num_actions: int) -> tuple[Tensor, Tensor | None]:
    """Return the utilities `[E, A]` of the actions, and the state value `[E]` where there is one."""
    return outputs[:, :num_actions], outputs[:, num_actions] if outputs.shape[1] > num_actions else None


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
