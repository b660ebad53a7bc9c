"""Data sets of images as codes of an encoder."""

import dataclasses
import itertools

import numpy as np
import pytest

from almeta.data import encoders, load_dataset, register_encoder
from almeta.data.coded import coded
from almeta.errors import AlmetaError

CALLS: list[int] = []


@pytest.fixture(autouse=True)
def fresh(monkeypatch, cache):
    CALLS.clear()
    monkeypatch.setattr(encoders, "_encoders", encoders.Table("encoder"))


def corners(images):
    """The red, green and blue of the first pixel, and the grey of the last: codes `[n, 4]`."""
    CALLS.append(len(images))
    arrays = [np.asarray(image) for image in images]
    return np.array([[*array[0, 0], array[-1, -1].mean()] for array in arrays])


def test_grey_images_are_shown_in_their_own_size(tiny_images, monkeypatch):
    monkeypatch.setattr("almeta.data.coded.BATCH", 25)
    register_encoder("corners", corners)
    found = coded(tiny_images, "corners")
    levels = np.round(tiny_images.x * 255)
    assert np.array_equal(found.x, levels[:, [0, 0, 0, -1]])
    assert (found.kind, found.image_shape, found.x.dtype) == ("table", None, np.float32)
    assert np.array_equal(found.y, tiny_images.y)
    assert CALLS == [25, 25, 10]
    assert coded(tiny_images, None) is tiny_images


def test_colours_keep_their_order(make_images):
    images = make_images((5, 5), side=6, image_shape=None, kind="image")  # 36 numbers: 3 x 4 pixels of 3 colours
    register_encoder("corners", corners)
    found = coded(images, "corners", (3, 4, 3))
    levels = np.round(images.x * 255)
    assert np.array_equal(found.x[:, :3], levels[:, :3])
    np.testing.assert_allclose(found.x[:, 3], levels[:, -3:].mean(1), rtol=1e-6)


def test_codes_of_a_known_version_are_kept(tiny_images):
    register_encoder("kept", corners, version="1")
    first, second = coded(tiny_images, "kept"), coded(tiny_images, "kept")
    assert np.array_equal(first.x, second.x)
    assert len(CALLS) == 1
    register_encoder("never kept", corners)
    for _ in range(2):
        coded(tiny_images, "never kept")
    assert len(CALLS) == 3


def test_what_an_encoder_learned_from_it_does_not_encode(tiny_images):
    register_encoder("knows it", corners, trained_on=[tiny_images])
    with pytest.raises(AlmetaError, match="encoder=knows it was trained on data set tiny, also on the labels that are"):
        coded(tiny_images, "knows it")


@pytest.mark.parametrize(
    "trained_on, name",
    [
        ("mnist", "folder:/x/mnist"),  # a folder that is named after it
        ("fashion_mnist", "fashion-mnist"),
        ("digits", "optdigits"),  # near-duplicates
        ("digits", "folder:/x/mine"),  # its rows
    ],
)
def test_an_encoder_knows_what_it_learned_from_under_another_name(trained_on, name):
    register_encoder("knows it", corners, trained_on=[trained_on])
    images = dataclasses.replace(load_dataset("digits"), name=name)
    with pytest.raises(AlmetaError, match=f"was trained on data set .*, which {name} is a copy of|data set {name}, al"):
        coded(images, "knows it")


def test_other_images_are_encoded(tiny_images, make_images):
    register_encoder("knows others", corners, trained_on=["digits", make_images((20, 20), seed=1)])
    assert coded(dataclasses.replace(tiny_images, name="mine"), "knows others").x.shape == (60, 4)


def test_an_encoder_names_data_sets_that_there_are():
    with pytest.raises(AlmetaError, match="unknown data set 'MNIST'; did you mean 'mnist'?"):
        register_encoder("typo", corners, trained_on=["MNIST"])


def test_a_data_set_that_cannot_be_loaded_is_known_by_its_name(tiny_images):
    register_encoder("of a lost file", corners, trained_on=["csv:/nowhere/lost.csv"])
    assert len(coded(tiny_images, "of a lost file").x) == 60
    with pytest.raises(AlmetaError, match="was trained on data set csv:/nowhere/lost.csv, also"):
        coded(dataclasses.replace(tiny_images, name="csv:/nowhere/lost.csv"), "of a lost file")


def test_the_published_sets_take_an_encoder(monkeypatch):
    images = np.arange(2 * 28 * 28, dtype=np.uint8).reshape(2, 28, 28)
    files = itertools.cycle((images, np.array([3, 4], np.uint8)))
    monkeypatch.setattr("almeta.data.idx.RemoteFile.fetch", lambda self: None)
    monkeypatch.setattr("almeta.data.idx.read_idx", lambda path: next(files))
    register_encoder("corners", corners)
    for name in ("mnist", "fashion-mnist"):
        found = load_dataset(name, encoder="corners")
        assert found.x.tolist() == [[float(image[0, 0])] * 3 + [float(image[-1, -1])] for image in images] * 2
    with pytest.raises(AlmetaError, match="encoder=cornrs is not registered|'cornrs'"):
        load_dataset("mnist", encoder="cornrs")
