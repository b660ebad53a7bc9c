"""Streams: what may be known at a step, and a memory of examples."""

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

# The lowest reward of an incorrect prediction that agents which read it can be told.
LOWEST_INCORRECT = -100.0
# Images encoded at once. So few stay in the processor's cache, which makes it twice as fast as thousands.
ENCODED_AT_ONCE = 512


@dataclass(frozen=True)
class StreamState:
    """What may be known at one step of E streams.

    Attributes:
        item: `[E, F]` float32, the current image, encoded if the actor `Encodes`.
        label: `[E, S]` float32, the label slot of the previous image one-hot if it was revealed, else zeros.
        action_mask: `[E, S + 1]` bool, which actions are allowed; the last one is the request.
        start: `[E]` bool, where an episode begins and memory must be emptied; None for nowhere.
        incorrect: `[E]` float32, the reward of an incorrect prediction; None where nobody says.
    """

    item: Tensor
    label: Tensor
    action_mask: Tensor
    start: Tensor | None = None
    incorrect: Tensor | None = None


def told_price(incorrect: Tensor) -> Tensor:
    """Return what an agent reads of the reward of an incorrect prediction: 0 for 0, 1 for -100, by the logarithm."""
    return torch.log1p(-incorrect) / math.log1p(-LOWEST_INCORRECT)


def price_told(told: Tensor) -> Tensor:
    """Return the reward of an incorrect prediction that `told_price` was taken of."""
    return -torch.expm1(told * math.log1p(-LOWEST_INCORRECT))


@dataclass(frozen=True)
class TableStreamState:
    """What may be known at one step of E streams of rows: nothing of test rows, or of labels not asked for.

    Attributes:
        item: `[E, D]` float32, features of the row that has come, prepared; columns that pad are 0.
        probabilities: `[E, C]` float32, the learner's for that row; 0 for classes it has not seen.
        num_classes: `[E]` int64.
        labels: `[E, C]` int64, how many labels of each class are known, first labels included.
        requests: `[E]` int64, labels asked for so far.
        max_requests: labels that may be asked for in the episode.
        time: rows that have come and gone.
        length: rows of the stream.
    """

    item: Tensor
    probabilities: Tensor
    num_classes: Tensor
    labels: Tensor
    requests: Tensor
    max_requests: int
    time: int
    length: int

    @property
    def action_mask(self) -> Tensor:
        """`[E, 2]` bool: action 0 lets the prediction stand, action 1 asks for the label if the budget allows it."""
        may_ask = self.requests < self.max_requests
        return torch.stack((torch.ones_like(may_ask), may_ask), 1)


@runtime_checkable
class Encodes(Protocol):
    """An actor that encodes all images of all steps before the first action, in one product."""

    @property
    def encoder_version(self) -> int | None:
        """A number that changes with the encoder; while it stays, codes may be kept. None: do not keep them."""
        ...

    def encode(self, images: Tensor) -> Tensor:
        """Return the items `[..., F]` of images `[..., P]` in [0, 1]."""
        ...


