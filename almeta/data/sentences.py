"""Sentences to classify, as counts of their terms, as tokens in their order, or as embeddings."""

import gzip
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer

from almeta.checks import Count
from almeta.data.dataset import Dataset, Split
from almeta.data.embeddings import embedded
from almeta.data.files import check_unpacked, published_file, unreadable
from almeta.errors import AlmetaError

SOURCES = {
    "sst2": "Stanford Sentiment Treebank, positive and negative sentences (Socher et al., EMNLP 2013)",
    "subj": "Subjectivity data set v1.0 (Pang and Lee, ACL 2004)",
    "trec": "TREC questions by kind of answer (Li and Roth, COLING 2002)",
}


LENGTH = 64  # tokens of a row, unless told otherwise: all of them, but for a few sentences of subj


def load(
    name: str,
    terms: Count = 2000,
    form: Literal["counts", "tokens"] = "counts",
    length: Count | None = None,
    split: Split | None = None,
    embedding: str | None = None,
) -> Dataset:
    """Return one of the three data sets, the rows of all its published parts in their order.

    x `[n, terms]` counts; the columns are the most frequent terms of all rows, in lower case, by alphabet.
    `almeta.data.preparation` weighs them by the pool alone. Or x `[n, length]` tokens: the numbers of a row's words in
    their order, 2 and more for the most frequent terms by alphabet, 1 for any other, 0 after the last. Or embeddings
    `[n, d]`.

    Args:
        name: of the data set.
        terms: largest number of different terms.
        form: "counts" or "tokens".
        length: of a row of tokens, 64 for None; further words of a row are cut off.
        split: "published" makes the published test sentences the fixed test set; None lets each task draw its own.
        embedding: a model of sentence embeddings in place of terms, see `almeta.data.embeddings.embedded`.

    Raises:
        AlmetaError: if the file is missing or damaged, there is a length of counts, an embedding of tokens or no such
            model, or the data set was published without a test set.
    """
    if length is not None and form == "counts":
        raise AlmetaError(f"data set {name}: length={length} is for tokens; set form=tokens, or leave it out")
    if embedding is not None and form == "tokens":
        raise AlmetaError(f"data set {name}: embedding={embedding} is of whole sentences; leave out form=tokens")
    shape = "tab-separated, columns label, text and split, gzip"
    labels, texts, parts = read_sentences(published_file("text", f"{name}.tsv.gz", None, shape))
    class_names, y = np.unique(labels, return_inverse=True)
    shared: dict[str, Any] = {
        "name": name,
        "y": y.astype(np.int64),
        "class_names": tuple(class_names.tolist()),
        "source": SOURCES[name],
        "test_rows": _published_test(name, parts) if split else None,
    }
    if embedding is not None:
        return Dataset(x=embedded(texts, embedding), **shared)
    # The sentences are tokens separated by spaces, and a question mark is a token.
    vectorizer = CountVectorizer(token_pattern=r"\S+", max_features=terms, dtype=np.float32)
    counts = vectorizer.fit_transform(texts)
    found = vectorizer.get_feature_names_out().tolist()
    if form == "tokens":
        words = vectorizer.build_analyzer()
        x = _numbers([words(text) for text in texts], found, LENGTH if length is None else length)
        return Dataset(x=x, kind="tokens", **shared)
    return Dataset(x=counts.toarray(), columns=tuple(found), kind="text", **shared)


def _numbers(texts: list[list[str]], terms: list[str], length: int) -> np.ndarray:
    """Return `[n, length]` float32: the words' places among `terms`, from 2; 1 for others, 0 for none."""
    place = {term: number for number, term in enumerate(terms, 2)}
    x = np.zeros((len(texts), length), np.float32)
    for row, words in zip(x, texts, strict=True):
        row[: len(words)] = [place.get(word, 1) for word in words[:length]]
    return x


def _published_test(name: str, parts: list[str]) -> np.ndarray:
    rows = np.flatnonzero(np.array(parts) == "test")
    if not len(rows):
        raise AlmetaError(f"data set {name} was published without a test set; leave out split=published")
    return rows


def read_sentences(path: Path) -> tuple[list[str], list[str], list[str]]:
    """Return the columns label, text and split of a gzipped file without quoting.

    Raises:
        AlmetaError: if the file has another form, or is not whole.
    """
    try:
        check_unpacked(path)
        lines = gzip.decompress(path.read_bytes()).decode().split("\n")
    except PermissionError as error:
        raise unreadable(path) from error
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise AlmetaError(f"{path} cannot be read: {error}; replace it by a whole copy") from error
    rows = [line.split("\t") for line in lines if line]
    wrong = next((number for number, row in enumerate(rows, 1) if len(row) != 3), None)
    if len(rows) < 2 or rows[0] != ["label", "text", "split"] or wrong:
        raise AlmetaError(
            f"{path} is not a file of sentences: line {wrong or 1} must have label, text and split, with tabs "
            f"between; replace it by a whole copy"
        )
    labels, texts, parts = map(list, zip(*rows[1:], strict=True))
    return labels, texts, parts
