"""The file of finished cells: what is damaged, in use or not writable is told as that, and nothing wrong is read."""

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from almeta.envs.pool import PoolOptions
from almeta.errors import AlmetaError
from almeta.evaluation.benchmark import Setting, StrategySpec, run_benchmark
from almeta.evaluation.cells import CellStore, Played
from almeta.learners import make_learner
from almeta.oracles import Oracle

RANDOM, MARGIN = StrategySpec("random"), StrategySpec("margin")
SETTING = Setting(PoolOptions(budget=3, pool_size=20), make_learner("ridge"), Oracle(), repeats=2)
CURVES = np.random.default_rng(0).random((2, 21, 5)).astype(np.float32)
PICKS = np.random.default_rng(1).integers(-1, 150, (5, 23))
PLAYED = Played(CURVES, PICKS, 0.25)


@pytest.fixture
def store(tmp_path) -> Path:
    return tmp_path / "cells.sqlite"


def keep(path: Path, *keys: str) -> None:
    with closing(CellStore(path)) as kept:
        for key in keys:
            kept.keep(key, "iris", "margin", PLAYED)


def check(played: Played) -> None:
    np.testing.assert_array_equal(played.scores, CURVES)
    np.testing.assert_array_equal(played.picks, PICKS)
    assert played.seconds == 0.25


def test_what_was_kept_is_read(store):
    keep(store, "a", "b")
    with closing(CellStore(store)) as kept:
        assert "a" in kept and "c" not in kept
        check(kept.read("b"))
        assert not kept.is_damaged("a") and not kept.is_damaged("c")
        with pytest.raises(AlmetaError, match="a cell has vanished or was damaged meanwhile; start again"):
            kept.read("c")


def test_no_flipped_bit_gives_other_curves_in_silence(store):
    keep(store, "key")
    content = store.read_bytes()
    places = np.random.default_rng(1).choice(len(content) * 8, 400, replace=False).tolist()
    for part in (CURVES, PICKS):
        begin = 8 * content.find(part.tobytes()[:40])
        assert begin > 0
        places += np.random.default_rng(2).integers(begin, begin + 8 * part.nbytes, 100).tolist()
    told = whole = 0
    for place in places:
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << place % 8
        store.write_bytes(damaged)
        try:
            with closing(CellStore(store)) as kept:
                if "key" in kept:
                    check(kept.read("key"))
                    whole += 1
        except AlmetaError:
            told += 1
    assert whole > 100  # most of the file is empty space
    assert len(places) - whole - told >= 190  # at least those in the scores and picks are played again


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE cells SET steps = 5, repeats = 21",
        "UPDATE cells SET scores = 'text'",
        "UPDATE cells SET picks = 'text'",
        "UPDATE cells SET picks = x'00'",
        "UPDATE cells SET seconds = 0.5",
        "UPDATE cells SET measures = 1, steps = 42",
        "UPDATE cells SET key = CASE key WHEN 'a' THEN 'b' ELSE 'a' END WHERE key = 'a'",
        "UPDATE cells SET digest = 'x'",
    ],
)
def test_a_cell_that_is_not_what_was_written_is_damaged(store, change):
    keep(store, "a")
    with sqlite3.connect(store) as database:
        database.execute(change)
    database.close()
    with closing(CellStore(store)) as kept:
        assert "a" not in kept and "b" not in kept
        assert kept.is_damaged("a") or kept.is_damaged("b")
        kept.keep("a", "iris", "margin", PLAYED)
        assert "a" in kept


def test_a_damaged_cell_is_played_again_and_that_is_said(store):
    first = run_benchmark(["iris"], [RANDOM, MARGIN], SETTING, store).curves
    content = bytearray(store.read_bytes())
    with sqlite3.connect(store) as database:
        (scores,) = database.execute("SELECT scores FROM cells WHERE strategy = 'margin'").fetchone()
    database.close()
    content[content.find(scores) + 2] ^= 0x40
    store.write_bytes(content)
    said: list[str] = []
    again = run_benchmark(["iris"], [RANDOM, MARGIN], SETTING, store, say=said.append).curves
    assert f"1 of 2 cells in {store} are damaged: they are played again" in said
    assert first.equals(again)
    said.clear()
    run_benchmark(["iris"], [RANDOM, MARGIN], SETTING, store, say=said.append)
    assert not [line for line in said if "damaged" in line]


