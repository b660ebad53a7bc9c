"""The result of every loader: features, labels, and their source."""

import hashlib
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, get_args

import numpy as np

from almeta.errors import AlmetaError

Kind = Literal["table", "image", "text", "tokens"]
Target = Literal["classes", "numbers"]  # what is to be predicted: one of a few classes, or a real number
Split = Literal["published"]  # the fixed test set of a data set that was published with one


@dataclass(frozen=True, eq=False)  # eq: comparing arrays field by field has no single truth value
class Dataset:
    """A labelled data set, which checks its arrays.

    Attributes:
        name: for `load_dataset`.
        x: features `[n, d]`, float32, finite except for missing values. Images are flattened, in [0, 1]; drawings have
            high ink on zero. Text is counts of terms; tokens are the numbers of a text's words in their order, 0 after
            the last. float64 is accepted and becomes float32 (`as_float32`).
        y: labels `[n]`, int64, in 0 .. C-1; or, where there are no class names, numbers to predict, float64 and finite.
        class_names: C different names; `class_names[y[i]]` is that of row i. Empty where targets are numbers.
        source: paper and URL of the data.
        image_shape: `(height, width)` of grey images, with `height * width == d`.
        columns: the names of the d columns, or empty.
        categories: the names of the categories of a column, by its number; x has the position of the name, as a float.
        missing: whether values may be missing; x is NaN for a missing value.
        kind: of the rows; "image" if there is an `image_shape`, and for flattened pixels without one.
        test_rows: `[M]` int64, the rows of a fixed test set, in order; None where each task draws its own test rows.
        numbers: `[n]` int64, from 0, which rows of a file these are, if rows of it were set aside; None if none was.

    Raises:
        AlmetaError: if shapes, types or values do not fit the above.
    """

    name: str
    x: np.ndarray = field(repr=False)
    y: np.ndarray = field(repr=False)
    class_names: tuple[str, ...] = field(repr=False)
    source: str
    image_shape: tuple[int, int] | None = None
    columns: tuple[str, ...] = field(default=(), repr=False)
    categories: Mapping[int, tuple[str, ...]] = field(default_factory=dict, repr=False)
    missing: bool = field(default=False, repr=False)
    kind: Kind = field(default="table", repr=False)
    test_rows: np.ndarray | None = field(default=None, repr=False)
    numbers: np.ndarray | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.image_shape is not None:
            object.__setattr__(self, "kind", "image")
        if self.x.dtype == np.float64 and self.x.ndim == 2:
            object.__setattr__(self, "x", as_float32(self.x) if self.kind == "table" else self.x.astype(np.float32))
        for ok, problem in self._checks():
            if not ok:  # lazily: a later check may rely on an earlier one
                raise AlmetaError(f"data set {self.name!r}: {problem}")

    def _checks(self) -> Iterator[tuple[bool, str]]:
        x, y, names, shape = self.x, self.y, self.class_names, self.image_shape
        yield x.ndim == 2 and x.size > 0, f"x must be [n, d] with n, d > 0, not of shape {x.shape}"
        yield x.dtype == np.float32, f"x must be float32 or float64, not {x.dtype}"
        yield y.shape == x.shape[:1], f"y must be [n] = {x.shape[:1]}, not of shape {y.shape}"
        wanted = np.dtype(np.int64 if names else np.float64)
        yield (
            y.dtype == wanted,
            f"y must be {wanted}, not {y.dtype}" + ("" if names else ", as there are no class names"),
        )
        bad = x.size - np.isfinite(x).sum()
        infinite = np.isinf(x).sum() if bad else 0
        yield self.missing or bad == 0, f"x has {bad} values that are NaN or infinite; fill in or drop their rows"
        yield infinite == 0, f"x has {infinite} infinite values; only NaN stands for a missing one"
        yield len(set(names)) == len(names), "class_names has duplicates"
        yield bool(np.isfinite(y).all()), f"y has {(~np.isfinite(y)).sum()} targets that are NaN or infinite"
        low, high = y.min(), y.max()
        yield bool(names) or low < high, f"all targets are {low:g}; there is nothing to predict"
        fits = 0 <= low and high < len(names)
        yield fits or not names, f"labels go from {low} to {high}, with {len(names)} class names"
        fits = shape is None or shape[0] * shape[1] == x.shape[1]
        yield fits, f"image_shape {shape} does not multiply to d = {x.shape[1]}"
        yield len(self.columns) in (0, x.shape[1]), f"{len(self.columns)} columns have names, of d = {x.shape[1]}"
        yield self.kind in get_args(Kind), f"kind is {self.kind!r}; it must be one of {get_args(Kind)}"
        for column, categories in self.categories.items():
            yield 0 <= column < x.shape[1], f"categories of a column {column}, of d = {x.shape[1]}"
            positions = x[~np.isnan(x[:, column]), column]
            known = bool(np.isin(positions, np.arange(len(categories))).all())
            yield known, f"column {column} has values that are no position among its {len(categories)} categories"
        if (rows := self.test_rows) is not None:
            yield rows.ndim == 1 and rows.dtype == np.int64, f"test_rows must be [M] int64, not {rows.dtype}"
            known = bool(len(rows)) and 0 <= rows[0] and rows[-1] < len(x) and bool((np.diff(rows) > 0).all())
            yield known, f"test_rows must be different numbers of rows, 0 to {len(x) - 1}, in order"
            yield len(rows) < len(x), "all rows are test rows; leave some for the pool"
        if (numbers := self.numbers) is not None:
            yield numbers.shape == y.shape and numbers.dtype == np.int64, f"numbers must be {y.shape} int64"
        yield self.kind != "text" or bool((x >= 0).all()), "the counts of a text are at least 0"
        whole = self.kind != "tokens" or bool(((x >= 0) & (x == np.round(x))).all())
        yield whole, "the tokens of a text are whole numbers of at least 0"

    def __len__(self) -> int:
        return len(self.y)

    @property
    def target(self) -> Target:
        """What is to be predicted: "classes", or "numbers"."""
        return "classes" if self.class_names else "numbers"

    @property
    def num_classes(self) -> int:
        """C, the number of classes; 0 where targets are numbers."""
        return len(self.class_names)

    @property
    def fingerprint(self) -> str:
        """A short text that is equal for equal names of data set and classes."""
        return hashlib.sha256("\n".join((self.name, *self.class_names)).encode()).hexdigest()[:16]

    @cached_property
    def content(self) -> str:
        """A sha256, in hexadecimal, of rows, labels, class names, categories and test rows, but not of the name."""
        digest = hashlib.sha256(repr((self.x.shape, self.class_names, dict(self.categories))).encode())
        for part in (self.x, self.y, *(() if self.test_rows is None else (self.test_rows,))):
            digest.update(np.ascontiguousarray(part).data)
        return digest.hexdigest()

    @property
    def class_counts(self) -> np.ndarray:
        """Rows of each class, `[C]`, int64."""
        return np.bincount(self.y, minlength=self.num_classes)

    @property
    def pool_rows(self) -> np.ndarray:
        """The rows that are no fixed test rows, `[n - M]` int64, in order."""
        rows = np.arange(len(self))
        return rows if self.test_rows is None else np.delete(rows, self.test_rows)

    def check_classes(self, wanted_by: str) -> None:
        """Raise AlmetaError if targets are numbers, and something, such as "a stream", is for classes alone."""
        if self.target == "numbers":
            raise AlmetaError(
                f"data set {self.name!r} has numbers as targets; {wanted_by} is for classes: choose a data set with "
                "classes"
            )

    def rows_of(self, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows of some classes and their new labels, `[m]` int64 each.

        The classes become 0, 1, ... in the order in which they are given.
        """
        renumber = np.full(self.num_classes, -1)
        renumber[classes] = np.arange(len(classes))
        rows = np.flatnonzero(renumber[self.y] >= 0)
        return rows, renumber[self.y[rows]]


def as_float32(x: np.ndarray) -> np.ndarray:
    """Return columns `[n, d]` float64 as float32, shifted if float32 would make different values equal.

    Coordinates such as 5412345.1 and 5412345.2, and times in seconds since 1970, are equal in float32. The shift is
    near the median and a multiple of a power of two, so that it loses nothing. A column that varies as much as it is
    large is never shifted.
    """
    with np.errstate(over="ignore", invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a column without any value
        low, high = np.nanmin(x, 0), np.nanmax(x, 0)
        span = high - low
        numbers = x.astype(np.float32)
        for column in np.flatnonzero((span > 0) & (np.maximum(high, -low) > 2 * span) & np.isfinite(span)):
            values = x[:, column]
            if len(np.unique(numbers[:, column])) < len(np.unique(values)):
                unit = 2.0 ** np.floor(np.log2(span[column]) - 2)
                numbers[:, column] = values - np.rint(np.nanmedian(values) / unit) * unit
    return numbers
