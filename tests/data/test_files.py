import gzip
import hashlib
import io
import json
import os
import stat
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from almeta.data import files, load_dataset
from almeta.data.files import (
    RemoteFile,
    cached_arrays,
    catalogued,
    check_members,
    check_unpacked,
    data_folder,
    digest_of,
    find_file,
    published_file,
)
from almeta.errors import AlmetaError

CONTENT = b"the published bytes"
REMOTE = RemoteFile("set", "file.gz", "https://example.org/file.gz", hashlib.md5(CONTENT).hexdigest())


def put(root, content):
    path = root / "set" / "file.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path


def downloader(content):
    """What stands in for the network: it writes `content`."""

    def download(self, url, output_file, *args, **kwargs):
        assert url == REMOTE.url
        if hasattr(output_file, "write"):
            output_file.write(content)
        else:
            with open(output_file, "wb") as file:
                file.write(content)

    return download


def files_below(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_data_folder_comes_first(data, cache, offline):
    path = put(data, CONTENT)
    put(cache, CONTENT)
    assert REMOTE.fetch() == path


def test_cache_comes_second(data, cache, offline):
    path = put(cache, CONTENT)
    assert REMOTE.fetch() == path


def test_download_comes_last_and_is_kept(data, cache, monkeypatch):
    monkeypatch.setattr("pooch.HTTPDownloader.__call__", downloader(CONTENT))
    assert REMOTE.fetch() == cache / "set" / "file.gz"
    monkeypatch.setattr("pooch.HTTPDownloader.__call__", None)  # not called again
    assert REMOTE.fetch().read_bytes() == CONTENT


def test_no_network_and_no_cache(data, cache, offline):
    with pytest.raises(AlmetaError) as caught:
        REMOTE.fetch()
    message = str(caught.value)
    assert "could not download set/file.gz from https://example.org/file.gz: no network" in message
    assert f"put the file at {cache / 'set' / 'file.gz'}" in message
    assert "ALMETA_DATA" in message
    assert files_below(cache) == []


def test_download_with_wrong_md5_leaves_nothing(data, cache, monkeypatch):
    monkeypatch.setattr("pooch.HTTPDownloader.__call__", downloader(b"something else"))
    with pytest.raises(AlmetaError, match=f"could not download set/file.gz .*{REMOTE.digest}"):
        REMOTE.fetch()
    assert files_below(cache) == []


def test_damaged_file_in_the_cache_is_downloaded_again(data, cache, monkeypatch):
    path = put(cache, CONTENT[:5])
    monkeypatch.setattr("pooch.HTTPDownloader.__call__", downloader(CONTENT))
    assert REMOTE.fetch() == path
    assert path.read_bytes() == CONTENT


def test_damaged_file_in_the_data_folder(data, cache, offline):
    path = put(data, CONTENT[:5])
    found = hashlib.md5(CONTENT[:5]).hexdigest()
    with pytest.raises(AlmetaError) as caught:
        REMOTE.fetch()
    message = str(caught.value)
    assert message.startswith(f"{path} (5 bytes) is damaged")
    assert f"expected md5 {REMOTE.digest}, found md5 {found}" in message
    assert f"replace it by {REMOTE.url}" in message


def test_data_folder_that_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("ALMETA_DATA", str(tmp_path / "missing"))
    with pytest.raises(AlmetaError, match=r"ALMETA_DATA=.*missing is not a folder"):
        REMOTE.locate()
    monkeypatch.setenv("ALMETA_DATA", "")
    assert data_folder() is None


class Build:
    """Counts how often it is asked."""

    calls = 0

    def __call__(self):
        self.calls += 1
        return {"a": np.arange(1000), "names": np.array(["x", "yy"])}


def test_arrays_are_built_once_a_key(cache):
    build = Build()
    first, second = (cached_arrays("set", "key", build) for _ in range(2))
    assert build.calls == 1
    assert first.keys() == second.keys()
    assert all((first[name] == second[name]).all() for name in first)
    cached_arrays("set", "other key", build)
    assert build.calls == 2


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "foreign"])
def test_damaged_cache_is_rebuilt(cache, damage):
    build = Build()
    cached_arrays("set", "key", build)
    (path,) = cache.rglob("*.npz")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    flipped, whole = bytes(content), path.read_bytes()
    path.write_bytes({"empty": b"", "cut": whole[:200], "flipped": flipped, "foreign": b"hello"}[damage])
    with pytest.warns(UserWarning, match="is damaged .* and is built anew"):
        arrays = cached_arrays("set", "key", build)
    assert build.calls == 2
    assert (arrays["a"] == np.arange(1000)).all()
    assert path.read_bytes() == whole
    assert zipfile.is_zipfile(path)


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_cache_may_be_read_by_others(cache):
    before = os.umask(0o022)
    try:
        cached_arrays("set", "key", Build())
    finally:
        os.umask(before)
    (path,) = cache.rglob("*.npz")
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


