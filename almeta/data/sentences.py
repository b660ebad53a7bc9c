"""Sentences to classify, as counts of their terms."""

import gzip
import zlib
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer

from almeta.checks import Count
from almeta.data.dataset import Dataset, Split
from almeta.data.files import check_unpacked, published_file, unreadable
from almeta.errors import AlmetaError

SOURCES = {
    "sst2": "Stanford Sentiment Treebank, positive and negative sentences (Socher et al., EMNLP 2013)",
    "subj": "Subjectivity data set v1.0 (Pang and Lee, ACL 2004)",
    "trec": "TREC questions by kind of answer (Li and Roth, COLING 2002)",
}


def load(name: str, terms: Count = 2000, split: Split | None = None) -> Dataset:
    """Return one of the three data sets, the rows of all its published parts in their order.

    x `[n, terms]` counts; the columns are the most frequent terms of all rows, in lower case, by alphabet.
    `almeta.data.preparation` weighs them by the pool alone.

    Args:
        name: of the data set.
        terms: largest number of columns.
        split: "published" makes the published test sentences the fixed test set; None lets each task draw its own.

    Raises:
        AlmetaError: if the file is missing or damaged, or the data set was published without a test set.
    """
    form = "tab-separated, columns label, text and split, gzip"
    labels, texts, parts = read_sentences(published_file("text", f"{name}.tsv.gz", None, form))
    # The sentences are tokens separated by spaces, and a question mark is a token.
    vectorizer = CountVectorizer(token_pattern=r"\S+", max_features=terms, dtype=np.float32)
    class_names, y = np.unique(labels, return_inverse=True)
    return Dataset(
        name=name,
        x=vectorizer.fit_transform(texts).toarray(),
        y=y.astype(np.int64),
        class_names=tuple(class_names.tolist()),
        source=SOURCES[name],
        columns=tuple(vectorizer.get_feature_names_out().tolist()),
        kind="text",
        test_rows=_published_test(name, parts) if split else None,
    )


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
