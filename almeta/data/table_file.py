"""A table of your own: `csv:PATH`, or `table:PATH` for any form of file."""

import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from almeta.checks import Count
from almeta.data.dataset import Dataset
from almeta.data.frames import Make, dataset_of, table_features
from almeta.data.reading import Columns, read_table
from almeta.data.texts import text_features
from almeta.errors import AlmetaError


def load(
    path: str,
    target: str | None = None,
    text: str | None = None,
    ignore: Sequence[str] = (),
    keep: Sequence[str] = (),
    missing: Sequence[str] | None = None,
    test: str | None = None,
    split: str | None = None,
    terms: Count = 2000,
    embedding: str | None = None,
    encoding: str = "utf-8",
    numbers: bool = False,
) -> Dataset:
    """Return the rows of a file with a header: comma-separated values, Parquet, or the first sheet of Excel.

    `almeta.data.formats` describes the files. Rows without a label are set aside with a warning.

    Args:
        path: of the file.
        target: name of the label column; None for the last one called "target", "label" or "class".
        text: name of a column of text to learn from, instead of all columns.
        ignore: columns to leave out.
        keep: columns to use even if they seem to repeat the labels, to count the rows or to be identifiers.
        missing: cells that stand for a missing value, besides empty ones; None for the usual signs and words.
        test: a file of the same columns, whose rows are the fixed test set.
        split: name of a column that says "train" or "test" of each row; those of "test" are the fixed test set.
        terms: of text, the largest number of terms.
        embedding: of text, a model of sentence-transformers instead of terms.
        encoding: of a text file.
        numbers: whether the label column has numbers to predict, in place of classes.

    Raises:
        AlmetaError: if a file cannot be read, the labels are no classes, or, with `numbers`, no numbers.
    """
    file = Path(path).expanduser()
    if test is not None and split is not None:
        raise AlmetaError(f"test={test} and split={split} both name a test set of {path}; name one")
    as_text = [column for column in (text, split) if column is not None]
    columns = Columns(target, ignore, as_text, missing, encoding)
    table = read_table(file, columns, None if test is None else Path(test).expanduser())
    frame, found, is_test = table.frame, str(table.target), None
    if test is not None:
        is_test = np.arange(len(frame)) >= table.sizes[0]
        rows = pd.util.hash_pandas_object(frame.drop(columns=found), index=False)
        if same := int(rows[is_test].isin(rows[~is_test]).sum()):
            number = int(is_test.sum())
            warnings.warn(f"{same} of {number} rows of {test} are also in {path}: scores on them flatter", stacklevel=2)
    if split is not None:
        frame, is_test = _split(frame, split, str(file))
    source = f"the file {path}, with the labels in column {found!r}"
    make = features_maker(text, keep, terms, embedding)
    return dataset_of(frame, found, f"table:{path}", source, str(file), make, is_test, numbers)


def features_maker(text: str | None, keep: Sequence[str], terms: int, embedding: str | None) -> Make:
    """Return how to make features: of all columns, or of one column of text."""
    if text is not None:
        return partial(text_features, column=text, terms=terms, embedding=embedding)
    if embedding is not None:
        raise AlmetaError(f"embedding={embedding} is for text; name the column with text=COLUMN")
    return partial(table_features, keep=keep, as_text="text={}")


def _split(frame: pd.DataFrame, column: str, where: str) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the rows of "train" and "test" without the column, and which are of "test", `[n]` bool.

    Raises:
        AlmetaError: if there are none of either.
    """
    parts = frame[column].str.lower()
    for part in ("train", "test"):
        if not (parts == part).any():
            found = ", ".join(map(repr, frame[column].dropna().unique()[:5]))
            raise AlmetaError(
                f"{where}: column {column!r} has no row of {part!r} but {found}; write train and test in it, or name "
                f"another column with split=COLUMN"
            )
    used = parts.isin(("train", "test"))
    if others := int((~used).sum()):
        warnings.warn(
            f"{where}: {others} of {len(frame)} rows have neither train nor test in column {column!r}, and are set "
            f"aside",
            stacklevel=3,
        )
    return frame[used].drop(columns=column), (parts[used] == "test").to_numpy()
