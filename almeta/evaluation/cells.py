"""Finished cells of benchmarks, kept in an SQLite file."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from almeta.database import Database
from almeta.errors import AlmetaError


@dataclass(frozen=True)
class Played:
    """What a cell of R repeats brought.

    Attributes:
        scores: `[K, T + 1, R]` float32, the learning curves by each of K measures.
        picks: `[R, L + T]` int64, the rows of the data set in the order in which they were picked, first labels first;
            -1 for none.
        seconds: what the contender took for all its picks.
    """

    scores: np.ndarray
    picks: np.ndarray
    seconds: float


# What earlier versions did not keep: their cells do not count as finished.
_ADDED = {"digest": "TEXT", "measures": "INTEGER", "picks": "BLOB", "seconds": "REAL"}


class CellStore:
    """Finished cells in an SQLite file, which survive whatever stops the benchmark.

    Each cell has a digest, so that a cell that has changed on the disk does not count as finished. Neither do cells
    that lack a part, which earlier versions wrote.

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
            "repeats INTEGER, scores BLOB, digest TEXT, measures INTEGER, picks BLOB, seconds REAL)"
        )
        # It raises if the file is of something else.
        self._ask("SELECT key, dataset, strategy, steps, repeats, scores FROM cells LIMIT 1")
        known = {column[1] for column in self._ask("PRAGMA table_info(cells)")}
        for name in _ADDED.keys() - known:
            self._ask(f"ALTER TABLE cells ADD COLUMN {name} {_ADDED[name]}")

    def __contains__(self, key: str) -> bool:
        """Whether the file holds a cell, undamaged."""
        return self._find(key) is not None

    def is_damaged(self, key: str) -> bool:
        """Whether the file holds a cell that differs from what was written; False for those of earlier versions."""
        kept = self._ask("SELECT 1 FROM cells WHERE key = ? AND digest NOT NULL AND picks NOT NULL", key)
        return bool(kept) and key not in self

    def _find(self, key: str) -> Played | None:
        query = "SELECT measures, steps, repeats, scores, picks, seconds, digest FROM cells WHERE key = ?"
        for measures, steps, repeats, scores, picks, seconds, digest in self._ask(query, key):
            shape = (measures, steps, repeats)
            if not isinstance(scores, bytes) or not isinstance(picks, bytes):
                return None
            if digest == _digest(key, shape, scores, picks, seconds):
                rows = np.frombuffer(picks, "<i8").reshape(repeats, -1)
                return Played(np.frombuffer(scores, "<f4").reshape(shape), rows, seconds)
        return None

    def keep(self, key: str, dataset: str, strategy: str, played: Played) -> None:
        """Keep what a cell brought."""
        scores, picks = played.scores.astype("<f4").tobytes(), played.picks.astype("<i8").tobytes()
        shape = played.scores.shape
        self._ask(
            "INSERT OR REPLACE INTO cells (key, dataset, strategy, measures, steps, repeats, scores, picks, seconds, "
            "digest) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            *(key, dataset, strategy, *shape, scores, picks, played.seconds),
            _digest(key, shape, scores, picks, played.seconds),
        )

    def read(self, key: str) -> Played:
        """Return what a cell brought; one that is missing or damaged is an AlmetaError, too."""
        played = self._find(key)
        if played is None:
            raise AlmetaError(f"{self._path}: a cell has vanished or was damaged meanwhile; start again")
        return played

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def _digest(key: str, shape: tuple[int, ...], scores: bytes, picks: bytes, seconds: float) -> str:
    """Return a digest of all that a cell holds."""
    return hashlib.sha256(f"{key} {shape} {seconds!r} {len(scores)} ".encode() + scores + picks).hexdigest()
