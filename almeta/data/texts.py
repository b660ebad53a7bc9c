"""Making features of a column of text: counts of its terms, or embeddings of its sentences."""

import warnings

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import CountVectorizer

from almeta.data.embeddings import embedded
from almeta.data.files import LARGEST
from almeta.data.frames import Features
from almeta.errors import AlmetaError


def text_features(
    frame: pd.DataFrame,
    y: np.ndarray,
    where: str,
    fitted: np.ndarray,
    column: str,
    terms: int = 2000,
    embedding: str | None = None,
) -> Features:
    """Return features of one column of text; the others are set aside with a warning.

    Without an embedding, they are counts `[n, terms]` of the most frequent terms (words of at least two letters, in
    lower case), by alphabet, which `almeta.data.preparation` weighs by the pool alone.

    Args:
        frame: without the labels.
        y: `[n]`, of no use here.
        where: name of the frame in messages.
        fitted: `[n]` bool, the rows whose terms count.
        column: of text; NaN is an empty text, with a warning.
        terms: largest number of terms.
        embedding: a model of sentence embeddings, see `almeta.data.embeddings.embedded`, for `[n, d]` numbers instead.

    Raises:
        AlmetaError: if there is no word, the counts need too much memory, or there is no such model or its package.
    """
    texts = frame[column]
    if empty := int(texts.isna().sum()):
        warnings.warn(f"{where}: {empty} of {len(texts)} rows have no text in column {column!r}", stacklevel=3)
    others = {str(name): "beside the text" for name in frame if name != column}
    if others:
        warnings.warn(
            f"{where}: with text={column}, the text alone is used; left out: {', '.join(map(repr, others))}; "
            f"name a column in ignore=[...] if that is meant",
            stacklevel=3,
        )
    words = texts.fillna("").astype(str).tolist()
    if embedding is not None:
        return Features(embedded(words, embedding), set_aside=others)
    x, names = _counted(words, fitted, terms, f"{where}: column {column!r}")
    return Features(x, names, kind="text", set_aside=others)


def _counted(texts: list[str], fitted: np.ndarray, terms: int, where: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return counts `[n, terms]` float32 of the most frequent terms of the fitted rows, and the terms."""
    vectorizer = CountVectorizer(max_features=terms, dtype=np.float32)
    try:
        vectorizer.fit(text for text, used in zip(texts, fitted, strict=True) if used)
    except ValueError as error:  # an empty vocabulary
        raise AlmetaError(
            f"{where} has no word of two letters or more; choose another column with text=COLUMN"
        ) from error
    names = vectorizer.get_feature_names_out()
    if (size := 4 * len(texts) * len(names)) > LARGEST:
        raise AlmetaError(
            f"{where}: counts of {len(names)} terms in {len(texts):,} rows need {size / 2**30:.0f} GiB; count fewer "
            f"with terms={LARGEST // (4 * len(texts))}"
        )
    return vectorizer.transform(texts).toarray(), tuple(names.tolist())
