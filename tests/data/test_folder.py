"""Folders of images as people have them."""

import importlib
import itertools
import sys
import warnings

import numpy as np
import pytest
from PIL import Image

from almeta.data import encoders, load_dataset, register_encoder
from almeta.data.encoders import find_encoder
from almeta.errors import AlmetaError


@pytest.fixture
def root(tmp_path, cache, monkeypatch):
    """A folder with two grey images of each of two classes."""
    monkeypatch.setattr(encoders, "_encoders", encoders.Table("encoder"))
    folder = tmp_path / "pets"
    for place, name in enumerate(("cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png")):
        grey(folder / name, 51 * place)
    return folder


def grey(path, value, size=(6, 4)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, value).save(path)


def load(root, **options):
    """`load_dataset` without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return load_dataset(f"folder:{root}", **options)


def test_a_class_is_a_sub_folder(root):
    grey(root / "cat/deep/er/3.png", 255)
    data = load(root)
    assert data.name == f"folder:{root.resolve()}"
    assert data.source == f"the folder {root}, with a class a sub-folder"
    assert (data.kind, data.image_shape, data.class_names) == ("image", (28, 28), ("cat", "dog"))
    assert data.y.tolist() == [0, 0, 0, 1, 1]
    np.testing.assert_allclose(data.x, np.repeat([[0], [0.2], [1], [0.4], [0.6]], 784, axis=1), atol=1e-6)


def test_the_size_and_the_place_of_pixels(root):
    left = np.zeros((4, 6), np.uint8)
    left[:, :3] = 255
    Image.fromarray(left).save(root / "cat/1.png")
    assert load(root, size=2).x[0].tolist() == pytest.approx([1, 0, 1, 0], abs=0.2)
    Image.fromarray(left).save(root / "cat/1.png", exif=(exif := Image.Exif()))
    exif[274] = 6  # turn by 90 degrees, clockwise
    Image.fromarray(left).save(root / "cat/1.png", exif=exif)
    assert load(root, size=2).x[0].tolist() == pytest.approx([1, 1, 0, 0], abs=0.2)  # not what is in the cache


@pytest.mark.parametrize(
    "name, picture, wanted",
    [
        ("a.jpg", Image.new("RGB", (300, 200), (128, 128, 128)), 128 / 255),
        ("a.gif", Image.new("P", (5, 5), 0), 0),
        ("a.webp", Image.new("RGB", (5, 5), (255, 255, 255)), 1),
        ("a.bmp", Image.new("1", (5, 5), 1), 1),
        ("a.tiff", Image.new("CMYK", (5, 5), (0, 0, 0, 0)), 1),
        ("A.PNG", Image.new("RGBA", (5, 5), (0, 0, 0, 0)), 1),  # transparent: white
        ("b.png", Image.new("LA", (5, 5), (0, 255)), 0),
        ("c.png", Image.fromarray(np.full((5, 5), 0x8000, np.uint16)), 128 / 255),
    ],
)
def test_any_form_of_image(name, picture, wanted, root):
    picture.save(root / "cat" / name)
    data = load(root)
    place = [*sorted(["1.png", "2.png", name])].index(name)
    np.testing.assert_allclose(data.x[place], wanted, atol=1.5 / 255)


def test_what_is_no_image_is_named(root):
    grey(root / "loose.png", 9)
    (root / "cat/notes.txt").touch()
    (root / "cat/.hidden.png").touch()
    (root / ".git/objects").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "dog/not.jpg").write_text("no image")
    (root / "dog/cut.png").write_bytes((root / "dog/1.png").read_bytes()[:45])
    (root / "dog/eps.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    Image.new("F", (3, 3)).save(root / "broken.tif")
    messages = []
    for _ in range(2):  # the second time from the cache
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            data = load_dataset(f"folder:{root}")
        messages.append([str(warning.message).partition(": ")[2] for warning in caught])
        assert data.y.tolist() == [0, 0, 1, 1]
    assert messages[0] == messages[1]
    unread = messages[0].pop(1)
    assert messages[0] == [
        "files that are no images are left out (1): cat/notes.txt",
        "sub-folders without an image that can be read are no classes (1): empty",
        "images without a label are set aside (1): loose.png",
    ]
    assert unread.startswith("images that cannot be read are left out (4): broken.tif (pixels of 32 bits, whose black")
    assert "dog/cut.png (" in unread and "dog/eps.png (cannot identify image file 'eps.png')" in unread


def test_a_table_of_labels(root):
    (root / "labels.csv").write_text("by,file,label\nme,cat/1.png,a\nme,dog\\1.png,b\nme,cat/2,a\nme,dog/2.png,\n")
    with pytest.warns(UserWarning, match=r"images without a label are set aside \(1\): dog/2.png"):
        data = load_dataset(f"folder:{root}")
    assert (data.class_names, data.y.tolist()) == (("a", "b"), [0, 0, 1])
    assert data.source.endswith(f"with the labels of {root / 'labels.csv'}")
    (root / "labels.csv").unlink()
    (root / "other.csv").write_text("id,kind\n" + "".join(f"{name},{name[-1]}\n" for name in ("cat/1", "dog/2")))
    with pytest.warns(UserWarning, match=r"without a label are set aside \(2\): cat/2.png, dog/1.png"):
        data = load_dataset(f"folder:{root}", labels="other.csv")
    assert (data.class_names, data.x[:, 0].tolist()) == (("1", "2"), pytest.approx([0, 0.6]))


def test_a_table_outside_the_folder_and_its_target(root, tmp_path):
    table = tmp_path / "all.csv"
    table.write_text("name,kind,label\n" + "".join(f"{one}/{k}.png,{k},x\n" for one in ("cat", "dog") for k in (1, 2)))
    data = load(root, labels=str(table), target="kind")
    assert (data.class_names, data.y.tolist()) == (("1", "2"), [0, 1, 0, 1])


@pytest.mark.parametrize(
    "text, options, message",
    [
        ("cat/1.png,a\ncat/2.png,b\n", {}, "seems to have no header line: it begins with cat/1.png, a; add file,label"),
        ("file,x,y\ncat/1.png,a,b\n", {}, "must have a column of file names and one of labels, .*: file, x, y"),
        ("file,lable,y\ncat/1.png,a,b\n", {"target": "label"}, "unknown target column 'label'; did you mean 'lable'"),
        (
            "file,label\nfish.png,a\n",
            {},
            "names no image of .*pets in column 'file': 'fish.png' is not there, but 'cat",
        ),
        ("file,label\ncat/1.png,a\ncat/1.png,b\n", {}, "gives cat/1.png the labels 'a' and 'b'; keep one"),
        ("file,label\ncat/1.png,\n", {}, "no image has a label; put those of a class in a sub-folder, or write"),
        ("file,label\n", {"labels": "none.csv"}, "there is no file labels=none.csv, here .* or in .*pets; correct"),
        (None, {"size": 0}, "size is 0; it must be a whole number of at least 1 or null"),
        (None, {"test": "nowhere"}, "there is no folder nowhere"),
    ],
)
def test_mistakes(text, options, message, root):
    if text:
        (root / "labels.csv").write_text(text)
    with pytest.raises(AlmetaError, match=message):
        load(root, **options)


def test_names_without_an_image_are_told(root):
    (root / "labels.csv").write_text("file,label\ncat/1.png,a\ncat/2.png,b\nfish.png,a\ndog/1.png,b\ndog/2.png,b\n")
    with pytest.warns(UserWarning, match=r"names in labels.csv that no image has are left out \(1\): fish.png"):
        assert len(load_dataset(f"folder:{root}")) == 4


def test_folders_without_images(root, tmp_path):
    (tmp_path / "nothing").mkdir()
    with pytest.raises(AlmetaError, match="nothing has no file whose name ends as that of an image"):
        load(tmp_path / "nothing")
    with pytest.raises(AlmetaError, match="there is no folder .*nowhere"):
        load(tmp_path / "nowhere")
    (tmp_path / "nothing/a.png").write_text("no image")
    with (
        pytest.warns(UserWarning, match="cannot be read are left out"),
        pytest.raises(AlmetaError, match="none of 1 images can be read; the first is a.png .cannot identify"),
    ):
        load_dataset(f"folder:{tmp_path / 'nothing'}")
    with pytest.raises(AlmetaError, match="no image has a label; put those of a class in a sub-folder"):
        load(root / "cat")


def test_a_folder_as_the_test_set(root, tmp_path):
    grey(tmp_path / "test/dog/7.png", 255)
    data = load(root, test=str(tmp_path / "test"))
    assert (data.y.tolist(), list(data.test_rows)) == ([0, 0, 1, 1, 1], [4])
    assert data.x[4].tolist() == [1.0] * 784


# ---- encoders

CALLS: list[list[tuple[int, int]]] = []  # the sizes of the images of each call


def mean_colour(images):
    """Codes `[n, 3]`."""
    CALLS.append([image.size for image in images])
    return np.array([np.asarray(image).mean((0, 1)) for image in images])


def test_codes_of_an_encoder(root, monkeypatch):
    CALLS.clear()
    monkeypatch.setattr("almeta.data.pictures.BATCH", 3)
    Image.new("RGB", (8, 8), (10, 20, 30)).save(root / "dog/1.png")
    (root / "cat/0.png").write_text("no image")
    register_encoder("mean colour", mean_colour)
    for _ in range(2):
        with pytest.warns(UserWarning, match="cannot be read are left out"):
            data = load_dataset(f"folder:{root}", encoder="mean colour")
        assert data.x.tolist() == [[0, 0, 0], [51, 51, 51], [10, 20, 30], [153, 153, 153]]
        assert (data.kind, data.image_shape) == ("table", None)
    assert CALLS == [[(224, 224)] * 2] * 4  # batches of 3 files, one of them broken; not cached
    register_encoder("with a version", mean_colour, version="1")
    for size in (5, 5, 7):
        with pytest.warns(UserWarning, match="cannot be read are left out"):
            load_dataset(f"folder:{root}", encoder="with a version", size=size)
    assert CALLS[4:] == [[(5, 5)] * 2] * 2 + [[(7, 7)] * 2] * 2  # the second load found them in the cache


@pytest.mark.parametrize(
    "encode, message",
    [
        (
            lambda images: np.zeros(len(images)),
            r"returned an array \(4,\) for 4 images; it must return numbers \[4, d\]",
        ),
        (lambda images: np.zeros((1, 3)), r"returned an array \(1, 3\)"),
        (lambda images: np.full((4, 3), np.nan), "returned numbers that are not finite"),
    ],
)
def test_codes_that_are_none(encode, message, root):
    register_encoder("mine", encode)
    with pytest.raises(AlmetaError, match=f"encoder 'mine' {message}"):
        load(root, encoder="mine")


def test_images_that_an_encoder_learned_from_are_refused_in_any_folder(tmp_path):
    random = np.random.default_rng(0)
    for place, name in itertools.product(("first", "copy"), ("cat", "dog")):
        (tmp_path / place / name).mkdir(parents=True)
    for number, name in itertools.product(range(8), ("cat", "dog")):
        image = Image.fromarray(random.integers(0, 256, (28, 28), np.uint8))
        for place in ("first", "copy"):
            image.save(tmp_path / place / name / f"{number}.png")
    register_encoder("knows it", mean_colour, trained_on=[load(tmp_path / "first")])
    register_encoder("by name", mean_colour, trained_on=[f"folder:{tmp_path}/first"])
    for encoder, folder in itertools.product(("knows it", "by name"), ("first", "copy")):
        with pytest.raises(AlmetaError, match=f"encoder={encoder} was trained on data set folder:.*first"):
            load(tmp_path / folder, encoder=encoder)
    Image.fromarray(np.zeros((28, 28), np.uint8)).save(tmp_path / "copy/cat/more.png")
    register_encoder("knows others", mean_colour, trained_on=["digits"])
    assert len(load(tmp_path / "copy", encoder="knows others")) == 17


def test_an_encoder_is_a_function():
    with pytest.raises(AlmetaError, match="encoder 'mine': encode is 3; it must be a function of a list of images"):
        register_encoder("mine", 3)  # type: ignore[arg-type]


def test_torchvision_is_named_with_its_extra_where_it_is_missing(root, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    register_encoder("mine", mean_colour)
    wanted = (
        r"encoder=resnet18 is not registered \(registered are: mine\); a network of torchvision needs torchvision, "
    )
    with pytest.raises(AlmetaError, match=wanted + r"which is not installed; pip install 'almeta\[vision\]'"):
        load(root, encoder="resnet18")


STAND_IN = """
import numpy as np
import torch
from types import SimpleNamespace


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.body = torch.nn.Flatten()
        self.head = torch.nn.Sequential(torch.nn.Dropout(0.9), torch.nn.Linear(3, 1000))

    def forward(self, x):
        return self.head(self.body(x))


