"""Finished cells of benchmarks, kept in an SQLite file."""

import hashlib
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np

from almeta.errors import AlmetaError

# Seconds to wait for another benchmark that writes to the file.
PATIENCE = 30.0
# What is wrong with the file, by words in the name of SQLite's error.
_WRONG = {
    ("BUSY", "LOCKED"): "is in use by another program; wait for its end, or choose another folder with out=...",
    ("READONLY", "CANTOPEN", "PERM", "AUTH"): (
        "cannot be opened for writing; change its permissions, or choose another folder with out=..."
    ),
    ("FULL", "IOERR"): "cannot be written or read; make room or mend the disk, and start again",
    ("CORRUPT",): "is damaged; remove it and start again",
}


class CellStore:
    """Finished cells in an SQLite file, which survive whatever stops the benchmark.

    Each cell has a digest, so that a cell that has changed on the disk does not count as finished. Neither do cells
    without a digest, which earlier versions wrote.

    Raises:
        AlmetaError: if the file is something else, is in use, or cannot be written or read; so do all methods.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        if path.is_dir():
            raise AlmetaError(
                f"{path} is a folder, not a file of benchmark cells; remove it, or choose another out=..."
            )
        try:
            self._database = sqlite3.connect(path, timeout=PATIENCE)
        except sqlite3.Error as error:
            raise self._error(error) from error
        self._ask(
            "CREATE TABLE IF NOT EXISTS cells (key TEXT PRIMARY KEY, dataset TEXT, strategy TEXT, steps INTEGER, "
            "repeats INTEGER, scores BLOB, digest TEXT)"
        )
        if "digest" not in {column[1] for column in self._ask("PRAGMA table_info(cells)")}:
            self._ask("ALTER TABLE cells ADD COLUMN digest TEXT")
        self._ask(
            "SELECT key, dataset, strategy, steps, repeats, scores, digest FROM cells LIMIT 1"
        )  # raises if one is missing

    def _ask(self, query: str, *values: Any) -> list[Any]:
        """Return the rows of the answer."""
        try:
            with self._database:  # commits
                return self._database.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise self._error(error) from error

    def _error(self, error: sqlite3.Error) -> AlmetaError:
        """Return an error that says what is wrong with the file, and the way out."""
        words = set(getattr(error, "sqlite_errorname", "").split("_"))
        texts = (text for codes, text in _WRONG.items() if words.intersection(codes))
        wrong = next(texts, "is no file of benchmark cells; choose another, or remove it")
        return AlmetaError(f"{self._path} {wrong} ({error})")

    def __contains__(self, key: str) -> bool:
        """Whether the file holds a cell, undamaged."""
        return self._find(key) is not None

    def is_damaged(self, key: str) -> bool:
        """Whether the file holds a cell that differs from what was written; False for cells without a digest."""
        kept = self._ask("SELECT digest FROM cells WHERE key = ?", key)
        return bool(kept) and kept[0][0] is not None and key not in self

    def _find(self, key: str) -> np.ndarray | None:
        for *shape, scores, digest in self._ask("SELECT steps, repeats, scores, digest FROM cells WHERE key = ?", key):
            if isinstance(scores, bytes) and digest == _digest(key, shape, scores):
                return np.frombuffer(scores, "<f4").reshape(shape)
        return None

    def keep(self, key: str, dataset: str, strategy: str, curves: np.ndarray) -> None:
        """Keep the curves `[T + 1, R]` float32 of a cell."""
        scores, shape = curves.astype("<f4").tobytes(), list(curves.shape)
        row = (key, dataset, strategy, *shape, scores, _digest(key, shape, scores))
        self._ask("INSERT OR REPLACE INTO cells VALUES (?, ?, ?, ?, ?, ?, ?)", *row)

    def read(self, key: str) -> np.ndarray:
        """Return the curves `[T + 1, R]` of a cell; one that is missing or damaged is an AlmetaError, too."""
        curves = self._find(key)
        if curves is None:
            raise AlmetaError(f"{self._path}: a cell has vanished or was damaged meanwhile; start again")
        return curves

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def _digest(key: str, shape: list[int], scores: bytes) -> str:
    return hashlib.sha256(f"{key} {shape} ".encode() + scores).hexdigest()
