import sys

import numpy as np
import pytest

from almeta.scripts import gallery
from almeta.strategies import strategy_names


def test_the_gallery_has_a_picture_for_each_strategy_and_one_of_all(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gallery, "TASKS", ("blobs", "moons"))
    monkeypatch.setattr(sys, "argv", ["gallery", "--strategies", "margin", "core_set", "--out", str(tmp_path)])
    gallery.main()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["core_set.png", "margin.png", "overview.png"]
    assert all(path.read_bytes()[:4] == b"\x89PNG" for path in tmp_path.iterdir())
    assert f"wrote 2 pictures and overview.png to {tmp_path}" in capsys.readouterr().out


def test_all_look_at_the_same_rows_and_labels():
    margin, random = (gallery.look(name, "logistic_regression", "blobs") for name in ("margin", "random"))
    assert np.array_equal(margin.x, random.x) and np.array_equal(margin.y, random.y)
    assert np.array_equal(np.isinf(margin.utilities), np.isinf(random.utilities))
    assert margin.picks[0] == margin.utilities.argmax()
    assert len(set(margin.picks)) == gallery.PICKS and margin.query_size == 1
    assert gallery.look("core_set", "logistic_regression", "blobs").query_size == gallery.PICKS


@pytest.mark.parametrize("name", strategy_names())
def test_a_learner_is_found_for_all_but_strategies_of_texts(name):
    assert (gallery.suitable_learner(name) is None) == (name in OF_TEXTS)


OF_TEXTS = {"expected_word_gradient_length"}