@pytest.mark.parametrize("digest", ["", ", digest TEXT"])
def test_a_file_of_an_earlier_version_is_taken_on_and_its_cells_are_played_again(store, digest):
    with sqlite3.connect(store) as database:
        database.execute(
            "CREATE TABLE cells "
            f"(key TEXT PRIMARY KEY, dataset TEXT, strategy TEXT, steps INTEGER, repeats INTEGER, scores BLOB{digest})"
        )
        more = ", 'its digest'" if digest else ""
        database.execute(f"INSERT INTO cells VALUES ('a', 'iris', 'margin', 21, 5, ?{more})", (CURVES[0].tobytes(),))
    database.close()
    with closing(CellStore(store)) as kept:
        assert "a" not in kept and not kept.is_damaged("a")
        kept.keep("a", "iris", "margin", PLAYED)
    with closing(CellStore(store)) as kept:
        check(kept.read("a"))


def test_a_file_in_use_is_told_as_that(store, monkeypatch):
    keep(store, "a")
    monkeypatch.setattr("almeta.database.PATIENCE", 0.01)
    with closing(CellStore(store)) as kept, closing(sqlite3.connect(store)) as other:
        other.execute("BEGIN EXCLUSIVE")
        for ask in (lambda: kept.keep("b", "iris", "margin", PLAYED), lambda: "a" in kept, lambda: CellStore(store)):
            with pytest.raises(AlmetaError) as told:
                ask()
            assert str(told.value) == (
                f"{store} is in use by another program; wait for its end, or choose another folder with out=... "
                "(database is locked)"
            )


def test_a_file_that_cannot_be_written_is_told_as_that(store, monkeypatch):
    keep(store, "a")

    def connect(path, **options):
        database = sqlite3.Connection(path, **options)
        database.execute("PRAGMA query_only = ON")  # as permissions are: root may write to any file
        return database

    with closing(CellStore(store)) as kept:
        kept._database.connection.execute("PRAGMA query_only = ON")
        with pytest.raises(AlmetaError, match="cannot be opened for writing; change its permissions, or"):
            kept.keep("b", "iris", "margin", PLAYED)
    monkeypatch.setattr("almeta.database.sqlite3.connect", connect)
    store.unlink()
    with pytest.raises(AlmetaError, match=r"cells\.sqlite cannot be opened for writing; .*readonly database"):
        CellStore(store)


def test_a_folder_in_its_place_is_told(store):
    store.mkdir()
    with pytest.raises(AlmetaError, match=r"cells\.sqlite is a folder, not a file of benchmark cells; remove it, or"):
        CellStore(store)


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(AlmetaError, match=r"cannot be opened for writing; .*\(unable to open database file\)"):
        CellStore(tmp_path / "nowhere" / "cells.sqlite")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("SQLITE_FULL", "cannot be written or read; make room or mend the disk, and start again"),
        ("SQLITE_IOERR_WRITE", "cannot be written or read; make room or mend the disk, and start again"),
        ("SQLITE_CORRUPT_INDEX", "is damaged; remove it and start again"),
        ("SQLITE_NOTADB", "is no file of benchmark cells; choose another, or remove it"),
        ("SQLITE_CANTOPEN_ISDIR", "cannot be opened for writing; change its permissions"),
        ("SQLITE_BUSY_TIMEOUT", "is in use by another program"),
    ],
)
def test_what_sqlite_says_is_told_as_what_to_do(store, name, says):
    class Broken:
        def __enter__(self):
            error = sqlite3.OperationalError("words of sqlite")
            error.sqlite_errorname = name
            raise error

        def __exit__(self, *raised):
            return False

    kept = CellStore(store)
    kept.close()
    kept._database.connection = Broken()  # type: ignore[assignment]
    with pytest.raises(AlmetaError) as told:
        kept.read("a")
    assert str(told.value).startswith(f"{store} {says}")
    assert str(told.value).endswith("(words of sqlite)")
