"""Pools: `state` returns what may be known, `tell` adds labels.

A `Pool` is the same object in the environment, for your own rows and in adapters of other libraries. It holds neither
test rows nor hidden labels, so that none can leak.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from almeta.data.dataset import Target
from almeta.errors import AlmetaError
from almeta.geometry import Geometry, rows_of
from almeta.learners.learner import EXAMPLES, Learner, Prediction, fit_to_pool, target_of

# No label of a row, by what is to be predicted.
_NONE: dict[str, float] = {"classes": -1, "numbers": torch.nan}


@dataclass(frozen=True)
class PoolState:
    """What may be known of E pools before a query: nothing of test rows or hidden labels.

    Smaller pools are padded to the largest in rows, columns and classes: see `exists` and `num_classes`.

    Where A annotators may be asked, each row stands A times: row r * A + a is the question to annotator a about row r.

    Attributes:
        x: `[E, N, D]` float32, features of all rows, prepared; padding is 0.
        exists: `[E, N]` bool, False for rows that pad.
        available: `[E, N]` bool, rows that may be picked: they exist and were not picked before, of no annotator.
        labels: `[E, N]` int64, the oracle's answers; -1 for rows not asked, not answered, or not answered yet. Targets
            that are numbers are float32, and NaN for such rows.
        picks: `[E, P]` int64, the rows in the order in which they were picked, first labels first; -1 pads.
        answered: number of columns of `picks` that the oracle has answered; the others are of an unfinished query.
        probabilities: `[E, N, C]` float32, the learner's for every row; 0 for classes it has not seen. C is 0 where
            targets are numbers.
        num_classes: `[E]` int64; 0 where targets are numbers.
        prices: `[E, N]` float32, what asking for a row costs.
        budget: labels that may be asked for in the episode.
        spent: labels asked for so far, first labels not counted.
        query_size: rows of the present query, those counted that are picked already; they are answered together.
        learner: how the classifier is fit, for strategies that fit some of their own.
        model: the learner's latest fit, which gave `probabilities`.
        geometry: distances between the rows, kept from one query to the next.
        annotators: how many may be asked about each row, A.
        queries: how many were answered before the present one.
        again: `[E, N]` bool, questions about rows that other annotators have answered: they may be picked, too, by who
            means to ask again; None for one annotator.
        prediction: what the learner says of every row where targets are numbers; None where they are classes.
    """

    x: Tensor
    exists: Tensor
    available: Tensor
    labels: Tensor
    picks: Tensor
    answered: int
    probabilities: Tensor
    num_classes: Tensor
    prices: Tensor
    budget: int
    spent: int
    query_size: int
    learner: Learner
    model: Any
    geometry: Geometry
    annotators: int = 1
    queries: int = 0
    again: Tensor | None = None
    prediction: Prediction | None = None

    @property
    def target(self) -> Target:
        """What is to be predicted: "classes", or "numbers"."""
        return "numbers" if self.labels.is_floating_point() else "classes"

    @property
    def is_labelled(self) -> Tensor:
        """`[E, N]` bool, the rows that have a label."""
        return has_label(self.labels)

    @property
    def rows(self) -> Tensor:
        """`[E, N]` bool, each row that exists once: of several annotators the question to the first."""
        return once(self.exists, self.annotators)

    @property
    def open_rows(self) -> Tensor:
        """`[E, N]` bool, the rows that may be picked and were not asked before, each once, as in `rows`."""
        return once(self.available, self.annotators)

    @property
    def is_unlabelled(self) -> Tensor:
        """`[E, N]` bool, the rows without any label, each once, as in `rows`."""
        return self.rows & ~of_row(self.is_labelled, self.annotators)

    @property
    def counted_rows(self) -> Tensor:
        """`[E, N]` bool, one place for each answer, and one for each row without any, as in `rows`."""
        return self.is_labelled | self.is_unlabelled

    @property
    def action_mask(self) -> Tensor:
        """`[E, N]` bool, all that may be picked."""
        return self.available if self.again is None else self.available | self.again

    @property
    def pending(self) -> Tensor:
        """`[E, K]` int64, the rows of the present query that are picked and not answered yet; -1 for none."""
        return self.picks[:, self.answered :]

    @property
    def num_to_pick(self) -> int:
        """How many rows of the present query are left to pick, at least 1."""
        return max(1, self.query_size - self.pending.shape[1])

    @property
    def counted_picks(self) -> Tensor:
        """`[E, P]` bool, the picks with a label, and those that wait for it; not those that nobody could answer."""
        waits = torch.arange(self.picks.shape[1], device=self.picks.device) >= self.answered
        return (self.picks >= 0) & (waits | self.is_labelled.gather(1, self.picks.clamp_min(0)))

    def labelled_rows(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return features `[E, P, D]`, labels `[E, P]` and weights `[E, P]` of the picks; weight 0 without a label."""
        return _rows_with_labels(self.x, self.picks, self.labels)


