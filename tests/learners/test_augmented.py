"""Turned and distorted images, images that a generative network draws, and a learner that is fit to both."""

from typing import Any

import pytest
import torch

from almeta.errors import AlmetaError
from almeta.learners import CNN, Augmented, LogisticRegression, make_learner
from almeta.learners.gan import GAN
from almeta.learners.images import distorted, rotated, thickened
from almeta.learners.learner import ReadsPool

# --- turned images ---


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_quarters_of_a_turn_are_exact(quarters):
    images = torch.rand(2, 3, 5, 5, 3, generator=torch.Generator().manual_seed(0))
    got = rotated(images.flatten(2), torch.full((2, 3), 90.0 * quarters), (5, 5, 3))
    expected = torch.rot90(images, quarters, (2, 3))  # counter-clockwise
    torch.testing.assert_close(got.unflatten(2, (5, 5, 3)), expected, atol=1e-4, rtol=0)


def test_an_image_that_is_not_square_is_not_stretched():
    """Two pixels to the right of the centre are, after a quarter, two above it."""
    image = torch.zeros(1, 1, 5, 9, 1)
    image[0, 0, 2, 6] = 1
    got = rotated(image.flatten(2), torch.tensor([[90.0]]), (5, 9, 1)).view(5, 9)
    assert got.argmax() == 0 * 9 + 4 and got[0, 4] > 0.99


def test_each_image_has_its_own_angle():
    images = torch.rand(1, 2, 16, generator=torch.Generator().manual_seed(0))
    both = rotated(images, torch.tensor([[0.0, 30.0]]), (4, 4, 1))
    torch.testing.assert_close(both[:, 0], images[:, 0])
    torch.testing.assert_close(both[:, 1:], rotated(images[:, 1:], torch.tensor([[30.0]]), (4, 4, 1)))
    assert (both[:, 1] - images[:, 1]).abs().max() > 0.05


# --- distorted images ---


def centres(images):
    """Return the mean row and column of the ink of images `[n, 28 * 28]`, from the middle of the image."""
    images = images.view(-1, 28, 28)
    places = torch.arange(28) - 13.5
    ink = images.sum((1, 2))
    return (images.sum(2) @ places) / ink, (images.sum(1) @ places) / ink


def test_distorted_images_are_shifted_turned_and_stretched_within_bounds():
    """Ink in the middle moves with the shift alone; ink 8 pixels to the right also by the angle and the scale."""
    images = torch.zeros(2, 28, 28)
    images[0, 13:15, 13:15] = 1
    images[1, 13:15, 21:23] = 1
    generator = torch.Generator().manual_seed(0)
    middle = centres(distorted(images[:1].flatten(1).expand(3_000, -1), generator))
    for moved in middle:  # 1.4 pixels at most, before the scale
        assert moved.abs().max() < 1.4 * 1.3 and moved.abs().max() > 1.2
        assert moved.std() == pytest.approx(1.4 / 3**0.5, rel=0.08) and moved.mean().abs() < 0.06
    down, right = centres(distorted(images[1:].flatten(1).expand(3_000, -1), generator))
    assert right.mean() == pytest.approx(8, abs=0.2) and down.mean().abs() < 0.1
    turned = (8 * 0.1745 / 3**0.5) ** 2  # variance by the angle alone
    assert down.var() == pytest.approx(float(middle[0].var()) + turned, rel=0.1)
    scaled = (8 * 0.12 / 3**0.5) ** 2
    assert right.var() == pytest.approx(float(middle[1].var()) + scaled, rel=0.1)


