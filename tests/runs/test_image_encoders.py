"""Encoders that were trained on the labels of another data set."""

import numpy as np
import pytest

from almeta.data.coded import coded
from almeta.data.encoders import find_encoder
from almeta.errors import AlmetaError
from almeta.runs import image_encoders


@pytest.fixture
def quick(monkeypatch, make_images, tmp_path):
    """A short training, on ten classes of random images in place of mnist; who has asked for it."""
    source = make_images((6,) * 10, side=28, name="mnist")
    asked: list[str] = []

    def load(name):
        asked.append(name)
        return source

    monkeypatch.setenv("ALMETA_CACHE", str(tmp_path))
    monkeypatch.setattr(image_encoders, "BATCHES", 2)
    monkeypatch.setattr(image_encoders, "load_dataset", load)
    image_encoders.trained_on.cache_clear()
    yield asked
    image_encoders.trained_on.cache_clear()


def test_images_of_another_size_are_read_by_the_network_that_was_trained(quick, make_images, capsys):
    images = make_images((4, 4), side=16, name="usps")
    first = coded(images, "trained_on_mnist")
    assert first.x.shape == (8, 64)
    assert np.abs(first.x - first.x[:1]).max() > 0
    assert quick == ["mnist"]
    assert "training an image encoder on mnist" in capsys.readouterr().out
    image_encoders.trained_on.cache_clear()  # as another process
    again = make_images((4, 4), side=16, name="usps", seed=1)
    coded(again, "trained_on_mnist")
    assert "training" not in capsys.readouterr().out  # the weights were kept


def test_the_same_training_gives_the_same_codes(quick, make_images, tmp_path, monkeypatch):
    images, found = make_images((4, 4), side=28, name="usps"), []
    for place in ("a", "b"):
        monkeypatch.setenv("ALMETA_CACHE", str(tmp_path / place))
        image_encoders.trained_on.cache_clear()
        found.append(coded(images, "trained_on_mnist").x)
    assert np.array_equal(found[0], found[1])


def test_it_does_not_encode_what_it_was_trained_on(make_images):
    assert {f"trained_on_{name}" for name in image_encoders.SOURCES} >= {"trained_on_mnist", "trained_on_fashion-mnist"}
    assert list(find_encoder("trained_on_mnist").trained_on) == ["mnist"]
    with pytest.raises(AlmetaError, match="encoder=trained_on_mnist was trained on data set mnist"):
        coded(make_images(name="mnist"), "trained_on_mnist")
