import gzip
import inspect
import json
import urllib.error
import zlib

import numpy as np
import pandas as pd
import pytest
import sklearn.datasets
from sklearn.utils import Bunch

from almeta.data import load_dataset, openml
from almeta.data.catalogue import OPENML
from almeta.data.suites import suite
from almeta.errors import AlmetaError
from tests.data.conftest import published

DETAILS = {"id": "61", "name": "flowers", "version": "1"}


class Fetch:
    """Stands in for scikit-learn's `fetch_openml`, with its signature."""

    def __init__(self, frame, target, error=None):
        self.frame, self.target, self.error = frame, target, error
        self.queries = []

    def __call__(self, *args, **kwargs):
        inspect.signature(sklearn.datasets.fetch_openml).bind(*args, **kwargs)
        self.queries.append(kwargs)
        if self.error:
            raise self.error
        return Bunch(data=self.frame, target=self.target, details=DETAILS)


@pytest.fixture
def serve(monkeypatch, data, cache):
    """Have OpenML serve a frame, or an error."""

    def patch(frame=None, target=None, error=None):
        fetch = Fetch(frame, target, error)
        monkeypatch.setattr(openml, "fetch_openml", fetch)
        return fetch

    return patch


def flowers():
    colour = pd.Series(["red", "blue, dark", None, "red"], dtype="category")
    frame = pd.DataFrame({"size": [1.5, np.nan, 3, 4], "colour": colour, "target": [1, 2, 3, 4]})
    return frame, pd.Series(["b", "a", "b", "a"], dtype="category", name="class")


def test_fetched_once_and_kept(serve, cache):
    fetch = serve(*flowers())
    first, second = load_dataset("openml:61"), load_dataset("openml:61")
    assert [query["data_id"] for query in fetch.queries] == [61]
    for data in (first, second):
        assert data.name == "openml:61"
        assert data.source == "OpenML data set 61, flowers version 1, https://www.openml.org/d/61"
        assert data.columns == ("size", "colour", "target_")
        assert data.categories == {1: ("blue, dark", "red")}
        assert data.class_names == ("a", "b")
        assert data.y.tolist() == [1, 0, 1, 0]
        wanted = [[1.5, 1, 1], [np.nan, 0, 2], [3, np.nan, 3], [4, 1, 4]]
        assert np.array_equal(data.x, np.array(wanted, np.float32), equal_nan=True)
    path = cache / "tabular" / "openml-61.csv.gz"
    assert gzip.decompress(path.read_bytes()).decode().splitlines()[:2] == ["size,colour,target_,target", "1.5,red,1,b"]
    assert sorted(file.name for file in path.parent.iterdir()) == [path.name, f"{path.name}.json"]


def test_by_name_and_with_another_target(serve, cache):
    fetch = serve(*flowers())
    load_dataset("openml:flowers")
    load_dataset("openml:flowers", target="size")
    names = [(query.get("name"), query["target_column"]) for query in fetch.queries]
    assert names == [("flowers", "default-target"), ("flowers", "size")]
    files = sorted(path.name for path in (cache / "tabular").glob("*.gz"))
    assert files == ["openml-flowers.csv.gz", "openml-flowers=size.csv.gz"]


def test_name_stays_in_the_folder(serve, cache):
    serve(*flowers())
    load_dataset("openml:../../else where")
    assert [path.parent.name for path in cache.rglob("*.gz")] == ["tabular"]


def test_data_folder_comes_first(serve, data):
    serve(error=AssertionError("not asked"))
    (data / "tabular").mkdir()
    (data / "tabular" / "openml-61.csv.gz").write_bytes(gzip.compress(b"f0,target\n1,x\n2,y\n"))
    assert load_dataset("openml:61").class_names == ("x", "y")