def test_without_luck_images_stay_as_they_are(monkeypatch):
    images = torch.rand(4, 36, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(torch, "rand", lambda size, **_: torch.full(size, 0.5))
    torch.testing.assert_close(distorted(images, torch.Generator()), images)


def test_thickened_images_have_strokes_wider_by_up_to_two_pixels_to_either_side():
    images = torch.zeros(1, 28, 28)
    images[0, 5:23, 13:15] = 1  # two pixels wide
    wider = thickened(images.flatten(1).expand(2_000, -1), torch.Generator().manual_seed(0)).view(-1, 28, 28)
    width = wider[:, 14].sum(1)  # with shares of pixels
    assert width.min() >= 2 and width.max() <= 6
    assert width.mean() == pytest.approx(4, abs=0.06) and width.std() == pytest.approx(4 / 12**0.5, rel=0.05)
    assert (wider[:, 14, 13:15] == 1).all()  # all ink stays
    assert (wider[:, 14, :11] == 0).all() and (wider[:, 14, 17:] == 0).all()


# --- a generative network ---


def bars(rows: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    """Two episodes of images of 6 x 6 pixels: class 0 is bright above, class 1 below."""
    y = torch.tensor([0, 1]).repeat(2, rows // 2)
    x = 0.1 * torch.rand(2, rows, 6, 6, generator=torch.Generator().manual_seed(0))
    x[:, ::2, :3] += 0.8
    x[:, 1::2, 3:] += 0.8
    return x.flatten(2), y


def test_it_draws_images_of_a_class():
    x, y = bars()
    generator = torch.Generator().manual_seed(0)
    unlabelled = torch.ones(2, 30, dtype=torch.bool)
    given = (x[:, :10], y[:, :10], torch.ones(2, 10), 3, x[:, 10:], unlabelled)
    drawer = GAN(maps=4, steps=80).fit(*given, (6, 6, 1), generator)
    wanted = torch.tensor([0, 1]).repeat(2, 20)
    drawn = drawer.draw(wanted, generator)
    assert drawn.shape == (2, 40, 36) and drawn.isfinite().all()
    assert (drawn >= x.amin(1, keepdim=True) - 1e-6).all() and (drawn <= x.amax(1, keepdim=True) + 1e-6).all()
    above = drawn.unflatten(2, (2, 18)).mean(-1)  # [E, 40, above and below]
    assert (above.argmax(-1) == wanted).float().mean() > 0.9
    assert drawn[:, ::2].std(1).mean() > 0.005  # not one image again and again


def test_an_image_does_not_depend_on_those_drawn_beside_it():
    """Images of rows that do not count, and those of other episodes' classes, change none of the others."""
    x, y = bars()
    nothing = torch.zeros(2, 0, dtype=torch.bool)
    given = (x[:, :10], y[:, :10], torch.ones(2, 10), 2, x[:, :0], nothing, (6, 6, 1))
    drawer = GAN(maps=4, steps=20).fit(*given, torch.Generator().manual_seed(0))

    def drawn(wanted):
        return drawer.draw(wanted, torch.Generator().manual_seed(1))

    few = drawn(y[:, :6])
    padded = drawn(torch.cat((y[:, :6], torch.zeros(2, 30, dtype=torch.int64)), 1))
    torch.testing.assert_close(padded[:, :6], few)
    torch.testing.assert_close(drawn(torch.stack((y[0, :6], 1 - y[1, :6])))[0], few[0])
    torch.testing.assert_close(drawn(y[:, :1]), few[:, :1])
    assert (few[:, 0] - few[:, 2]).abs().max() > 0.01  # of the same class, by other noise


def test_the_pool_tells_what_is_real():
    """Unlabelled images that are brighter than all labelled ones: drawn ones are brighter, too."""
    x, y = bars()

    def brightness(pool: torch.Tensor) -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        unlabelled = torch.ones(2, pool.shape[1], dtype=torch.bool)
        gan = GAN(maps=2, steps=60)
        drawer = gan.fit(x[:, :4], y[:, :4], torch.ones(2, 4), 2, pool, unlabelled, (6, 6, 1), generator)
        return drawer.draw(torch.zeros(2, 40, dtype=torch.int64), generator).mean()

    assert brightness(x[:, 4:] + 1) > brightness(x[:, 4:]) + 0.3


# --- the learner ---

QUICK: dict[str, Any] = {"maps": 2, "gan_steps": 3, "noise_size": 4, "batch_size": 4}


class Kept(LogisticRegression):
    """Keeps what it is fit to."""

    def fit(self, x, y, weight, num_classes, start=None, generator=None):
        object.__setattr__(self, "given", (x, y, weight))
        return super().fit(x, y, weight, num_classes)


@pytest.mark.parametrize("rotation, generated, rows", [(0, 0, 6), (20.0, 0, 18), (0, 1.5, 15), (20.0, 1.0, 24)])
def test_the_base_is_fit_to_all_images(rotation, generated, rows):
    x, y = bars(12)
    weight = torch.ones(2, 6)
    weight[1, 5] = 0
    base = Kept()
    learner = Augmented(base, rotation=rotation, copies=2, generated=generated, **QUICK)
    assert isinstance(learner, ReadsPool)
    unlabelled = torch.ones(2, 6, dtype=torch.bool)
    found = learner.fit_with_pool(x[:, :6], y[:, :6], weight, 2, x[:, 6:], unlabelled)
    all_x, all_y, all_weight = vars(base)["given"]
    assert all_x.shape == (2, rows, 36) and (found.assumed == -1).all()
    assert torch.equal(all_x[:, :6], x[:, :6])
    places = torch.arange(rows) % 6
    assert torch.equal(all_y, y[:, :6].where(weight > 0, 0)[:, places]) and torch.equal(all_weight, weight[:, places])
    for place in range(6, rows):
        assert not torch.equal(all_x[:, place], x[:, place % 6])
    if rotation:  # some angle up to 20 degrees gives each copy
        angles = torch.linspace(-20, 20, 401).expand(2, -1)
        for place in range(6, 18):
            turned = rotated(x[:, [place % 6]].expand(-1, 401, -1), angles, (6, 6, 1))
            assert ((turned - all_x[:, [place]]).abs().amax(-1).amin(1) < 0.01).all()


def test_without_augmentation_it_is_its_base():
    x, y = bars(12)
    base = CNN(maps=2, hidden_size=4, steps=3)
    got, plain = (one.fit(x, y, torch.ones(2, 12), 2) for one in (Augmented(base, rotation=0.0), base))
    torch.testing.assert_close(got.probabilities(x), plain.probabilities(x))


def test_turned_copies_teach_what_turned_images_are():
    x, y = bars()
    turned = rotated(x, torch.full((2, 40), 60.0), (6, 6, 1))

    def right(learner):
        return (learner.fit(x, y, torch.ones(2, 40), 2).probabilities(turned).argmax(-1) == y).float().mean()

    base = LogisticRegression()
    upside = rotated(x, torch.full((2, 40), 180.0), (6, 6, 1))
    sure = base.fit(x, y, torch.ones(2, 40), 2).probabilities(upside).amax(-1).mean()
    model = Augmented(base, rotation=180.0).fit(x, y, torch.ones(2, 40), 2)
    assert right(Augmented(base, rotation=60.0)) > 0.95
    assert model.probabilities(upside).amax(-1).mean() < sure - 0.05  # all turns: the halves tell less


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "base": ({"base": "cnm"}, "unknown learner 'cnm'; did you mean 'cnn'"),
    "rotation": ({"rotation": 200}, "learner.rotation is 200; it must be a number from 0 to 180"),
    "copies": ({"copies": 0}, "learner.copies is 0; it must be a whole number of at least 1"),
    "generated": ({"generated": -1}, "learner.generated is -1; it must be a number of at least 0"),
    "noise": ({"noise_size": 0}, "learner.noise_size is 0; it must be a whole number of at least 1"),
    "maps": ({"maps": 0}, "learner.maps is 0; it must be a whole number of at least 1"),
    "steps": ({"gan_steps": 0}, "learner.gan_steps is 0; it must be a whole number of at least 1"),
    "batch": ({"batch_size": 0}, "learner.batch_size is 0; it must be a whole number of at least 1"),
    "numbers": (
        {"base": "gaussian_process"},
        "augmented: base=gaussian_process learns numbers; name a learner of classes",
    ),
    "rate": ({"learning_rate": 0}, "learner.learning_rate is 0; it must be a number above 0"),
}


@pytest.mark.parametrize("given, message", MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_told(given, message):
    with pytest.raises(AlmetaError, match=message):
        make_learner({"name": "augmented", **given})


def test_rows_that_are_no_images_are_told():
    x, y = torch.rand(1, 4, 7), torch.tensor([[0, 1, 0, 1]])
    with pytest.raises(AlmetaError, match="learner augmented: 7 features are no square image of 1 or 3 channels; give"):
        Augmented("ridge").fit(x, y, torch.ones(1, 4), 2)
    with pytest.raises(AlmetaError, match=r"learner augmented: shape=\[2, 2, 1\] does not fit the 7 features of a row"):
        Augmented("ridge", shape=[2, 2, 1]).fit(x, y, torch.ones(1, 4), 2)
