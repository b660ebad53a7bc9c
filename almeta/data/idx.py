"""MNIST and data sets of the same form: four gzipped idx files of 28 x 28 images."""

import gzip
import math
from pathlib import Path

import numpy as np

from almeta.data.dataset import Dataset, Split
from almeta.data.files import RemoteFile

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def load_idx(
    name: str, url: str, md5s: tuple[str, ...], class_names: tuple[str, ...], source: str, split: Split | None
) -> Dataset:
    """Return the published training rows, then the published test rows, the fixed ones if there is a `split`.

    `md5s` are in the order of `FILES`.

    Raises:
        AlmetaError: if a file is missing or damaged.
    """
    files = [RemoteFile(name, f"{file}.gz", f"{url}{file}.gz", md5) for file, md5 in zip(FILES, md5s, strict=True)]
    train, train_labels, test, test_labels = (read_idx(file.fetch()) for file in files)
    images = np.concatenate([train, test])
    return Dataset(
        name=name,
        x=images.reshape(len(images), -1).astype(np.float32) / np.float32(255),
        y=np.concatenate([train_labels, test_labels]).astype(np.int64),
        class_names=class_names,
        source=source,
        image_shape=images.shape[1:],
        test_rows=np.arange(len(train), len(images)) if split else None,
    )


def read_idx(path: Path) -> np.ndarray:
    """Return the uint8 array of a gzipped idx file: two zeros, a type, the number of axes, their lengths, values."""
    content = gzip.decompress(path.read_bytes())
    axes = content[3]
    shape = np.frombuffer(content, ">i4", axes, offset=4).tolist()
    return np.frombuffer(content, np.uint8, math.prod(shape), offset=4 + 4 * axes).reshape(shape)