@pytest.mark.parametrize(
    "error", [urllib.error.URLError("no network"), ValueError("unknown"), EOFError("cut"), zlib.error("bad")]
)
def test_nothing_to_be_had(error, serve, cache):
    serve(error=error)
    with pytest.raises(AlmetaError) as caught:
        load_dataset("openml:61")
    message = str(caught.value)
    assert message.startswith("could not fetch data_id=61 from OpenML: ")
    assert f"put the file at {cache / 'tabular' / 'openml-61.csv.gz'}" in message
    assert "set ALMETA_DATA to a folder that has tabular/openml-61.csv.gz" in message
    assert not cache.exists()


def test_no_network_by_the_ordinary_way(monkeypatch, data, cache):
    """scikit-learn's own function, with the socket closed."""

    def refuse(*args, **kwargs):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("sklearn.datasets._openml.urlopen", refuse)
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # it tries again
    with pytest.warns(UserWarning, match="network error"), pytest.raises(AlmetaError, match="no network.*put the file"):
        load_dataset("openml:61")


@pytest.mark.parametrize("damage", ["cut", "other"])
def test_damaged_in_the_cache(damage, serve, cache):
    serve(*flowers())
    load_dataset("openml:61")
    path = cache / "tabular" / "openml-61.csv.gz"
    path.write_bytes(path.read_bytes()[:-9] if damage == "cut" else gzip.compress(b"f0,target\n1,x\n2,y\n"))
    with pytest.raises(AlmetaError, match="is damaged .* expected sha256 .* or remove it to look for it anew"):
        load_dataset("openml:61")
    path.unlink()
    assert load_dataset("openml:61").columns[0] == "size"


def test_no_single_target(serve):
    frame, _ = flowers()
    for target in (None, frame):
        serve(frame, target)
        with pytest.raises(AlmetaError, match="OpenML data set 61, .*names no single column .* target=COLUMN"):
            load_dataset("openml:61")


def test_cache_that_cannot_be_written(serve, tmp_path, monkeypatch):
    serve(*flowers())
    (tmp_path / "file").touch()
    monkeypatch.setenv("ALMETA_CACHE", str(tmp_path / "file"))
    with pytest.raises(AlmetaError, match="cannot write .*; set ALMETA_CACHE to a folder that can be written"):
        load_dataset("openml:61")


# ---- the tables that go by a name of their own


def test_table_from_openml(serve, cache):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.random((768, 8)).astype(np.float32))
    fetch = serve(frame, pd.Series(np.where(np.arange(768) % 3, "tested_negative", "tested_positive")))
    data = load_dataset("pima")
    assert (fetch.queries[0]["name"], fetch.queries[0]["version"]) == ("diabetes", 1)
    assert data.name == "diabetes"
    assert np.allclose(data.x, frame.to_numpy())
    assert data.class_counts.tolist() == [512, 256]
    assert (cache / "tabular" / "diabetes.csv.gz").exists()


def test_another_table_of_that_name_is_refused(serve, cache):
    serve(pd.DataFrame({"a": range(10)}), pd.Series(list("xyxyxyxyxy")))
    with pytest.raises(AlmetaError, match="has 10 rows in 2 classes, and not 768 in 2: it is another table; put the"):
        load_dataset("diabetes")
    assert not cache.exists()


def test_table_that_openml_lacks(serve, cache):
    serve(error=AssertionError("not asked"))
    with pytest.raises(AlmetaError) as caught:
        load_dataset("fourclass")
    assert str(caught.value).startswith(
        f"data set 'fourclass' is not at OpenML in this form; put the file at {cache / 'tabular' / 'fourclass.csv.gz'}"
    )


def test_rows_and_classes_at_openml_are_those_of_the_catalogue():
    text = (published("tabular/catalogue.json") / "tabular" / "catalogue.json").read_text("utf-8")
    items = {item["name"]: item for item in json.loads(text)["datasets"]}
    for name in set(suite("tables")) & OPENML.keys():
        _, rows, classes = OPENML[name]
        assert classes == items[name]["classes"]
        # satimage lacks five rows there
        assert rows == items[name]["original_rows"] or (name, rows) == ("satimage", 6430)
