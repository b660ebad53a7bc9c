"""A column of text as features."""

import gzip
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from almeta.data import load_dataset
from almeta.data.preparation import prepare
from almeta.errors import AlmetaError

FILMS = "text,label\nA good film; good!,yes\nBad film,no\nGood plot,yes\nBAD acting,no\n"


@pytest.fixture
def load(tmp_path, cache):
    def write_and_load(content, /, **options):
        (tmp_path / "my.csv").write_text(content, "utf-8")
        return load_dataset(f"csv:{tmp_path / 'my.csv'}", **options)

    return write_and_load


def test_counts_of_terms(load):
    data = load(FILMS, text="text")
    assert (data.kind, data.columns) == ("text", ("acting", "bad", "film", "good", "plot"))
    assert data.x.tolist() == [[0, 0, 1, 2, 0], [0, 1, 1, 0, 0], [0, 0, 0, 1, 1], [1, 1, 0, 0, 0]]
    features, _ = prepare(data, np.arange(4), np.arange(0))
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, rtol=1e-6)
    assert load(FILMS, text="text", terms=2).columns == ("bad", "good")  # the most frequent, then by alphabet


def test_terms_are_those_of_rows_outside_the_test_set(load):
    text = "text,part,label\nred,train,x\nblue,train,y\ngreen green,test,x\n"
    data = load(text, text="text", split="part")
    assert data.columns == ("blue", "red") and data.x.tolist() == [[0, 1], [1, 0], [0, 0]]


def test_numbers_and_words_for_missing_are_text(load):
    data = load("text,label\n2024,x\nNA,y\n1984,x\n", text="text")
    assert data.columns == ("1984", "2024", "na")


def test_other_columns_and_rows_without_text_are_told(load):
    with pytest.warns(UserWarning) as caught:
        data = load("id,text,label\n7,red,x\n8,,y\n9,blue,x\n", text="text")
    assert [str(warning.message).partition(": ")[2] for warning in caught] == [
        "1 of 3 rows have no text in column 'text'",
        "with text=text, the text alone is used; left out: 'id'; name a column in ignore=[...] if that is meant",
    ]
    assert data.x.tolist() == [[0, 1], [0, 0], [1, 0]]


@pytest.mark.parametrize(
    "content, options, message",
    [
        ("text,label\na b,x\nc ?,y\n", {"text": "text"}, "column 'text' has no word of two letters or more; choose"),
        (FILMS, {"text": "txt"}, "unknown column 'txt'; did you mean 'text'"),
        (FILMS, {"text": "label"}, "has no column named target, label or class"),
        (FILMS, {"text": "label", "target": "label"}, "column 'label' has the labels; it cannot be ignored, or be"),
        (FILMS, {"embedding": "mini"}, "embedding=mini is for text; name the column with text=COLUMN"),
        (FILMS, {"text": "text", "terms": 0}, "terms is 0; it must be a whole number of at least 1"),
    ],
)
def test_mistakes(content, options, message, load):
    with pytest.raises(AlmetaError, match=message):
        load(content, **options)


def test_counts_that_would_fill_the_memory(load, monkeypatch):
    monkeypatch.setattr("almeta.data.texts.LARGEST", 70)
    with pytest.raises(AlmetaError, match="counts of 5 terms in 4 rows need 0 GiB; count fewer with terms=4"):
        load(FILMS, text="text")
    assert len(load(FILMS, text="text", terms=4).columns) == 4


# ---- embeddings


def test_the_extra_is_named_where_the_package_is_missing(load, monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(
        AlmetaError, match=r"embedding=mini needs sentence_transformers, .*pip install 'almeta\[text\]'"
    ):
        load(FILMS, text="text", embedding="mini")


@pytest.fixture
def calls(monkeypatch):
    """What was asked of a stand-in for sentence-transformers, whose embedding is lengths and counts of "o"."""
    asked = []

    class SentenceTransformer:
        def __init__(self, model):
            if model == "mimi":
                raise OSError("mimi is not a local folder and is not a valid model identifier")
            asked.append(model)

        def encode(self, texts, show_progress_bar):
            return np.array([[len(text), text.count("o")] for text in texts])

    package = SimpleNamespace(SentenceTransformer=SentenceTransformer, __version__="6.2.0")
    monkeypatch.setitem(sys.modules, "sentence_transformers", package)
    return asked


def test_embeddings_are_features_and_kept(load, calls, tmp_path):
    for _ in range(2):
        data = load(FILMS, text="text", embedding="mini")
        assert data.x.tolist() == [[18, 4], [8, 0], [9, 3], [10, 0]]
        assert (data.kind, data.columns) == ("table", ())
    assert calls == ["mini"]
    load(FILMS + "Good,yes\n", text="text", embedding="mini")  # another text
    (tmp_path / "model").mkdir()
    for content in ("a", "a", "bc"):  # of the model
        if not (file := tmp_path / "model/weights").exists() or file.read_text() != content:
            file.write_text(content)
        load(FILMS, text="text", embedding=str(tmp_path / "model"))
    assert calls == ["mini", "mini", str(tmp_path / "model"), str(tmp_path / "model")]


def test_a_model_that_is_not_there(load, calls):
    with pytest.raises(
        AlmetaError, match="embedding=mimi cannot be loaded: mimi is not a local folder .*; correct the"
    ):
        load(FILMS, text="text", embedding="mimi")


def test_a_package_may_bring_the_model(load, calls, tmp_path, monkeypatch):
    model = tmp_path / "packages" / "my_model" / "weights"
    model.mkdir(parents=True)
    (model / "modules.json").write_text("[]")
    (model.parent / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    assert load(FILMS, text="text", embedding="my-model").x.shape == (4, 2)
    assert calls == [str(model)]


def test_sentences_are_embedded(calls, data, cache):
    (data / "text").mkdir()
    rows = "label\ttext\tsplit\nb\tA bird , too\ttrain\na\tno bird\ttest\n"
    (data / "text" / "trec.tsv.gz").write_bytes(gzip.compress(rows.encode()))
    sentences = load_dataset("trec", embedding="mini", split="published")
    assert sentences.x.tolist() == [[12, 2], [7, 1]]
    assert (sentences.kind, sentences.columns) == ("table", ())
    assert sentences.test_rows is not None and sentences.test_rows.tolist() == [1]
    with pytest.raises(AlmetaError, match="embedding=mini is of whole sentences; leave out form=tokens"):
        load_dataset("trec", embedding="mini", form="tokens")
