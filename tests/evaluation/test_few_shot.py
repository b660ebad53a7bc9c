import pytest
import torch

from almeta.evaluation.few_shot import QUERIES, few_shot_accuracy, few_shot_table
from almeta.seeding import make_generator
from almeta.tasks import StreamSampler
from tests.agents.streams import PIXELS, glyphs


class Codes:
    """Says of an image what a function makes of it."""

    encoder_version = 0

    def __init__(self, code):
        self.encode = code


def accuracy(code, ways=3, shots=1, dataset=None, episodes=40):
    sampler = StreamSampler(dataset or glyphs(6, 8), length=6, rotations=False)
    return few_shot_accuracy(Codes(code), sampler, ways, shots, episodes, make_generator(0, "test"))


def test_classes_that_are_apart_are_always_told_apart():
    found = accuracy(lambda images: images)  # the brightest pixel is the class
    assert (found.mean, found.half_width) == (1.0, 0.0)


def test_codes_that_tell_nothing_are_right_by_chance():
    found = accuracy(lambda images: torch.rand(len(images), 3, generator=make_generator(0, "code")), episodes=200)
    assert found.half_width is not None
    assert found.mean == pytest.approx(1 / 3, abs=2 * found.half_width)


def test_the_mean_of_several_images_is_better_than_one():
    noisy = glyphs(6, 12, noise=1.2)
    one, five = (accuracy(lambda images: images, shots=shots, dataset=noisy, episodes=100).mean for shots in (1, 5))
    assert one is not None and five is not None
    assert five > one + 0.03


def test_the_table_has_the_settings_for_which_there_is_enough():
    table = few_shot_table(
        Codes(lambda images: images), StreamSampler(glyphs(6, 8), length=6, rotations=False), 5, seed=0
    )
    assert table is not None
    assert table.numbers.iloc[:, :2].to_numpy().tolist() == [[3, 1], [5, 1]]  # 8 images: no 5 and 5 queries
    assert table.shown is not None
    assert table.shown.accuracy.tolist() == ["100.0 ± 0.0"] * 2
    few = StreamSampler(glyphs(6, 4), length=6, rotations=False)
    assert few_shot_table(Codes(lambda images: images), few, 5, seed=0) is None
    assert QUERIES == 5 and PIXELS == 16
