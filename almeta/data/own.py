"""Rows of one's own, labelled or not, as the commands that ask for labels need them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from almeta.data.dataset import Dataset
from almeta.data.frames import Features, classes_of
from almeta.data.reading import Columns, read_table
from almeta.data.table_file import features_maker

NO_LABEL = ("",)  # the class names of `Own.dataset`


@dataclass(frozen=True, eq=False)
class Own:
    """All rows of a source, in its order.

    Attributes:
        path: of the file or folder.
        dataset: features of all rows; for `prepare`. Its y is 0 everywhere and says nothing.
        labels: of each row, as text; None where there is none.
        class_names: the different labels, sorted, by value if all are numbers.
        frame: what to show of each row, `[n]` rows with cells as they are written.
        target: name of the label column; None if there is none yet.
        set_aside: why a column is not used, by its name.
    """

    path: Path
    dataset: Dataset
    labels: list[str | None]
    class_names: tuple[str, ...]
    frame: pd.DataFrame
    target: str | None
    set_aside: dict[str, str]


def read_own(
    source: str | Path,
    target: str | None = None,
    text: str | None = None,
    ignore: Sequence[str] = (),
    keep: Sequence[str] = (),
    missing: Sequence[str] | None = None,
    terms: int = 2000,
    embedding: str | None = None,
    encoding: str = "utf-8",
) -> Own:
    """Return the rows of a file of yours, of which all, some or none have a label.

    Args:
        source: a file, with or without `csv:` or `table:` before it.
        target: name of the label column; None for the last one called "target", "label" or "class", if there is one.
        text: name of a column of text to learn from, instead of all columns.
        ignore: columns to leave out of the features; they are shown all the same.
        keep: columns to use even if they seem to repeat the labels, to count the rows or to be identifiers.
        missing: cells that stand for a missing value, besides empty ones; None for the usual signs and words.
        terms: of text, the largest number of terms.
        embedding: of text, a model of sentence-transformers instead of terms.
        encoding: of a text file.

    Raises:
        AlmetaError: if it cannot be read, a named column is not there, or labels look alike or are no classes.
    """
    path = Path(str(source).removeprefix("csv:").removeprefix("table:")).expanduser()
    as_text = [] if text is None else [text]
    table = read_table(path, Columns(target, ignore, as_text, missing, encoding, labelled=False))
    where, frame = str(path), table.frame
    cells = pd.Series(np.nan, frame.index, object) if table.target is None else frame.pop(table.target)
    y, class_names = classes_of(cells, where)
    found = features_maker(text, keep, terms, embedding)(frame, y, where, np.ones(len(y), bool))
    return Own(
        path,
        _unlabelled(found, f"table:{path}", f"the file {path}"),
        [None if k < 0 else class_names[k] for k in y.tolist()],
        class_names,
        table.written,
        table.target,
        found.set_aside,
    )


def _unlabelled(found: Features, name: str, source: str) -> Dataset:
    return Dataset(
        name=name,
        x=found.x,
        y=np.zeros(len(found.x), np.int64),
        class_names=NO_LABEL,
        source=source,
        columns=found.columns,
        categories=found.categories,
        missing=found.missing,
        kind=found.kind,
    )
