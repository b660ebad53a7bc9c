import pandas as pd
import pytest
import torch

from almeta.evaluation.few_shot import COLUMNS, QUERIES, few_shot_accuracy, few_shot_table, few_shot_table_of_runs
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


def test_runs_have_the_mean_over_their_seeds_and_equal_encoders_one_row():
    first = pd.DataFrame([[3, 1, 0.8, 0.01], [20, 5, 0.5, 0.02]], columns=COLUMNS)
    second = pd.DataFrame([[3, 1, 0.9, 0.01], [20, 5, 0.7, 0.02]], columns=COLUMNS)
    both = few_shot_table_of_runs({"a (incorrect=-1)": [first, second], "a (incorrect=-5)": [first, second]})
    assert both is not None and list(both.numbers) == COLUMNS
    assert both.numbers["accuracy"].tolist() == pytest.approx([0.85, 0.6])
    assert both.numbers["interval"][0] == pytest.approx(12.706 * 0.05, rel=1e-3)  # of two: t = 12.706
    assert "over seeds" in both.note
    alone = few_shot_table_of_runs({"a": [first], "b": [second]})
    assert alone is not None and alone.numbers["policy"].tolist() == ["a", "a", "b", "b"]
    assert alone.numbers["interval"].tolist() == [0.01, 0.02, 0.01, 0.02] and "over episodes" in alone.note
    alike = first.assign(accuracy=[0.8, 0.6])  # in the first row
    own = few_shot_table_of_runs({"a": [first], "b": [alike]})
    assert own is not None and own.numbers["policy"].tolist() == ["a", "a", "b", "b"]
    mixed = few_shot_table_of_runs({"a": [first, second], "b": [alike]})
    assert mixed is not None and "over seeds, or over episodes where there is one" in mixed.note
    assert few_shot_table_of_runs({}) is None
