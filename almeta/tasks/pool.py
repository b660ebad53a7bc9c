"""Pool tasks: a data set's rows split into pool and test rows, with first labels.

A data set with fixed test rows is tested on exactly these, whatever `test_share` and `max_test` are.

One batch holds tasks of different sizes, dimensions and class counts, padded and masked.
"""

import functools
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor

from almeta.checks import Count, Share, Within, check_arguments
from almeta.data.dataset import Dataset, Target
from almeta.data.preparation import Scale, prepare
from almeta.data.rows import sketch
from almeta.data.synthetic import MOST_CLASSES, draw_synthetic
from almeta.errors import AlmetaError, did_you_mean

First = Literal["per_class", "random"]


@dataclass(frozen=True)
class PoolTasks:
    """E pool tasks, padded to the largest.

    Attributes:
        x: `[E, N, D]` float32, prepared features of the pool rows; 0 for padding.
        y: `[E, N]` int64, their labels; or float32, where targets are numbers, counted from the data set's mean in
            units of their standard deviation. Who learns from them knows neither.
        exists: `[E, N]` bool, False for padding.
        rows: `[E, N]` int64, which row of the data set each row of the pool is; -1 for padding.
        test_x: `[E, M, D]` float32.
        test_y: `[E, M]` int64 or float32, as y.
        test_exists: `[E, M]` bool.
        first: `[E, L]` int64, the pool rows labelled at the start; -1 for padding.
        num_classes: `[E]` int64; 0 where targets are numbers.
        names: the data set of each task.
    """

    x: Tensor
    y: Tensor
    exists: Tensor
    rows: Tensor
    test_x: Tensor
    test_y: Tensor
    test_exists: Tensor
    first: Tensor
    num_classes: Tensor
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def max_classes(self) -> int:
        """C, the largest number of classes of a task."""
        return int(self.num_classes.max())

    @property
    def max_budget(self) -> int:
        """The number of queries that empty the smallest pool."""
        return int((self.exists.sum(1) - (self.first >= 0).sum(1)).min())

    def repeat(self, group: int) -> "PoolTasks":
        """Return each task `group` times in a row: `[E * group, ...]`."""
        if group == 1:  # no copy of a large pool
            return self
        names = tuple(name for name in self.names for _ in range(group))
        return replace(self._each(lambda part: part.repeat_interleave(group, 0)), names=names)

    def asked_of(self, annotators: int) -> "PoolTasks":
        """Return the tasks with each row `annotators` times in a row, `[E, N * A]`: a question for each annotator."""
        if annotators == 1:
            return self
        parts = ("x", "y", "exists", "rows")
        changes: dict[str, Any] = {part: getattr(self, part).repeat_interleave(annotators, 1) for part in parts}
        return replace(self, **changes, first=torch.where(self.first >= 0, self.first * annotators, -1))

    def to(self, device: torch.device | str) -> "PoolTasks":
        """Return the same tasks on a device."""
        return self._each(lambda part: part.to(device))

    def _each(self, change: Callable[[Tensor], Tensor]) -> "PoolTasks":
        changes: dict[str, Any] = {key: change(part) for key, part in vars(self).items() if isinstance(part, Tensor)}
        return replace(self, **changes)


@dataclass(frozen=True)
class PoolTaskOptions:
    """How to draw tasks from data sets.

    Args:
        synthetic: share of tasks from small synthetic data sets, each drawn anew.
        pool_size: largest number of pool rows N; None for all rows that are not test rows.
        test_share: share of a data set's rows for testing, above 0 and below 1; of no effect on fixed test rows.
        max_test: largest number of test rows M; None for no limit; of no effect on fixed test rows.
        first: choice of the rows that are labelled at the start: `num_first` "per_class", or `num_first` at "random",
            where the last is exchanged if all are of one class. Rows whose targets are numbers are drawn at random.
        num_first: number of labels at the start, for each class or in all, as always of numbers; 0 for none.
        only_classes: names of the classes to which every data set is limited, such as ["3", "8", "9"]; None for all.
        max_classes: largest number of classes of a task, drawn anew for each task; None for no limit.
        max_features: largest number of columns of the prepared table, drawn likewise; None for no limit.
        scale: "standard", "minmax" or "none", see `almeta.data.preparation.prepare`.
        components: reduce features to this many principal components; None leaves them.

    Raises:
        AlmetaError: for an option out of range.
    """

    synthetic: Share = 0.0
    pool_size: Count | None = 120
    test_share: Annotated[float, Within(above=0, high=1)] = 0.4
    max_test: Count | None = 300
    first: First = "per_class"
    num_first: Annotated[int, Within(0)] = 1
    only_classes: Sequence[str | int] | None = None
    max_classes: Annotated[int, Within(2)] | None = None
    max_features: Count | None = None
    scale: Scale = "standard"
    components: Count | None = None

    def __post_init__(self) -> None:
        check_arguments(type(self), vars(self), "env")
        if self.test_share == 1:
            raise AlmetaError("env.test_share is 1; it must be below 1, or no row is left for the pool")