BOTH = """
import sys, time, numpy as np
from almeta.data.files import cached_arrays

def build():
    print("building", flush=True)
    sys.stdin.readline()  # until both are here
    return {"a": np.arange(100_000)}

print(int(cached_arrays("set", "key", build)["a"].sum()))
"""


def test_two_processes_build_one_cache_at_once(cache):
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes: list[Any] = [subprocess.Popen([sys.executable, "-W", "error", "-c", BOTH], **pipes) for _ in range(2)]
    assert [process.stdout.readline() for process in processes] == ["building\n"] * 2
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    results = [process.communicate(timeout=60) for process in processes]
    assert results == [("4999950000\n", "")] * 2
    assert [process.returncode for process in processes] == [0, 0]
    assert len(files_below(cache)) == 1  # and nothing temporary
    build = Build()
    assert len(cached_arrays("set", "key", build)["a"]) == 100_000 and build.calls == 0


def bomb(path, member="a.npy", size=1 << 24):
    """A small zip archive of many zeros."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (size,)})
        archive.writestr(member, header.getvalue() + bytes(size))
    return path


def test_a_cached_file_that_would_fill_the_memory_is_not_unpacked(cache, monkeypatch):
    build = Build()
    cached_arrays("set", "key", build)
    (path,) = cache.rglob("*.npz")
    bomb(path)
    with monkeypatch.context() as patch:
        patch.setattr(np, "load", None)  # not even asked
        with pytest.warns(UserWarning, match=r"npz is damaged \(.* unpacks to 16777\d+ bytes, .*memory.*built anew"):
            assert len(cached_arrays("set", "key", build)["a"]) == 1000
    assert len(cached_arrays("set", "key", build)["a"]) == 1000 and build.calls == 2


def test_a_cached_file_with_a_monstrous_shape(cache):
    build = Build()
    cached_arrays("set", "key", build)
    (path,) = cache.rglob("*.npz")
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**15,)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", header.getvalue())
    with pytest.warns(UserWarning, match="is damaged .* and is built anew"):
        assert len(cached_arrays("set", "key", build)["a"]) == 1000


def test_archives_that_would_fill_the_memory(tmp_path):
    path = bomb(tmp_path / "images.zip")
    check_members(path, 1 << 25)
    with pytest.raises(
        AlmetaError, match=r"images.zip \(\d+ bytes\) unpacks to 16777\d+ bytes, like a file that is made to"
    ):
        check_members(path, 1 << 24)


def test_compressed_files_that_would_fill_the_memory(tmp_path, monkeypatch):
    path = tmp_path / "rows.csv.gz"
    path.write_bytes(gzip.compress(bytes(1 << 22)))
    check_unpacked(path)
    monkeypatch.setattr(files, "LARGEST", 1 << 20)
    with pytest.raises(
        AlmetaError, match=r"rows.csv.gz \(\d+ bytes\) unpacks to more than 0 GiB, like a file that is made"
    ):
        check_unpacked(path)
    with pytest.raises(AlmetaError, match="rows.csv.gz .* unpacks to more than"):
        load_dataset(f"csv:{path}")
    path.write_bytes(gzip.compress(bytes(1 << 19)))
    check_unpacked(path)


@pytest.fixture
def forbidden(monkeypatch):
    """Have a file be unreadable, even for root."""

    def forbid(path):
        def refuse(opened, *args, original=Path.open, **kwargs):
            if Path(opened) == path:
                raise PermissionError(13, "Permission denied", str(opened))
            return original(opened, *args, **kwargs)

        monkeypatch.setattr(Path, "open", refuse)
        return path

    return forbid


def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path, forbidden):
    path = forbidden(tmp_path / "my.csv")
    path.touch()
    for read in (lambda: load_dataset(f"csv:{path}"), lambda: digest_of(path, "md5")):
        with pytest.raises(AlmetaError, match=r"my.csv may not be read by this user \(permission denied\); change its"):
            read()


def test_a_folder_that_may_not_be_searched(data, cache, monkeypatch):
    def refuse(path, original=Path.stat, **kwargs):
        if path.name in ("file.gz", "my.csv"):
            raise PermissionError(13, "Permission denied", str(path))
        return original(path, **kwargs)

    monkeypatch.setattr(Path, "stat", refuse)
    for look in (lambda: find_file("set", "file.gz"), lambda: load_dataset("csv:my.csv")):
        with pytest.raises(AlmetaError, match="may not be read by this user"):
            look()


def test_a_cached_file_that_may_not_be_read(cache, monkeypatch):
    build = Build()
    cached_arrays("set", "key", build)
    monkeypatch.setattr(files, "check_members", lambda *args: (_ for _ in ()).throw(PermissionError(13, "denied")))
    with pytest.warns(
        UserWarning, match=r"npz may not be read by this user \(permission denied\); its arrays are built anew"
    ):
        assert len(cached_arrays("set", "key", build)["a"]) == 1000


def test_cache_that_cannot_be_written_is_a_warning(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("ALMETA_CACHE", str(tmp_path / "file"))  # not a folder, even for root
    with pytest.warns(UserWarning, match="could not keep set in the cache"):
        assert cached_arrays("set", "key", Build()).keys() == {"a", "names"}


@pytest.mark.parametrize(
    "error, expected",
    [
        (OSError(28, "No space left on device"), pytest.warns(UserWarning, match="No space left")),
        (KeyboardInterrupt(), pytest.raises(KeyboardInterrupt)),
    ],
)
def test_interrupted_write_leaves_nothing(cache, monkeypatch, error, expected):
    def fail(file, **arrays):
        file.write(b"half")
        raise error

    monkeypatch.setattr(np, "savez", fail)
    with expected:
        cached_arrays("set", "key", Build())
    assert files_below(cache) == []
    assert os.path.isdir(cache)


def test_find_file(data, cache):
    assert find_file("set", "file.gz") is None
    kept = put(cache, CONTENT)
    assert find_file("set", "file.gz") == kept
    own = put(data, CONTENT)
    assert find_file("set", "file.gz") == own


def test_published_file(data, cache):
    md5 = hashlib.md5(CONTENT).hexdigest()
    with pytest.raises(AlmetaError) as caught:
        published_file("set", "file.gz", md5, "from the press")
    assert str(caught.value) == (
        f"there is no file set/file.gz (from the press); put the file at {cache / 'set' / 'file.gz'}, "
        f"or set ALMETA_DATA to a folder that has set/file.gz"
    )
    path = put(cache, CONTENT)
    assert published_file("set", "file.gz", md5, "from the press") == path
    path.write_bytes(b"other")
    with pytest.raises(AlmetaError, match=rf"file.gz \(5 bytes\) is damaged .* expected md5 {md5}, found md5 "):
        published_file("set", "file.gz", md5, "from the press")


def test_record_of_a_file(data):
    path = put(data, CONTENT)
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    assert catalogued(path) == {}
    shared = path.with_name("catalogue.json")
    shared.write_text(json.dumps({"datasets": [{"file": "else.gz"}, {"file": "file.gz", "sha256": sha256, "n": 1}]}))
    assert catalogued(path)["n"] == 1
    path.with_name("file.gz.json").write_text(json.dumps({"sha256": sha256, "n": 2}))
    assert catalogued(path)["n"] == 2  # its own comes first
    path.with_name("file.gz.json").write_text(json.dumps({"sha256": "0"}))
    with pytest.raises(AlmetaError, match=f"is damaged .* expected sha256 0, found sha256 {sha256}"):
        catalogued(path)
    for damaged in ("half of", "[1]", "7", "null"):
        path.with_name("file.gz.json").write_text(damaged)
        with pytest.raises(AlmetaError, match=r"file.gz.json cannot be read \(.*\); replace it, or remove it"):
            catalogued(path)
    path.with_name("file.gz.json").unlink()
    for damaged in ("[]", '{"datasets": [7]}', '{"datasets": [{"name": "file"}]}'):
        shared.write_text(damaged)
        with pytest.raises(AlmetaError, match=r"catalogue.json cannot be read \(.*\); replace it, or remove it"):
            catalogued(path)
