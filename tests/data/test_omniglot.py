import io
import shutil
import zipfile
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from almeta.data import load_dataset, omniglot
from almeta.errors import AlmetaError
from tests.data.conftest import published

ZIPS = ("images_background.zip", "images_evaluation.zip")


@pytest.fixture
def zips():
    return [published(f"omniglot/{name}") / "omniglot" / name for name in ZIPS]


def copy(zips, data):
    (data / "omniglot").mkdir()
    return [shutil.copy(path, data / "omniglot") for path in zips]


def test_form(zips, load_once):
    dataset = load_once("omniglot")
    assert dataset.x.shape == (32_460, 784)
    assert dataset.num_classes == 1623
    assert (dataset.y == np.arange(1623).repeat(20)).all()
    assert dataset.image_shape == (28, 28)
    alphabets = Counter(name.split("/")[0] for name in dataset.class_names)
    assert len(alphabets) == 50
    assert len({name.split("/")[0] for name in dataset.class_names[:964]}) == 30
    assert (alphabets["Braille"], alphabets["Korean"], alphabets["Atlantean"]) == (26, 40, 26)


def test_ink(zips, load_once):
    x = load_once("omniglot").x
    assert (x.min(), x.max()) == (0, 1)
    assert (np.round(x * 255).astype(np.float32) / np.float32(255) == x).all()
    assert 0.07 < x.mean() < 0.09  # thin strokes on zero
    assert (x.max(1) > 0.5).all()  # no drawing is empty


def test_values_are_those_of_the_files(zips, load_once):
    dataset = load_once("omniglot")
    row = dataset.class_names.index("Korean/character07") * 20 + 3  # the fourth drawer
    with zipfile.ZipFile(zips[0]) as archive:
        (member,) = [n for n in archive.namelist() if "Korean/character07/" in n and n.endswith("_04.png")]
        ink = ~np.asarray(Image.open(io.BytesIO(archive.read(member))))
    # 105 / 28 = 15 / 4: the mean over an area is the mean of 15 x 15 blocks of the image repeated 4 x 4
    means = ink.repeat(4, 0).repeat(4, 1).reshape(28, 15, 28, 15).mean((1, 3))
    assert np.abs(dataset.x[row] - means.ravel()).max() < 0.51 / 255


def test_second_load_reads_the_cache(zips, load_once, session_cache, monkeypatch):
    first = load_once("omniglot")
    monkeypatch.setenv("ALMETA_CACHE", str(session_cache))
    monkeypatch.setattr(omniglot, "decode", None)  # not called
    second = load_dataset("omniglot")
    assert (first.x == second.x).all()
    assert first.class_names == second.class_names


def test_truncated_zip(zips, data, cache, offline):
    path = copy(zips, data)[1]
    with open(path, "r+b") as file:
        file.truncate(1_000_000)
    with pytest.raises(AlmetaError) as caught:
        load_dataset("omniglot")
    message = str(caught.value)
    assert message.startswith(f"{path} (1000000 bytes) is damaged")
    assert "expected md5 6b91aef0f799c5bb55b94e3f2daec811" in message
    assert "found no readable zip archive" in message
    assert not cache.exists()


def test_zip_with_a_flipped_byte(zips, data, cache, offline):
    path = copy(zips, data)[0]
    with open(path, "r+b") as file:
        file.seek(500)
        byte = file.read(1)[0]
        file.seek(500)
        file.write(bytes([byte ^ 255]))
    with pytest.raises(AlmetaError, match=r"images_background.zip .* is damaged"):
        load_dataset("omniglot")


def test_foreign_zip(data, cache, offline):
    (data / "omniglot").mkdir()
    for name in ZIPS:
        with zipfile.ZipFile(data / "omniglot" / name, "w") as archive:
            archive.writestr("images_background/A/character01/0001_01.png", b"")
    with pytest.raises(AlmetaError, match=r"content digest 7c563fb7.*found content digest .* of 1 images"):
        load_dataset("omniglot")


def test_an_archive_that_would_fill_the_memory(data, cache, offline, monkeypatch):
    monkeypatch.setattr("almeta.data.omniglot.LARGEST", 1 << 20)
    (data / "omniglot").mkdir()
    for name in ZIPS:
        with zipfile.ZipFile(data / "omniglot" / name, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("images_background/A/character01/0001_01.png", bytes(1 << 21))
    with pytest.raises(
        AlmetaError, match=r"images_background.zip \(\d+ bytes\) unpacks to 2097152 bytes, like a file that is"
    ):
        load_dataset("omniglot")


def test_no_network_and_no_cache(data, cache, offline):
    with pytest.raises(AlmetaError, match=r"could not download omniglot/images_background.zip from https://raw"):
        load_dataset("omniglot")
