import unicodedata

import numpy as np
import pytest

from almeta.data import characters, load_dataset

TWINS = [
    "A\u0391\u0410\u13aa",  # Latin, Greek, Cyrillic, Cherokee
    "B\u0392\u0412",
    "oO0\u03bf\u043e\u041e\u0585\u2134\u25cb",  # round
    "lI1|\u0399\u0406\u04c0\u01c0\u2223",  # upright bars
    "-\u2013\u2014\u2212_~",  # level bars
    "\u0421c\u03f2\u0441C",
    "\u2282\u2283\u222a\u2229",  # turned by quarters
    "Z\u0396z",
    "\u2190\u2191\u2192\u2193",  # arrows
    "xX\u0445\u0425\u03a7",
    "sS\u0455\u0405",
    "dp\u0501\u0440\u0420\u03c1",
    "M\u039c\u041c",
    "EF\u0395\u0415",
]


@pytest.fixture
def chars(load_once):
    return load_once("characters")


@pytest.fixture
def kept(chars):
    return {chr(int(name.split()[0][2:], 16)) for name in chars.class_names}


def test_form(chars):
    assert chars.num_classes >= 1000
    assert chars.x.shape == (chars.num_classes * 20, 784)
    assert (chars.y == np.arange(chars.num_classes).repeat(20)).all()
    assert chars.image_shape == (28, 28)
    codes = [int(name.split()[0][2:], 16) for name in chars.class_names]
    assert codes == sorted(codes)
    assert all(
        name == f"U+{c:04X} {unicodedata.name(chr(c))}" for name, c in zip(chars.class_names, codes, strict=True)
    )


def test_ink(chars):
    x = chars.x
    assert x.min() == 0
    assert x.max() == 1
    assert (np.round(x * 255).astype(np.float32) / np.float32(255) == x).all()
    assert (x.max(1) > 0.4).all()  # every drawing can be seen
    assert 0.05 < x.mean() < 0.15
    assert ((x > 0) & (x < 1)).mean() > 0.05  # smooth edges


def test_ink_is_in_the_middle_with_a_margin(chars):
    images = chars.x.reshape(-1, 28, 28)
    assert images[:, [0, -1]].max() == 0
    assert images[:, :, [0, -1]].max() == 0
    for axis in (1, 2):
        inked = images.max(3 - axis) > 0  # [n, 28]: rows, or columns, with ink
        centres = (inked.argmax(1) + 27 - inked[:, ::-1].argmax(1)) / 2
        assert np.quantile(np.abs(centres - 13.5), 0.99) <= characters.SHIFT + 1
        assert abs(centres.mean() - 13.5) < 0.1


def test_drawings_of_a_class_differ(chars):
    images = (chars.x * 255).astype(np.uint8).reshape(-1, 20 * 784)
    distinct = [len({row.tobytes() for row in images[c].reshape(20, 784)}) for c in range(0, len(images), 50)]
    assert min(distinct) == 20
    assert len(np.unique(chars.x, axis=0)) == len(chars)  # nor are two drawings of different classes the same


def test_many_scripts(kept):
    scripts = ("LATIN", "GREEK", "CYRILLIC", "ARMENIAN", "HEBREW", "ARABIC", "LAO", "GEORGIAN", "CANADIAN")
    counts = {s: sum(unicodedata.name(char).startswith(s) for char in kept) for s in scripts}
    assert min(counts.values()) >= 10
    assert {"R", "4", "\u0416", "\u05d0"} <= kept


@pytest.mark.parametrize("twins", TWINS)
def test_at_most_one_of_those_that_look_the_same(kept, twins):
    assert len(kept & set(twins)) <= 1


def test_no_tiny_marks_no_bars_no_blanks(kept):
    assert not kept & set(" .,:;'`\u00a0\u00b7\u0300|/\\_-\u2588")


def test_classes_look_different_on_average(chars):
    """Judged on the drawings, in every quarter turn, where the choice was made on undistorted glyphs."""
    means = chars.x.reshape(-1, 20, 28, 28).mean(1)

    def unit(images):
        rows = images.reshape(len(images), -1)
        rows = rows - rows.mean(1, keepdims=True)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    for turns in range(4):
        alike = unit(means) @ unit(np.rot90(means, turns, (1, 2))).T
        np.fill_diagonal(alike, 0)  # a class may look like itself, turned
        assert alike.max() < 0.98


def test_drawings_of_a_class_are_alike(chars):
    """Of the class means of 19 drawings, a twentieth drawing is nearer to its own than to most others."""
    images = chars.x.reshape(-1, 20, 784)
    held_out = images[:, 0]
    means = images[:, 1:].mean(1)
    distance = (means**2).sum(1) - 2 * held_out @ means.T
    nearer = (distance < np.diag(distance)[:, None]).mean(1)  # share of the classes that are nearer
    assert np.median(nearer) < 0.02
    assert nearer.mean() < 0.15


def test_same_seed_same_bytes():
    some = ["R", "\u0416", "\u05d0", "\u2603"]
    first, second, other = (characters.build(some, seed)["images"] for seed in (7, 7, 8))
    assert first.dtype == np.uint8
    assert first.shape == (80, 28, 28)
    assert first.tobytes() == second.tobytes()
    assert (first != other).reshape(80, -1).any(1).all()


def test_a_class_does_not_depend_on_the_others(chars):
    row = [name.split()[0] for name in chars.class_names].index("U+0416") * 20
    alone = characters.build(["\u0416"], characters.SEED)["images"]
    assert (np.round(chars.x[row : row + 20] * 255) == alone.reshape(20, -1)).all()


def test_second_load_reads_the_cache(chars, session_cache, monkeypatch):
    monkeypatch.setenv("ALMETA_CACHE", str(session_cache))
    monkeypatch.setattr(characters, "build", None)  # not called
    assert (load_dataset("characters").x == chars.x).all()


def test_signature_turns_with_the_image():
    image = characters.renderings("R")[0]
    for turns in range(4):
        turned = characters.signature(image.rotate(90 * turns, expand=True))[0]
        assert turned @ characters.signature(image)[turns] == pytest.approx(1, abs=1e-3)


def test_thinning_keeps_hairlines():
    bars = np.zeros((2, 20, 20), np.uint8)
    bars[0, 2:18, 9] = 255
    bars[1, 2:18, 5:12] = 255
    assert (characters.restroke(bars[0], -1) == bars[0]).all()
    assert [int((characters.restroke(bars[1], by) > 0).any(0).sum()) for by in (-1, 0, 1)] == [5, 7, 9]