class models:
    asked = []

    @staticmethod
    def list_models(module):
        assert module is models
        return ["tiny", "unreachable"]

    @staticmethod
    def get_model_weights(name):
        class Weights:
            url = "https://example.org/tiny.pth"

            def __str__(self):
                return "Tiny.V1"

            def transforms(self):
                return lambda image: torch.as_tensor(np.asarray(image).mean((0, 1)), dtype=torch.float32)

        return SimpleNamespace(DEFAULT=Weights())

    @staticmethod
    def get_model(name, weights):
        if name == "unreachable":
            raise OSError("no network")
        models.asked.append(str(weights))
        return Network()
"""


@pytest.fixture
def torchvision(tmp_path, monkeypatch):
    """A stand-in for torchvision with one small network."""
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages/torchvision.py").write_text(STAND_IN)
    monkeypatch.syspath_prepend(tmp_path / "packages")
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    yield importlib.import_module("torchvision")
    sys.modules.pop("torchvision")


def test_a_network_of_torchvision_without_its_last_layer(root, torchvision):
    data = load(root, encoder="tiny")
    np.testing.assert_allclose(data.x, np.repeat([[0], [51], [102], [153]], 3, axis=1), rtol=1e-6)
    assert torchvision.models.asked == ["Tiny.V1"]
    assert find_encoder("tiny").version == "torchvision Tiny.V1"
    with pytest.raises(AlmetaError, match="unknown encoder 'tinny'; did you mean 'tiny'"):
        load(root, encoder="tinny")
    with pytest.raises(
        AlmetaError, match="weights of encoder=unreachable cannot be downloaded: no network; copy https"
    ):
        load(root, encoder="unreachable")