@dataclass
class Examples:
    """The images that an actor has seen with the labels that it was given: a ring of K places, changed in place.

    Attributes:
        items: `[E, K, F]` float32.
        labels: `[E, K, S]` float32, one-hot, zeros where no label is known.
        guesses: `[E, K, S]` float32, what the actor itself said of images, one-hot; zeros where it said nothing, or was
            given the label.
        time: number of steps that were remembered; the next one goes to place `time % K`.
        squares: `[E, K]` float32, the squared norms of the items.
        sums: `[E, S, F]` float32, the sums of the images of each slot, labelled ones and those that were taken for it.
        counts: `[E, S]` float32, how many they are.
        last: `[E, S]` float32, the slot of the image before, as it was labelled or else guessed, one-hot or zeros; it
            and the next two are kept by `follow`.
        stays: `[E]` float32, how often that was the slot of the one before it.
        changes: `[E]` float32, how often it was another.
    """

    items: Tensor
    labels: Tensor
    guesses: Tensor
    time: int = 0

    def __post_init__(self) -> None:
        taken = self.labels + self.guesses
        self.squares, self.sums, self.counts = self.items.square().sum(-1), taken.mT @ self.items, taken.sum(1)
        self.last = torch.zeros_like(self.counts)
        self.stays = self.changes = self.last.sum(-1)

    @staticmethod
    def none(num_envs: int, capacity: int, num_items: int, num_slots: int, like: Tensor) -> "Examples":
        """Return an empty ring on the device and of the dtype of `like`."""
        labels = like.new_zeros(num_envs, capacity, num_slots)
        return Examples(like.new_zeros(num_envs, capacity, num_items), labels, labels.clone())

    def remember(self, state: StreamState) -> None:
        """Attach the label that has arrived to the previous image, and add the current image."""
        place = self.time % self.items.shape[1]
        if torch.is_grad_enabled() and state.item.requires_grad:  # the items before are needed for their gradients
            self.items, self.squares = self.items.clone(), self.squares.clone()
        told = state.label.any(-1, keepdim=True)
        self._count(place - 1, state.label - self.guesses[:, place - 1] * told)  # place 0 follows the last one
        self.labels[:, place - 1] = state.label
        self.guesses[:, place - 1] *= ~told
        self._count(place, -self.labels[:, place] - self.guesses[:, place])  # what is forgotten
        self.labels[:, place] = self.guesses[:, place] = 0.0
        self.items[:, place], self.squares[:, place] = state.item, state.item.square().sum(-1)
        if state.start is not None:
            for known in (self.labels, self.guesses):
                known.masked_fill_(state.start[:, None, None], 0.0)
            self.sums = self.sums.masked_fill(state.start[:, None, None], 0.0)
            self.counts = self.counts.masked_fill(state.start[:, None], 0.0)
        self.time += 1

    def follow(self, start: Tensor | None = None) -> None:
        """Bring `last`, `stays` and `changes` up to date, at each step after `remember`, for who reads the order.

        Args:
            start: `[E]` bool, where an episode begins, as in the state that was remembered; None for nowhere.
        """
        place = (self.time - 2) % self.items.shape[1]  # of the image before
        before, self.last = self.last, self.labels[:, place] + self.guesses[:, place]
        same, both = (before * self.last).sum(-1), before.sum(-1) * self.last.sum(-1)
        self.stays, self.changes = self.stays + same, self.changes + both - same
        if start is not None:
            self.stays, self.changes = (many.masked_fill(start, 0.0) for many in (self.stays, self.changes))

    def guess(self, slots: Tensor) -> None:
        """Remember what the actor says of the current image: `[E, S]`, one-hot, or zeros for nothing."""
        place = (self.time - 1) % self.items.shape[1]
        self._count(place, slots - self.guesses[:, place])
        self.guesses[:, place] = slots

    def _count(self, place: int, more: Tensor) -> None:
        """Add the image of a place to the sums of slots, `[E, S]` times."""
        self.sums = torch.addcmul(self.sums, more[..., None], self.items[:, place, None])
        self.counts = self.counts + more

    def distances(self, item: Tensor) -> Tensor:
        """Return the Euclidean distance `[E, K]` from `item` `[E, F]` to each example, inf where no label is known."""
        squares = (self.squares + item.square().sum(-1, keepdim=True))[:, None]
        # Not torch.cdist, which would square all items again at each step; and the item from the left, as a row, which
        # is several times as fast as a column from the right.
        square = torch.baddbmm(squares, item[:, None], self.items.mT, alpha=-2).squeeze(1)
        apart = square > 0  # elsewhere the root has no gradient
        distances = torch.where(apart, torch.where(apart, square, 1.0).sqrt(), 0.0)
        return distances.where(self.labels.any(-1), torch.inf)

    def slot_distances(self, item: Tensor) -> Tensor:
        """Return the Euclidean distance `[E, S]` from `item` `[E, F]` to each slot's nearest example, inf if none."""
        return self.by_slot(self.distances(item))

    def mean_distances(self, item: Tensor) -> Tensor:
        """Return the Euclidean distance `[E, S]` from `item` `[E, F]` to the mean of each slot's images, inf if none.

        Labelled images count with those that the actor itself took to be of the slot.
        """
        means = self.sums / self.counts.clamp_min(1)[..., None]
        distances = torch.cdist(item[:, None], means).squeeze(1)
        return distances.where(self.counts > 0.5, torch.inf)

    def by_slot(self, distances: Tensor) -> Tensor:
        """Return the least of distances `[E, K]` to the examples of each slot, `[E, S]`; inf for a slot without any."""
        return distances[..., None].where(self.labels > 0, torch.inf).amin(1)
