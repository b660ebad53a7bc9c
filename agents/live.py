"""A trained agent on a stream of one's own: it looks at one image after the other, and says what it is, or asks."""

import math
import warnings
from collections.abc import Hashable, Iterable
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from almeta.checks import Count, Within, check_value
from almeta.errors import AlmetaError
from almeta.stream import LOWEST_INCORRECT, told_price

Label = Hashable
# Who takes more classes than it was trained with.
TAKES_MORE = "a policy whose network treats all classes alike, as EpisodicNetwork does"
# The highest of the whole numbers that hardly stand for levels of 255: the 17 greys of the digits of scikit-learn.
FEW_LEVELS = 16


class Looking:
    """An agent that looks at one image after the other, and is told label slots in between.

    Args:
        agent: of streams.
        num_slots: label slots S.
        incorrect: the reward of a mistake, for agents that are told it; None for -1.

    Attributes:
        action: what it did with the last image: S asks, a lower number predicts that slot; None before the first.
    """

    def __init__(self, agent: Any, num_slots: int, incorrect: float | None = None) -> None:
        self._agent, self.num_slots = agent, num_slots
        price = told_price(torch.tensor([-1.0 if incorrect is None else incorrect])).numpy()
        self._price = price if agent.inputs.price else price[:0]
        self._memory: Any = None
        self.action: int | None = None
        self._told = np.zeros(num_slots, np.float32)

    def look(self, pixels: np.ndarray, **options: Any) -> int:
        """Return what the agent does with an image `[P]`; the options are further arguments of `Agent.predict`."""
        observation, start = np.concatenate((self._told, pixels, self._price)), self.action is None
        action, self._memory = self._agent.predict(observation, self._memory, episode_start=start, **options)
        self.action, self._told = int(action), np.zeros_like(self._told)
        return self.action

    def tell(self, slot: int) -> None:
        """Tell the slot of the last image; the agent learns it with the next one."""
        self._told = np.zeros_like(self._told)
        self._told[slot] = 1.0


