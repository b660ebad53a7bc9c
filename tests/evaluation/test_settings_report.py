"""Several settings in one report: areas, gains over random in the same setting, and the question."""

import numpy as np
import pandas as pd
import pytest

from almeta.errors import AlmetaError
from almeta.evaluation.settings_report import asked_in_settings, settings_report
from almeta.evaluation.verdict import Question, named_in

REPEATS = 3


def curves() -> pd.DataFrame:
    """Two settings, two strategies, one data set: flat curves, with known gains and a further measure."""
    scores = {
        ("clean", "random"): (0.5, 0.6, 0.7),
        ("clean", "margin"): (0.52, 0.63, 0.74),
        ("noisy", "random"): (0.4, 0.4, 0.4),
        ("noisy", "margin"): (0.4, 0.4, 0.4),
    }
    rows = [
        {"setting": setting, "dataset": "a", "strategy": strategy, "repeat": repeat, "queries": query}
        | {"score": score, "wrong_answers": 0.2 * (setting == "noisy")}
        for (setting, strategy), repeats in scores.items()
        for repeat, score in enumerate(repeats)
        for query in range(2)
    ]
    return pd.DataFrame(rows)


def test_each_setting_has_its_areas_and_its_gain_over_random():
    question = asked_in_settings(
        Question("Does it help?", [["margin", "random"], ["noisy: margin", "clean: margin"]]),
        ["clean", "noisy"],
        ["random", "margin"],
    )
    report = settings_report(curves(), measures=["wrong_answers"], question=question)
    rows = report.tables[0].numbers.set_index(["setting", "strategy"])
    assert list(rows.index) == [("clean", "random"), ("clean", "margin"), ("noisy", "random"), ("noisy", "margin")]
    assert rows["accuracy"].round(6).tolist() == [0.6, 0.63, 0.4, 0.4]
    assert rows["wrong_answers"].round(6).tolist() == [0, 0, 0.2, 0.2]
    # Gains of 2, 3 and 4 points: 4.303 / sqrt(3) = 2.48.
    assert rows.loc[("clean", "margin"), ["gain", "gain_interval"]].round(4).tolist() == [0.03, 0.0248]
    assert rows.loc[("noisy", "margin"), ["gain", "gain_interval"]].tolist() == [0, 0]
    assert rows["gain"].isna().tolist() == [True, False, True, False]
    assert report.sentences == [
        "Does it help? clean: margin over random 3.00 points (0.52 to 5.48, interval above 0); "
        "noisy: margin over random 0.00 points (0.00 to 0.00, interval holds 0); "
        "noisy: margin over clean: margin -23.00 points (-50.33 to 4.33, interval holds 0)."
    ]
    assert report.title == "2 strategies in 2 settings on 1 data set, 3 repeats each"
    shown = report.tables[0].shown
    assert shown is not None
    assert shown.iloc[1].tolist() == ["clean", "margin", "63.00 ± 27.33", "0.00 ± 0.00", "+3.00 ± 2.48"]
    assert report.tables[1].numbers.columns[0] == "setting"


def test_fewer_repeats_are_told():
    table = curves()[lambda one: (one["strategy"] == "random") | (one["repeat"] < 2)]
    report = settings_report(table)
    assert report.title == "2 strategies in 2 settings on 1 data set, 2 to 3 repeats each"
    assert report.sentences == report.summary["verdict"]
    assert report.sentences[0].startswith(
        "Fewer repeats than 3: margin (2). Each is compared with others in these alone;"
    )
    assert "the strategy's own repeats" in report.tables[0].note
    assert "own repeats" not in settings_report(curves()).tables[0].note and not settings_report(curves()).sentences


def test_groups_are_averaged_over_settings():
    """Own: (60 + 40) / 2 of random and (63 + 40) / 2 of margin; each other setting's margin is the one of the other."""
    question = Question(
        "Does it help?",
        [
            {"says": "margin over random", "first": ["{setting}: margin"], "second": ["{setting}: random"]},
            {"says": "elsewhere over clean", "first": ["{other}: margin"], "second": ["clean: margin"]},
        ],
    )
    asked = asked_in_settings(question, ["clean", "noisy"], ["random", "margin"])
    assert [named_in(pair) for pair in asked.pairs] == [
        ["clean: margin", "noisy: margin", "clean: random", "noisy: random"],
        ["noisy: margin", "clean: margin", "clean: margin"],
    ]
    # Per repeat (2 + 0) / 2, (3 + 0) / 2, (4 + 0) / 2; and half of -12, -23, -34.
    assert settings_report(curves(), question=asked).sentences == [
        "Does it help? margin over random 1.50 points (0.26 to 2.74, interval above 0); "
        "elsewhere over clean -11.50 points (-25.16 to 2.16, interval holds 0)."
    ]


