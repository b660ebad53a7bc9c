"""Stream tasks: classes to train on and to evaluate on, and streams of a few of them."""

import copy
import dataclasses
import itertools
import weakref
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from almeta.data.catalogue import FAMILIES, canonical_name
from almeta.data.dataset import Dataset
from almeta.data.preparation import prepare
from almeta.errors import AlmetaError
from almeta.seeding import make_generator

# Terms of sentences: so many are loaded, and so many of them are shown.
_LOADED_TERMS, _SHOWN_TERMS = 10_000, 1000


def options_for_streams(name: str) -> dict[str, Any]:
    """Return the options with which `load_dataset` loads a data set for streams.

    Sentences are loaded with practically all their terms, of which `split_classes` chooses by the training classes.
    """
    return {"terms": _LOADED_TERMS} if canonical_name(name) in FAMILIES["sentences"] else {}


def split_classes(dataset: Dataset, num_train: int | float, seed: int) -> tuple[Dataset, Dataset]:
    """Split a data set by class, at random, into classes to train on and classes to evaluate on.

    Counts of terms become vectors in [0, 1]: tf-idf of the most frequent terms, which are chosen and weighed by the
    training part alone.

    Args:
        dataset: of at least two classes.
        num_train: number of classes to train on, or their share as a fraction in (0, 1).
        seed: of the split; it gives the same split on every machine.

    Returns:
        The training part and the test part; labels are renumbered from 0 in each.

    Raises:
        AlmetaError: if either part would be empty.
    """
    total = dataset.num_classes
    count = round(num_train * total) if isinstance(num_train, float) else num_train
    if not 0 < count < total:
        raise AlmetaError(
            f"train_classes={num_train} of data set '{dataset.name}' leaves {count} of its {total} classes to train "
            f"on and {total - count} to test on; choose 1 to {total - 1}, or a fraction between 0 and 1"
        )
    order = torch.randperm(total, generator=make_generator(seed, "class split")).numpy()
    train, test = select_classes(dataset, order[:count]), select_classes(dataset, order[count:])
    return _weighed(train, test) if dataset.kind == "text" else (train, test)


def _weighed(train: Dataset, test: Dataset) -> tuple[Dataset, Dataset]:
    """Return the tf-idf of counts; terms and weights are those of the first part."""
    frequent = np.sort(np.argsort(-train.x.sum(0), kind="stable")[:_SHOWN_TERMS])
    counts, nothing = np.concatenate((train.x, test.x))[:, frequent], np.zeros(len(train) + len(test), np.int64)
    both = Dataset(train.name, counts, nothing, ("",), train.source, kind="text")
    rows = np.arange(len(both))
    vectors = prepare(both, rows[: len(train)], rows[len(train) :])
    first, second = (
        dataclasses.replace(part, x=x, columns=(), kind="table") for part, x in zip((train, test), vectors, strict=True)
    )
    return first, second


def select_classes(dataset: Dataset, classes: np.ndarray) -> Dataset:
    """Return the rows of the given classes, which become 0, 1, ... in increasing order of their old number."""
    kept = np.sort(classes)
    rows, y = dataset.rows_of(kept)
    return dataclasses.replace(dataset, x=dataset.x[rows], y=y, class_names=tuple(dataset.class_names[k] for k in kept))


@dataclass(frozen=True)
class StreamTasks:
    """E streams of T images. All tensors are `[T, E]` int64.

    Attributes:
        items: rows of `StreamSampler.images`.
        targets: the label slot of each image.
        instances: 1 for the first image of its class in the episode, 2 for the second, ...
    """

    items: Tensor
    targets: Tensor
    instances: Tensor

    def repeat(self, group: int) -> "StreamTasks":
        """Return each stream `group` times in a row: `[T, E * group]`."""
        if group == 1:
            return self
        return StreamTasks(*(part.repeat_interleave(group, 1) for part in vars(self).values()))

    def only(self, streams: Tensor) -> "StreamTasks":
        """Return some of the streams, by their numbers `[N]`."""
        return StreamTasks(*(part[:, streams] for part in vars(self).values()))

    @staticmethod
    def join(parts: "Sequence[StreamTasks]") -> "StreamTasks":
        """Return one batch of all streams, which have equal length."""
        return StreamTasks(*(torch.cat(each, 1) for each in zip(*(vars(part).values() for part in parts), strict=True)))


