import gzip
import json

import numpy as np
import pytest

from almeta.data import files, load_dataset, sentences
from almeta.errors import AlmetaError
from tests.data.conftest import published

ROWS = 'label\ttext\tsplit\nb\tA bird , a cat ?\ttrain\na\tno " bird\ttest\n'


def put(data, content, name="trec"):
    (data / "text").mkdir()
    path = data / "text" / f"{name}.tsv.gz"
    path.write_bytes(content)
    return path


def test_counts(data):
    put(data, gzip.compress(ROWS.encode()))
    trec = load_dataset("trec")
    assert trec.kind == "text"
    assert trec.class_names == ("a", "b") and trec.y.tolist() == [1, 0]
    assert trec.columns == ('"', ",", "?", "a", "bird", "cat", "no")
    assert trec.x.tolist() == [[0, 1, 1, 2, 1, 1, 0], [1, 0, 0, 0, 1, 0, 1]]
    assert load_dataset("trec", terms=2).columns == ("a", "bird")


@pytest.mark.parametrize("name", sentences.SOURCES)
def test_published(name, load_once):
    folder = published(f"text/{name}.tsv.gz", "text/catalogue.json") / "text"
    item = next(i for i in json.loads((folder / "catalogue.json").read_text("utf-8"))["datasets"] if i["name"] == name)
    data = load_once(name)
    assert data.x.shape == (item["rows"], 2000)
    counts = dict.fromkeys(data.class_names, 0)
    for part in item["class_counts"].values():
        counts = {label: count + part.get(label, 0) for label, count in counts.items()}
    assert dict(zip(data.class_names, data.class_counts.tolist(), strict=True)) == counts
    assert (data.x == np.round(data.x)).all() and data.x.max() < 30
    assert data.x.sum(0).min() >= 2  # the terms are frequent ones
    assert (data.x.sum(1) > 0).mean() > 0.99


def test_values(load_once):
    published("text/trec.tsv.gz")
    trec = load_once("trec")
    assert trec.class_names[trec.y[0]] == "DESC"
    words = {trec.columns[place] for place in np.flatnonzero(trec.x[0])}  # How did serfdom develop in and then ...
    assert {"how", "did", "in", "and", "then", "leave", "?"} <= words
    assert "serfdom" not in words


@pytest.mark.parametrize(
    "content, message",
    [
        (gzip.compress(ROWS.encode())[:-12], "cannot be read: .*; replace it by a whole copy"),
        (b"label\ttext\tsplit\n", "cannot be read: .*; replace it by a whole copy"),
        (gzip.compress(b"text,label\nx,y\n"), "is not a file of sentences: line 1 must have label, text and split"),
        (gzip.compress((ROWS + "a\tcut").encode()), "is not a file of sentences: line 4 must have"),
        (gzip.compress(b""), "is not a file of sentences: line 1"),
        (gzip.compress(b"label\ttext\tsplit\n\xe9\tx\ty\n"), "cannot be read: .*utf-8"),
    ],
    ids=range(6),  # not the bytes: they hold the time
)
def test_damaged_file(content, message, data, cache):
    put(data, content)
    with pytest.raises(AlmetaError, match=rf"trec.tsv.gz {message}"):
        load_dataset("trec")


def test_a_file_that_would_fill_the_memory(data, cache, monkeypatch):
    put(data, gzip.compress(bytes(1 << 22)))
    monkeypatch.setattr(files, "LARGEST", 1 << 20)
    with pytest.raises(AlmetaError, match="trec.tsv.gz .* unpacks to more than"):
        load_dataset("trec")


def test_other_file_than_the_catalogue_has(data, cache):
    path = put(data, gzip.compress(ROWS.encode()))
    record = {"datasets": [{"file": path.name, "sha256": "0" * 64}]}
    (path.parent / "catalogue.json").write_text(json.dumps(record))
    with pytest.raises(AlmetaError, match=f"trec.tsv.gz .* is damaged .* expected sha256 {'0' * 64}"):
        load_dataset("trec")


def test_no_file(data, cache):
    with pytest.raises(AlmetaError, match=r"there is no file text/subj.tsv.gz \(.*\); put the file at .*ALMETA_DATA"):
        load_dataset("subj")
    with pytest.raises(AlmetaError, match="data set subj.terms is 0; it must be a whole number of at least 1"):
        load_dataset("subj", terms=0)


def test_the_published_test_set(data):
    put(data, gzip.compress(ROWS.encode()))
    put_more = (data / "text" / "subj.tsv.gz").write_bytes
    put_more(gzip.compress(ROWS.replace("test\n", "all\n").encode()))
    trec = load_dataset("trec", split="published")
    assert trec.test_rows is not None and trec.test_rows.tolist() == [1] and load_dataset("trec").test_rows is None
    with pytest.raises(AlmetaError, match="data set subj was published without a test set; leave out split=published"):
        load_dataset("subj", split="published")
