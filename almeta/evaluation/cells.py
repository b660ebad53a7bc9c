"""Finished cells of benchmarks, kept in an SQLite file."""

import hashlib
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np

from almeta.errors import AlmetaError

# Seconds to wait for another benchmark that writes to the file.
PATIENCE = 30.0


class CellStore:
    """Finished cells in an SQLite file: what is kept survives whatever stops the benchmark.

    Each cell has a digest, so that one that has changed on the disk is not taken for a finished one. Cells of a file
    without digests, as earlier versions wrote it, are not taken either.

    Args:
        path: the file.

    Raises:
        AlmetaError: if the file is something else, is in use, or cannot be written or read.
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
            raise self._told(error) from error
        self._ask(
            "CREATE TABLE IF NOT EXISTS cells (key TEXT PRIMARY KEY, dataset TEXT, strategy TEXT, steps INTEGER, "
            "repeats INTEGER, scores BLOB, digest TEXT)"
        )
        if "digest" not in {column[1] for column in self._ask("PRAGMA table_info(cells)")}:
            self._ask("ALTER TABLE cells ADD COLUMN digest TEXT")
        self._ask("SELECT key, dataset, strategy, steps, repeats, scores, digest FROM cells LIMIT 1")  # they are there

    def _ask(self, query: str, *values: Any) -> list[Any]:
        """The rows of the answer.

        Raises:
            AlmetaError: if there is none.
        """
        try:
            with self._database:  # commits
                return self._database.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise self._told(error) from error

    def _told(self, error: sqlite3.Error) -> AlmetaError:
        """What is wrong with the file, and the way out."""
        kind = getattr(error, "sqlite_errorname", "").split("_")
        if {"BUSY", "LOCKED"} & set(kind):
            wrong = "is in use by another program; wait for its end, or choose another folder with out=..."
        elif {"READONLY", "CANTOPEN", "PERM", "AUTH"} & set(kind):
            wrong = "cannot be opened for writing; change its permissions, or choose another folder with out=..."
        elif {"FULL", "IOERR"} & set(kind):
            wrong = "cannot be written or read; make room or mend the disk, and start again"
        elif "CORRUPT" in kind:
            wrong = "is damaged; remove it and start again"
        else:
            wrong = "is no file of benchmark cells; choose another, or remove it"
        return AlmetaError(f"{self._path} {wrong} ({error})")

    def __contains__(self, key: str) -> bool:
        """Whether a cell is there and whole."""
        return self._find(key) is not None

    def is_damaged(self, key: str) -> bool:
        """Whether something is kept as a cell that is not what was written; not so of cells without a digest."""
        kept = self._ask("SELECT digest FROM cells WHERE key = ?", key)
        return bool(kept) and kept[0][0] is not None and key not in self

    def _find(self, key: str) -> np.ndarray | None:
        for *shape, scores, digest in self._ask("SELECT steps, repeats, scores, digest FROM cells WHERE key = ?", key):
            if isinstance(scores, bytes) and digest == _digest(key, shape, scores):
                return np.frombuffer(scores, "<f4").reshape(shape)
        return None

    def keep(self, key: str, dataset: str, strategy: str, curves: np.ndarray) -> None:
        """Keep the curves `[T + 1, R]` float32 of a cell.

        Raises:
            AlmetaError: if they cannot be written.
        """
        scores, shape = curves.astype("<f4").tobytes(), list(curves.shape)
        row = (key, dataset, strategy, *shape, scores, _digest(key, shape, scores))
        self._ask("INSERT OR REPLACE INTO cells VALUES (?, ?, ?, ?, ?, ?, ?)", *row)

    def read(self, key: str) -> np.ndarray:
        """The curves `[T + 1, R]` of a cell that was kept.

        Raises:
            AlmetaError: if it is not there or damaged.
        """
        curves = self._find(key)
        if curves is None:
            raise AlmetaError(f"{self._path}: a cell has vanished or was damaged meanwhile; start again")
        return curves

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def _digest(key: str, shape: list[int], scores: bytes) -> str:
    return hashlib.sha256(f"{key} {shape} ".encode() + scores).hexdigest()
