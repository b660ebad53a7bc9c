"""The lock of a run's folder."""

import errno
import os

import pytest

from almeta.errors import AlmetaError
from almeta.runs.lock import LOCK, held


def test_a_full_disk_does_not_stop_a_run_and_its_folder_is_locked_all_the_same(tmp_path, monkeypatch):
    def fail(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("almeta.runs.lock.os.pwrite", fail)
    with held(tmp_path):
        with pytest.raises(AlmetaError, match=r"belongs to a run that is going on \(another process\)"), held(tmp_path):
            pass
        assert (tmp_path / LOCK).exists()
    assert not (tmp_path / LOCK).exists()
