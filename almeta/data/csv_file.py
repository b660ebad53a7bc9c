"""A table of your own: `csv:PATH`."""

from collections.abc import Sequence
from pathlib import Path

from almeta.data.dataset import Dataset
from almeta.data.frames import dataset_of
from almeta.data.reading import read_csv


def load(
    path: str, target: str | None = None, keep: Sequence[str] = (), missing: Sequence[str] | None = None
) -> Dataset:
    """Return the rows of a file of comma-separated values with a header; `almeta.data.reading` describes the file.

    Args:
        path: of the file, `.csv` or `.csv.gz`.
        target: name of the label column; None for the last one called "target", "label" or "class".
        keep: columns to use even if they seem to repeat the labels, to count the rows or to be identifiers.
        missing: cells that stand for a missing value, besides empty ones; None for the usual signs and words.

    Raises:
        AlmetaError: if the file cannot be read, or is not a table for classification.
    """
    file = Path(path).expanduser()
    frame, found = read_csv(file, target, missing)
    source = f"the file {path}, with the labels in column {found!r}"
    return dataset_of(frame, found, f"csv:{path}", source, str(file), keep)