Script = Sequence[Sequence[int]]


def check_square(dataset: Dataset, what: str) -> None:
    """Raise AlmetaError if a data set has no square images to do something with, said with the way out."""
    if dataset.image_shape is None or len(set(dataset.image_shape)) > 1:
        raise AlmetaError(
            f"data set '{dataset.name}' has no square images (image shape {dataset.image_shape}) to {what}"
        )


class StreamSampler:
    """Draw streams: a few classes, some of their images in random order, shuffled label slots.

    The task of Woodward & Finn 2017 (arXiv 1702.06559, section 4): images of the episode's classes without replacement,
    one rotation by a multiple of 90 degrees per class and episode, and a random assignment of classes to label slots in
    every episode.

    Args:
        dataset: images `[n, P]` with their classes.
        num_classes: classes per episode C.
        num_slots: label slots S, at least C; the unused slots are drawn anew in every episode.
        length: steps per episode T.
        rotations: whether to rotate each class by 0, 90, 180 or 270 degrees per episode; needs square images.
        script: runs of one class instead of a random order: `[[0, 5], [1, 1]]` shows five images of one class, then
            one of another. It sets the length.
        device: of the images and the streams.
        stickiness: chance that a step shows the class of the step before once more, as long as that has images; the
            others are drawn as ever. Each stream draws its chance from the range (low, high).
        sticky_share: chance that a stream is sticky at all; the others have the random order.

    Attributes:
        images: `[R * n, P]` float32, all images in all R rotations.
        fewest_images: number of images of the smallest class.
        classes: the data set's `fingerprint`.

    Raises:
        AlmetaError: for more classes than the data set has, fewer slots than classes, or more steps than images.
    """

    def __init__(
        self,
        dataset: Dataset,
        num_classes: int = 3,
        num_slots: int = 3,
        length: int = 30,
        rotations: bool = True,
        script: Script | None = None,
        device: str | torch.device = "cpu",
        stickiness: tuple[float, float] = (0.0, 0.0),
        sticky_share: float = 1.0,
    ) -> None:
        dataset.check_classes("a stream")
        self.name, self.stickiness, self.sticky_share = dataset.name, stickiness, sticky_share
        self.num_classes, self.num_slots = num_classes, num_slots
        self.script = None if script is None else _runs(script)
        self.length = length if self.script is None else sum(n for _, n in self.script)
        self.num_rotations = 4 if rotations else 1
        self.num_images = len(dataset.x)
        self._rows, self._counts = _rows_by_class(dataset, device)
        self.fewest_images = int(self._counts.min())
        self.classes = dataset.fingerprint
        self._check_classes(dataset)
        self._check_length()
        self.images = _images(dataset, rotations, device)  # [R * n, P]

    @property
    def num_all_classes(self) -> int:
        """Classes that streams are drawn from."""
        return len(self._rows)

    @property
    def bytes_per_task(self) -> int:
        """Smallest memory for drawing and showing a stream."""
        total, per_class = self._rows.shape
        drawn = 12 * (total + self.num_slots + self.num_classes * per_class)
        return drawn + 24 * self.length + 4 * (self.num_slots + self.images.shape[1])

    def scripted(self, script: Script) -> "StreamSampler":
        """Return a sampler that follows a script and shares the images with this one."""
        other = copy.copy(self)
        other.script = _runs(script)
        other.length = sum(n for _, n in other.script)
        other._check_length()
        return other

    def _check_classes(self, dataset: Dataset) -> None:
        total, name = dataset.num_classes, f"data set '{self.name}'"
        if dataset.kind in ("text", "tokens"):
            raise AlmetaError(
                f"{name} has sentences, which streams show as vectors made by the classes to train on; split it by "
                "class, and show the classes of one part (train or test), not all"
            )
        if not 1 <= self.num_classes <= total:
            raise AlmetaError(
                f"env.classes={self.num_classes}, but this part of {name} has {total} classes; choose 1 to {total}; "
                "dataset.train_classes splits them, and evaluate takes classes=unseen, all that the policy never saw"
            )
        if self.num_slots < self.num_classes:
            raise AlmetaError(f"env.slots={self.num_slots} cannot tell env.classes={self.num_classes} apart; use more")
        if self.num_rotations > 1:
            check_square(dataset, "rotate; set env.rotations=false")

    def _check_length(self) -> None:
        """Raise unless every possible episode has enough images."""
        counts = self._counts.sort().values[: self.num_classes]
        if self.script is not None:
            self._check_script(int(counts[0]))
        elif self.length < 1:
            raise AlmetaError(f"env.length={self.length}; an episode has at least one step")
        elif self.length > counts.sum():
            raise AlmetaError(
                f"env.length={self.length}, but {self.num_classes} classes of data set '{self.name}' may hold as few "
                f"as {counts.sum()} images; shorten the episode or show more classes"
            )

    def _check_script(self, per_class: int) -> None:
        shown: Counter[int] = Counter()
        for k, n in self.script or []:
            if not 0 <= k < self.num_classes or n < 1:
                raise AlmetaError(
                    f"env.script has the run [{k}, {n}]; a run is [class, count] with a class below "
                    f"env.classes={self.num_classes} and a count of at least 1"
                )
            shown[k] += n
        if not shown:
            raise AlmetaError("env.script is empty; give runs such as [[0, 5], [1, 1]], or null for a random order")
        if max(shown.values()) > per_class:
            raise AlmetaError(
                f"env.script shows {max(shown.values())} images of one class, "
                f"but a class of data set '{self.name}' has only {per_class}"
            )

    def draw(self, num_envs: int, generator: torch.Generator) -> StreamTasks:
        """Draw `num_envs` streams, without a Python loop over them."""
        device = self.images.device

        def random(*shape: int) -> Tensor:
            return torch.rand(shape, generator=generator, device=device)

        total, per_class = self._rows.shape
        classes = random(num_envs, total).topk(self.num_classes).indices  # [E, C], without replacement
        slots = random(num_envs, self.num_slots).argsort(-1)[:, : self.num_classes]  # [E, C]
        rotation = (random(num_envs, self.num_classes) * self.num_rotations).long()  # [E, C]

        luck = random(num_envs, self.num_classes, per_class)
        exists = torch.arange(per_class, device=device) < self._counts[classes][..., None]
        luck = luck.masked_fill(~exists, -1.0)
        if self.script is None and not any(self.stickiness):
            picked = luck.flatten(1).topk(self.length).indices  # [E, T], in random order: topk sorts by luck
            which, drawing = picked // per_class, picked % per_class
        else:
            which = self._sticky(self._counts[classes], generator) if self.script is None else self._scripted(num_envs)
            nth = _count_instances(which, self.num_classes) - 1
            order = luck.argsort(-1, descending=True)
            drawing = order.flatten(1).gather(1, which * per_class + nth)

        rows = self._rows[classes.gather(1, which), drawing]  # [E, T]
        items = rows + rotation.gather(1, which) * self.num_images
        return StreamTasks(
            items=items.T.contiguous(),
            targets=slots.gather(1, which).T.contiguous(),
            instances=_count_instances(which, self.num_classes).T.contiguous(),
        )

    def draw_classes(self, ways: int, shots: int, generator: torch.Generator) -> Tensor:
        """Draw images of some classes, one rotation for each class, for encoders.

        Returns:
            `[W, M]` int64, rows of `images`: `shots` different images, at most `fewest_images`, of each of `ways`
            different classes; of all classes if there are fewer.
        """
        device = self.images.device
        total, per_class = self._rows.shape
        ways = min(ways, total)
        classes = torch.rand(total, generator=generator, device=device).topk(ways).indices
        rotation = torch.randint(self.num_rotations, (ways,), generator=generator, device=device)
        luck = torch.rand((ways, per_class), generator=generator, device=device)
        luck = luck.masked_fill(torch.arange(per_class, device=device) >= self._counts[classes, None], -1.0)
        rows = self._rows[classes].gather(1, luck.topk(shots).indices)
        return rows + rotation[:, None] * self.num_images

    def _scripted(self, num_envs: int) -> Tensor:
        """Return the class of each step, `[E, T]`."""
        assert self.script is not None
        steps = itertools.chain.from_iterable([k] * n for k, n in self.script)
        return torch.tensor(list(steps), device=self.images.device).expand(num_envs, -1)

    def _sticky(self, counts: Tensor, generator: torch.Generator) -> Tensor:
        """Return the class of each step, `[E, T]`, of classes with `counts` `[E, C]` images."""
        low, high = self.stickiness

        def random() -> Tensor:
            return torch.rand((len(counts), 1), generator=generator, device=counts.device)

        chance, left = low + (high - low) * random(), counts.to(torch.float32)
        if self.sticky_share < 1:
            chance = chance * (random() < self.sticky_share)
        which: list[Tensor] = []
        for _ in range(self.length):
            now = torch.multinomial(left, 1, generator=generator)  # as an image of those that are left
            if which:
                stays = (random() < chance) & (left.gather(1, which[-1]) > 0)
                now = torch.where(stays, which[-1], now)
            left = left.scatter_add(1, now, left.new_full(now.shape, -1.0))
            which.append(now)
        return torch.cat(which, 1)


