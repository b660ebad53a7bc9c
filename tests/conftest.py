import numpy as np
import pytest
from scipy.stats import chisquare

from almeta.data import Dataset


@pytest.fixture(scope="session")
def make_images():
    """Makes a small data set of images: `make_images([3, 5])` has two classes, of 3 and of 5 images.

    Every image is random, so that a row is known by its pixels; the rows of a class are not neighbours.
    """

    def make(counts=(10,) * 6, side=4, seed=0, **changes) -> Dataset:
        random = np.random.default_rng(seed)
        y = random.permutation(np.repeat(np.arange(len(counts)), counts))
        fields = {
            "name": "tiny",
            "x": random.random((len(y), side * side), dtype=np.float32),
            "y": y,
            "class_names": tuple(f"class {k}" for k in range(len(counts))),
            "source": "random numbers",
            "image_shape": (side, side),
        }
        return Dataset(**(fields | changes))

    return make


@pytest.fixture(scope="session")
def tiny_images(make_images):
    """6 classes of 10 images of 4 x 4 pixels."""
    return make_images()


@pytest.fixture(scope="session")
def looks_uniform():
    """Whether values in 0 .. n-1 came up about equally often; uniform draws fail with one seed in 10,000."""

    def check(values, n: int) -> bool:
        counts = np.bincount(np.asarray(values).ravel(), minlength=n)
        assert len(counts) == n, f"a value is not below {n}"
        return chisquare(counts).pvalue > 1e-4

    return check
