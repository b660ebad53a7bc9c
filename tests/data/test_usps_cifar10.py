import numpy as np
import pytest

from almeta.data import load_dataset
from almeta.errors import AlmetaError
from tests.data.conftest import published

FILES = {"usps": "usps_test.csv.gz", "cifar10": "cifar10_subset.npz"}


def test_usps(load_once):
    published("usps/usps_train.csv.gz", "usps/usps_test.csv.gz")
    usps = load_once("usps")
    assert usps.x.shape == (9298, 256) and usps.image_shape == (16, 16) and usps.kind == "image"
    assert (usps.x.min(), usps.x.max()) == (0, 1)
    assert usps.class_counts.tolist() == [1553, 1269, 929, 824, 852, 716, 834, 792, 708, 821]  # as published
    assert usps.y[:5].tolist() == [6, 5, 4, 7, 3]
    border, centre = (usps.x.reshape(-1, 16, 16)[:, :, column].mean() for column in (0, 8))
    assert border < 0.1 < centre  # ink high on zero


def test_cifar10(load_once):
    published("cifar10/cifar10_subset.npz")
    cifar = load_once("cifar10")
    assert cifar.x.shape == (13_000, 3072) and cifar.image_shape is None and cifar.kind == "image"
    assert np.bincount(cifar.y[:10_000]).tolist() == [1000] * 10
    assert np.bincount(cifar.y[10_000:12_000]).tolist() == [200] * 10
    assert cifar.class_names[:3] == ("airplane", "automobile", "bird")
    assert (np.round(cifar.x[::50] * 255).astype(np.float32) / np.float32(255) == cifar.x[::50]).all()
    # the published means of the channels: red, green and blue alternate
    assert cifar.x[:10_000].reshape(-1, 3).mean(0, dtype=np.float64) == pytest.approx(
        [0.4914, 0.4822, 0.4465], abs=5e-3
    )


@pytest.mark.parametrize("name", FILES)
def test_no_file(name, data, cache):
    with pytest.raises(AlmetaError, match=rf"there is no file {name}/.* put the file at {cache}/{name}/.* ALMETA_DATA"):
        load_dataset(name)


@pytest.mark.parametrize("name", FILES)
def test_damaged_file(name, data, cache):
    (data / name).mkdir()
    for file in ("usps_train.csv.gz", FILES[name]):
        (data / name / file).write_bytes(b"half")
    with pytest.raises(AlmetaError, match=r"\(4 bytes\) is damaged .*: expected md5 .*, found md5 .*; replace it"):
        load_dataset(name)


@pytest.mark.parametrize("name, first, last", [("usps", 7291, 9298), ("cifar10", 12_000, 13_000)])
def test_the_published_test_set(name, first, last, load_once):
    published(f"{name}/{FILES[name]}")
    assert load_once(name).test_rows is None
    rows = load_dataset(name, split="published").test_rows
    assert rows is not None and rows.tolist() == list(range(first, last))
