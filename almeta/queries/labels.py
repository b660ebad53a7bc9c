"""Labels of any kind, some of them missing, as class numbers."""

import warnings
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from almeta.errors import AlmetaError, did_you_mean


def read_labels(
    y: Any, num_rows: int, classes: Sequence[Any] | None = None, missing: Any = -1
) -> tuple[np.ndarray, tuple[Any, ...]]:
    """Return class numbers `[N]` int64, -1 for rows without a label, and the class values that they number.

    Args:
        y: N labels of any kind that can be compared; None, NaN and `missing` stand for no label. None for no label at
            all.
        num_rows: N.
        classes: the class values in the order of their numbers; None for those that occur, sorted.
        missing: a further value that stands for no label, unless it is among `classes`.

    Raises:
        AlmetaError: for another number of labels, a label that is not in `classes`, classes given twice, and without
            `classes` for numbers with a fraction, which are amounts, as in scikit-learn; categories of pandas are not.
    """
    if isinstance(missing, list | tuple | set | dict | np.ndarray):
        raise AlmetaError(f"missing is {missing!r}; it is one value that stands for no label, such as '?'")
    labels = pd.Series([None] * num_rows if y is None else _flat(y), dtype=object)
    if len(labels) != num_rows:
        raise AlmetaError(f"X has {num_rows} rows and y {len(labels)} labels; give one label, or None, for each row")
    if missing is not None and (classes is None or missing not in list(classes)):
        labels = _without(labels, missing)
    try:
        known = labels.dropna().unique().tolist()
    except TypeError as error:
        raise AlmetaError(f"y has labels that are no single values ({error}); give one value for each row") from error
    if classes is None and not isinstance(getattr(y, "dtype", None), pd.CategoricalDtype):
        _check_no_amounts(known)
    values = _sorted(known) if classes is None else tuple(classes)
    numbers = {value: number for number, value in enumerate(values)}
    if len(numbers) < len(values):
        raise AlmetaError(f"classes are {list(values)}, with one of them twice; name each once")
    for value in known:
        if value not in numbers and values:
            kinds = {type(one).__name__ for one in values}
            hint = f" (it is {type(value).__name__}, the classes are {', '.join(sorted(kinds))})"
            told = hint if type(value).__name__ not in kinds else ""
            raise AlmetaError(f"y: {did_you_mean(str(value), map(str, values), 'class')}{told}")
        if value not in numbers:
            raise AlmetaError(f"y: unknown class {value!r}, as no class is known yet; name them all with classes=[...]")
    return labels.map(numbers).fillna(-1).to_numpy(np.int64), values


def _check_no_amounts(known: list[Any]) -> None:
    """Raise for numbers with a fraction among labels of which nobody said that they are classes."""
    amount = next((value for value in known if isinstance(value, float) and not value.is_integer()), None)
    if amount is not None:
        raise AlmetaError(
            f"y has the label {amount!r}, which looks like an amount; labels are classes: group the values, or name "
            "all classes with classes=[...]"
        )


def _without(labels: pd.Series, missing: Any) -> pd.Series:
    """Return labels with None in place of a value, and warn where -1 may be a class."""
    stands = labels.map(lambda label: isinstance(label, Hashable) and label is not pd.NA and label == missing)
    stands = stands.astype(bool)
    if missing == -1 and stands.any() and (labels.isna().any() or set(labels[~stands]) == {1}):
        told = f"{int(stands.sum())} labels are -1 and count as no label; if -1 is a class, pass missing=None"
        warnings.warn(told, stacklevel=4)
    return labels.mask(stands)


def _flat(y: Any) -> list[Any]:
    """Return labels as a list of Python's own values."""
    if isinstance(y, pd.Series | list | tuple):
        return [_plain(one) for one in y]
    array = np.asarray(y)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise AlmetaError(f"y has the shape {[*array.shape]}; it must be one label for each row, [N]")
    return [_plain(one) for one in array.tolist()]


def _plain(label: Any) -> Any:
    """Return a number of NumPy or torch as one of Python."""
    return label.item() if getattr(label, "shape", None) == () else label


def _sorted(values: list[Any]) -> tuple[Any, ...]:
    """Sort class values; those that cannot be compared with each other, by their text."""
    try:
        return tuple(sorted(values))
    except TypeError:
        return tuple(sorted(values, key=lambda value: (type(value).__name__, str(value))))
