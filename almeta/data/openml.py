"""Tables of OpenML: `openml:ID` and `openml:NAME`, kept in the cache.

J. Vanschoren, J. N. van Rijn, B. Bischl and L. Torgo. OpenML: networked science in machine learning. SIGKDD
Explorations 15(2), 49-60, 2013. https://www.openml.org
"""

import gzip
import hashlib
import json
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from sklearn.datasets import fetch_openml

from almeta.data.dataset import Dataset
from almeta.data.files import cache_folder, catalogued, find_file, where_to_put
from almeta.data.frames import dataset_of, table_features
from almeta.data.reading import Columns, read_table
from almeta.errors import AlmetaError
from almeta.files import write_atomically

FOLDER = "tabular"


def load(
    which: str, target: str | None = None, keep: Sequence[str] = (), missing: Sequence[str] | None = None
) -> Dataset:
    """Return a table by its number, or by its name (then the oldest active version).

    It is kept as `tabular/openml-WHICH.csv.gz`, with another target as `openml-WHICH=TARGET.csv.gz`.

    Args:
        which: "61" or "iris".
        target: the label column; None for the one that OpenML names.
        keep: columns to use even if they seem to repeat the labels, to count the rows or to be identifiers.
        missing: cells that stand for a missing value, besides empty ones; None for the usual signs and words.

    Raises:
        AlmetaError: if it cannot be fetched, is damaged, or is not for classification.
    """
    parts = [re.sub(r"[^\w.()+-]", "_", part) for part in (f"openml-{which}", target or "") if part]
    query = {"data_id": int(which)} if which.isdecimal() else {"name": which}
    return load_stored("=".join(parts), f"openml:{which}", query, target, keep=keep, missing=missing)


def load_stored(
    stem: str,
    name: str,
    query: dict[str, Any] | None,
    target: str | None = None,
    shape: tuple[int, int] | None = None,
    keep: Sequence[str] = (),
    missing: Sequence[str] | None = None,
) -> Dataset:
    """Return the table in `tabular/STEM.csv.gz` of the data folder or the cache, else fetch it from OpenML.

    The file is gzip-compressed CSV with a header row and the labels in the last column, `target`. Its digest is checked
    if the record beside it has one.

    Args:
        stem: of the file.
        name: of the data set.
        query: `data_id` or `name` for OpenML; None if OpenML lacks the table.
        target: the label column at OpenML; None for the one that it names.
        shape: rows and classes that the table must have at OpenML; None for any.
        keep: as of `load`.
        missing: as of `load`.

    Raises:
        AlmetaError: if the file is damaged, or is nowhere and cannot be fetched.
    """
    path = find_file(FOLDER, f"{stem}.csv.gz")
    if path is None:
        if query is None:
            raise AlmetaError(
                f"data set {name!r} is not at OpenML in this form; {where_to_put(FOLDER, f'{stem}.csv.gz')}"
            )
        path = _fetch(stem, query, target, shape)
    record = catalogued(path)
    table = read_table(path, Columns("target", missing=missing))
    frame, found = table.frame, "target"
    columns = record.get("columns") or []  # their meaning, if the file only numbers them
    if len(set(columns)) == frame.shape[1] - 1 and frame.columns[-1] == found:
        frame.columns = pd.Index([*columns, found])
    return dataset_of(
        frame, found, name, record.get("origin", f"the file {path}"), str(path), partial(table_features, keep=keep)
    )


def _fetch(stem: str, query: dict[str, Any], target: str | None, shape: tuple[int, int] | None) -> Path:
    """Fetch a table from OpenML into the cache."""
    way_out = where_to_put(FOLDER, f"{stem}.csv.gz")
    which = " ".join(f"{key}={value}" for key, value in query.items())
    try:
        bunch = fetch_openml(**query, target_column=target or "default-target", as_frame=True, cache=False)
    except Exception as error:  # a cut-off or foreign answer may raise anything in the code that reads it
        raise AlmetaError(f"could not fetch {which} from OpenML: {error}; {way_out}") from error
    details = bunch.details
    origin = f"OpenML data set {details['id']}, {details['name']} version {details['version']}"
    if not isinstance(bunch.target, pd.Series):
        raise AlmetaError(
            f"{origin}, names no single column as target; say which one has the labels with target=COLUMN"
        )
    found = (len(bunch.target), bunch.target.nunique())
    if shape is not None and found != shape:
        raise AlmetaError(
            f"{origin}, has {found[0]} rows in {found[1]} classes, and not {shape[0]} in {shape[1]}: "
            f"it is another table; {way_out}"
        )
    features = bunch.data.rename(columns={"target": "target_"})
    text = features.assign(target=bunch.target.to_numpy()).to_csv(index=False)
    content = gzip.compress(text.encode(), mtime=0)
    record = {
        "origin": f"{origin}, https://www.openml.org/d/{details['id']}",
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    path = cache_folder() / FOLDER / f"{stem}.csv.gz"
    try:  # the record first: it does no harm without the table
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path.with_name(f"{path.name}.json"), json.dumps(record))
        write_atomically(path, content)
    except (OSError, AlmetaError) as error:
        raise AlmetaError(f"cannot write {path}: {error}; set ALMETA_CACHE to a folder that can be written") from error
    return path
