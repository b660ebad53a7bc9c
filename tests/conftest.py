import contextlib
import signal

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from almeta.data import Dataset, dataset_names, load_dataset
from almeta.errors import AlmetaError
from almeta.training.compute import set_matmul_precision

# A shell lets background jobs ignore Ctrl-C, and they hand that on to the processes that the tests stop by it.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@contextlib.contextmanager
def skipped_without_data():
    """Skip a test whose data set is neither here nor to be downloaded."""
    try:
        yield
    except AlmetaError as error:
        if "put the file at" in str(error):  # the way out that `almeta.data.files` names
            pytest.skip(str(error))
        raise


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item):
    with skipped_without_data():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    with skipped_without_data():
        return (yield)


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


@pytest.fixture(autouse=True)
def _compute():
    """Whatever threads and precision a run chooses, the next test has those of before."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    if torch.get_float32_matmul_precision() != "highest":
        set_matmul_precision("highest")


@pytest.fixture
def tiny_data(make_images, monkeypatch):
    """Commands find small data sets behind every name: 1,230 classes of 12 random images of 4 x 4 pixels.

    Those of mnist have 5 x 5, and classes of trec 15, for streams of two.
    """
    kept: dict[str, Dataset] = {}

    def load(name: str, **options) -> Dataset:
        if name not in dataset_names():
            return load_dataset(name, **options)  # raises
        rows = 15 if name == "trec" else 12
        if name not in kept:
            kept[name] = make_images([rows] * 1230, side=5 if name == "mnist" else 4, seed=len(name), name=name)
        return kept[name]

    monkeypatch.setattr("almeta.runs.streams.load_dataset", load)
    return load


@pytest.fixture
def quick_figures(monkeypatch):
    """Figures are composed but not drawn, which takes most of the time of a tiny run."""
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda self, file, **options: file.write(b"\x89PNG"))