def _count_instances(which: Tensor, num_classes: int) -> Tensor:
    """Return for each step of `[E, T]` classes its position among the steps of the same class, from 1: `[E, T]`."""
    seen = torch.nn.functional.one_hot(which, num_classes).cumsum(1)
    return seen.gather(2, which[..., None]).squeeze(2)


def class_margins(codes: Tensor, targets: Tensor, num_slots: int) -> Tensor:
    """Return the smallest distance between the mean codes of two classes of each stream; inf for one class alone.

    Args:
        codes: `[T, E, F]`, of the images.
        targets: `[T, E]` int64, their label slots.
        num_slots: label slots S.

    Returns:
        `[E]`.
    """
    shown = torch.nn.functional.one_hot(targets, num_slots).to(codes.dtype)  # [T, E, S]
    counts = shown.sum(0)  # [E, S]
    means = torch.einsum("tes,tef->esf", shown, codes) / counts.clamp_min(1)[..., None]
    absent = counts == 0
    itself = torch.eye(num_slots, dtype=torch.bool, device=codes.device)
    distances = torch.cdist(means, means, compute_mode="donot_use_mm_for_euclid_dist")
    return distances.masked_fill(absent[:, :, None] | absent[:, None] | itself, torch.inf).flatten(1).amin(1)


