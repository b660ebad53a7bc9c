import sys

import pandas as pd
import pytest

from almeta.scripts import study_look_ahead
from almeta.scripts.study_look_ahead import by_fold, choices, held_out, summary_of


def test_the_study_chooses_on_some_tables_and_judges_on_others(monkeypatch, capsys):
    line = ["study", "--suite", "embedded", "--repeats", "2", "--folds", "2", "--learner", "prototype"]
    monkeypatch.setattr(sys, "argv", line)
    monkeypatch.setattr(study_look_ahead, "CHOICES", {"weight": (0.5,), "noise": (1.0,), "margin": (0.0, 1.0)})
    study_look_ahead.main()
    printed = capsys.readouterr().out
    assert printed.count(": margin ") == 4
    assert printed.count("look_ahead(weight=0.5, noise=1, margin=") == 4  # two choices, and one for each fold
    assert "points over margin, ahead on" in printed


def test_judging_by_hand():
    gains = pd.DataFrame({"a": [1.0, 3.0, 0.0, 2.0], "b": [5.0, 4.0, -1.0, -2.0]}, index=["w", "x", "y", "z"])
    judged = held_out(gains, [("w", "x"), ("y", "z")])
    assert judged.chosen.to_dict() == {"w": "a", "x": "a", "y": "b", "z": "b"}  # the best on the other two
    assert judged.gain.to_dict() == {"w": 1, "x": 3, "y": -1, "z": -2}
    assert by_fold(judged).to_dict("list") == {"gain": [2, -1.5], "ahead": [2, 0], "of": [2, 2]}
    found = choices(gains)
    assert found.index.tolist() == ["a", "b"]
    assert found.loc["a", ["gain", "ahead"]].tolist() == [1.5, 3]
    assert found.loc["a", "half width"] == pytest.approx(3.182 * gains.a.std() / 2, abs=1e-3)
    assert summary_of(gains.a) == "+1.50 ± 2.05 points over margin, ahead on 3 of 4"