def test_a_question_about_each_data_set_is_answered_and_drawn_for_each():
    other = curves().assign(dataset="b")
    other["score"] += 0.1 * (other["strategy"] == "margin")
    question = asked_in_settings(
        Question("Where?", [["margin", "random"]], each_dataset=True), ["clean", "noisy"], ["random", "margin"]
    )
    report = settings_report(pd.concat([curves(), other]), question=question)
    assert report.sentences == [
        "Where? On a: clean: margin over random 3.00 points (0.52 to 5.48, interval above 0); "
        "noisy: margin over random 0.00 points (0.00 to 0.00, interval holds 0). "
        "On b: clean: margin over random 13.00 points (10.52 to 15.48, interval above 0); "
        "noisy: margin over random 10.00 points (10.00 to 10.00, interval above 0)."
    ]
    axes = report.figures["settings"].axes
    assert [axis.get_title(loc="left") for axis in axes] == ["a", "", "b", ""]
    drawn = [np.asarray(line.get_ydata()) for line in axes[2].lines if line.get_marker() == "s"]
    assert drawn[0].tolist() == pytest.approx([73, 50])


def test_who_is_alone_has_no_panel_of_gains():
    alone = curves()[lambda table: table["strategy"] == "random"]
    axes = settings_report(alone).figures["settings"].axes
    assert [axis.get_ylabel() for axis in axes] == ["accuracy, points"]


def test_groups_may_be_about_settings_of_different_data_sets():
    """What is clean is known of one data set, and what is noisy of another."""
    table = curves()
    table["dataset"] = table["setting"].map({"clean": "a", "noisy": "b"})
    pair = {"says": "margin over random", "first": ["{setting}: margin"], "second": ["{setting}: random"]}
    question = Question("?", [pair, ["clean: margin", "noisy: margin"]])
    asked = asked_in_settings(question, ["clean", "noisy"], ["random", "margin"])
    assert settings_report(table, question=asked).sentences == [
        "? margin over random 1.50 points (0.26 to 2.74, interval above 0); "
        "clean: margin over noisy: margin is not known."
    ]


def test_figures_show_all_settings():
    figures = settings_report(curves(), measures=["wrong_answers"]).figures
    assert [axis.get_ylabel() for axis in figures["settings"].axes] == [
        "accuracy, points",
        "wrong answers, points",
        "gain over random, points",
    ]
    first = figures["settings"].axes[0]
    assert [text.get_text() for text in first.get_xticklabels()] == ["clean", "noisy"]
    points = [np.asarray(line.get_ydata()) for line in first.lines if line.get_marker() == "s"]
    assert points[0].tolist() == pytest.approx([63, 40])
    titles = [axis.get_title(loc="left") for axis in figures["learning_curves"].axes]
    assert titles == ["clean, a", "noisy, a"]
    matrix = figures["gains"].axes[0]
    assert [text.get_text() for text in matrix.texts] == ["+3.0", "+0.0"]
    assert [text.get_fontweight() for text in matrix.texts] == ["bold", "normal"]


def test_a_question_about_who_does_not_play_in_a_setting_is_refused():
    with pytest.raises(
        AlmetaError, match="unknown strategy of the question 'clean: margn'; did you mean 'clean: margin'"
    ):
        asked_in_settings(Question("?", [["clean: margn", "clean: random"]]), ["clean"], ["random", "margin"])
    with pytest.raises(
        AlmetaError, match="unknown strategy of the question 'dirty: margin'.*; or ask nothing with question=null"
    ):
        asked_in_settings(Question("?", [["dirty: margin", "margin"]]), ["clean"], ["random", "margin"])


