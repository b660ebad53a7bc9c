import os
from pathlib import Path

import pytest

from almeta.data import Dataset, load_dataset


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("ALMETA_CACHE", str(folder))
    return folder


@pytest.fixture
def data(tmp_path, monkeypatch):
    """An empty data folder."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("ALMETA_DATA", str(folder))
    return folder


@pytest.fixture
def offline(monkeypatch):
    """No download succeeds."""

    def refuse(*args, **kwargs):
        raise ConnectionError("no network")

    monkeypatch.setattr("pooch.HTTPDownloader.__call__", refuse)


DATA = os.environ.get("ALMETA_DATA")  # as the session found it: the fixture `data` changes it


def published(*names: str) -> Path:
    """The folder of `$ALMETA_DATA` that has the named files; the test is skipped where there is none."""
    if not DATA:
        pytest.skip("ALMETA_DATA is not set")
    if missing := [name for name in names if not Path(DATA, name).exists()]:
        pytest.skip(f"ALMETA_DATA has no {missing[0]}")
    return Path(DATA)


@pytest.fixture(scope="session")
def session_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("almeta-cache")


@pytest.fixture(scope="session")
def load_once(session_cache):
    """`load_dataset`, each set once a session, in a cache of its own."""
    loaded: dict[str, Dataset] = {}

    def load(name: str) -> Dataset:
        if name not in loaded:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("ALMETA_CACHE", str(session_cache))
                loaded[name] = load_dataset(name)
        return loaded[name]

    return load
