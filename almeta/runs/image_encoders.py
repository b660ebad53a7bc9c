"""Encoders of images that were trained on the labels of one data set, to read another one.

`modules=[almeta.runs.image_encoders] options.encoder=trained_on_fashion-mnist` reads mnist, usps, ... as codes of a
small convolutional network. It is trained by the prototypical loss (Snell, Swersky & Zemel, NIPS 2017) when it is first
asked for, in about a minute, and kept in the cache. It does not encode the data set that it was trained on.
"""

import functools
import json
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from almeta.agents.encoders import ConvEncoder
from almeta.data import load_dataset, register_encoder
from almeta.data.files import cached_arrays
from almeta.seeding import make_generator, seeded_weights
from almeta.sources import source_digest
from almeta.tasks import StreamSampler
from almeta.training.pretraining import pretrain_encoder

SOURCES = ("characters", "fashion-mnist", "mnist", "omniglot")
SIDE = 28  # images of these data sets; others are stretched to it
# Of the training: batches, classes and images of each.
BATCHES, WAYS, SHOTS = 300, 10, 12
_CODE = ("almeta.agents.encoders", "almeta.tasks.stream", "almeta.training.pretraining", __name__)


def encode(images: Sequence[Image.Image], source: str) -> np.ndarray:
    """Return codes `[n, 64]` float32 of n images by the network that was trained on a data set."""
    grey = [np.asarray(one.convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR), np.float32) for one in images]
    codes: np.ndarray = trained_on(source)(torch.from_numpy(np.stack(grey) / 255).flatten(1)).numpy()
    return codes


@functools.lru_cache(maxsize=2)
def trained_on(source: str) -> ConvEncoder:
    """Return the network that was trained on the labels of a data set: from the cache, or trained now."""
    dataset = load_dataset(source)
    with seeded_weights(0):
        encoder = ConvEncoder(SIDE)

    def build() -> dict[str, np.ndarray]:
        print(f"training an image encoder on {source}")
        sampler = StreamSampler(dataset, 2, 2, 2, rotations=False)
        generator = make_generator(0, f"batches of {source}")
        pretrain_encoder(encoder, sampler, generator, BATCHES, min(WAYS, dataset.num_classes), SHOTS)
        return {name: value.numpy() for name, value in encoder.state_dict().items()}

    kept = cached_arrays("encoder", json.dumps([version(source), dataset.content]), build)
    encoder.load_state_dict({name: torch.from_numpy(value) for name, value in kept.items()})
    return encoder.eval().requires_grad_(False)


def version(source: str) -> str:
    """Return a text that changes with what the codes depend on, beside the data set's rows."""
    return f"{source} {source_digest(*_CODE)}"


for _source in SOURCES:
    register_encoder(
        f"trained_on_{_source}", functools.partial(encode, source=_source), version(_source), trained_on=[_source]
    )
