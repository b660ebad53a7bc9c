"""Two trainings of one folder: the second says whose it is."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from almeta.errors import AlmetaError
from almeta.runs.lock import HOLDER, LOCK, held
from almeta.runs.training import train
from almeta.training.checkpoint import load_checkpoint
from almeta.training.loggers import read_json_lines
from tests.runs import killed
from tests.runs.conftest import run_config

ROOT = Path(__file__).parents[2]
HOLD = """
import sys, time
from pathlib import Path
from almeta.runs.lock import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait(60)


def test_the_second_is_told_whose_folder_it_is(holder, tmp_path):
    says = rf"{tmp_path} belongs to a run that is going on \(process {holder.pid} on \S+ since \d{{4}}-\d\d-\d\d .*\)"
    for _ in range(2):
        with pytest.raises(AlmetaError, match=says) as told, held(tmp_path):
            raise AssertionError("never reached")
        assert "\n" not in str(told.value)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_lock_goes_with_the_process(holder, tmp_path, number):
    holder.send_signal(number)
    holder.wait(60)
    with held(tmp_path):
        assert str(os.getpid()) in (tmp_path / HOLDER).read_text()
    assert os.listdir(tmp_path) == []


def test_one_after_the_other(tmp_path):
    for _ in range(3):
        with held(tmp_path):
            assert sorted(os.listdir(tmp_path)) == [LOCK, HOLDER]
        assert os.listdir(tmp_path) == []


def test_an_error_lets_go(tmp_path):
    with pytest.raises(KeyboardInterrupt), held(tmp_path):
        raise KeyboardInterrupt
    with held(tmp_path):
        pass


def test_a_lock_file_that_says_nothing(tmp_path):
    (tmp_path / HOLDER).write_text("{")
    with held(tmp_path), pytest.raises(AlmetaError, match="going on"), held(tmp_path):
        raise AssertionError("never reached")


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(AlmetaError, match=r"could not write .*\.lock: No such file"), held(tmp_path / "nowhere"):
        raise AssertionError("never reached")


def test_a_disk_that_cannot_lock(tmp_path, monkeypatch):
    def refuse(descriptor, how):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", refuse)
    with held(tmp_path):
        pass
    assert os.listdir(tmp_path) == []


def test_a_full_disk_does_not_stop_a_run_and_its_folder_is_locked_all_the_same(tmp_path, monkeypatch):
    def fail(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("almeta.runs.lock.Path.write_text", fail)
    with held(tmp_path), pytest.raises(AlmetaError, match=r"going on \(another process\)"), held(tmp_path):
        raise AssertionError("never reached")
    assert os.listdir(tmp_path) == []


@pytest.mark.usefixtures("same_images", "quick_figures")
def test_a_second_training_leaves_all_as_it_is(holder, tmp_path, finished):
    with pytest.raises(AlmetaError, match=f"belongs to a run that is going on .process {holder.pid} "):
        train(run_config("stream"), tmp_path)
    assert sorted(os.listdir(tmp_path)) == [LOCK, HOLDER]


def test_two_trainings_of_one_folder(tmp_path):
    """In processes of their own: the first goes on as if nothing had been, and can be gone on with after a kill."""
    folder = tmp_path / "run"
    first = killed.start(folder, "anneal_lr=false", "batches=1000000")
    while not (folder / "last.pt").exists():
        assert first.poll() is None
        time.sleep(0.01)
    second = killed.start(folder, "anneal_lr=false", "batches=1000000")
    _, errors = second.communicate(timeout=120)
    assert (second.returncode, errors.count("\n")) == (1, 1), errors
    assert f"belongs to a run that is going on (process {first.pid} on" in errors
    first.kill()
    first.communicate(timeout=120)
    last = load_checkpoint(folder / "last.pt")["batch"] + 3
    third = killed.start(folder, "anneal_lr=false", f"batches={last}")
    assert third.communicate(timeout=120) is not None and third.returncode == 0
    batches = [line["batch"] for line in read_json_lines(folder / "metrics.jsonl") if line["kind"] == "train"]
    assert batches == list(range(1, last + 1))
    assert not (folder / LOCK).exists()