class Pool:
    """E pools, their labels so far, and the learner that is refit as labels arrive.

    Args:
        x: `[E, N, D]` float32, as in `PoolState`.
        exists: `[E, N]` bool.
        picks: `[E, L]` int64, rows that are labelled already; -1 pads.
        labels: `[E, L]` int64, their labels in 0 .. C-1, -1 for none; or numbers, float32, NaN for none.
        num_classes: `[E]` int64, classes of each pool; 0 where targets are numbers.
        learner: how the classifier is fit.
        prices: `[E, N]` float32, what asking for a row costs; None for nothing.
        budget: labels that will be asked for, which policies may look at; None for as many as empty the smallest pool.
        generator: draws for learners with chance in them.
        query_size: rows that are picked before the oracle answers them together.
        annotators: how many may be asked about each row, A; each row stands A times, see `PoolState`.

    Attributes:
        model: the fitted learner.
        assumed: `[E, N]` int64, the labels that the learner gave to unlabelled rows itself; -1 for none. Of several
            annotators they stand at the question to the first one, so that a row counts once.

    Raises:
        AlmetaError: for a wrong shape or dtype, values of x that are not finite, what is no learner, a learner of
            classes where targets are numbers and the reverse, a row or a label out of range, and a row that is given
            twice.
    """

    def __init__(
        self,
        x: Tensor,
        exists: Tensor,
        picks: Tensor,
        labels: Tensor,
        num_classes: Tensor,
        learner: Learner,
        prices: Tensor | None = None,
        budget: int | None = None,
        generator: torch.Generator | None = None,
        query_size: int = 1,
        annotators: int = 1,
    ) -> None:
        _check_tensor("x", x, torch.float32, ("E", "N", "D"))
        _check_tensor("exists", exists, torch.bool, x.shape[:2])
        _check_tensor("num_classes", num_classes, torch.int64, x.shape[:1])
        if prices is not None:
            _check_tensor("prices", prices, torch.float32, x.shape[:2])
        if x.numel() and not all(bound.isfinite() for bound in x.aminmax()):  # isfinite() would copy a large pool
            raise AlmetaError("x has values that are NaN or infinite; fill them in, or leave these rows out")
        if isinstance(learner, type) or not isinstance(learner, Learner):
            raise AlmetaError(f"learner is {learner!r}; it must be a Learner: make one with make_learner(...)")
        target = "numbers" if labels.is_floating_point() else "classes"
        if target_of(learner) != target:
            raise AlmetaError(
                f"the targets are {target}, and {type(learner).__name__} learns {target_of(learner)}; choose another "
                f"learner, such as {EXAMPLES[target]}"
            )
        self.x, self.exists, self.num_classes, self.learner = x, exists, num_classes, learner
        self.prices = torch.zeros(exists.shape, device=x.device) if prices is None else prices
        self.generator, self.query_size, self.annotators = generator, query_size, annotators
        self.model: Any = None
        self._classes = int(num_classes.max())
        self._pads_classes = bool((num_classes < self._classes).any())
        self._geometry = Geometry(x, exists, copies=annotators)
        self._available, self._answered, self._filled = exists, 0, 0
        self._prediction: Prediction | None = None
        self._label_dtype = torch.float32 if target == "numbers" else torch.int64
        self._labels = torch.full(exists.shape, _NONE[target], dtype=self._label_dtype, device=x.device)
        self.assumed = torch.full_like(exists, -1, dtype=torch.int64)
        self._check(picks, labels)
        picks = _columns(picks)
        self.budget = int((exists.sum(1) - (picks >= 0).sum(1)).min()) if budget is None else budget
        self._first = self._filled = picks.shape[1]
        self._picks = torch.full((len(x), self._first + self.budget), -1, device=x.device)
        self._picks[:, : self._first] = picks
        self._available = exists & ~_mark(torch.zeros_like(exists), picks)
        self.answer(_columns(labels))

    def state(self) -> PoolState:
        """Return what may be known now; it is valid until the next pick or answer."""
        available, again = self._questions()
        return PoolState(
            x=self.x,
            exists=self.exists,
            available=available,
            labels=self._labels,
            picks=self._picks[:, : self._filled],
            answered=self._answered,
            probabilities=self._probabilities,
            num_classes=self.num_classes,
            prices=self.prices,
            budget=self.budget,
            spent=(spent := self._filled - self._first),
            query_size=min(self.query_size, max(1, self.budget - spent + self._filled - self._answered)),
            learner=self.learner,
            model=self.model,
            geometry=self._geometry,
            annotators=self.annotators,
            queries=-(-(self._answered - self._first) // self.query_size),
            again=again,
            prediction=self._prediction,
        )

    def _questions(self) -> tuple[Tensor, Tensor | None]:
        """Return `PoolState.available` and `PoolState.again`."""
        if self.annotators == 1:
            return self._available, None
        asked = of_row(self.exists & ~self._available, self.annotators)
        waiting = of_row(_mark(torch.zeros_like(self.exists), self.pending), self.annotators)
        return self._available & ~asked, self._available & asked & ~waiting

    def tell(self, rows: Tensor, labels: Tensor) -> None:
        """Add labels of rows, and refit the learner.

        Args:
            rows: `[E]` or `[E, K]` int64, rows that may be picked; -1 for none in a pool.
            labels: of the same shape and the dtype of the first labels: int64 in 0 .. C-1, -1 where there is no answer;
                or float32, NaN where there is none.

        Raises:
            AlmetaError: if a row does not exist or was picked before, a label is out of range, or a pick still waits
                for its answer.
        """
        self._check(rows, labels)
        for column in _columns(rows).unbind(1):
            self.pick(column)
        self.answer(_columns(labels))

    def pick(self, rows: Tensor) -> Tensor:
        """Pick one row `[E]` of each pool, to be answered later, and return whether it could be picked, `[E]` bool."""
        valid = self._available.gather(1, rows.clamp_min(0)[:, None]).squeeze(1) & (rows >= 0)
        if self._filled == self._picks.shape[1]:
            self._picks = torch.nn.functional.pad(self._picks, (0, max(1, self._filled)), value=-1)
        picked = torch.where(valid, rows, -1)
        self._picks[:, self._filled] = picked
        self._available = self._available & ~_mark(torch.zeros_like(self._available), picked[:, None])
        self._filled += 1
        return valid

    @property
    def pending(self) -> Tensor:
        """`[E, K]` int64, the rows that were picked and are not answered yet; -1 for none."""
        return self._picks[:, self._answered : self._filled]

    def answer(self, labels: Tensor) -> None:
        """Add the labels `[E, K]` of the pending rows, -1 or NaN where there is none, and refit the learner.

        Raises:
            AlmetaError: if they have another shape than the pending rows.
        """
        if labels.shape != self.pending.shape:
            pools, picks = shape = self.pending.shape
            raise AlmetaError(
                f"{picks} picks of {pools} pools wait; labels must be {list(shape)}, not {[*labels.shape]}"
            )
        self._labels = _with(self._labels, self.pending, labels)
        self._answered = self._filled
        self._probabilities = self._refit()

    def _refit(self) -> Tensor:
        """Fit the learner to all labels, and return its probabilities `[E, N, C]`."""
        x, y, weight = _rows_with_labels(self.x, self._picks[:, : self._answered], self._labels)
        unlabelled = once(self.exists & ~of_row(has_label(self._labels), self.annotators), self.annotators)
        read = (self.x, unlabelled)
        self.model, self.assumed = fit_to_pool(
            self.learner, x, y, weight, self._classes, *read, start=self.model, generator=self.generator
        )
        if self.target == "numbers":
            self._prediction = self.model.predict(self.x)
            return self.x.new_zeros(*self.exists.shape, 0)
        return self.probabilities(self.x)

    @property
    def target(self) -> Target:
        """What is to be predicted: "classes", or "numbers"."""
        return "numbers" if self._labels.is_floating_point() else "classes"

    def outputs(self, x: Tensor) -> Tensor:
        """Return what scores are about: class probabilities `[E, M, C]` of rows `[E, M, D]`, or numbers `[E, M]`."""
        if self.target == "classes":
            return self.probabilities(x)
        mean: Tensor = self.model.predict(x).mean
        return mean

    def probabilities(self, x: Tensor) -> Tensor:
        """Return the learner's class probabilities `[E, M, C]` float32 of rows `[E, M, D]`; 0 for classes that pad."""
        found: Tensor = self.model.probabilities(x)
        if not self._pads_classes:
            return found
        # Before the first label the learner finds all C classes likely, also those that pad.
        own = torch.arange(self._classes, device=x.device) < self.num_classes[:, None, None]
        unlabelled = (self._labels < 0).all(1)[:, None, None]
        return torch.where(unlabelled, own / self.num_classes[:, None, None], found)

    def copy(self) -> "Pool":
        """Return a pool that goes on from here by itself; rows, and what is known of their distances, are shared."""
        other = copy.copy(self)
        other._picks, other._geometry = self._picks.clone(), self._geometry.copy()
        return other

    def _check(self, rows: Tensor, labels: Tensor) -> None:
        pools, size = self.exists.shape
        if rows.shape != labels.shape or rows.dim() not in (1, 2) or len(rows) != pools:
            raise AlmetaError(
                f"rows {list(rows.shape)} and labels {list(labels.shape)} must both be [E] or [E, K], E={pools} pools"
            )
        if rows.dtype != torch.int64 or labels.dtype != self._label_dtype:
            both = "both must be torch.int64" if self._label_dtype == torch.int64 else "they must be int64 and float32"
            raise AlmetaError(f"rows are {rows.dtype} and labels {labels.dtype}; {both}")
        if self._filled > self._answered:
            raise AlmetaError(f"{self._filled - self._answered} picks wait for their answer; give it with answer()")
        rows, labels = _columns(rows), _columns(labels)
        known = (rows >= -1) & (rows < size)
        if not known.all():
            raise AlmetaError(f"row {int(rows[~known][0])} is not in a pool of {size} rows; rows count from 0")
        taken = (rows >= 0) & ~self._available.gather(1, rows.clamp_min(0))
        if taken.any():
            raise AlmetaError(f"row {int(rows[taken][0])} was picked before, or pads its pool; choose another one")
        ordered = rows.sort(1).values
        if ((ordered.diff() == 0) & (ordered[:, 1:] >= 0)).any():
            raise AlmetaError("a row is given twice; name it once")
        if self.target == "numbers":
            if labels.isinf().any():
                raise AlmetaError("a label is infinite; labels are numbers here, or NaN for none")
            return
        classes = self.num_classes[:, None].expand_as(labels)
        wrong = (labels < -1) | (labels >= classes)
        if wrong.any():
            raise AlmetaError(
                f"label {int(labels[wrong][0])} is out of range; labels are 0 to {int(classes[wrong][0]) - 1} in this "
                "pool, or -1 for none"
            )


def _check_tensor(name: str, given: Any, dtype: torch.dtype, shape: Sequence[int | str]) -> None:
    """Raise AlmetaError unless `given` is a tensor of the dtype and the shape, in which a text stands for any size."""
    wanted = f"a tensor [{', '.join(map(str, shape))}] of {dtype}"
    if not isinstance(given, Tensor):
        raise AlmetaError(f"{name} is {type(given).__name__}; it must be {wanted}: use torch.as_tensor")
    fits = len(shape) == given.dim() and all(
        isinstance(one, str) or one == size for one, size in zip(shape, given.shape, strict=True)
    )
    if not fits or given.dtype != dtype:
        raise AlmetaError(
            f"{name} is {list(given.shape)} of {given.dtype}; it must be {wanted} (E pools; {name}[None] makes one, "
            f"{name}.to({dtype}) converts)"
        )


def _columns(told: Tensor) -> Tensor:
    """Return `[E, K]` of `[E]` or `[E, K]`."""
    return told[:, None] if told.dim() == 1 else told


def _rows_with_labels(x: Tensor, picks: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return features `[E, P, D]`, labels `[E, P]` and weights `[E, P]` of picks `[E, P]`; weight 0 without a label."""
    told = labels.gather(1, picks.clamp_min(0))
    known = has_label(told)
    return rows_of(x, picks), told.where(known, 0), ((picks >= 0) & known).float()


def has_label(labels: Tensor) -> Tensor:
    """Return which labels, of any shape, are one, bool: classes of at least 0, or numbers that are not NaN."""
    return ~labels.isnan() if labels.is_floating_point() else labels >= 0


def of_row(mask: Tensor, annotators: int) -> Tensor:
    """Return `[E, N]` bool: all questions about rows for which a mask `[E, N]` is True for any of A annotators."""
    return mask if annotators == 1 else mask.unflatten(1, (-1, annotators)).any(-1).repeat_interleave(annotators, 1)


def once(mask: Tensor, annotators: int) -> Tensor:
    """Return a mask `[E, N]` with nothing but the questions to the first of A annotators, so that rows count once."""
    return mask if annotators == 1 else mask & (torch.arange(mask.shape[1], device=mask.device) % annotators == 0)


def for_questions(values: Tensor, annotators: int) -> Tensor:
    """Return `[E, N]` values in which all questions about a row have that of the question to the first annotator."""
    return values if annotators == 1 else values[:, ::annotators].repeat_interleave(annotators, 1)


def _with(labels: Tensor, rows: Tensor, told: Tensor) -> Tensor:
    """Return labels `[E, N]` with those told of rows `[E, K]`, which had none; -1 for no row."""
    padded = torch.nn.functional.pad(labels, (0, 1))  # the last column takes those of no row
    return padded.scatter(1, rows.where(rows >= 0, labels.shape[1]), told)[:, :-1]


def _mark(mask: Tensor, rows: Tensor) -> Tensor:
    """Set a mask `[E, N]` True at rows `[E, P]`, where -1 is none; changes the mask."""
    return mask.scatter_reduce_(1, rows.clamp_min(0), rows >= 0, "amax")
