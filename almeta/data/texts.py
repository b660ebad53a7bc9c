"""Making features of a column of text: counts of its terms, or embeddings of its sentences."""

import hashlib
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import CountVectorizer

from almeta.data.files import LARGEST, cached_arrays, code_of
from almeta.data.frames import Features
from almeta.errors import AlmetaError
from almeta.registry import import_extra


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
        embedding: a model of sentence-transformers, its name or folder, for `[n, d]` sentence embeddings instead.

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
        return Features(_embedded(words, embedding), set_aside=others)
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


def _embedded(texts: list[str], model: str) -> np.ndarray:
    """Return sentence embeddings `[n, d]` float32, kept in the cache.

    N. Reimers and I. Gurevych. Sentence-BERT: sentence embeddings using Siamese BERT-networks. EMNLP 2019.
    """
    package = import_extra("sentence_transformers", "text", f"embedding={model}")

    def build() -> dict[str, np.ndarray]:
        try:
            encoder = package.SentenceTransformer(model)
        except (OSError, ValueError) as error:  # no such model, no network
            raise AlmetaError(
                f"embedding={model} cannot be loaded: {error}; correct the name, or give the folder of a model"
            ) from error
        return {"x": np.asarray(encoder.encode(texts, show_progress_bar=False), np.float32)}

    facts = [code_of(__file__), package.__version__, model, _files(Path(model).expanduser()), texts]
    return cached_arrays("embedding", hashlib.sha256(json.dumps(facts).encode()).hexdigest(), build)["x"]


def _files(folder: Path) -> Sequence[Any]:
    """Return what tells whether a model in a folder has changed; nothing for one that is known by its name."""
    files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []
    return [(str(path), (facts := path.stat()).st_size, facts.st_mtime_ns) for path in files]
