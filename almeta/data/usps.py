"""USPS: handwritten digits from envelopes.

Y. LeCun et al. Handwritten digit recognition with a back-propagation network. NIPS 1990. The copy that comes with
T. Hastie, R. Tibshirani and J. Friedman, The Elements of Statistical Learning: zip.train and zip.test.
"""

import numpy as np
import pandas as pd

from almeta.data.coded import coded
from almeta.data.dataset import Dataset, Split
from almeta.data.files import published_file

FILES = {
    "usps_train.csv.gz": "0996a1fb8e62578cf418b1134769a2a5",
    "usps_test.csv.gz": "3d80b8a405c5ee0ba275e8399025bcbb",
}
ORIGIN = "the zip codes of https://hastie.su.domains/ElemStatLearn, columns f0 to f255 and target"
SIDE = 16


def load(split: Split | None = None, encoder: str | None = None) -> Dataset:
    """Return 9,298 digits: the 7,291 training images, then the 2,007 test images.

    x `[9298, 256]` in [0, 1], ink high on zero; classes "0" to "9".

    Args:
        split: "published" makes the published test images the fixed test set; None lets each task draw its own.
        encoder: makes codes of the images, see `almeta.data.coded`; None for pixels.

    Raises:
        AlmetaError: if a file is missing or damaged.
    """
    paths = [published_file("usps", file, md5, ORIGIN) for file, md5 in FILES.items()]
    train, test = (pd.read_csv(path) for path in paths)
    rows = pd.concat([train, test])
    pixels = rows.drop(columns="target").to_numpy(np.float32)  # [9298, 256] in -1 .. 1
    dataset = Dataset(
        name="usps",
        x=(pixels + 1) / 2,
        y=rows["target"].to_numpy(np.int64),
        class_names=tuple("0123456789"),
        source="USPS digits (LeCun et al. 1990), as in The Elements of Statistical Learning (Hastie et al. 2001)",
        image_shape=(SIDE, SIDE),
        test_rows=np.arange(len(train), len(rows)) if split else None,
    )
    return coded(dataset, encoder)
