import sys

import numpy as np
import pytest

from almeta.errors import AlmetaError
from almeta.scripts import gallery
from almeta.strategies import strategy_names
from almeta.strategies.core_set import CoreSet


def test_the_gallery_has_a_picture_for_each_strategy_and_one_of_all(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gallery, "TASKS", ("blobs", "moons"))
    monkeypatch.setattr(sys, "argv", ["gallery", "--strategies", "margin", "core_set", "--out", str(tmp_path)])
    gallery.main()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["core_set.png", "margin.png", "overview.png"]
    assert all(path.read_bytes()[:4] == b"\x89PNG" for path in tmp_path.iterdir())
    assert f"wrote 2 pictures and overview.png to {tmp_path}" in capsys.readouterr().out


def test_a_mistyped_strategy_is_told_in_one_line_and_nothing_is_drawn(tmp_path, monkeypatch):
    out = tmp_path / "gallery"
    monkeypatch.setattr(sys, "argv", ["gallery", "--strategies", "margin", "margn", "--out", str(out)])
    with pytest.raises(SystemExit, match=r"^error: unknown strategy 'margn'; did you mean 'margin'\?.*$"):
        gallery.main()
    assert not out.exists()


def test_a_strategy_of_texts_has_no_picture(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gallery", "--strategies", *OF_TEXTS, "--out", str(tmp_path)])
    gallery.main()
    assert not list(tmp_path.iterdir())
    said = capsys.readouterr().out.splitlines()
    assert {line.partition(": left out")[0] for line in said[:-1]} == OF_TEXTS


def test_another_error_of_a_strategy_is_not_taken_for_a_lacking_ability(monkeypatch):
    def broken(self, state):
        raise AlmetaError("the score cannot be")

    monkeypatch.setattr(CoreSet, "score", broken)
    learner = gallery.suitable_learner("core_set")
    assert learner == "logistic_regression"
    with pytest.raises(AlmetaError, match="the score cannot be"):
        gallery.look("core_set", learner, "blobs")


def test_all_look_at_the_same_rows_and_labels():
    margin, random = (gallery.look(name, "logistic_regression", "blobs") for name in ("margin", "random"))
    assert np.array_equal(margin.x, random.x) and np.array_equal(margin.y, random.y)
    assert np.array_equal(np.isinf(margin.utilities), np.isinf(random.utilities))
    assert margin.picks[0] == margin.utilities.argmax()
    assert len(set(margin.picks)) == gallery.PICKS and margin.query_size == 1
    assert gallery.look("core_set", "logistic_regression", "blobs").query_size == gallery.PICKS


@pytest.mark.parametrize("name", strategy_names("classes"))
def test_a_learner_is_found_for_all_but_strategies_of_texts(name):
    assert (gallery.suitable_learner(name) is None) == (name in OF_TEXTS)


OF_TEXTS = {"expected_word_gradient_length", "word_swaps"}
