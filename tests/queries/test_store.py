"""The file of answers: none is lost, none is doubled, and rows keep theirs wherever they stand."""

import contextlib
import multiprocessing
import os
import random
import sqlite3
import time
import warnings
from pathlib import Path

import pandas as pd
import pytest

from almeta.errors import AlmetaError
from almeta.queries.keys import key_names, row_keys
from almeta.queries.stopping import Estimate
from almeta.queries.store import Answers, Round, labels_path
from tests.holding import holding

EARLY = Estimate(None, 0.0, 1.0, "too few labels")
FRAME = pd.DataFrame({"a": [1.5, 2.5, 3.5, 4.5, 5.5], "b": list("vwxyz")})
KEYS = row_keys(FRAME)


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "my.labels.sqlite"


@pytest.fixture
def answers(path):
    with Answers(path, FRAME) as answers:
        answers.add({3: "cat", 0: None}, "transfer")
        answers.end_round(1, EARLY)
        answers.add({1: "dog"}, "random")
        yield answers


def reopened(answers: Answers, frame: pd.DataFrame) -> Answers:
    answers.close()
    return Answers(answers.path, frame)


# ---- answers


def test_answers_are_there_again(answers):
    kept = answers.answers()
    assert [answer[:4] for answer in kept] == [
        (3, "cat", "transfer", 0),
        (0, None, "transfer", 0),
        (1, "dog", "random", 1),
    ]
    assert all(
        abs(pd.Timestamp(answer.time) - pd.Timestamp.now("UTC").tz_localize(None)) < pd.Timedelta("1min")
        for answer in kept
    )
    with reopened(answers, FRAME) as again:
        assert again.answers() == kept
        assert again.labels() == {3: "cat", 0: None, 1: "dog"}
        assert list(again.labels()) == [3, 0, 1]


def test_undo_takes_back_the_last_answer_again_and_again(answers):
    last = answers.answers()[-1]
    assert answers.undo() == last and last.row == 1
    assert answers.labels() == {3: "cat", 0: None}
    assert [undone and undone.row for undone in (answers.undo(), answers.undo(), answers.undo())] == [0, 3, None]
    answers.add({3: "dog"}, "margin")
    with reopened(answers, FRAME) as again:
        assert [answer[:4] for answer in again.answers()] == [(3, "dog", "margin", 1)]


def test_another_answer_to_a_row_takes_the_place_of_the_first(answers):
    answers.add({3: "dog", 4: "cat"}, "user")
    assert [answer[:4] for answer in answers.answers()] == [
        (3, "dog", "transfer", 0), (0, None, "transfer", 0), (1, "dog", "random", 1), (4, "cat", "user", 1)
    ]  # fmt: skip


def test_rows_that_are_reordered_or_removed_keep_their_answers(answers):
    with pytest.warns(UserWarning, match=r"my\.labels\.sqlite has 1 answers to rows that the data no longer have"):
        fewer = reopened(answers, FRAME.iloc[[4, 3, 1]])
    assert fewer.labels() == {1: "cat", 2: "dog"}
    assert [answer.row for answer in fewer.answers()] == [1, None, 2]
    undone = [fewer.undo(), fewer.undo(), fewer.undo()]  # what cannot be seen is not undone
    assert [answer and answer.row for answer in undone] == [2, 1, None]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with reopened(fewer, FRAME) as again:
            assert again.labels() == {0: None}


def test_all_or_none_of_several_answers(answers):
    answers._database.ask(
        "CREATE TRIGGER no BEFORE INSERT ON answers WHEN NEW.label = 'bad' BEGIN SELECT RAISE(FAIL, 'no'); END"
    )
    with pytest.raises(AlmetaError):
        answers.add({2: "cat", 4: "bad"}, "margin")
    assert set(answers.labels()) == {3, 0, 1}


def test_answers_as_csv(answers, tmp_path):
    answers.export(tmp_path / "out.csv", "kind", FRAME.assign(time="noon"))
    table = pd.read_csv(tmp_path / "out.csv")
    assert list(table) == ["row", "kind", "chosen_by", "round", "time", "key", "a", "b", "time (data)"]
    assert table.drop(columns=["time", "key"]).to_numpy().tolist() == [
        [4, "cat", "transfer", 0, 4.5, "y", "noon"],
        [1, "?", "transfer", 0, 1.5, "v", "noon"],
        [2, "dog", "random", 1, 2.5, "w", "noon"],
    ]
    assert table["key"].tolist() == key_names(KEYS[[3, 0, 1]])
    with pytest.warns(UserWarning, match="no longer have"):
        fewer = reopened(answers, FRAME[1:])
    with fewer:
        fewer.export(tmp_path / "out.csv", frame=FRAME[1:])
        table = pd.read_csv(tmp_path / "out.csv")
        assert table["row"].tolist()[::2] == [3, 1] and table.loc[1, ["row", "a", "b"]].isna().all()  # its row is gone
        assert table["key"].tolist() == key_names(KEYS[[3, 0, 1]])
        with pytest.raises(AlmetaError, match="could not write"):
            fewer.export(tmp_path / "nowhere" / "out.csv")


# ---- rounds


def test_rounds_are_kept_in_their_order(answers):
    answers.end_round(40, Estimate(0.75, 0.5, 0.875, "in words"))
    kept = [Round(1, None, 0.0, 1.0), Round(40, 0.75, 0.5, 0.875)]
    assert answers.rounds() == kept
    with reopened(answers, FRAME[::-1]) as again:
        assert again.rounds() == kept


