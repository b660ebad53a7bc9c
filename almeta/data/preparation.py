"""From a data set's rows to numbers that learners like, with nothing learnt from any but the pool's rows."""

from typing import Literal, get_args

import numpy as np

from almeta.data.dataset import Dataset
from almeta.errors import AlmetaError, did_you_mean

Scale = Literal["standard", "minmax", "none"]

LIMIT = 10.0  # scaled values are cut to -LIMIT .. LIMIT: one odd row must not drown all others
MAX_CATEGORIES = 50  # of a column; rarer ones look like unknown ones
FLAT = 1e-12  # a column varies if its standard deviation, or range, is more than this share of its values
LARGEST = np.finfo(np.float32).max


def prepare(
    dataset: Dataset,
    pool_rows: np.ndarray,
    test_rows: np.ndarray,
    scale: Scale = "standard",
    components: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Fill in, encode and scale rows of a data set; whatever has to be fitted is fitted on the pool alone.

    - Missing numbers become their column's median, missing categories its most frequent one; a column without a
      single value becomes 0.
    - Categories become columns of 0 and 1, not scaled, after the numeric columns: at most `MAX_CATEGORIES` a column,
      the most frequent ones. Others, and those that the pool does not have, are 0 everywhere.
    - Numbers are scaled column by column, "standard" to zero mean and unit variance, "minmax" to -1 .. 1, then cut
      to -`LIMIT` .. `LIMIT`; a column that is constant in the pool becomes 0. "none" leaves them as they are.
    - Images keep their geometry: all pixels share one standard deviation, or one range; "standard" also takes the
      mean image off.
    - Text becomes tf-idf, rows of unit length, of the terms that the pool has (smooth idf, as in scikit-learn);
      `scale` does not apply.

    Args:
        dataset: of any kind.
        pool_rows: `[N]` int64, at least one.
        test_rows: `[M]` int64.
        scale: "standard", "minmax" or "none".
        components: keep this many principal components of the pool, without centring for text (latent semantic
            analysis), or as many as there are; None keeps the columns.

    Returns:
        The pool `[N, D']` and the test rows `[M, D']`, float32, finite.

    Raises:
        AlmetaError: for an unknown scale, an empty pool or no components.
    """
    _check(dataset, pool_rows, scale, components)
    pool, test = dataset.x[pool_rows], dataset.x[test_rows]
    if dataset.kind == "text":
        pool, test = _tf_idf(pool, test)
    elif dataset.categories or dataset.missing:
        pool, test = _filled_and_encoded(dataset, pool, test, scale)
    else:
        pool, test = _scaled(pool, test, scale, shared=dataset.kind == "image")
    if not pool.shape[1]:  # the pool has no category, or no term: a column that tells nobody apart
        pool, test = np.zeros((len(pool), 1), np.float32), np.zeros((len(test), 1), np.float32)
    if components is not None:
        pool, test = _projected(pool, test, components, centre=dataset.kind != "text")
    return pool, test


def _check(dataset: Dataset, pool_rows: np.ndarray, scale: str, components: int | None) -> None:
    """Raise as `prepare` does."""
    if scale not in get_args(Scale):
        raise AlmetaError(did_you_mean(str(scale), get_args(Scale), "scale"))
    if len(pool_rows) == 0:
        raise AlmetaError(f"the pool drawn from data set {dataset.name!r} is empty; it needs at least one row")
    if components is not None and components < 1:
        raise AlmetaError(f"components={components}; keep at least 1, or null to keep the columns as they are")


def _scaled(pool: np.ndarray, test: np.ndarray, scale: Scale, shared: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Scale each column, or with `shared` all columns alike."""
    if scale == "none" or not pool.size:
        return pool, test
    axis = None if shared else 0
    if scale == "standard":
        centre = pool.mean(0, dtype=np.float64)  # [D]
        spread = np.sqrt(np.square(pool - centre).mean(axis))
    else:
        low, high = pool.min(axis).astype(np.float64), pool.max(axis).astype(np.float64)
        centre, spread = (low + high) / 2, (high - low) / 2
    varies = spread > FLAT * (np.abs(centre).max() if shared else np.abs(centre))
    factor = np.where(varies, 1 / np.where(varies, spread, 1), 0.0)

    def scaled(rows: np.ndarray) -> np.ndarray:
        return np.clip((rows - centre) * factor, -LIMIT, LIMIT).astype(np.float32)

    return scaled(pool), scaled(test)


def _filled_and_encoded(
    dataset: Dataset, pool: np.ndarray, test: np.ndarray, scale: Scale
) -> tuple[np.ndarray, np.ndarray]:
    """Numeric columns, filled in and scaled, then the columns of the categories."""
    numeric = [column for column in range(pool.shape[1]) if column not in dataset.categories]
    filling = _medians(pool[:, numeric])
    known, other = (np.where(np.isnan(rows), filling, rows) for rows in (pool[:, numeric], test[:, numeric]))
    parts = [_scaled(known, other, scale)]
    parts += [_one_hot(pool[:, column], test[:, column]) for column in sorted(dataset.categories)]
    return np.concatenate([part[0] for part in parts], 1), np.concatenate([part[1] for part in parts], 1)


def _medians(x: np.ndarray) -> np.ndarray:
    """The median `[D]` float32 of the values of each column that are there; 0 where there are none."""
    ordered = np.sort(x, 0)  # NaN comes last
    counts = len(x) - np.isnan(x).sum(0)
    middle = np.stack([(counts - 1) // 2, counts // 2])  # [2, D]; -1 without any value: a NaN
    low, high = np.take_along_axis(ordered, middle, 0).astype(np.float64)
    return np.where(counts > 0, (low + high) / 2, 0).astype(np.float32)


def _one_hot(pool: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A column `[n]` of categories as `[n, K]` of 0 and 1, K those of the pool, by their position."""
    found, counts = np.unique(pool[~np.isnan(pool)], return_counts=True)
    by_count = np.argsort(-counts, kind="stable")
    kept = np.sort(found[by_count[:MAX_CATEGORIES]])
    filling = found[by_count[0]] if len(found) else np.nan

    def encoded(column: np.ndarray) -> np.ndarray:
        return (np.where(np.isnan(column), filling, column)[:, None] == kept).astype(np.float32)

    return encoded(pool), encoded(test)


def _tf_idf(pool: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counts times `log((1 + N) / (1 + rows with the term)) + 1`, then every row to unit length."""
    used = np.count_nonzero(pool, 0)  # [D]: rows of the pool with the term
    terms = np.flatnonzero(used)
    idf = np.log((1 + len(pool)) / (1 + used[terms])) + 1

    def weighted(counts: np.ndarray) -> np.ndarray:
        rows = counts[:, terms] * idf.astype(np.float32)
        length = np.linalg.norm(rows, axis=1, keepdims=True)
        return rows / np.where(length > 0, length, 1)

    return weighted(pool), weighted(test)


def _projected(pool: np.ndarray, test: np.ndarray, components: int, centre: bool) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates along the leading right singular vectors of the pool, each with its largest entry positive."""
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

    def projected(rows: np.ndarray) -> np.ndarray:
        return np.clip((rows - mean) @ directions, -LARGEST, LARGEST).astype(np.float32)

    return projected(pool), projected(test)
