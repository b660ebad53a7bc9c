"""Rows of one's own, labelled or not, as the commands that ask for labels need them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from almeta.data.catalogue import FILES
from almeta.data.dataset import Dataset
from almeta.data.folder import Images, read_images
from almeta.data.frames import NO_LABEL, Features, Make, classes_of
from almeta.data.reading import Columns, Table, read_table
from almeta.data.table_file import features_maker
from almeta.errors import AlmetaError


@dataclass(frozen=True, eq=False)
class Own:
    """All rows of a source, in its order.

    Attributes:
        path: of the file or folder.
        dataset: features of all rows; for `prepare`. Its y is 0 everywhere and says nothing.
        labels: of each row, as text; None where there is none.
        class_names: the different labels, sorted, by value if all are numbers.
        frame: what to show of each row, `[n]` rows with cells as they are written.
        target: name of the label column; None if there is none yet; "label" of a folder.
        set_aside: why a column is not used, by its name.
        images: the file of each row of a folder; empty for a table.
    """

    path: Path
    dataset: Dataset
    labels: list[str | None]
    class_names: tuple[str, ...]
    frame: pd.DataFrame
    target: str | None
    set_aside: dict[str, str]
    images: tuple[Path, ...] = ()


def read_own(
    source: str | Path,
    target: str | None = None,
    *,
    text: str | None = None,
    ignore: Sequence[str] = (),
    keep: Sequence[str] = (),
    missing: Sequence[str] | None = None,
    terms: int = 2000,
    embedding: str | None = None,
    encoding: str = "utf-8",
    labels: str | None = None,
    size: int | None = None,
    encoder: str | None = None,
) -> Own:
    """Return the rows of a file or folder of yours, of which all, some or none have a label.

    Args:
        source: a file or a folder, with or without `csv:`, `table:` or `folder:` before it.
        target: name of the label column; None for the last one called "target", "label" or "class", if there is one.
        text: name of a column of text to learn from, instead of all columns.
        ignore: columns to leave out of the features; they are shown all the same.
        keep: columns to use even if they seem to repeat the labels, to count the rows or to be identifiers.
        missing: cells that stand for a missing value, besides empty ones; None for the usual signs and words.
        terms: of text, the largest number of terms.
        embedding: of text, a model of sentence-transformers instead of terms.
        encoding: of a text file.
        labels: of a folder, see `almeta.data.folder.load`, and so are `size` and `encoder`.
        size: side of the square to which images are stretched.
        encoder: of images.

    Raises:
        AlmetaError: if it cannot be read, a named column is not there, labels look alike or are no classes, or an
            option is for sources of the other kind.
    """
    prefix, _, rest = str(source).partition(":")
    path = Path(rest if prefix in FILES else source).expanduser()
    of_tables = {"text": text, "ignore": ignore, "keep": keep, "missing": missing, "embedding": embedding}
    of_folders = {"labels": labels, "size": size, "encoder": encoder}
    is_folder = prefix == "folder" or path.is_dir()
    for key, value in (of_tables if is_folder else of_folders).items():
        if value:
            raise AlmetaError(
                f"{key}={value} is not for {'folders of images' if is_folder else 'tables'}; leave it out"
            )
    if is_folder:
        return _own_images(path, read_images(path, labels, target, size, encoder))
    columns = Columns(target, ignore, [text] if text is not None else [], missing, encoding, labelled=False)
    return _own_table(path, read_table(path, columns), features_maker(text, keep, terms, embedding))


def _own_images(folder: Path, images: Images) -> Own:
    y, class_names = classes_of(images.frame["label"], str(folder))
    found = Features(images.x, image_shape=images.image_shape)
    shown = images.frame[["file"]]
    return _own(folder, f"folder:{folder}", found, y, class_names, shown, "label", tuple(images.paths))


def _own_table(path: Path, table: Table, make: Make) -> Own:
    where, frame = str(path), table.frame
    cells = pd.Series(np.nan, frame.index, object) if table.target is None else frame.pop(table.target)
    y, class_names = classes_of(cells, where)
    found = make(frame, y, where, np.ones(len(y), bool))
    return _own(path, f"table:{path}", found, y, class_names, table.written, table.target)


def _own(
    path: Path,
    name: str,
    found: Features,
    y: np.ndarray,
    class_names: tuple[str, ...],
    shown: pd.DataFrame,
    target: str | None,
    images: tuple[Path, ...] = (),
) -> Own:
    dataset = found.dataset(name, np.zeros(len(y), np.int64), NO_LABEL, str(path))
    labels = [None if k < 0 else class_names[k] for k in y.tolist()]
    return Own(path, dataset, labels, class_names, shown, target, found.set_aside, images)