class LiveStream:
    """A stream of one's own images, one at a time.

    Agents have it as `observe`, `tell` and `begin_stream`. The agent distinguishes as many classes as it had slots
    in training, or as many as asked for if its network treats all slots alike, as the episodic one does. Who names them
    all beforehand lets it conclude from the others what an image is; else it asks, too, where it would predict a slot
    that has no name yet. An image of a new class may still be taken for one of those that have names. It remembers as
    much as its memory holds: the episodic network the last `capacity` images and their labels, recurrent ones roughly
    what an episode of their training had.

    Args:
        agent: an `almeta.agents.Agent` of streams.
        labels: of all classes; None where they are not known beforehand.
        dark_ink: whether the ink is dark on a bright ground, as on paper.
        num_classes: classes to tell apart at most; None for as many as labels, and at least as in training.
        capacity: images to remember at least; None for as many as in training.
        incorrect: the reward of a mistake, where a right answer has 1 and a request -0.05, from -100 to 0, for agents
            that were told it in training (`env.tells_price`); None for -1. Others have learned for one price.

    Attributes:
        requests: how often it has asked.

    Raises:
        AlmetaError: for an agent of another kind of problem, too many labels, or a reward of a mistake that cannot be
            told, or not to this agent.
    """

    def __init__(
        self,
        agent: Any,
        labels: Iterable[Label] | None = None,
        dark_ink: bool = False,
        num_classes: int | None = None,
        capacity: int | None = None,
        incorrect: float | None = None,
    ) -> None:
        check_value("dark_ink", dark_ink, bool)
        check_value("incorrect", incorrect, Annotated[float, Within(LOWEST_INCORRECT, 0.0)] | None)
        if agent.inputs.kind != "stream":
            raise AlmetaError(
                f"the policy acts on problems of kind {agent.inputs.kind}; one that observes streams is needed"
            )
        if agent.reveal == "always":
            raise AlmetaError(
                f"{type(agent).__name__} was told every label and never learned to ask; choose another agent"
            )
        if incorrect is not None and not agent.inputs.price:
            raise AlmetaError(
                f"incorrect={incorrect:g} cannot be told to this agent, which learned for one price; leave it out, or "
                "train one with env.tells_price=true"
            )
        self.requests, self._dark_ink, self._side = 0, dark_ink, math.isqrt(agent.inputs.num_pixels)
        if self._side**2 != agent.inputs.num_pixels:
            raise AlmetaError(f"the policy reads {agent.inputs.num_pixels} pixels, which make no square image")
        if isinstance(labels, str) or not isinstance(labels, Iterable | None):
            raise AlmetaError(f"labels are {labels!r}; they must be a list of all classes, such as ['cat', 'dog']")
        named = list(dict.fromkeys(map(_plain, () if labels is None else labels)))
        fitted = _fitted(agent, len(named), num_classes, capacity)
        self._looking = Looking(fitted, fitted.inputs.num_slots, incorrect)
        more = f"begin_stream(num_classes={2 * fitted.inputs.num_slots}) takes more"
        self._way_out = more if _grows(agent) else f"choose {TAKES_MORE}"
        self._slots: dict[Label, int] = {}
        for label in named:
            self._slot_of(label)
        self._new: Label | None = None  # a label that was first told for the current image

    def observe(self, image: Any) -> Label | None:
        """Return the label that the agent believes an image has; None if it asks.

        Args:
            image: `[H, W]`, or `[H, W, C]` with 1, 3 or 4 channels (the fourth is left out), an array of 0 .. 255 or of
                floats in [0, 1]; ink is bright on a dark ground, as in Omniglot and MNIST, unless `dark_ink` says
                otherwise. It is brought to the size that the agent knows.

        Warns:
            UserWarning: if the ground of the first image is bright and `dark_ink` is false, or the other way round; and
                see `prepared`.

        Raises:
            AlmetaError: for what is no image.
        """
        pixels = prepared(image, self._side)
        if self._looking.action is None:
            _warn_of_ground(pixels.reshape(self._side, self._side), self._dark_ink)
        said, self._new = self._looking.look(1 - pixels if self._dark_ink else pixels), None
        names = {slot: label for label, slot in self._slots.items()}
        if said in names:
            return names[said]
        self.requests += 1
        return None

    def tell(self, label: Label) -> None:
        """Tell the label of the image that was observed last, whether the agent asked or not; a second call corrects.

        Args:
            label: a text, a number or another value that can be a key of a dict, but not None.

        Raises:
            AlmetaError: before the first image, for what cannot be a label, and for more labels than the agent can
                tell apart.
        """
        if self._looking.action is None:
            raise AlmetaError("there is no image whose label could be told; call observe() first")
        label = _plain(label)
        if self._new is not None and self._new != label:  # what is corrected was no class
            del self._slots[self._new]
            self._new = None
        is_new = label not in self._slots
        self._looking.tell(self._slot_of(label, self._looking.action))
        self._new = label if is_new else self._new

    def _slot_of(self, label: Label, wanted: int | None = None) -> int:
        """Return the slot of a label: its own, else the wanted one if that is free, else the next free one."""
        if label not in self._slots:
            free = [slot for slot in range(self._looking.num_slots) if slot not in self._slots.values()]
            if not free:
                known = ", ".join(map(repr, self._slots))
                raise AlmetaError(
                    f"{label!r} is one label too many: the policy distinguishes {self._looking.num_slots} classes, "
                    f"and knows {known}; {self._way_out}"
                )
            self._slots[label] = wanted if wanted in free else free[0]
        return self._slots[label]


def _fitted(agent: Any, labels: int, num_classes: int | None, capacity: int | None) -> Any:
    """Return an agent for streams of so many labels or classes, and with such a memory, see `LiveStream`."""
    for name, value in (("num_classes", num_classes), ("capacity", capacity)):
        if value is not None:
            check_value(name, value, Count)
    if capacity is not None and not hasattr(agent.network, "capacity"):
        raise AlmetaError(f"{type(agent.network).__name__} has no capacity that could be chosen; leave it out")
    if num_classes is not None and num_classes < labels:
        raise AlmetaError(f"num_classes is {num_classes}, and there are {labels} labels; leave num_classes out")
    wanted = num_classes or (labels if _grows(agent) else 0)  # else too many labels are told one by one
    return agent.for_streams(wanted, capacity or 0) if wanted or capacity else agent


