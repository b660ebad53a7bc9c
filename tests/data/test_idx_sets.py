import gzip
import struct

import numpy as np
import pytest

from almeta.data import load_dataset
from almeta.data.idx import FILES, read_idx
from almeta.errors import AlmetaError
from tests.data.conftest import published

NAMES = ("mnist", "fashion-mnist")


def need(name):
    return published(*(f"{name}/{file}.gz" for file in FILES))


@pytest.mark.parametrize("name", NAMES)
def test_form(name, load_once):
    need(name)
    dataset = load_once(name)
    assert dataset.x.shape == (70_000, 784)
    assert dataset.image_shape == (28, 28)
    assert (dataset.x.min(), dataset.x.max()) == (0, 1)
    pixels = np.round(dataset.x[::100] * 255)
    assert (pixels.astype(np.float32) / np.float32(255) == dataset.x[::100]).all()
    border, centre = (dataset.x.reshape(-1, 28, 28)[:, rows].mean() for rows in (0, 14))
    assert border < 0.1 < centre  # ink high on zero


def test_mnist_values(load_once):
    need("mnist")
    mnist = load_once("mnist")
    # training images first: 5 0 4 1 9 ...; then the test images: 7 2 1 0 4 ...
    assert mnist.y[:5].tolist() == [5, 0, 4, 1, 9]
    assert mnist.y[60_000:60_005].tolist() == [7, 2, 1, 0, 4]
    assert mnist.class_counts.tolist() == [6903, 7877, 6990, 7141, 6824, 6313, 6876, 7293, 6825, 6958]
    assert mnist.class_names == tuple("0123456789")
    assert mnist.x[:60_000].mean() == pytest.approx(0.1307, abs=1e-4)  # the published mean


def test_fashion_mnist_values(load_once):
    need("fashion-mnist")
    fashion = load_once("fashion-mnist")
    assert fashion.class_counts.tolist() == [7000] * 10
    assert fashion.class_names[fashion.y[0]] == "ankle boot"
    assert fashion.x[:60_000].mean() == pytest.approx(0.2860, abs=1e-4)  # the published mean


def test_both_spellings(load_once):
    need("fashion-mnist")
    assert load_once("fashion_mnist").name == load_once("fashion-mnist").name == "fashion-mnist"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("cut", FILES)
def test_truncated_file(name, cut, data, cache, offline):
    folder = need(name) / name
    (data / name).mkdir()
    for file in FILES:
        (data / name / f"{file}.gz").symlink_to(folder / f"{file}.gz")
    path = data / name / f"{cut}.gz"
    path.unlink()
    path.write_bytes((folder / f"{cut}.gz").read_bytes()[:1000])
    with pytest.raises(AlmetaError, match=rf"{cut}.gz \(1000 bytes\) is damaged .* expected md5 .*, found md5 "):
        load_dataset(name)


def test_no_network_and_no_cache(data, cache, offline):
    with pytest.raises(AlmetaError, match=r"could not download mnist/train-images-idx3-ubyte.gz from http"):
        load_dataset("mnist")


def test_read_idx(tmp_path):
    values = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    path = tmp_path / "file.gz"
    path.write_bytes(gzip.compress(struct.pack(">BBBBiii", 0, 0, 8, 3, 2, 3, 4) + values.tobytes()))
    assert (read_idx(path) == values).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_published_test_set(name):
    need(name)
    dataset = load_dataset(name, split="published")
    assert dataset.test_rows is not None and dataset.test_rows.tolist() == list(range(60_000, 70_000))
    with pytest.raises(AlmetaError, match="split is 'official'; it must be 'published' or null"):
        load_dataset(name, split="official")
