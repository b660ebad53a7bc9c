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


def test_tokens(data):
    put(data, gzip.compress(ROWS.encode()))
    trec = load_dataset("trec", form="tokens", length=7)
    assert trec.kind == "tokens" and trec.columns == () and trec.x.dtype == np.float32
    assert trec.class_names == ("a", "b") and trec.y.tolist() == [1, 0]
    # By alphabet: " is 2, then , ? a bird cat no; "A bird , a cat ?" and 'no " bird'.
    assert trec.x.tolist() == [[5, 6, 3, 5, 7, 4, 0], [8, 2, 6, 0, 0, 0, 0]]
    assert load_dataset("trec", form="tokens", terms=2, length=3).x.tolist() == [[2, 3, 1], [1, 1, 3]]
    assert load_dataset("trec", form="tokens").x.shape == (2, 64)
    assert load_dataset("trec", form="counts").kind == "text"


@pytest.mark.parametrize(
    "options, message",
    [
        ({"form": "token"}, "data set trec.form is 'token'; it must be 'counts' or 'tokens'"),
        ({"form": "tokens", "length": 0}, "data set trec.length is 0; it must be a whole number of at least 1"),
        ({"length": 5}, "data set trec: length=5 is for tokens; set form=tokens, or leave it out"),
    ],
)
def test_mistakes_about_tokens(options, message):
    with pytest.raises(AlmetaError, match=message):
        load_dataset("trec", **options)


def test_published_tokens_are_those_of_the_counts(load_once):
    published("text/trec.tsv.gz")
    counts, tokens = load_once("trec"), load_dataset("trec", form="tokens")
    assert np.array_equal(tokens.y, counts.y)
    found = np.zeros((len(tokens), 2002), np.float32)
    for position in tokens.x.T.astype(int):
        np.add.at(found, (np.arange(len(found)), position), 1)
    assert np.array_equal(found[:, 2:], counts.x)  # no question has more than 64 words
    ends = (tokens.x == 0).argmax(1)  # nothing follows the last word
    assert all((row[end:] == 0).all() for row, end in zip(tokens.x, ends, strict=True))
    assert np.array_equal(load_dataset("trec", form="tokens", length=5).x, tokens.x[:, :5])


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
