import sys

import pandas as pd
import pytest
from matplotlib.figure import Figure

from almeta.envs import PoolOptions
from almeta.evaluation.benchmark import Setting, StrategySpec
from almeta.learners import make_learner
from almeta.oracles import Oracle
from almeta.scripts import study_picks
from almeta.scripts.study_picks import AHEAD, MEASURES, draw, picks
from tests.evaluation.drawn import y_of

UNCERTAIN, DENSE, FAR, RARE = MEASURES


def played(name, repeats=4, budget=6):
    setting = Setting(PoolOptions(budget=budget, pool_size=60), make_learner("ridge"), Oracle(), repeats)
    return picks(StrategySpec.read(name), "iris", setting)


def test_a_rule_picks_the_highest_rank_of_its_own_measure():
    assert (played("margin")[UNCERTAIN] > 0.99).all()
    assert (played("core_set")[FAR] > 0.99).all()
    assert (played("look_ahead")[AHEAD] > 0.99).all()


def test_random_picks_have_the_middle_rank():
    means = played("random", repeats=32, budget=20)[[UNCERTAIN, DENSE, FAR, AHEAD]].mean()
    assert means.between(0.44, 0.56).all()


def test_rows_are_by_pick_and_drawn_by_measure():
    rows = pd.concat([played("margin"), played("random")])
    assert rows[["contender", "dataset"]].drop_duplicates().to_numpy().tolist() == [
        ["margin", "iris"],
        ["random", "iris"],
    ]
    assert rows.pick.tolist() == [*range(1, 7)] * 2
    figure = draw(rows)
    assert isinstance(figure, Figure)
    assert [axis.get_title() for axis in figure.axes] == ["uncertain", "dense", "far", "rare", "telling"]
    (line, _) = figure.axes[0].get_lines()
    assert list(y_of(line)) == pytest.approx(rows[rows.contender == "margin"][UNCERTAIN].tolist())


def test_the_command_writes_numbers_and_a_picture(tmp_path, monkeypatch):
    monkeypatch.setattr(study_picks, "suite", lambda _: ["iris"])
    options = ["--contenders", "transfer,margin", "--repeats", "2", "--budget", "3", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["study_picks.py", *options])
    study_picks.main()
    assert {path.name for path in tmp_path.iterdir()} == {"picks.csv", "picks.png"}
    assert set(pd.read_csv(tmp_path / "picks.csv").contender) == {"transfer", "margin"}


@pytest.mark.parametrize(
    "options, message",
    [
        (["--contenders", "margin,trnasfer"], "unknown policy or strategy 'trnasfer'; did you mean 'transfer'"),
        (["--contenders", " , "], "--contenders names nobody"),
        (["--repeats", "0"], "--repeats is 0; it must be a whole number of at least 1"),
        (["--budget", "0"], "--budget is 0"),
        (["--suite", "tabels"], "unknown suite 'tabels'; did you mean 'tables'"),
        (["--out", __file__], "--out is .*, which is a file; name a folder"),
    ],
)
def test_wrong_options_are_told_before_anything_is_played(options, message, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["study_picks.py", *options])
    monkeypatch.setattr(study_picks, "picks", None)
    with pytest.raises(SystemExit, match=f"^error: {message}"):
        study_picks.main()


def test_names_may_have_spaces_and_stand_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(study_picks, "suite", lambda _: ["iris"])
    options = ["--contenders", "margin, random,margin", "--repeats", "1", "--budget", "2", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["study_picks.py", *options])
    study_picks.main()
    assert len(pd.read_csv(tmp_path / "picks.csv")) == 2 * 2
