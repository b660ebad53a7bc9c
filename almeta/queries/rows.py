"""Rows of any kind as features for learners and policies."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse
import torch
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from torch import Tensor

from almeta.data.cells import EPOCH
from almeta.data.dataset import Dataset
from almeta.data.frames import NO_LABEL, Features, table_features
from almeta.data.preparation import prepare
from almeta.errors import AlmetaError

# Sparse rows and texts with more columns are projected on as many directions: distances need dense rows.
COMPONENTS = 100


def read_rows(X: Any, y: np.ndarray | None = None, keep: Sequence[str] = ()) -> Tensor:
    """Return rows as features `[N, D]` float32, prepared as environments prepare a pool (`almeta.data.preparation`).

    Args:
        X: N rows. A data frame may have numbers, categories, dates and missing values; columns that repeat the labels,
            count the rows or identify them are left out with a warning. An array `[N, D]` has numbers, and NaN for
            missing ones; an array `[N, H, W]` or `[N, H, W, channels]` has images. A list or series of texts becomes
            tf-idf. Sparse matrices are taken as they are. Of texts and sparse matrices with more than `COMPONENTS`
            columns, the leading singular directions are kept (latent semantic analysis). A `Dataset` may be given, too;
            its labels are not looked at.
        y: `[N]` int64 class numbers, -1 for none, by which columns that repeat the labels are found.
        keep: columns of a data frame to use, whatever they contain.

    Raises:
        AlmetaError: without any row or column, for infinite values, and for rows of another kind.
    """
    if isinstance(X, Tensor):
        X = (X.float() if X.dtype == torch.bfloat16 else X).detach().cpu().numpy()
    if _is_text(X):
        X = _tf_idf(list(X))
    if scipy.sparse.issparse(X):
        return _dense(X)
    if isinstance(X, Dataset):
        dataset = X
    else:
        dataset = _table(X, y, keep) if isinstance(X, pd.DataFrame) else _array(X)
    x, _ = prepare(dataset, np.arange(len(dataset)), np.arange(0))
    return torch.as_tensor(x)


def _is_text(X: Any) -> bool:
    """Return whether rows are texts."""
    if isinstance(X, pd.DataFrame | Dataset) or scipy.sparse.issparse(X) or not hasattr(X, "__len__") or not len(X):
        return False
    texts = [isinstance(row, str) for row in X]
    if any(texts) and not all(texts):
        row = texts.index(False)
        raise AlmetaError(f"X is texts, but row {row} is {X[row] if isinstance(X, list) else None!r}; write '' there")
    return all(texts)


def _tf_idf(texts: list[str]) -> Any:
    try:
        return TfidfVectorizer(sublinear_tf=True).fit_transform(texts)
    except ValueError as error:  # no words at all
        raise AlmetaError(f"X has {len(texts)} texts and no word of two letters in them") from error


def _dense(X: Any) -> Tensor:
    """Return sparse rows, or their leading singular directions, as a tensor."""
    if not X.shape[0] or not X.shape[1]:
        raise AlmetaError(f"X has the shape {[*X.shape]}; it must have rows and columns")
    X = X.tocsr().astype(np.float64)
    if not np.isfinite(X.data).all():
        raise AlmetaError("X has values that are NaN or infinite; sparse matrices may not")
    if X.shape[1] <= COMPONENTS:
        return torch.as_tensor(X.toarray().astype(np.float32))
    found = TruncatedSVD(min(COMPONENTS, X.shape[1] - 1), random_state=0).fit_transform(X)
    return torch.as_tensor(found.astype(np.float32))


def _table(X: pd.DataFrame, y: np.ndarray | None, keep: Sequence[str]) -> Dataset:
    frame = X.copy(deep=False)
    frame.columns = pd.Index(map(str, X.columns))
    times = []  # days in a row do not count rows
    for name, cells in frame.items():
        frame[name] = _plain(cells)
        times += [name] if frame[name].dtype != cells.dtype else []
    labels = np.full(len(X), -1) if y is None else y
    kept, fitted = [*map(str, keep), *times], np.ones(len(X), bool)
    found = table_features(frame.reset_index(drop=True), labels, "X", fitted, kept, as_text="X[{!r}]")
    return found.dataset("X", np.zeros(len(X), np.int64), NO_LABEL, "given")


def _plain(cells: pd.Series) -> pd.Series:
    """Return dates, times and decimals of any type as numbers (days since 1970, days), other cells as they are."""
    kind = pd.api.types.infer_dtype(cells, skipna=True)
    if kind == "decimal":
        return cells.astype(np.float64)
    if kind in ("timedelta", "timedelta64"):
        return pd.to_timedelta(cells) / pd.Timedelta(days=1)
    if kind == "period":
        cells = cells.dt.to_timestamp() if hasattr(cells, "dt") else cells.map(lambda one: one.to_timestamp())
    elif kind not in ("date", "datetime", "datetime64"):
        if kind == "mixed" and cells.map(lambda cell: isinstance(cell, list | dict | set | np.ndarray)).any():
            raise AlmetaError(f"X: column {cells.name!r} has cells that are lists; make each entry a column of its own")
        return cells
    return (pd.to_datetime(cells, utc=True) - EPOCH) / pd.Timedelta(days=1)


def _array(X: Any) -> Dataset:
    try:
        array = np.asarray(X, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise AlmetaError(
            f"X is {type(X).__name__} with values that are no numbers ({error}); make it a pandas data frame, in which "
            "columns may be categories"
        ) from error
    if array.ndim not in (2, 3, 4) or not array.size:
        raise AlmetaError(
            f"X has the shape {[*array.shape]}; it must be rows [N, D], images [N, H, W], or a data frame"
        )
    if array.ndim == 4 and array.shape[3] not in (1, 3, 4):
        raise AlmetaError(f"X has the shape {[*array.shape]}; images in colour are [N, H, W, channels]")
    if array.ndim == 4:
        array = array[..., :3].mean(3)  # without transparency
    shape = array.shape[1:] if array.ndim == 3 else None
    rows = array.reshape(len(array), -1)
    if infinite := int(np.isinf(rows).sum()):
        raise AlmetaError(f"X has {infinite} infinite values; use NaN where a value is missing")
    missing = bool(np.isnan(rows).any())
    if missing and shape is not None:
        raise AlmetaError("X has images with NaN; fill them in, or leave these images out")
    return Features(rows, missing=missing, image_shape=shape).dataset(
        "X", np.zeros(len(rows), np.int64), NO_LABEL, "given"
    )
