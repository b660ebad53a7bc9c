"""Fashion-MNIST: pictures of clothing, in the form of MNIST.

H. Xiao, K. Rasul and R. Vollgraf. Fashion-MNIST: a novel image dataset for benchmarking machine learning
algorithms. arXiv:1708.07747, 2017. https://github.com/zalandoresearch/fashion-mnist
"""

from almeta.data.coded import coded
from almeta.data.dataset import Dataset, Split
from almeta.data.idx import load_idx

URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
MD5S = (
    "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "25c81989df183df01b3e8a0aad5dffbe",
    "bef4ecab320f06d8554ea6380940ec79",
    "bb300cfdad3c16e7a12a480ee83cd310",
)
CLASSES = (
    *("T-shirt/top", "trouser", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
)


def load(split: Split | None = None, encoder: str | None = None) -> Dataset:
    """Return 70,000 pictures: the 60,000 training images, then the 10,000 test images.

    x `[70000, 784]` in [0, 1] (multiples of 1/255), cloth high on zero; 10 classes of 7,000.

    Args:
        split: "published" makes the published test images the fixed test set; None lets each task draw its own.
        encoder: makes codes of the images, see `almeta.data.coded`; None for pixels.

    Raises:
        AlmetaError: if a file is missing or damaged.
    """
    source = "Fashion-MNIST (Xiao, Rasul and Vollgraf 2017), https://github.com/zalandoresearch/fashion-mnist"
    return coded(load_idx("fashion-mnist", URL, MD5S, CLASSES, source, split), encoder)
