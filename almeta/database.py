"""An SQLite file whose errors say in one line what is wrong with it, and the way out."""

import sqlite3
from pathlib import Path
from typing import Any

from almeta.errors import AlmetaError

# Seconds to wait for another process that writes to the file.
PATIENCE = 30.0
# What is wrong with the file, by words in the name of SQLite's error; {elsewhere} and {anew} are the way out.
_WRONG = {
    ("BUSY", "LOCKED"): "is in use by another program; wait for its end, or {elsewhere}",
    ("READONLY", "CANTOPEN", "PERM", "AUTH"): ("cannot be opened for writing; change its permissions, or {elsewhere}"),
    ("FULL", "IOERR"): "cannot be written or read; make room or mend the disk, and start again",
    ("CORRUPT",): "is damaged; {anew}",
}


class Database:
    """An SQLite file, which is made if it is not there.

    Args:
        path: of the file.
        what: the file is, such as "file of benchmark cells".
        elsewhere: how to choose another file, such as "choose another folder with out=...".
        anew: what to do with a damaged file, such as "remove it and start again".

    Raises:
        AlmetaError: if the file is something else, is in use, or cannot be written or read; so does `ask`.
    """

    def __init__(self, path: Path, what: str, elsewhere: str, anew: str) -> None:
        self.path, self._what = path, what
        self._ways_out = {"elsewhere": elsewhere, "anew": anew}
        if path.is_dir():
            raise AlmetaError(f"{path} is a folder, not a {what}; remove it, or {elsewhere}")
        try:
            self.connection = sqlite3.connect(path, timeout=PATIENCE)
        except sqlite3.Error as error:
            raise self._error(error) from error

    def ask(self, query: str, *values: Any) -> list[Any]:
        """Return the rows of the answer; what the query writes is committed."""
        return self._within(lambda: self.connection.execute(query, values).fetchall())

    def tell(self, query: str, rows: list[tuple[Any, ...]]) -> None:
        """Run a query that writes, once for each row of values, and commit all of it or nothing."""
        self._within(lambda: self.connection.executemany(query, rows))

    def _within(self, work: Any) -> Any:
        try:
            with self.connection:  # commits
                return work()
        except sqlite3.Error as error:
            raise self._error(error) from error

    def _error(self, error: sqlite3.Error) -> AlmetaError:
        """Return an error that says what is wrong with the file, and the way out."""
        words = set(getattr(error, "sqlite_errorname", "").split("_"))
        texts = (text.format(**self._ways_out) for codes, text in _WRONG.items() if words.intersection(codes))
        wrong = next(texts, f"is no {self._what}; choose another, or remove it")
        return AlmetaError(f"{self.path} {wrong} ({error})")

    def close(self) -> None:
        """Close the file."""
        self.connection.close()
