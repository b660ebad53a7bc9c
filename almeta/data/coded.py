"""Images of a data set as codes of an encoder."""

import dataclasses
import json

import numpy as np
from PIL import Image

from almeta.data.dataset import Dataset
from almeta.data.encoders import BATCH, check_codes, find_encoder
from almeta.data.files import cached_arrays, code_of
from almeta.errors import AlmetaError


def coded(dataset: Dataset, encoder: str | None, colour_shape: tuple[int, int, int] | None = None) -> Dataset:
    """Return a data set of images with codes `[n, d]` in place of pixels, kept in the cache; None leaves the pixels.

    Args:
        dataset: flattened images in [0, 1]; grey ones have an `image_shape`.
        encoder: a name that was registered, or a network of torchvision, see `find_encoder`.
        colour_shape: height, width and 3, for images in colour.

    Raises:
        AlmetaError: if there is no such encoder, it was trained on this data set, or returns no finite numbers for each
            image.
    """
    if encoder is None:
        return dataset
    found = find_encoder(encoder)
    if dataset.name in found.trained_on:
        raise AlmetaError(
            f"encoder={encoder} was trained on data set {dataset.name}, also on the labels that are to be asked for; "
            "choose another one"
        )
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
