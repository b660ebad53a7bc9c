import json

import numpy as np
import pytest

from almeta.data import dataset_names, load_dataset, tabular
from almeta.data.catalogue import ALIASES, FAMILIES, OPENML
from almeta.data.suites import suite
from almeta.errors import AlmetaError
from tests.data.conftest import published

EVERY = suite("tables")


@pytest.fixture(scope="module")
def catalogue():
    text = (published("tabular/catalogue.json") / "tabular" / "catalogue.json").read_text("utf-8")
    return {item["name"]: item for item in json.loads(text)["datasets"]}


@pytest.mark.parametrize("name", EVERY)
def test_every_table_is_as_its_catalogue_says(name, catalogue):
    published(f"tabular/{name}.csv.gz")
    item, data = catalogue[name], tabular.load(name)
    assert data.name == name
    assert data.x.shape == (item["rows"], item["features"])
    assert dict(zip(data.class_names, data.class_counts.tolist(), strict=True)) == item["class_counts"]
    assert np.isnan(data.x).sum() == item["empty_cells"]
    assert data.missing is (item["empty_cells"] > 0)
    assert data.source == item["origin"]
    assert (data.kind, data.categories) == ("table", {})
    assert data.columns == tuple(item.get("columns") or [f"f{k}" for k in range(item["features"])])


def test_values(catalogue):
    published("tabular/diabetes.csv.gz")
    data = load_dataset("diabetes")
    assert data.columns[:3] == ("preg", "plas", "pres")
    assert data.x[0] == pytest.approx([6, 148, 72, 35, 0, 33.6, 0.627, 50])
    assert data.class_names[data.y[0]] == "1"


def test_iris_is_that_of_scikit_learn():
    published("tabular/iris.csv.gz")
    assert load_dataset("iris").source.endswith("as in scikit-learn")
    ours, theirs = tabular.load("iris").x, load_dataset("iris").x
    assert np.isclose(ours, theirs).mean() > 0.99  # UCI's copy has two rows with mistakes


@pytest.mark.parametrize("alias, name", ALIASES.items())
def test_aliases(alias, name):
    published(f"tabular/{name}.csv.gz")
    assert alias not in dataset_names()
    assert load_dataset(alias.replace("_", "-")).name == name


def test_names():
    assert len(FAMILIES["tabular"]) == 58
    assert set(ALIASES.values()) <= set(FAMILIES["tabular"])
    assert set(OPENML) <= {*FAMILIES["tabular"], "iris", "wine"}
    with pytest.raises(AlmetaError, match="unknown key of data set heart_statlog 'target'; Known: none"):
        load_dataset("heart", target="x")


def copy(name, data, catalogue=True):
    """A table of the data folder in another one."""
    folder = published(f"tabular/{name}.csv.gz", "tabular/catalogue.json") / "tabular"
    (data / "tabular").mkdir()
    for file in [f"{name}.csv.gz"] + ["catalogue.json"] * catalogue:
        (data / "tabular" / file).write_bytes((folder / file).read_bytes())
    return data / "tabular" / f"{name}.csv.gz"


@pytest.mark.parametrize("damage", ["cut", "foreign", "not gzip"])
def test_damaged_file(damage, data, cache):
    path = copy("zoo", data)
    whole = path.read_bytes()
    foreign = (published("tabular/iris.csv.gz") if damage == "foreign" else data) / "tabular" / "iris.csv.gz"
    path.write_bytes(
        {
            "cut": lambda: whole[:-100],
            "foreign": foreign.read_bytes,
            "not gzip": lambda: b"f0,target\n1,2\n",
        }[damage]()
    )
    with pytest.raises(AlmetaError, match=r"zoo.csv.gz \(\d+ bytes\) is damaged .* expected sha256 .*, found sha256 "):
        load_dataset("zoo")


def test_file_without_a_catalogue(data, cache):
    path = copy("zoo", data, catalogue=False)
    zoo = load_dataset("zoo")
    assert zoo.columns[0] == "f0"
    assert zoo.source == f"the file {path}"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(AlmetaError, match=r"zoo.csv.gz cannot be read: .*; it must be a whole file"):
        load_dataset("zoo")


def test_catalogue_that_cannot_be_read(data, cache):
    copy("zoo", data)
    (data / "tabular" / "catalogue.json").write_text('{"datasets": [')
    with pytest.raises(AlmetaError, match=r"catalogue.json cannot be read \(.*\); replace it, or remove it"):
        load_dataset("zoo")
