"""Finished cells of benchmarks, kept in an SQLite file."""

import sqlite3
from pathlib import Path
from typing import Any

import numpy as np

from almeta.errors import AlmetaError


class CellStore:
    """Finished cells in an SQLite file: what is kept survives whatever stops the benchmark.

    Args:
        path: the file.

    Raises:
        AlmetaError: if the file is something else, or cannot be written or read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._database = sqlite3.connect(path)
        except sqlite3.Error as error:
            raise self._foreign(error) from error
        self._ask(
            "CREATE TABLE IF NOT EXISTS cells "
            "(key TEXT PRIMARY KEY, dataset TEXT, strategy TEXT, steps INTEGER, repeats INTEGER, scores BLOB)"
        )
        self._ask("SELECT key, dataset, strategy, steps, repeats, scores FROM cells")  # its columns are these

    def _ask(self, query: str, *values: str) -> Any:
        """The first row of the answer; None if it has none."""
        try:
            return self._database.execute(query, values).fetchone()
        except sqlite3.Error as error:
            raise self._foreign(error) from error

    def _foreign(self, error: sqlite3.Error) -> AlmetaError:
        return AlmetaError(f"{self._path} is no file of benchmark cells ({error}); choose another, or remove it")

    def __contains__(self, key: str) -> bool:
        return self._ask("SELECT 1 FROM cells WHERE key = ?", key) is not None

    def keep(self, key: str, dataset: str, strategy: str, curves: np.ndarray) -> None:
        """Keep the curves `[T + 1, R]` float32 of a cell.

        Raises:
            AlmetaError: if they cannot be written.
        """
        row = (key, dataset, strategy, *curves.shape, curves.astype("<f4").tobytes())
        try:
            with self._database:  # commits
                self._database.execute("INSERT OR REPLACE INTO cells VALUES (?, ?, ?, ?, ?, ?)", row)
        except sqlite3.Error as error:
            raise AlmetaError(f"could not write {self._path} ({error}); make room and start again") from error

    def read(self, key: str) -> np.ndarray:
        """The curves `[T + 1, R]` of a cell that was kept."""
        steps, repeats, scores = self._ask("SELECT steps, repeats, scores FROM cells WHERE key = ?", key)
        return np.frombuffer(scores, "<f4").reshape(steps, repeats)

    def close(self) -> None:
        """Close the file."""
        self._database.close()