def _runs(script: Script) -> list[tuple[int, int]]:
    """Return the runs of a script as pairs of a class and a count."""
    try:
        return [(int(k), int(n)) for k, n in script]
    except (TypeError, ValueError):
        raise AlmetaError(
            f"env.script={script!r} is not a list of runs [class, count], such as [[0, 5], [1, 1]]"
        ) from None


# The images by data set: all samplers of a data set share them, and they are freed with it.
_shown: weakref.WeakKeyDictionary[Dataset, dict[tuple[bool, str], Tensor]] = weakref.WeakKeyDictionary()


def _images(dataset: Dataset, rotations: bool, device: str | torch.device) -> Tensor:
    """Return the images `[R * n, P]` of a data set, in all rotations or as they are. Do not write to them."""
    shared, key = _shown.setdefault(dataset, {}), (rotations, str(device))
    if key not in shared:
        images = torch.as_tensor(dataset.x, device=device)
        shared[key] = _rotated(images, dataset.image_shape) if rotations else images
    return shared[key]


def _rotated(images: Tensor, shape: tuple[int, int] | None) -> Tensor:
    """Return `[4 * n, P]`: all images `[n, P]`, then all rotated by 90 degrees, by 180, by 270."""
    assert shape is not None
    square = images.view(-1, *shape)
    return torch.cat([square.rot90(turns, (1, 2)).reshape(images.shape) for turns in range(4)])


def _rows_by_class(dataset: Dataset, device: str | torch.device) -> tuple[Tensor, Tensor]:
    """Return row numbers `[K, M]` of each class, padded with 0, and their number `[K]`."""
    counts = dataset.class_counts
    rows = np.zeros((len(counts), counts.max()), dtype=np.int64)
    rows[np.arange(counts.max()) < counts[:, None]] = np.argsort(dataset.y, kind="stable")  # class by class
    return torch.as_tensor(rows, device=device), torch.as_tensor(counts, device=device)
