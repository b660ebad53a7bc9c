"""The answers to rows of one's own: an SQLite file beside the data, which survives whatever stops a round."""

import contextlib
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from almeta.database import Database
from almeta.errors import AlmetaError
from almeta.files import write_atomically
from almeta.lock import held
from almeta.queries.keys import key_names, row_keys
from almeta.queries.stopping import Estimate

RANDOM = "random"  # what chose a row that was drawn at random
USER = "user"  # what chose a row that nobody else did
CANNOT_TELL = "?"  # in files that people read and fill in
FORMAT = 2  # of the file, in its `user_version`; 1 did not know the options of a round
_WHAT, _ELSEWHERE = "file of answers", "choose another file with store=..."
_ANEW = "move it away and start again; answers=FILE.csv takes the answers of an export or of a copy"
_TABLES = (
    "CREATE TABLE IF NOT EXISTS answers (place INTEGER PRIMARY KEY, key INTEGER UNIQUE NOT NULL, label TEXT, "
    "chosen_by TEXT NOT NULL, round INTEGER NOT NULL, time TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS rounds (round INTEGER PRIMARY KEY, labels INTEGER NOT NULL, accuracy REAL, "
    "low REAL NOT NULL, high REAL NOT NULL, options TEXT NOT NULL DEFAULT '')",
    "CREATE TABLE IF NOT EXISTS columns (name TEXT PRIMARY KEY)",
)


class Answer(NamedTuple):
    """What was answered to one row.

    Attributes:
        row: its number in the data; None if the data no longer have it.
        label: the class; None for "cannot tell".
        chosen_by: what chose the row: the name of a strategy or policy, "random", or "user".
        round: the number of rounds that had ended before.
        time: of the answer, in UTC: "2030-01-01T12:00:00".
    """

    row: int | None
    label: str | None
    chosen_by: str
    round: int
    time: str


class Round(NamedTuple):
    """What was known at the end of a round.

    Attributes:
        labels: the number of labels, with those that the data had.
        accuracy: on the rows without a label, estimated; None if there were too few labels.
        low: lower end of the 95 % interval.
        high: its upper end.
    """

    labels: int
    accuracy: float | None
    low: float
    high: float