def test_rounds_of_other_options_are_kept_apart(answers):
    answers.close()
    for _ in range(2):  # also when they are used in turn
        for options, accuracy in [("ridge", 0.5), ("mlp", 0.75)]:
            with Answers(answers.path, FRAME, options) as again:
                again.end_round(10, Estimate(accuracy, 0.25, 0.875, "in words"))
                assert {one.accuracy for one in again.rounds()} == {accuracy}
                again.add({4: "cat"}, "user")
                assert again.labels() == {3: "cat", 0: None, 1: "dog", 4: "cat"}
    with Answers(answers.path, FRAME) as again:
        assert again.rounds() == [Round(1, None, 0.0, 1.0)]
        assert again.answers()[-1].round == 2  # rounds of any options, when it was answered first


def test_a_file_of_the_first_format_keeps_its_answers_and_rounds(answers):
    kept, rounds = answers.answers(), answers.rounds()
    answers.close()
    connection = sqlite3.connect(answers.path)
    connection.executescript("ALTER TABLE rounds DROP COLUMN options; PRAGMA user_version = 1")
    connection.close()
    for _ in range(2):
        with Answers(answers.path, FRAME) as again:
            assert (again.answers(), again.rounds()) == (kept, rounds)
            assert again._database.ask("PRAGMA user_version") == [(2,)]


# ---- what can go wrong with the file


def test_the_second_process_is_told_whose_it_is(path):
    with holding(path.with_name(".my.labels.sqlite.lock")) as process:
        for _ in range(2):
            with pytest.raises(AlmetaError) as told:
                Answers(path, FRAME)
            assert f"{path} is in use (process {process.pid} on " in str(told.value)
            assert str(told.value).endswith("); end that process, or choose another file with store=...")
    Answers(path, FRAME).close()
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize(
    "content, says",
    [
        (b"row,label\n1,cat\n" * 99, "is no file of answers; choose another, or remove it"),
        ("CREATE TABLE cells (key TEXT)", "is no file of answers; choose another file with store=..."),
        ("PRAGMA user_version = 3", r"was written by a later almeta \(format 3\); update almeta"),
        ("PRAGMA user_version = 1; CREATE TABLE answers (place INTEGER)", "is no file of answers; choose another"),
    ],
)
def test_another_file_is_told_and_left_as_it_is(path, content, says):
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        connection = sqlite3.connect(path)
        connection.executescript(content)
        connection.close()
    with pytest.raises(AlmetaError, match=says) as told:
        Answers(path, FRAME)
    assert "\n" not in str(told.value)
    if isinstance(content, bytes):
        assert path.read_bytes() == content
    assert os.listdir(path.parent) == [path.name]


def test_a_damaged_file_is_told_with_a_way_out(answers):
    answers.close()
    content = answers.path.read_bytes()
    told = []
    for begin in range(0, len(content), 512):  # a block of the disk is lost
        damaged = bytearray(content)
        damaged[begin : begin + 512] = random.Random(begin).randbytes(512)
        answers.path.write_bytes(damaged)
        try:
            with Answers(answers.path, FRAME) as again:
                assert len(again.rounds()) == 1
                assert again.labels() == {3: "cat", 0: None, 1: "dog"}
        except AlmetaError as error:
            told.append(str(error))
    assert "\n" not in "".join(told)
    assert sum(" is damaged; move it away and start again; " in line for line in told) > 5


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(AlmetaError, match=r"could not write .*\.lock: No such file or directory"):
        Answers(tmp_path / "nowhere" / "my.labels.sqlite", FRAME)


def test_where_answers_lie(tmp_path):
    for name in ("my.csv", "my.2.csv.gz", "my.parquet"):
        (tmp_path / name).touch()
    (tmp_path / "im.ages").mkdir()
    names = [labels_path(tmp_path / name).name for name in ("my.csv", "my.2.csv.gz", "my.parquet", "im.ages")]
    assert names == ["my.labels.sqlite", "my.2.labels.sqlite", "my.labels.sqlite", "im.ages.labels.sqlite"]
    assert labels_path(tmp_path / "my.csv").parent == tmp_path


# ---- kill -9

MANY = pd.DataFrame({"a": range(20_000)})


def answer(path, say):
    """Answer row after row; say the number of answers before and after what comes next."""
    with Answers(path, MANY) as answers:
        given = answers.labels()
        assert [*given.items()] == [(row, f"class {row}") for row in range(len(given))]
        for row in range(len(given), len(MANY)):
            say.send((row, row + 1))
            answers.add({row: f"class {row}"}, "margin")
            if row % 10 == 9:
                say.send((row + 1, row))
                answers.undo()
                say.send((row, row + 1))
                answers.add({row: f"class {row}"}, "margin")
                say.send((row + 1, row + 1))
                answers.end_round(row + 1, EARLY)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes of this test are forked")
def test_no_answer_is_lost_or_doubled_when_the_process_is_killed_at_any_time(path):
    rng, given, fork = random.Random(0), 0, multiprocessing.get_context("fork")
    for _ in range(20):
        hear, say = fork.Pipe(duplex=False)
        process = fork.Process(target=answer, args=(path, say))
        process.start()
        say.close()
        said = hear.recv()
        time.sleep(rng.uniform(0, 0.15))
        process.kill()
        with contextlib.suppress(EOFError):
            while True:
                said = hear.recv()
        process.join()
        with Answers(path, MANY) as answers:
            labels = answers.labels()
            assert [*labels.items()] == [(row, f"class {row}") for row in range(len(labels))]
            assert len(answers.rounds()) <= len(labels) // 10 + 1
        assert len(labels) in said
        given = max(given, len(labels))
    assert given > 20
