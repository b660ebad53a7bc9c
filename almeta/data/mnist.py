"""MNIST: handwritten digits.

Y. LeCun, L. Bottou, Y. Bengio and P. Haffner. Gradient-based learning applied to document recognition.
Proc. IEEE 86(11), 2278-2324, 1998. http://yann.lecun.com/exdb/mnist/
"""

from almeta.data.coded import coded
from almeta.data.dataset import Dataset, Split
from almeta.data.idx import load_idx

URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"
MD5S = (
    "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "d53e105ee54ea40749a09fcbcd1e9432",
    "9fb629c4189551a2d022fa330f9573f3",
    "ec29112dd5afa0611ce80d1b7f02629c",
)


def load(split: Split | None = None, encoder: str | None = None) -> Dataset:
    """Return 70,000 digits: the 60,000 training images, then the 10,000 test images.

    x `[70000, 784]` in [0, 1] (multiples of 1/255), ink high on zero; classes "0" to "9".

    Args:
        split: "published" makes the published test images the fixed test set; None lets each task draw its own.
        encoder: makes codes of the images, see `almeta.data.coded`; None for pixels.

    Raises:
        AlmetaError: if a file is missing or damaged.
    """
    source = "MNIST (LeCun, Bottou, Bengio and Haffner 1998), http://yann.lecun.com/exdb/mnist/"
    return coded(load_idx("mnist", URL, MD5S, tuple("0123456789"), source, split), encoder)
