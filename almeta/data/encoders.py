"""Encoders of images, by name: those that users register, and the networks of torchvision."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from almeta.data.catalogue import canonical_name
from almeta.data.dataset import Dataset
from almeta.data.rows import sketch
from almeta.errors import AlmetaError, did_you_mean
from almeta.registry import Table, import_extra

if TYPE_CHECKING:
    from PIL import Image

Encode = Callable[[Sequence["Image.Image"]], np.ndarray]

BATCH = 64  # images encoded at once


@dataclass(frozen=True)
class Encoder:
    """A function from colour images to codes `[n, d]`.

    Attributes:
        encode: the function.
        version: a text that changes with it; None if nobody knows.
        trained_on: sketches of the rows of the data sets whose labels it was trained with, by name; None for one that
            is loaded when it is needed.
    """

    encode: Encode
    version: str | None = None
    trained_on: Mapping[str, list[str] | None] = field(default_factory=dict)


_encoders: Table[Encoder] = Table("encoder")


def register_encoder(
    name: str, encode: Encode, version: str | None = None, trained_on: Sequence[str | Dataset] = ()
) -> None:
    """Let `encoder=NAME` of `folder:PATH` and of data sets of images call a function of yours.

    Call this in each process, as `register_dataset`.

    Args:
        name: of the encoder.
        encode: takes a list of square colour images of Pillow, mode "RGB", and returns a row of numbers for each,
            `[n, d]`. It is called with up to `BATCH` images at once.
        version: a text that you change when the codes change; they are kept in the cache with it. None computes the
            codes whenever the data set is loaded.
        trained_on: data sets whose labels it was trained with, by name or as they are: it refuses to encode them, also
            under another name, and near-duplicates of them.

    Raises:
        AlmetaError: if `encode` is not callable, the name is empty or taken, or a data set is unknown.
    """
    if not callable(encode):
        raise AlmetaError(f"encoder {name!r}: encode is {encode!r}; it must be a function of a list of images")
    known: dict[str, list[str] | None] = {}
    for one in trained_on:
        known |= {one.name: sketch(one)} if isinstance(one, Dataset) else {canonical_name(one): None}
    _encoders.add(name, Encoder(encode, version, known))


def taught_by(name: str) -> Mapping[str, list[str] | None]:
    """Return `Encoder.trained_on` of a name; of networks of torchvision nothing, as ImageNet is no data set here."""
    return _encoders.find(name).trained_on if name in _encoders else {}


def find_encoder(name: str) -> Encoder:
    """Return the registered encoder of a name, else the network of torchvision, without its last layer.

    Raises:
        AlmetaError: if there is none, torchvision is not installed, or its weights cannot be downloaded.
    """
    if name in _encoders:
        return _encoders.find(name)
    registered = f" (registered are: {', '.join(_encoders.names)})" if _encoders.names else ""
    wanted = f"encoder={name} is not registered{registered}; a network of torchvision"
    networks = import_extra("torchvision", "vision", wanted).models
    known = networks.list_models(module=networks)
    if name not in known:
        raise AlmetaError(did_you_mean(name, [*_encoders.names, *known], "encoder"))
    return _of_torchvision(networks, name)


def _of_torchvision(networks: ModuleType, name: str) -> Encoder:
    torch = importlib.import_module("torch")  # slow to import, and of no use for data sets otherwise
    weights = networks.get_model_weights(name).DEFAULT
    try:
        network = networks.get_model(name, weights=weights).eval()
    except OSError as error:  # no network
        raise AlmetaError(
            f"the weights of encoder={name} cannot be downloaded: {error}; copy {weights.url} to "
            f"{torch.hub.get_dir()}/checkpoints, or register an encoder of yours"
        ) from error
    # The last layer that is dense names the classes of ImageNet.
    layers = [place for place, layer in network.named_modules() if isinstance(layer, torch.nn.Linear)]
    if not layers:
        raise AlmetaError(f"encoder={name} has no dense layer to leave out; choose another, such as resnet18")
    network.set_submodule(layers[-1], torch.nn.Identity())
    transform = weights.transforms()

    def encode(images: Sequence["Image.Image"]) -> np.ndarray:
        with torch.inference_mode():
            return network(torch.stack([transform(image) for image in images])).numpy()

    return Encoder(encode, f"torchvision {weights}")


def check_codes(codes: np.ndarray, n: int, name: str) -> np.ndarray:
    """Return codes `[n, d]` float32 of n images; AlmetaError for another shape or numbers that are not finite."""
    found = np.asarray(codes, np.float32)
    if found.ndim != 2 or len(found) != n or not np.isfinite(found).all():
        what = f"an array {found.shape}" if np.isfinite(found).all() else "numbers that are not finite"
        raise AlmetaError(f"encoder {name!r} returned {what} for {n} images; it must return numbers [{n}, d]")
    return found