class Answers:
    """The answers to the rows of a file, each of which is on the disk before the call returns.

    Rows are known by their values (`row_keys`), so that rows that were reordered or removed between rounds keep their
    answers. Columns that the data did not have at the first answer do not count. Answers whose row is gone are kept,
    with a warning. One process at a time holds the file.

    Args:
        path: of the file; it is made if it is not there.
        frame: N rows, without the column of the labels.
        options: what the estimates of this process depend on, beside the labels, as text: other ones make other rounds.

    Attributes:
        keys: `[N]` uint64, different, one for each row.

    Raises:
        AlmetaError: if another process holds the file (it is named), or the file is something else, was written by a
            later almeta, is damaged, or cannot be written or read; all methods raise it for the last two.
    """

    def __init__(self, path: str | Path, frame: pd.DataFrame, options: str = "") -> None:
        self.path = path = Path(path)
        self._options = options
        with contextlib.ExitStack() as opened:
            lock = path.with_name(f".{path.name}.lock")
            opened.enter_context(held(lock, f"{path} is in use", f"end that process, or {_ELSEWHERE}", _ELSEWHERE))
            self._database = Database(path, _WHAT, _ELSEWHERE, _ANEW)
            opened.callback(self._database.close)
            self._prepare()
            columns = self._known_columns(frame)
            self.keys = row_keys(frame[[name for name in frame if str(name) in columns]])
            self._keys = self.keys.astype("<u8").view("<i8")  # the integers of SQLite have a sign
            self._row_of = {int(key): row for row, key in enumerate(self._keys)}
            gone = [answer for answer in self.answers() if answer.row is None]
            self._opened = opened.pop_all()
        if gone:
            lost = sorted(columns - set(map(str, frame)))
            why = f", as column {lost[0]!r} is gone, by which rows are known; bring it back to use them" if lost else ""
            warnings.warn(
                f"{path} has {len(gone)} answers to rows that the data no longer have, or that were changed; they are "
                f"kept and not used{why}",
                stacklevel=2,
            )

    def _known_columns(self, frame: pd.DataFrame) -> set[str]:
        """Return the columns by which rows are known: those that the data had in the first round."""
        ask, today = self._database.ask, {*map(str, frame)}
        known = {name for (name,) in ask("SELECT name FROM columns")}
        if known and (known <= today or ask("SELECT 1 FROM answers LIMIT 1")):
            return known
        ask("DELETE FROM columns")
        self._database.tell("INSERT INTO columns VALUES (?)", [(name,) for name in today])
        return today

    def _prepare(self) -> None:
        ask = self._database.ask
        if (version := ask("PRAGMA user_version")[0][0]) > FORMAT:
            raise AlmetaError(f"{self.path} was written by a later almeta (format {version}); update almeta")
        if ask("PRAGMA integrity_check") != [("ok",)]:
            raise AlmetaError(f"{self.path} is damaged; {_ANEW}")
        if not version and ask("SELECT name FROM sqlite_master"):
            raise AlmetaError(f"{self.path} is no {_WHAT}; {_ELSEWHERE}")
        ask("PRAGMA synchronous = EXTRA")  # an answer outlives a power cut, too
        for table in _TABLES:
            ask(table)
        if version == 1:
            ask("ALTER TABLE rounds ADD COLUMN options TEXT NOT NULL DEFAULT ''")
        ask(f"PRAGMA user_version = {FORMAT}")

    def __enter__(self) -> "Answers":
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and let others open it."""
        self._opened.close()

    # ---- answers

    def add(self, labels: Mapping[int, str | None], chosen_by: str) -> None:
        """Keep the answers to some rows, all of them or, if that fails, none.

        A row that has an answer gets the new one; it keeps its place and what chose it.

        Args:
            labels: the class of each row, by its number; None for "cannot tell".
            chosen_by: what chose the rows.
        """
        now = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
        number = self._database.ask("SELECT COUNT(*) FROM rounds")[0][0]
        self._database.tell(
            "INSERT INTO answers (key, label, chosen_by, round, time) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT (key) DO UPDATE SET label = excluded.label, time = excluded.time",
            [(int(self._keys[row]), label, chosen_by, number, now) for row, label in labels.items()],
        )

    def undo(self) -> Answer | None:
        """Remove the last answer to a row of the data, and return it; None if there is none."""
        last = next((answer for answer in reversed(self.answers()) if answer.row is not None), None)
        if last is not None:
            self._database.ask("DELETE FROM answers WHERE key = ?", int(self._keys[last.row]))
        return last

    def answers(self) -> list[Answer]:
        """Return all answers in the order in which the rows were answered, those without a row included."""
        asked = self._database.ask("SELECT key, label, chosen_by, round, time FROM answers ORDER BY place")
        return [Answer(self._row_of.get(key), *rest) for key, *rest in asked]

    def labels(self) -> dict[int, str | None]:
        """Return the label of each answered row of the data, in the order of the answers; None for "cannot tell"."""
        return {answer.row: answer.label for answer in self.answers() if answer.row is not None}

    def table(self, target: str = "label", frame: pd.DataFrame | None = None) -> pd.DataFrame:
        """Return all answers: row number, label, what is known of the answer, the key of the row, and its values.

        The answers can be given back with `almeta-query answers=FILE`.

        Args:
            target: the column of the labels; `CANNOT_TELL` stands for None.
            frame: the N rows of the data, for their values; a column with a name that is taken gets another one.
        """
        table = pd.DataFrame(self.answers(), columns=["row", target, *Answer._fields[2:]])
        rows = table["row"].fillna(-1).astype(int)  # -1 for rows that are gone
        table["row"] = (rows + 1).where(rows >= 0).astype("Int64")  # people count from 1
        table[target] = table[target].fillna(CANNOT_TELL)
        keys = self._database.ask("SELECT key FROM answers ORDER BY place")
        table["key"] = key_names(np.array([key for (key,) in keys], "<i8").view(np.uint64))
        return table if frame is None else beside(table, frame.reset_index(drop=True).reindex(rows))

    def export(self, path: str | Path, target: str = "label", frame: pd.DataFrame | None = None) -> None:
        """Write `table` as CSV.

        Raises:
            AlmetaError: if the file cannot be written.
        """
        write_atomically(Path(path), self.table(target, frame).to_csv(index=False))

    # ---- rounds

    def end_round(self, labels: int, estimate: Estimate) -> None:
        """End a round, and keep how good the predictions are after it, which were made from so many labels."""
        self._database.ask(
            "INSERT INTO rounds (options, labels, accuracy, low, high) VALUES (?, ?, ?, ?, ?)",
            self._options,
            labels,
            estimate.accuracy,
            estimate.low,
            estimate.high,
        )

    def rounds(self) -> list[Round]:
        """Return the rounds that have ended, in their order: those whose estimates were made with the same options."""
        asked = "SELECT labels, accuracy, low, high FROM rounds WHERE options = ? ORDER BY round"
        return [Round(*one) for one in self._database.ask(asked, self._options)]


def beside(table: pd.DataFrame, values: pd.DataFrame) -> pd.DataFrame:
    """Return a table with the values of its rows behind it; "row (data)" is a value whose name the table has, too."""
    values = values.set_index(table.index)
    return pd.concat([table, values.rename(columns={name: f"{name} (data)" for name in table})], axis=1)


def labels_path(data: str | Path) -> Path:
    """Return where the answers to the rows of a file or folder lie: `my.labels.sqlite` beside `my.csv`."""
    path = Path(data)
    name = path.name if path.is_dir() else Path(path.name.removesuffix(".gz")).stem
    return path.with_name(f"{name}.labels.sqlite")
