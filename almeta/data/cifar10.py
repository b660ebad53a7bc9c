"""A part of CIFAR-10: small colour photographs of ten kinds of things.

A. Krizhevsky. Learning multiple layers of features from tiny images. Technical report, University of Toronto, 2009.
https://www.cs.toronto.edu/~kriz/cifar.html
"""

import numpy as np

from almeta.data.coded import coded
from almeta.data.dataset import Dataset, Split
from almeta.data.files import published_file

FILE, MD5 = "cifar10_subset.npz", "a6169713b625119ac34447a9fc6192fd"
ORIGIN = "1,200 training images a class and the first 1,000 test images of https://www.cs.toronto.edu/~kriz/cifar.html"


def load(split: Split | None = None, encoder: str | None = None) -> Dataset:
    """Return 13,000 images: 1,000 and 200 of each class of the training set, then the first 1,000 of the test set.

    x `[13000, 3072]` in [0, 1] (multiples of 1/255), 32 rows of 32 pixels of red, green and blue. Error rates are not
    comparable with those on the whole of CIFAR-10.

    Args:
        split: "published" makes the published test images the fixed test set; None lets each task draw its own.
        encoder: makes codes of the images, see `almeta.data.coded`; None for pixels.

    Raises:
        AlmetaError: if the file is missing or damaged.
    """
    with np.load(published_file("cifar10", FILE, MD5, ORIGIN), allow_pickle=False) as stored:
        parts = ("train", "test", "test_official")
        images = np.concatenate([stored[f"x_{part}"] for part in parts])
        labels = np.concatenate([stored[f"y_{part}"] for part in parts])
        names, official = stored["label_names"].tolist(), len(stored["y_test_official"])
    dataset = Dataset(
        name="cifar10",
        x=images.reshape(len(images), -1).astype(np.float32) / np.float32(255),
        y=labels.astype(np.int64),
        class_names=tuple(names),
        source="a part of CIFAR-10 (Krizhevsky 2009), https://www.cs.toronto.edu/~kriz/cifar.html",
        kind="image",
        test_rows=np.arange(len(labels) - official, len(labels)) if split else None,
    )
    return coded(dataset, encoder, (32, 32, 3))
