"""A table of your own: `csv:PATH`."""

from pathlib import Path

from almeta.data.dataset import Dataset
from almeta.data.frames import dataset_of, read_csv


def load(path: str, target: str | None = None) -> Dataset:
    """The rows of a file of comma-separated values with a header; see `almeta.data.frames` for what it may hold.

    Args:
        path: of the file, `.csv` or `.csv.gz`.
        target: name of the column with the labels; None for the last one called "target", "label" or "class".

    Raises:
        AlmetaError: naming the file, and the column and the value where there is one.
    """
    file = Path(path).expanduser()
    frame, found = read_csv(file, target)
    return dataset_of(frame, found, f"csv:{path}", f"the file {path}, with the labels in column {found!r}", str(file))
