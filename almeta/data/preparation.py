"""Turning a data set's rows into features for learners, with everything fitted on the pool's rows alone."""

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
import pandas as pd

from almeta.data.dataset import Dataset
from almeta.errors import AlmetaError, did_you_mean

Scale = Literal["standard", "minmax", "none"]
Transform = Callable[[np.ndarray], np.ndarray]

LIMIT = 10.0  # scaled values are clipped to -LIMIT .. LIMIT: one odd row must not dominate all others
MAX_CATEGORIES = 50  # of a column; rarer ones count as unknown
FLAT = 1e-12  # a column varies if its standard deviation, or range, is more than this share of its values
LARGEST = np.finfo(np.float32).max


def prepare(
    dataset: Dataset,
    pool_rows: np.ndarray,
    test_rows: np.ndarray,
    scale: Scale = "standard",
    components: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Fill in, encode and scale rows of a data set; everything is fitted on the pool alone.

    - Missing numbers become the median of their column, missing categories the most frequent one; a column without any
      value becomes 0.
    - Categories become columns of 0 and 1, not scaled, after the numeric columns: the `MAX_CATEGORIES` most frequent
      ones of each column. Rarer ones, and those that the pool lacks, are 0 everywhere.
    - Numbers are scaled column by column, "standard" to zero mean and unit variance, "minmax" to -1 .. 1, then clipped
      to -`LIMIT` .. `LIMIT`; a column that is constant in the pool becomes 0. "none" leaves them as they are.
    - All pixels of images share one standard deviation, or one range; "standard" also subtracts the mean image.
    - Text becomes tf-idf of the terms in the pool, rows of unit length (smooth idf, as in scikit-learn); `scale` does
      not apply.
    - Tokens of text, which are numbers of words, stay as they are.

    Args:
        dataset: of any kind.
        pool_rows: `[N]` int64, at least one.
        test_rows: `[M]` int64.
        scale: "standard", "minmax" or "none".
        components: largest number of principal components of the pool to keep, without centring for text (latent
            semantic analysis); None keeps the columns.

    Returns:
        The pool `[N, D']` and the test rows `[M, D']`, float32, finite.

    Raises:
        AlmetaError: for an unknown scale, an empty pool, no components, or components of tokens.
    """
    _check(dataset, pool_rows, scale, components)
    pool, test = dataset.x[pool_rows], dataset.x[test_rows]
    if dataset.kind == "tokens":
        return pool, test
    if dataset.kind == "text":
        transform = _tf_idf(pool)
    elif dataset.categories or dataset.missing:
        transform = _filling_and_encoding(dataset, pool, scale)
    else:
        transform = _scaling(pool, scale, shared=dataset.kind == "image")
    pool, test = transform(pool), transform(test)
    if not pool.shape[1]:  # the pool has no category or no term; one constant column stands for none
        pool, test = np.zeros((len(pool), 1), np.float32), np.zeros((len(test), 1), np.float32)
    if components is not None:
        project = _projection(pool, components, centre=dataset.kind != "text")
        pool, test = project(pool), project(test)
    return pool, test


def _check(dataset: Dataset, pool_rows: np.ndarray, scale: str, components: int | None) -> None:
    """Raise as `prepare` does."""
    if scale not in get_args(Scale):
        raise AlmetaError(did_you_mean(str(scale), get_args(Scale), "scale"))
    if len(pool_rows) == 0:
        raise AlmetaError(f"the pool drawn from data set {dataset.name!r} is empty; it needs at least one row")
    if components is not None and components < 1:
        raise AlmetaError(f"components={components}; keep at least 1, or null to keep the columns as they are")
    if components is not None and dataset.kind == "tokens":
        raise AlmetaError(
            f"components={components}, but data set {dataset.name!r} has tokens, which are numbers of words; set "
            "components=null, or load counts of terms with form=counts"
        )


def _scaling(pool: np.ndarray, scale: Scale, shared: bool = False) -> Transform:
    """Return how to scale each column, or with `shared` all columns alike."""
    if scale == "none" or not pool.size:
        return lambda rows: rows
    axis = None if shared else 0
    if scale == "standard":
        centre = pool.mean(0, dtype=np.float64)  # [D]
        spread = np.sqrt(np.square(pool - centre).mean(axis))
    else:
        low, high = pool.min(axis).astype(np.float64), pool.max(axis).astype(np.float64)
        centre, spread = (low + high) / 2, (high - low) / 2
    varies = spread > FLAT * (np.abs(centre).max() if shared else np.abs(centre))
    factor = np.where(varies, 1 / np.where(varies, spread, 1), 0.0)
    return lambda rows: np.clip((rows - centre) * factor, -LIMIT, LIMIT).astype(np.float32)


def _filling_and_encoding(dataset: Dataset, pool: np.ndarray, scale: Scale) -> Transform:
    """Return how to fill in and scale the numeric columns, and to append those of the categories."""
    numeric = [column for column in range(pool.shape[1]) if column not in dataset.categories]
    # In float64, as the mean of two large float32 may overflow; 0 for a column without any value.
    medians = pd.DataFrame(pool[:, numeric].astype(np.float64)).median().fillna(0).to_numpy(np.float32)

    def filled(rows: np.ndarray) -> np.ndarray:
        return np.where(np.isnan(rows[:, numeric]), medians, rows[:, numeric])

    scaled = _scaling(filled(pool), scale)
    one_hot = {column: _one_hot(pool[:, column]) for column in sorted(dataset.categories)}
    return lambda rows: np.concatenate(
        [scaled(filled(rows)), *(encode(rows[:, column]) for column, encode in one_hot.items())], 1
    )


def _one_hot(pool: np.ndarray) -> Transform:
    """Return how to encode a column `[n]` of categories as `[n, K]` of 0 and 1, K those of the pool, by position."""
    found, counts = np.unique(pool[~np.isnan(pool)], return_counts=True)
    by_count = np.argsort(-counts, kind="stable")
    kept = np.sort(found[by_count[:MAX_CATEGORIES]])
    most_frequent = found[by_count[0]] if len(found) else np.nan
    return lambda column: (np.where(np.isnan(column), most_frequent, column)[:, None] == kept).astype(np.float32)


def _tf_idf(pool: np.ndarray) -> Transform:
    """Return how to weigh counts by `log((1 + N) / (1 + rows with the term)) + 1`, then scale rows to unit length."""
    used = np.count_nonzero(pool, 0)  # [D]: rows of the pool with the term
    terms = np.flatnonzero(used)
    idf = np.log((1 + len(pool)) / (1 + used[terms])) + 1

    def weighted(counts: np.ndarray) -> np.ndarray:
        rows = counts[:, terms] * idf.astype(np.float32)
        length = np.linalg.norm(rows, axis=1, keepdims=True)
        return rows / np.where(length > 0, length, 1)

    return weighted


def _projection(pool: np.ndarray, components: int, centre: bool) -> Transform:
    """Return how to project rows on the leading right singular vectors of the pool.

    The largest entry of each vector is positive.
    """
    mean = pool.mean(0, dtype=np.float64) if centre else np.zeros(pool.shape[1])
    rows = pool - mean  # float64
    wide = rows.shape[0] < rows.shape[1]
    # Of the two products of the pool with itself, the smaller one has the same leading eigenvalues.
    values, vectors = np.linalg.eigh(rows @ rows.T if wide else rows.T @ rows)
    kept = min(components, len(values))
    directions = vectors[:, ::-1][:, :kept]
    if wide:
        scale = np.sqrt(np.maximum(values[::-1][:kept], 0))
        vanishing = scale <= 1e-7 * max(scale[0], 1e-30)
        directions = rows.T @ directions / np.where(vanishing, 1, scale)
        directions[:, vanishing] = 0
    largest = np.abs(directions).argmax(0)
    directions = directions * np.where(directions[largest, np.arange(kept)] < 0, -1, 1)  # [D, kept]
    return lambda rows: np.clip((rows - mean) @ directions, -LARGEST, LARGEST).astype(np.float32)