class PoolSampler:
    """Draw pool tasks.

    Args:
        datasets: all equally likely.
        options: of the tasks; None for the defaults.
        device: of the tasks.

    Attributes:
        names: of the data sets.

    Raises:
        AlmetaError: without any data set, for options that do not fit one, and for classes beside numbers.
    """

    def __init__(
        self, datasets: Sequence[Dataset], options: PoolTaskOptions | None = None, device: str | torch.device = "cpu"
    ) -> None:
        self.datasets, self.options = tuple(datasets), options or PoolTaskOptions()
        self.device = torch.device(device)
        self.names = tuple(dataset.name for dataset in datasets)
        if not self.datasets and self.options.synthetic < 1:
            raise AlmetaError(
                f"there is no data set to draw tasks from, and env.synthetic={self.options.synthetic}; name one, or "
                "set env.synthetic=1"
            )
        self._check_targets()
        for dataset in self.datasets:
            self._check_dataset(dataset)

    @property
    def target(self) -> Target:
        """What is to be predicted: "classes", or "numbers"."""
        return self.datasets[0].target if self.datasets else "classes"

    def _check_targets(self) -> None:
        """Raise unless all tasks have targets of one kind, and options are not for the other."""
        numbers = next((dataset for dataset in self.datasets if dataset.target == "numbers"), None)
        if numbers is None:
            return
        for dataset in self.datasets:
            if dataset.target == "classes":
                numbers.check_classes(f"data set {dataset.name!r}, drawn beside it,")
        for key in ("synthetic", "only_classes", "max_classes"):
            if value := getattr(self.options, key):
                numbers.check_classes(f"env.{key}={value}")

    def _classes(self, dataset: Dataset) -> np.ndarray:
        """Return the numbers of the classes that tasks may have; rows whose targets are numbers are all of class 0."""
        if dataset.target == "numbers":
            return np.zeros(1, np.int64)
        if self.options.only_classes is None:
            return np.arange(dataset.num_classes)
        names = list(map(str, self.options.only_classes))  # a command line turns digits into numbers
        for name in names:
            if name not in dataset.class_names:
                raise AlmetaError(did_you_mean(name, dataset.class_names, f"class of data set {dataset.name}"))
        return np.flatnonzero([name in names for name in dataset.class_names])

    def _check_dataset(self, dataset: Dataset) -> None:
        counts = self._counts(dataset)
        classes = int((counts > 0).sum())
        if classes < 2 and dataset.target == "classes":
            raise AlmetaError(
                f"data set '{dataset.name}' has rows of {classes} class; active learning needs at least 2"
            )
        kept = np.argsort(-counts, kind="stable")[: self.options.max_classes]
        rows, fixed = int(counts[kept].sum()), _fixed(dataset, kept)
        pool, test = self._sizes(rows, fixed)
        if pool < self._needed or test < 1:
            raise AlmetaError(
                f"data set '{dataset.name}' has {rows + (fixed or 0)} rows: {pool} for the pool and {test} for "
                f"testing; the pool needs {self._needed} and testing 1"
            )

    @property
    def _needed(self) -> int:
        """Smallest number of rows of a pool."""
        return max(2, self.options.num_first) if self.options.first == "random" else 2

    def _sizes(self, rows: int, fixed: int | None = None) -> tuple[int, int]:
        """Return the number of pool rows and of test rows of `rows` rows beside `fixed` test rows, if these are."""
        test = max(1, round(self.options.test_share * rows)) if fixed is None else 0
        pool = min(rows - test, self.options.pool_size or rows)
        return pool, min(test, self.options.max_test or test) if fixed is None else fixed

    @property
    def num_rows(self) -> int:
        """N, the number of pool rows to which every batch of tasks is padded."""
        return max(self._sizes(rows, fixed)[0] for rows, fixed, _ in self._shapes)

    @property
    def num_classes(self) -> int:
        """C, the largest number of classes that a task may have."""
        most = [len(self._classes(dataset)) for dataset in self.datasets]
        most += [MOST_CLASSES] if self.options.synthetic > 0 else []
        return min(max(most), self.options.max_classes or max(most))

    @functools.cached_property
    def identity(self) -> dict[str, Any]:
        """The names of the data sets, a digest of them, and sketches of their rows, as checkpoints keep them."""
        names = sorted(self.names)
        digest = hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]
        rows = {dataset.name: " ".join(sketch(dataset)) for dataset in self.datasets}
        return {"datasets": names, "digest": digest, "rows": rows}

    @property
    def bytes_per_task(self) -> int:
        """Smallest memory of the features, labels and masks of the largest task; categories may need more."""
        limits = [limit for limit in (self.options.max_features, self.options.components) if limit is not None]
        return max(
            sum(self._sizes(rows, fixed)) * (4 * min([columns, *limits]) + 9) for rows, fixed, columns in self._shapes
        )

    @property
    def _shapes(self) -> list[tuple[int, int | None, int]]:
        """Rows, fixed test rows and columns of the data sets; of synthetic ones, whose columns vary, one column."""
        synthetic = [(self._synthetic_rows, None, 1)] if self.options.synthetic > 0 else []
        own = [
            (int(self._counts(dataset).sum()), _fixed(dataset, self._classes(dataset)), dataset.x.shape[1])
            for dataset in self.datasets
        ]
        return [*own, *synthetic]

    @property
    def _synthetic_rows(self) -> int:
        """Number of rows for a full pool and the largest number of test rows."""
        pool, test = self.options.pool_size or 240, self.options.max_test or 160
        return max(round(pool / (1 - self.options.test_share)), round(test / self.options.test_share)) + 1

    def draw(self, num_tasks: int, generator: torch.Generator) -> PoolTasks:
        """Draw `num_tasks` tasks."""
        return self.draw_seeded(self.draw_seeds(num_tasks, generator))

    def draw_by(self, generators: Sequence[torch.Generator], num_tasks: int) -> PoolTasks:
        """Draw `num_tasks` tasks, each generator the seeds of an equal share of them."""
        each = num_tasks // len(generators)
        return self.draw_seeded([seed for by in generators for seed in self.draw_seeds(each, by)])

    def draw_seeds(self, num_tasks: int, generator: torch.Generator) -> list[int]:
        """Draw the seeds of `num_tasks` tasks."""
        return torch.randint(2**62, (num_tasks,), generator=generator, device=generator.device).tolist()

    def draw_seeded(self, seeds: Sequence[int], cycle: bool = False) -> PoolTasks:
        """Draw one task for each seed; a seed gives the same task beside any other seeds.

        Args:
            seeds: not negative.
            cycle: take the data sets in turn instead of at random.
        """
        tasks = [self._draw_one(np.random.default_rng(seed), i if cycle else None) for i, seed in enumerate(seeds)]
        return _pad(tasks, self.num_rows, self.device)

    def _draw_one(self, rng: np.random.Generator, turn: int | None) -> "_Task":
        if rng.random() < self.options.synthetic or not self.datasets:
            dataset = draw_synthetic(rng, self._synthetic_rows)
        else:
            dataset = self.datasets[rng.integers(len(self.datasets)) if turn is None else turn % len(self.datasets)]
        rows, classes = self._choose_classes(dataset, rng)
        pool_rows, test_rows = self._split(dataset, rows, classes, rng)
        x, test_x = prepare(dataset, rows[pool_rows], rows[test_rows], self.options.scale, self.options.components)
        if self.options.max_features is not None and x.shape[1] > self.options.max_features:
            columns = np.sort(rng.choice(x.shape[1], self.options.max_features, replace=False))
            x, test_x = x[:, columns], test_x[:, columns]
        first = self._first_labels(classes[pool_rows], rng)
        y, number = (classes, int(classes.max()) + 1) if dataset.target == "classes" else (_scaled(dataset.y)[rows], 0)
        return _Task(dataset.name, x, y[pool_rows], rows[pool_rows], test_x, y[test_rows], first, number)

    def _split(
        self, dataset: Dataset, rows: np.ndarray, y: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the places of pool rows and of test rows among some rows with labels y."""
        is_fixed = np.isin(rows, () if dataset.test_rows is None else dataset.test_rows)
        free = np.flatnonzero(~is_fixed)
        order = free[stratified_order(y[free], rng)]
        pool, test = self._sizes(len(free), None if dataset.test_rows is None else int(is_fixed.sum()))
        _bring_two_classes(order, y, pool)  # all rows of rare classes may be among the test rows
        # The order alternates between classes: without a shuffle, a row's place in the pool would tell its label.
        drawn, left = rng.permutation(order[:pool]), order[pool : pool + test]
        return drawn, left if dataset.test_rows is None else np.flatnonzero(is_fixed)

    def _choose_classes(self, dataset: Dataset, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return row numbers and labels of the classes of a task: all, or `max_classes` drawn at random."""
        allowed = self._classes(dataset)
        if dataset.target == "numbers":
            return np.arange(len(dataset)), np.zeros(len(dataset), np.int64)
        if self.options.max_classes is None or len(allowed) <= self.options.max_classes:
            return dataset.rows_of(allowed)
        # Drawn by their number of rows: classes with a few rows would leave nothing to learn; some may have none.
        counts = self._counts(dataset)
        number = min(self.options.max_classes, int(np.count_nonzero(counts)))
        kept = rng.choice(dataset.num_classes, number, replace=False, p=counts / counts.sum())
        pool, test = self._sizes(int(counts[kept].sum()), _fixed(dataset, kept))
        if pool < self._needed or test < 1:
            kept = np.argsort(-counts, kind="stable")[:number]
        return dataset.rows_of(kept)

    def _counts(self, dataset: Dataset) -> np.ndarray:
        """Return the rows of each class `[C]` that are no fixed test rows; 0 for classes that no task has."""
        if dataset.target == "numbers":
            return np.array([len(dataset.pool_rows)])
        counts = np.bincount(dataset.y[dataset.pool_rows], minlength=dataset.num_classes)
        return counts * np.isin(np.arange(len(counts)), self._classes(dataset))

    def _first_labels(self, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        order = rng.permutation(len(y))
        if self.options.first == "per_class":
            return np.concatenate([order[y[order] == k][: self.options.num_first] for k in np.unique(y)])
        if self.options.num_first > 1:
            _bring_two_classes(order, y, self.options.num_first)
        return order[: self.options.num_first]


def _fixed(dataset: Dataset, classes: np.ndarray | None = None) -> int | None:
    """Return the number of fixed test rows, of some classes or of all; None if there is no fixed test set."""
    if dataset.test_rows is None:
        return None
    y = dataset.y[dataset.test_rows]
    return len(y) if classes is None or dataset.target == "numbers" else int(np.isin(y, classes).sum())


def _scaled(y: np.ndarray) -> np.ndarray:
    """Return targets `[n]` float64 with mean 0 and standard deviation 1, as float32."""
    return ((y - y.mean()) / y.std()).astype(np.float32)


@dataclass(frozen=True)
class _Task:
    """One task before it is padded."""

    name: str
    x: np.ndarray
    y: np.ndarray
    rows: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray
    first: np.ndarray
    num_classes: int


def _bring_two_classes(order: np.ndarray, y: np.ndarray, count: int) -> None:
    """Exchange the last of the first `count` rows of an order, in place, unless these, or all, rows have one class."""
    others = np.flatnonzero(y[order] != y[order[0]])
    if len(others) and others[0] >= count:
        order[[count - 1, others[0]]] = order[[others[0], count - 1]]


def stratified_order(y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return row numbers in a random order in which every stretch has the classes in about their shares.

    Each class is spread evenly over the order, from a random start. Unlike a stratified split, this systematic sampling
    also takes classes of one row.

    Args:
        y: `[n]` labels 0 .. C-1.
        rng: draws the order.
    """
    order = rng.permutation(len(y))
    by_class = order[np.argsort(y[order], kind="stable")]
    counts = np.bincount(y)
    rank = np.arange(len(y)) - np.repeat(np.cumsum(counts) - counts, counts)
    start = rng.random(len(counts))
    place = (rank + np.repeat(start, counts)) / np.repeat(counts, counts)
    return by_class[np.argsort(place, kind="stable")]


def _pad(tasks: Sequence[_Task], num_rows: int, device: torch.device) -> PoolTasks:
    """Stack tasks into one batch whose pools have `num_rows` rows."""

    def stack(parts: Sequence[np.ndarray], rows: int = 0, fill: int = 0) -> Tensor:
        length, *others = np.max([part.shape for part in parts], 0)
        whole = np.full((len(parts), max(length, rows), *others), fill, dtype=parts[0].dtype)
        for place, part in zip(whole, parts, strict=True):
            place[tuple(slice(n) for n in part.shape)] = part
        return torch.as_tensor(whole, device=device)

    return PoolTasks(
        x=stack([task.x for task in tasks], num_rows),
        y=stack([task.y for task in tasks], num_rows),
        exists=stack([np.ones(len(task.y), dtype=bool) for task in tasks], num_rows),
        rows=stack([task.rows for task in tasks], num_rows, fill=-1),
        test_x=stack([task.test_x for task in tasks]),
        test_y=stack([task.test_y for task in tasks]),
        test_exists=stack([np.ones(len(task.test_y), dtype=bool) for task in tasks]),
        first=stack([task.first for task in tasks], fill=-1),
        num_classes=torch.tensor([task.num_classes for task in tasks], device=device),
        names=tuple(task.name for task in tasks),
    )
