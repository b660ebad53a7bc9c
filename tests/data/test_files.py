import hashlib
import json
import os
import zipfile

import numpy as np
import pytest

from almeta.data.files import RemoteFile, cached_arrays, catalogued, data_folder, find_file, published_file
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
    with pytest.raises(AlmetaError, match=f"could not download set/file.gz .*{REMOTE.md5}"):
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
    assert f"expected md5 {REMOTE.md5}, found md5 {found}" in message
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
    path.with_name("file.gz.json").write_text("half of")
    with pytest.raises(AlmetaError, match=r"file.gz.json cannot be read \(.*\); replace it, or remove it"):
        catalogued(path)
