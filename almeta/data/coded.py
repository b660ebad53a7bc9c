"""Images of a data set as codes of an encoder."""

import dataclasses
import json
from functools import lru_cache

import numpy as np
from PIL import Image

from almeta.data import load_dataset
from almeta.data.dataset import Dataset
from almeta.data.encoders import BATCH, check_codes, find_encoder, taught_by
from almeta.data.files import cached_arrays, code_of
from almeta.data.rows import seen_among, sketch
from almeta.data.suites import group_or_name
from almeta.errors import AlmetaError


def coded(dataset: Dataset, encoder: str | None, colour_shape: tuple[int, int, int] | None = None) -> Dataset:
    """Return a data set of images with codes `[n, d]` in place of pixels, kept in the cache; None leaves the pixels.

    Args:
        dataset: flattened images in [0, 1]; grey ones have an `image_shape`.
        encoder: a name that was registered, or a network of torchvision, see `find_encoder`.
        colour_shape: height, width and 3, for images in colour.

    Raises:
        AlmetaError: if there is no such encoder, it was trained on this data set under any name, or returns no finite
            numbers for each image.
    """
    if encoder is None:
        return dataset
    found = find_encoder(encoder)
    check_unseen(encoder, dataset)
    shape = colour_shape or dataset.image_shape

    def build() -> dict[str, np.ndarray]:
        pixels = np.round(dataset.x * 255).astype(np.uint8).reshape(len(dataset), *(shape or ()))
        parts = [
            check_codes(found.encode([Image.fromarray(one).convert("RGB") for one in batch]), len(batch), encoder)
            for batch in np.array_split(pixels, range(BATCH, len(pixels), BATCH))
        ]
        return {"codes": np.concatenate(parts)}

    facts = [code_of(__file__), Image.__version__, encoder, found.version, dataset.content]
    codes = (build() if found.version is None else cached_arrays("codes", json.dumps(facts), build))["codes"]
    return dataclasses.replace(dataset, x=codes, image_shape=None, columns=(), kind="table")


def check_unseen(encoder: str, dataset: Dataset) -> None:
    """Raise AlmetaError if an encoder was trained with a data set, a near-duplicate of it, or its rows by another name.

    Args:
        encoder: its name.
        dataset: the images, as pixels. A data set of the training that cannot be loaded is known by its name alone.
    """
    trained_on = taught_by(encoder)
    groups = {group_or_name(name): name for name in trained_on}
    seen = groups.get(group_or_name(dataset.name))
    if seen is None and trained_on:
        known = {name: _sketch_of(name) if own is None else own for name, own in trained_on.items()}
        seen = seen_among({name: own for name, own in known.items() if own}, sketch(dataset))
    if seen is not None:
        what = seen if seen == dataset.name else f"{seen}, which {dataset.name} is a copy of, or is much like"
        raise AlmetaError(
            f"encoder={encoder} was trained on data set {what}, also on the labels that are to be asked for; "
            "choose another one"
        )


@lru_cache(maxsize=16)
def _sketch_of(name: str) -> list[str] | None:
    """Return a sketch of the rows of a data set; None if it cannot be loaded."""
    try:
        return sketch(load_dataset(name))
    except AlmetaError:
        return None