def _grows(agent: Any) -> bool:
    """Whether an agent takes more classes than it was trained with."""
    return bool(getattr(agent.network, "slots_alike", False))


def _warn_of_ground(pixels: np.ndarray, dark_ink: bool) -> None:
    """Warn if the border of an image `[H, H]` is not the ground that ink of this kind has."""
    border = np.median(np.concatenate((pixels[[0, -1]].ravel(), pixels[:, [0, -1]].ravel())))
    if border > 0.5 and not dark_ink:
        warnings.warn("this looks like dark ink on a bright ground: begin_stream(dark_ink=True)", stacklevel=4)
    if border < 0.5 and dark_ink:
        warnings.warn("this looks like bright ink on a dark ground: leave dark_ink=True out", stacklevel=4)


def _plain(label: Any) -> Label:
    """Return a label as a key: a number of what holds a single one.

    Raises:
        AlmetaError: for None, and what cannot be a key.
    """
    if getattr(label, "ndim", None) == 0:  # a number of NumPy or torch
        label = label.item()
    if label is None or not isinstance(label, Hashable) or isinstance(label, Tensor) or label != label:
        raise AlmetaError(f"the label is {label!r}; it must be a text, a number or another key of a dict, and not None")
    return label


def prepared(image: Any, side: int) -> np.ndarray:
    """Return an image as `[side * side]` float32 in [0, 1].

    Warns:
        UserWarning: for whole numbers that are too small for levels of 255, but no ink and ground either.

    Raises:
        AlmetaError: for another shape, or values out of range.
    """
    try:
        array = np.asarray(image.detach().cpu() if isinstance(image, Tensor) else image)
    except ValueError as error:
        raise AlmetaError(f"the image is no array ({error}); it must be [H, W], or [H, W, 3]") from error
    fits = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))
    if array.dtype.kind not in "buif" or not fits or array.size == 0:
        way_out = "read a file with np.asarray(PIL.Image.open(file).convert('L')), and put channels last"
        if array.ndim == 3 and len(array) == 1:
            way_out = "use image[0]"
        raise AlmetaError(
            f"the image is {array.dtype} of shape {list(array.shape)}; it must be numbers [H, W], or [H, W, 3]: "
            f"{way_out}"
        )
    if not np.isfinite(array).all():
        raise AlmetaError("the image holds NaN or infinite numbers; floats lie in [0, 1]")
    if array.ndim == 3:
        array = array[..., :3]  # without opacity
    # Whole numbers up to 1 are ink and ground; they would be nearly black as levels of 255.
    levels = array.dtype.kind in "iu" and array.max() > 1
    pixels = array.astype(np.float32) / (255 if levels else 1)
    if pixels.min() < 0 or pixels.max() > 1:
        divisor = next((most for most in (255, 65535) if 0 <= array.min() <= array.max() <= most), None)
        raise AlmetaError(
            f"the image has values from {array.min():g} to {array.max():g}; whole numbers lie in 0 .. 255, floats in "
            "[0, 1]" + (f": divide by {divisor}" if divisor else "")
        )
    if levels and array.max() <= FEW_LEVELS:
        most = array.max()
        warnings.warn(f"whole numbers up to {most} are read as levels of 255; divide by {most}", stacklevel=4)
    grey: Tensor = torch.as_tensor(pixels if pixels.ndim == 2 else pixels.mean(2))
    return resized(grey[None], side).flatten().numpy()


def resized(images: Tensor, side: int) -> Tensor:
    """Return images `[N, H, W]` in [0, 1] as `[N, side, side]`."""
    if images.shape[1:] == (side, side):
        return images.clamp(0, 1)
    size = (side, side)
    found: Tensor = torch.nn.functional.interpolate(
        images[:, None], size, mode="bilinear", antialias=True, align_corners=False
    )
    return found.squeeze(1).clamp(0, 1)
