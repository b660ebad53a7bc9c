"""Finished cells of benchmarks, kept in an SQLite file."""

import hashlib
from pathlib import Path

import numpy as np

from almeta.database import Database
from almeta.errors import AlmetaError


class CellStore:
    """Finished cells in an SQLite file, which survive whatever stops the benchmark.

    Each cell has a digest, so that a cell that has changed on the disk does not count as finished. Neither do cells
    without a digest, which earlier versions wrote.

    Raises:
        AlmetaError: if the file is something else, is in use, or cannot be written or read; so do all methods.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database = Database(
            path, "file of benchmark cells", "choose another folder with out=...", "remove it and start again"
        )
        self._ask = self._database.ask
        self._ask(
            "CREATE TABLE IF NOT EXISTS cells (key TEXT PRIMARY KEY, dataset TEXT, strategy TEXT, steps INTEGER, "
            "repeats INTEGER, scores BLOB, digest TEXT)"
        )
        if "digest" not in {column[1] for column in self._ask("PRAGMA table_info(cells)")}:
            self._ask("ALTER TABLE cells ADD COLUMN digest TEXT")
        self._ask(
            "SELECT key, dataset, strategy, steps, repeats, scores, digest FROM cells LIMIT 1"
        )  # raises if one is missing

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
