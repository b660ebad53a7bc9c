"""The settings of a benchmark: what they change, and what is refused."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from almeta.errors import AlmetaError
from almeta.evaluation.settings_report import asked_in_settings
from almeta.evaluation.verdict import Question
from almeta.learners import CNN, VAT, Augmented, LogisticRegression, PseudoLabels, Scikit, Siamese, make_learner
from almeta.runs.config import BenchmarkConfig
from almeta.runs.pools import benchmark, make_setting, read_strategies
from almeta.runs.settings import read_settings
from tests.small_config import compose_config

ROOT = Path(__file__).resolve().parents[2]
TINY = ("budget=3", "repeats=2", "env.pool_size=20", "env.max_test=20", "strategies=[margin]", "datasets=[iris]")


def config(*overrides: str) -> BenchmarkConfig:
    return BenchmarkConfig.read(compose_config(*TINY, *overrides, command="benchmark"))


def test_a_setting_changes_what_it_names_and_nothing_else():
    read = config("learner.C=3", "oracle.price=0.5", "options.target=y")
    plain = make_setting(read)
    assert make_setting(read, {}) == plain
    assert make_setting(read, {"env": {"pool_size": 7}}).env.pool_size == 7
    assert make_setting(read, {"env": {"pool_size": 7}}).env.budget == 3
    other = make_setting(
        read, {"oracle": {"noise": 0.2}, "learner": "svc", "options": {"ignore": ["a"]}, "judge": "ridge"}
    )
    assert (other.oracle.noise, other.oracle.price) == (0.2, 0.5)
    assert isinstance(other.learner, Scikit)
    assert type(other.judge).__name__ == "Ridge"
    assert other.options == {"target": "y", "ignore": ["a"]}
    named = make_setting(read, {"learner": {"name": "logistic_regression", "C": 9}, "oracle": "noisy"})
    assert isinstance(named.learner, LogisticRegression)
    assert named.learner.C == 9
    assert (named.oracle.noise, named.oracle.price) == (0.1, 0.0)  # the choice of that name, not what was there


def test_each_combination_is_a_setting():
    each = {"oracle.noise": [0, 0.2], "oracle.price": [1], "judge": ["ridge", {"name": "svc", "C": 9}]}
    assert read_settings({"plain": {}, "each": each}) == {
        "plain": {},
        "0, 1, ridge": {"oracle": {"noise": 0, "price": 1}, "judge": "ridge"},
        "0, 1, svc(C=9)": {"oracle": {"noise": 0, "price": 1}, "judge": {"name": "svc", "C": 9}},
        "0.2, 1, ridge": {"oracle": {"noise": 0.2, "price": 1}, "judge": "ridge"},
        "0.2, 1, svc(C=9)": {"oracle": {"noise": 0.2, "price": 1}, "judge": {"name": "svc", "C": 9}},
    }


@pytest.mark.parametrize("order", [1, -1])
def test_values_of_a_part_and_of_its_keys_are_joined_in_any_order(order):
    parts = {"learner": ["svc", {"name": "ridge"}], "learner.C": [1, 10]}
    found = read_settings({"each": dict(list(parts.items())[::order])})
    assert sorted(map(str, found.values())) == sorted(
        str({"learner": {"name": name, "C": C}}) for name in ("svc", "ridge") for C in (1, 10)
    )


@pytest.mark.usefixtures("quick_figures")
def test_everybody_plays_the_same_tasks_in_each_setting(tmp_path):
    asked = config("settings={clean: {}, noisy: {oracle: {noise: 0.5}}}", "scores=[accuracy,wrong_answers]")
    summary = benchmark(asked, tmp_path)
    rows = {(row["setting"], row["strategy"]): row for row in summary["settings"]}
    assert list(rows) == [(a, b) for a in ("clean", "noisy") for b in ("random", "margin")]
    assert rows["clean", "random"]["wrong_answers"] == 0 < rows["noisy", "random"]["wrong_answers"]
    curves = pd.read_csv(tmp_path / "curves.csv")
    start = curves[curves["queries"] == 0].pivot(index="repeat", columns=["setting", "strategy"], values="score")
    assert start.nunique(axis=1).eq(1).all()  # the first labels are right, and the same
    picks = pd.read_csv(tmp_path / "picks.csv").query("strategy == 'random'").groupby("setting")["row"].agg(list)
    assert picks["clean"] == picks["noisy"]
    assert set(pd.read_csv(tmp_path / "seconds.csv")["setting"]) == {"clean", "noisy"}


@pytest.mark.usefixtures("quick_figures")
def test_curves_over_money_are_of_what_was_paid(tmp_path):
    panel = "oracle.annotators=[{price: 2},{price: 1}]"
    asked = config("over=money", panel, "strategies=[per_price]", "question={text: Who?, pairs: [[per_price, random]]}")
    assert make_setting(asked).measures == ("money",)
    summary = benchmark(asked, tmp_path)
    curves = pd.read_csv(tmp_path / "curves.csv")
    paid = curves[curves["strategy"] == "per_price"].groupby("queries")["money"].unique()
    assert [list(one) for one in paid] == [[0], [1], [2], [3]]  # it always asks the cheaper one
    assert summary["datasets"] == {"iris": {"repeats": 2, "budget": 3}}  # the least that anybody has spent
    assert list(pd.read_csv(tmp_path / "aulc.csv").columns[1:]) == ["random", "per_price"]


STUDIES = sorted(path.stem for path in (ROOT / "conf/experiment/study").glob("*.yaml"))
TRAINED = ["classes", "features"]  # these are runs of train


def study(preset, scale="quick"):
    """Return the settings of a study, who plays, and what is asked: all of it checked as before the first cell."""
    read = BenchmarkConfig.read(compose_config(f"experiment=study/{preset}", f"scale={scale}", command="benchmark"))
    contenders, question = read_strategies(["random", *read.strategies]), Question(**(read.question or {}))
    names = list(map(str, contenders))
    if read.settings:
        settings = {name: make_setting(read, changes) for name, changes in read_settings(read.settings).items()}
        question = asked_in_settings(question, list(settings), names)
    else:
        settings = {"": make_setting(read)}
        question.check(names)
    question.check_measures(next(iter(settings.values())).measures)
    return settings, contenders, question


@pytest.mark.parametrize("scale", ["quick", "paper"])
@pytest.mark.parametrize("preset", sorted({*STUDIES} - {*TRAINED}))
def test_each_study_asks_about_who_plays(preset, scale):
    settings, contenders, question = study(preset, scale)
    assert len(settings) > 1 or len(contenders) > 2
    assert question.pairs


def test_the_study_of_adversarial_examples_trains_on_what_it_is_attacked_by():
    settings, _, _ = study("adversarial")
    robust: Any = settings["robust"].learner
    assert robust.epsilon == settings["plain"].env.attack_size
    assert make_learner(robust.base) == settings["plain"].learner  # they differ in the training alone


@pytest.mark.parametrize("preset, annotators", [("noise", 2), ("cost", 3)])
def test_annotators_of_a_study(preset, annotators):
    settings, _, _ = study(preset)
    assert {setting.oracle.num_annotators for setting in settings.values()} == {annotators}


@pytest.mark.parametrize(
    "preset, kinds",
    [
        ("pseudo_labels", {CNN, PseudoLabels, VAT}),
        ("pseudo_labels_alone", {CNN, PseudoLabels, VAT, Siamese}),
        ("augmentation", {CNN, Augmented}),
        ("augmentation_active", {CNN, Augmented}),
    ],
)
def test_learners_of_a_study(preset, kinds):
    settings, contenders, _ = study(preset)
    assert {type(setting.of(one).learner) for setting in settings.values() for one in contenders} == kinds


@pytest.mark.parametrize(
    "given, message",
    [
        ({"a: b": {}}, "settings has a setting 'a: b'; its name must be a text without ': '"),
        ({"a": {"orcale": {}}}, "unknown key of settings.a 'orcale'; did you mean 'oracle'"),
        (
            {"each": {"judge": "svc"}},
            "settings.each is {'judge': 'svc'}; it must name parts with a list of values each",
        ),
        ({"each": ["svc"]}, "settings.each is .'svc'.; it must name parts with a list of values each"),
        ({"each": {"jugde": ["svc"]}}, "unknown key of settings.svc 'jugde'; did you mean 'judge'"),
        ({"each": {1: [2]}}, "unknown key of settings.2 '1'"),
        ({"each": {}}, "settings.each is {}; it must name parts with a list of values each"),
        ({"each": None}, "settings is {'each': None}, which names no setting"),
        ({"each": {"learner": ["svc", "svc"]}}, "settings has two settings 'svc'; name each once"),
        ({"svc": {}, "each": {"learner": ["svc"]}}, "settings has two settings 'svc'; name each once"),
        ({1: {}, "1": {}}, "settings has two settings '1'"),
        (
            {"each": {"learner": [{"name": "svc", "C": 2}], "learner.C": [1]}},
            "settings.each has learner.C, and learner={'name': 'svc', 'C': 2} beside it",
        ),
        ({"each": {"datasets.a": ["b"], "datasets": [["iris"]]}}, "settings.each has datasets.a, and datasets="),
        ({"a": 3}, "settings.a is 3; it must be a group of keys, of datasets, env, learner, judge, oracle, options"),
    ],
)
def test_wrong_settings_are_told(given, message):
    with pytest.raises(AlmetaError, match=message):
        read_settings(given)


@pytest.mark.parametrize(
    "overrides, message",
    [
        (
            ["settings={a: {}, b: {oracle: {nois: 0.2}}}"],
            "setting 'b': unknown key of oracle 'nois'; did you mean 'noise'",
        ),
        (["settings={a: {}, b: {learner: svx}}"], "unknown learner 'svx'; did you mean 'svc'"),
        (["settings={a: {}, b: {learner: 3}}"], "settings has learner=3; it must be a name or a group of keys"),
        (["settings={a: {}, b: {options: {targt: y}}}"], "targt"),
        (
            ["settings={a: {env: {score: accuracy}}, b: {env: {score: neg_log_loss}}}"],
            "settings.b has env.score=neg_log_loss, and settings.a has accuracy: .*scores=.accuracy,neg_log_loss.",
        ),
        (["settings={a: {}, b: {env: features}}"], "of kind 'features', and a benchmark plays pools: choose env=pool"),
        (["env=classes"], "of kind 'classes', and a benchmark plays pools"),
        (["settings={b: {env: {name: one_shot}}}"], "of kind 'stream', and a benchmark plays pools"),
        (["settings={a: {datasets: 3}}"], "settings has datasets=3; it must be a name, or a list with at least one"),
        (["settings={a: {}, b: {datasets: []}}"], r"settings has datasets=\[\]; it must be a name"),
        (["settings={a: {datasets: [3]}}"], r"settings has datasets=\[3\]; it must be a name"),
        (["judge=svx"], "unknown learner 'svx'; did you mean 'svc'"),
        (["over=money"], "the curves of data set 'iris' are to be drawn over money, but one of them spends 0 in all"),
        (["over=mony"], "over is 'mony'; it must be 'queries' or 'money'"),
        (["question={text: W, pairs: [], measures: {money: [[margin, random]]}}"], "question.measures names 'money'"),
        (["scores=[wrong_answers]"], "begins with wrong_answers, which is no score of a learner"),
    ],
)
def test_what_does_not_fit_in_a_setting_is_told_before_any_cell_is_played(overrides, message, tmp_path):
    with pytest.raises(AlmetaError, match=message):
        benchmark(config(*overrides), tmp_path)
    assert not list(tmp_path.glob("*.csv"))
