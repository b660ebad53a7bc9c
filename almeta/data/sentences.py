"""Sentences to classify, as counts of their terms."""

import gzip
import zlib
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer

from almeta.checks import Count
from almeta.data.dataset import Dataset
from almeta.data.files import catalogued, check_unpacked, find_file, unreadable, where_to_put
from almeta.errors import AlmetaError

SOURCES = {
    "sst2": "Stanford Sentiment Treebank, positive and negative sentences (Socher et al., EMNLP 2013)",
    "subj": "Subjectivity data set v1.0 (Pang and Lee, ACL 2004)",
    "trec": "TREC questions by kind of answer (Li and Roth, COLING 2002)",
}


def load(name: str, terms: Count = 2000) -> Dataset:
    """One of the three, the rows of all its published parts in their order.

    x `[n, terms]` counts; the columns are the most frequent terms of all rows, in lower case, by alphabet. What they
    weigh is left to `almeta.data.preparation`, which knows only the pool.

    Args:
        name: of the set.
        terms: how many, at most as many as there are.

    Raises:
        AlmetaError: if the file is nowhere, or damaged.
    """
    file = f"{name}.tsv.gz"
    path = find_file("text", file)
    if path is None:
        raise AlmetaError(
            f"there is no file text/{file} (tab-separated, columns label, text and split, gzip); "
            f"{where_to_put('text', file)}"
        )
    catalogued(path)
    labels, texts = read_sentences(path)
    # The sentences are tokens between spaces already, and a question mark is one too.
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
    )


def read_sentences(path: Path) -> tuple[list[str], list[str]]:
    """The labels and the texts of a gzipped file with the columns label, text and split, without quoting.

    Raises:
        AlmetaError: if the file is not that, or not whole.
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
    return [row[0] for row in rows[1:]], [row[1] for row in rows[1:]]
