"""Labels of any kind, some of them missing, as class numbers."""

from collections.abc import Sequence
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
        AlmetaError: for another number of labels, a label that is not in `classes`, and classes given twice.
    """
    labels = pd.Series([None] * num_rows if y is None else _flat(y), dtype=object)
    if len(labels) != num_rows:
        raise AlmetaError(f"X has {num_rows} rows and y {len(labels)} labels; give one label, or None, for each row")
    if missing is not None and (classes is None or missing not in list(classes)):
        labels = labels.mask(labels == missing)
    known = labels.dropna()
    values = _sorted(known.unique().tolist()) if classes is None else tuple(classes)
    numbers = {value: number for number, value in enumerate(values)}
    if len(numbers) < len(values):
        raise AlmetaError(f"classes are {list(values)}, with one of them twice; name each once")
    for value in known.unique():
        if value not in numbers:
            raise AlmetaError(f"y: {did_you_mean(str(value), map(str, values), 'class')}")
    return labels.map(numbers).fillna(-1).to_numpy(np.int64), values


def _flat(y: Any) -> list[Any]:
    """Return labels as a list."""
    if isinstance(y, pd.Series | list | tuple):
        return list(y)
    array = np.asarray(y)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise AlmetaError(f"y has the shape {[*array.shape]}; it must be one label for each row, [N]")
    return list(array)


def _sorted(values: list[Any]) -> tuple[Any, ...]:
    """Sort class values; those that cannot be compared with each other, by their text."""
    try:
        return tuple(sorted(values))
    except TypeError:
        return tuple(sorted(values, key=lambda value: (type(value).__name__, str(value))))
