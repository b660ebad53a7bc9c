"""The one function for whoever has rows without labels."""

from collections.abc import Sequence
from typing import Any, Literal, overload

import numpy as np
import torch

from almeta.queries.labelling import By, Labelling


@overload
def query(
    X: Any,
    y: Any,
    n: int = ...,
    by: By = ...,
    learner: Any = ...,
    classes: Sequence[Any] | None = ...,
    budget: int | None = ...,
    return_utilities: Literal[False] = ...,
    seed: int | torch.Generator = ...,
    missing: Any = ...,
    keep: Sequence[str] = ...,
) -> np.ndarray: ...


@overload
def query(
    X: Any,
    y: Any,
    n: int = ...,
    by: By = ...,
    learner: Any = ...,
    classes: Sequence[Any] | None = ...,
    budget: int | None = ...,
    *,
    return_utilities: Literal[True],
    seed: int | torch.Generator = ...,
    missing: Any = ...,
    keep: Sequence[str] = ...,
) -> tuple[np.ndarray, np.ndarray]: ...


def query(
    X: Any,
    y: Any,
    n: int = 5,
    by: By = "transfer",
    learner: Any = None,
    classes: Sequence[Any] | None = None,
    budget: int | None = None,
    return_utilities: bool = False,
    seed: int | torch.Generator = 0,
    missing: Any = -1,
    keep: Sequence[str] = (),
) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
    """Return which rows to label next: `query(X, y, n=20)`.

    Args:
        X: N rows: a data frame (numbers, categories, dates, missing values), an array of numbers or images, a sparse
            matrix, or texts; see `almeta.queries.rows.read_rows`.
        y: their labels, of any kind; None, NaN or `missing` where there is none. None for no label at all.
        n: number of rows.
        by: a strategy, alone or with options (`{"name": "information_density", "beta": 2}`); a trained policy, by its
            name or the folder of its run; or an object with `initial` and `step`.
        learner: see `Labelling`: a name of almeta, or any classifier or pipeline of scikit-learn, fitted or not.
        classes: the class values; None for those that occur in y.
        budget: labels that will be asked for in all, beyond the first one of each class; policies may look at it.
        return_utilities: whether to return the utilities, too.
        seed: breaks ties, and draws for strategies and learners with chance; or a generator.
        keep: columns of a data frame to use even if they seem to repeat the labels, count the rows or identify them.
        missing: a value that stands for no label besides None and NaN, unless it is one of `classes`.

    Returns:
        Row numbers `[n]` int64, the best first; and their utilities `[n]` float32 if asked for. Fewer, with a warning,
        if fewer rows have no label; none if all have one. `Labelling.ask` tells how several rows are chosen, and
        what happens with no label or one class only.

    Raises:
        AlmetaError: for rows, labels or names that do not fit.
    """
    labelling = Labelling(
        X, y, by=by, learner=learner, classes=classes, budget=budget, missing=missing, keep=keep, seed=seed
    )
    questions = labelling.ask(n, explain=False)
    return (questions.rows, questions.utilities) if return_utilities else questions.rows
