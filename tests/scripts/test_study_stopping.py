import re
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from almeta.scripts import study_stopping
from almeta.scripts.study_stopping import ENDS, estimates, followed, gains, importance, share


def test_the_study_writes_its_table_and_figure(tmp_path, monkeypatch, capsys):
    line = ["study", "--suite", "embedded", "--repeats", "2", "--budget", "30", "--out", str(tmp_path / "study")]
    monkeypatch.setattr(sys, "argv", line)
    study_stopping.main()
    table = pd.read_csv(tmp_path / "study" / "stopping.csv")
    assert set(table["data set"]) == {"breast_cancer", "digits", "iris", "wine"}
    assert set(table.half) == {"tuned", "judged"}
    of_iris = table[(table["data set"] == "iris") & (table.repeat == 0)]
    assert of_iris.labels.tolist() == [23, 28, 33]  # 3 first labels and 30 queries
    known = table.dropna(subset=["corrected"])
    assert known.truth.between(0.5, 1).all() and known.corrected.between(known["corrected low"], 1).all()
    assert (known.truth - known.naive).mean() > 0.03  # margin chooses hard rows
    printed = capsys.readouterr().out
    assert re.search(r"^corrected +-?0\.\d{3} ", printed, re.M) and re.search(r"^saved +0\.\d{3} ± ", printed, re.M)
    assert (tmp_path / "study" / "stopping.png").read_bytes()[:4] == b"\x89PNG"


def test_a_weighted_share_has_the_interval_of_its_effective_rows():
    hits = np.array([1.0, 1.0, 1.0, 0.0])
    mean, low, high = share(hits, np.ones(4))
    assert (mean, low, high) == (0.75, pytest.approx(0.2838, abs=1e-3), pytest.approx(0.9716, abs=1e-3))
    mean, low, high = share(hits, np.array([1.0, 0.0, 0.0, 1.0]))
    assert (mean, low + high) == (0.5, pytest.approx(1))  # two rows that count
    assert np.isnan(share(hits, np.zeros(4))[0]) and share(hits, np.zeros(4))[1:] == (0.0, 1.0)


def test_a_row_of_a_confidence_that_is_common_among_the_others_weighs_more():
    unsure, sure = torch.tensor([0.55, 0.45]), torch.tensor([0.95, 0.05])
    known = torch.stack([unsure] * 30 + [sure] * 10)
    others = torch.stack([unsure] * 100 + [sure] * 300)
    weight = importance(known, others)
    # The ratio of densities is (1/4) / (3/4) for the first kind and (3/4) / (1/4) for the second.
    assert weight[-1] / weight[0] == pytest.approx(9, rel=0.15)


def test_judging_by_hand():
    table = pd.DataFrame(
        {
            "data set": ["a"] * 4 + ["b"] * 4,
            "repeat": 0,
            "labels": [25, 50, 75, 100] * 2,
            "stop": [False, True, False, True] + [False] * 4,
            "test accuracy": [0.5, 0.7, 0.75, 0.8, 0.6, 0.7, 0.8, 0.9],
            "truth": 0.8,
            "gain": [0.0, 0.0, 0.02, np.nan] * 2,
            "true gain": [0.0, 0.1, 0.03, np.nan] * 2,
            "gain low": -0.01,
            "gain high": 0.05,
        }
    )
    for name in study_stopping.METHODS:
        for end, value in zip(ENDS, (0.7, 0.65, 0.85), strict=True):
            table[f"{name}{end}"] = value
    table.loc[0, "naive high"] = 0.75
    judged = estimates(table)
    assert judged["mean error"].tolist() == pytest.approx([-0.1] * 4)
    assert judged.coverage.to_dict() == {"corrected": 1.0, "naive": 0.875, "random rows": 1.0, "weighted": 1.0}
    gain = gains(table)
    assert gain.loc["below .003"].tolist() == pytest.approx([0.0, 0.05, 0.5])
    assert gain.loc["all"].tolist() == pytest.approx([0.02 / 3, 0.13 / 3, 2 / 3])
    stops = followed(table)
    assert stops.loc["a", ["stopped", "labels", "saved", "lost"]].tolist() == pytest.approx([1, 50, 0.5, 0.1])
    assert stops.loc["b", ["stopped", "labels", "saved", "lost"]].tolist() == pytest.approx([0, 0, 0, 0])
    # A quarter is saved on average; at 75 labels everywhere, .05 and .1 would be lost.
    assert stops["lost at a fixed share"].tolist() == pytest.approx([0.05, 0.1])