def test_a_question_about_another_measure_is_answered_beside():
    question = asked_in_settings(
        Question("Who errs?", [["margin", "random"]], {"wrong_answers": [["noisy: margin", "clean: margin"]]}),
        ["clean", "noisy"],
        ["random", "margin"],
    )
    report = settings_report(curves(), measures=["wrong_answers"], question=question)
    assert report.sentences[0].endswith(
        "; of wrong answers, noisy: margin over clean: margin 20.00 points (20.00 to 20.00, interval above 0)."
    )
    with pytest.raises(
        AlmetaError, match="question.measures names 'wrong_answers', but the further measures are money"
    ):
        question.check_measures(["money"])
    with pytest.raises(AlmetaError, match="unknown strategy of the question 'noisy: margn'"):
        asked_in_settings(
            Question("?", [], {"wrong_answers": [["noisy: margn", "noisy: margin"]]}), ["noisy"], ["margin"]
        )


def test_areas_and_figures_over_money():
    """A query costs two units and brings a tenth: over 0, 1 and 2 units, a curve gains a thirtieth on average."""
    table = curves()
    table = table.assign(money=2 * table["queries"], score=table["score"] + 0.1 * table["queries"])
    question = Question("?", [], {"money": [["clean: margin", "clean: random"]]})
    report = settings_report(table, measures=["wrong_answers", "money"], over="money", question=question)
    assert report.sentences[0].startswith("? of money, clean: margin over random 0.00 points")
    rows = report.tables[0].numbers.set_index(["setting", "strategy"])
    plain = curves().groupby(["setting", "strategy"])["score"].mean()
    assert rows["accuracy"].to_dict() == pytest.approx((plain + 0.1 / 3).to_dict())
    assert "money" not in rows  # it is what the curves are over
    assert list(report.tables[1].numbers["queries"].unique()) == [0, 1]  # as they were played
    labels = {axis.get_xlabel() for axis in report.figures["learning_curves"].axes}
    assert labels - {""} == {"money spent"}


def test_many_measures_stand_in_rows_of_three():
    table = curves().assign(money=1.0, asked_again=0.5)
    figure = settings_report(table, measures=["wrong_answers", "money", "asked_again"]).figures["settings"]
    drawn = [axis for axis in figure.axes if axis.get_visible()]
    assert [axis.get_ylabel().partition(",")[0] for axis in drawn] == [
        *("accuracy", "wrong answers", "money"),
        *("asked again", "gain over random"),
    ]
    spans = [span for axis in drawn if (span := axis.get_subplotspec())]
    assert [(span.rowspan.start, span.colspan.start) for span in spans] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]


@pytest.mark.filterwarnings("error")
def test_settings_with_other_query_sizes_are_compared_by_the_same_share():
    """Every second answer is wrong, whether it comes after one query or after three; nothing is known before."""
    table = pd.concat([curves().assign(queries=lambda one, k=k: one["queries"] + 2 * k) for k in range(3)])
    heard = table["queries"] >= table["setting"].map({"clean": 1, "noisy": 3})
    table["wrong_answers"] = np.where(heard, 0.5, np.nan)
    question = Question("?", [], {"wrong_answers": [["noisy: margin", "clean: margin"]]})
    report = settings_report(table, measures=["wrong_answers"], question=question)
    assert report.tables[0].numbers["wrong_answers"].tolist() == [0.5] * 4
    assert "noisy: margin over clean: margin 0.00 points (0.00 to 0.00, interval holds 0)" in report.sentences[0]


@pytest.mark.filterwarnings("error")
def test_a_share_that_a_setting_never_has_is_not_known():
    table = curves()
    table["wrong_pseudo_labels"] = np.where(table["setting"] == "noisy", 0.3, np.nan)
    question = Question("?", [], {"wrong_pseudo_labels": [["noisy: margin", "clean: margin"]]})
    report = settings_report(table, measures=["wrong_pseudo_labels"], question=question)
    assert report.sentences == ["? of wrong pseudo labels, noisy: margin over clean: margin is not known."]
    shown = report.tables[0].shown
    assert shown is not None and list(shown["wrong pseudo labels"]) == ["–", "–", "30.00 ± 0.00", "30.00 ± 0.00"]
    assert [row["wrong_pseudo_labels"] for row in report.summary["settings"]] == [None, None, 0.3, 0.3]
    means = report.figures["settings"].axes[1].lines[0].get_ydata()
    assert np.asarray(means).tolist() == pytest.approx([np.nan, 30], nan_ok=True)
