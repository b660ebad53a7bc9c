"""Two processes that want one lock, such as two trainings of one folder: the second says whose it is."""

import contextlib
import errno
import os
import signal
from pathlib import Path

import pytest

from almeta.errors import AlmetaError
from almeta.lock import held
from tests.holding import holding

LOCK, HOLDER = ".lock", ".lock.json"


def locked(folder: Path) -> contextlib.AbstractContextManager[None]:
    return held(folder / LOCK, f"{folder} is taken", "wait")


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock."""
    with holding(tmp_path / LOCK) as process:
        yield process


def test_the_second_is_told_whose_folder_it_is(holder, tmp_path):
    says = rf"{tmp_path} is taken \(process {holder.pid} on \S+ since \d{{4}}-\d\d-\d\d .*\); wait$"
    for _ in range(2):
        with pytest.raises(AlmetaError, match=says) as told, locked(tmp_path):
            raise AssertionError("never reached")
        assert "\n" not in str(told.value)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_lock_goes_with_the_process(holder, tmp_path, number):
    holder.send_signal(number)
    holder.wait(60)
    with locked(tmp_path):
        assert str(os.getpid()) in (tmp_path / HOLDER).read_text()
    assert os.listdir(tmp_path) == []


def test_one_after_the_other(tmp_path):
    for _ in range(3):
        with locked(tmp_path):
            assert sorted(os.listdir(tmp_path)) == [LOCK, HOLDER]
        assert os.listdir(tmp_path) == []


def test_an_error_lets_go(tmp_path):
    with pytest.raises(KeyboardInterrupt), locked(tmp_path):
        raise KeyboardInterrupt
    with locked(tmp_path):
        pass


def test_a_lock_file_that_says_nothing(tmp_path):
    (tmp_path / HOLDER).write_text("{")
    with locked(tmp_path), pytest.raises(AlmetaError, match="is taken"), locked(tmp_path):
        raise AssertionError("never reached")


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(AlmetaError, match=r"could not write .*\.lock: No such file"), locked(tmp_path / "nowhere"):
        raise AssertionError("never reached")


def test_a_disk_that_cannot_lock(tmp_path, monkeypatch):
    def refuse(descriptor, how):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", refuse)
    with locked(tmp_path):
        pass
    assert os.listdir(tmp_path) == []


def test_a_full_disk_does_not_stop_a_run_and_its_folder_is_locked_all_the_same(tmp_path, monkeypatch):
    def fail(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("almeta.lock.Path.write_text", fail)
    with locked(tmp_path), pytest.raises(AlmetaError, match=r"is taken \(another process\)"), locked(tmp_path):
        raise AssertionError("never reached")
    assert os.listdir(tmp_path) == []
