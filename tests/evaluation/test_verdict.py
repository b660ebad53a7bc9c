import re

import numpy as np
import pandas as pd
import pytest

from almeta.errors import AlmetaError
from almeta.evaluation.comparison import compare
from almeta.evaluation.verdict import Question, count_text, p_text, points, shorten, verdict
from tests.evaluation.paired_curves import areas_of


def words(gains: dict[str, np.ndarray], reference: str = "margin") -> list[str]:
    return verdict(compare(areas_of(gains), reference))


@pytest.fixture
def steady():
    """Gains of 1 on average over 20 data sets with 4 repeats each: 18 of them above 0."""
    means = np.concatenate([np.linspace(0.5, 2, 18), [-1.0, -1.5]])
    return np.repeat((means - means.mean() + 1)[:, None], 4, axis=1)


def test_who_is_better(steady):
    sentences = words({"margin": steady})
    half = 2.093 * steady[:, 0].std(ddof=1) / 20**0.5
    assert sentences[0] == (
        f"margin is better than random by 1.00 points (95 % interval {1 - half:.2f} to {1 + half:.2f}, Holm p < .001) "
        "on 20 data sets, better on 18 of them, clear by itself on 0."
    )
    assert sentences[1] == "margin has the best mean rank, 1.10 of 2, and is clearly better than every other one."


def test_who_is_worse_and_where_not(steady):
    noise = np.array([-0.1, 0.1, 0.05, -0.05])
    sentences = words({"core_set": noise - steady})
    assert re.match(r"Nothing is clearly better than random\.", sentences[0])
    assert re.match(
        r"core_set is worse than random by 1\.00 points .*worse on 18 of them, clear by itself on 18; "
        r"clearly better on 2 \(set18, set19\)\.",
        sentences[1],
    )
    assert sentences[2] == "The reference 'margin' is not among the strategies (random, core_set)."


def test_where_the_difference_is_nil(steady):
    noise = np.random.default_rng(0).normal(0, 0.3, steady.shape)
    sentences = words({"margin": steady, "entropy": steady + noise, "least_confident": steady})
    about = [sentence for sentence in sentences if "between margin" in sentence]
    pair = compare(areas_of({"margin": steady, "entropy": steady + noise})).pair("entropy", "margin")
    assert pair.half_width is not None
    low, high = points(pair.mean - pair.half_width), points(pair.mean + pair.half_width)
    expected = (
        rf"No clear difference between margin and entropy \({points(pair.mean)} points, {low} to {high}, p = .*\)\."
    )
    assert re.fullmatch(expected, about[0])
    assert about[1] == "No difference at all between margin and least_confident: equal on 20 data sets."
    assert "Nothing is clearly better than margin." in sentences
    assert re.match(
        r"Friedman test over 20 data sets: the strategies differ \(chi-square .*, p < \.001\)", sentences[-1]
    )


def test_nothing_beats_random():
    noise = np.random.default_rng(1).normal(0, 1, (2, 20, 4))
    sentences = words({"margin": noise[0], "entropy": noise[1]})
    assert sentences[0] == "Nothing is clearly better than random."
    assert sentences[1].startswith("No clear difference between random and ")
    assert any("but is not clearly better than any other one." in sentence for sentence in sentences)
    assert "Friedman test over 20 data sets: no sign that the strategies differ" in sentences[-1]


def test_random_is_told_once(steady):
    sentences = words({"margin": steady, "entropy": 2 * steady})
    assert sum("random" in sentence for sentence in sentences) == 2  # margin's and entropy's
    assert sum(sentence.startswith("entropy is better than margin by 1.00 points") for sentence in sentences) == 1


def test_who_leads_and_who_is_level(steady):
    noise = np.random.default_rng(0).normal(0, 0.1, steady.shape)
    sentences = words({"margin": steady, "entropy": steady + noise, "core_set": -steady})
    (leader,) = [sentence for sentence in sentences if "best mean rank" in sentence]
    assert re.fullmatch(r"(margin|entropy) has the best mean rank, 1\.\d\d of 4; not clearly worse: \w+\.", leader)


def test_too_few_data_sets_to_be_clear():
    noise = np.array([-0.1, 0.1, 0.05, -0.05])
    sentences = words({"margin": np.array([[3.0], [0.0], [2.0]]) + noise, "entropy": np.array([[0.0]] * 3) - noise})
    assert sentences[0] == (
        "No difference can be clear over 3 data sets: the signed-rank test, Holm-corrected for 3 pairs, gives p = .75 "
        "at the smallest."
    )
    assert sentences[1] == "Nothing is clearly better than random."
    assert sentences[4] == (
        "Each data set by itself, judged by its repeats: margin is clearly better than random on 2 (set0, set2)."
    )
    assert any("entropy is clearly worse than margin on 2 (set0, set2)" in sentence for sentence in sentences)


def test_a_single_data_set():
    gains = np.array([[3, 1, 2, 4, 5, 6, 7, 8]])
    sentences = words({"margin": gains})
    assert sentences[0] == "All is about one data set, set0: compared over its 8 repeats, it says nothing about others."
    assert re.match(r"margin is better than random by 4\.50 points .*Holm p = \.008\) in 8 repeats", sentences[1])
    assert sentences[1].endswith("better in 8 of them.")


def test_a_single_repeat():
    sentences = words({"margin": np.array([[2.0]])})
    assert "in its single repeat, without interval or test" in sentences[0]
    assert sentences[1:3] == [
        "Nothing is clearly better than random.",
        "No clear difference between random and margin (2.00 points).",
    ]


def test_random_alone():
    areas = areas_of({"margin": np.ones((2, 2))})[["random"]]
    assert verdict(compare(areas)) == ["There is nothing to compare: 'random' is the only strategy."]


def test_many_data_sets_are_not_all_named():
    means = np.array([-0.5, -0.5, -0.5, -0.5, *np.linspace(1, 4, 26)])
    sentences = words({"margin": means[:, None] + np.array([-0.01, 0.01, 0.02, -0.02])})
    assert sentences[0].endswith("clear by itself on 26; clearly worse on 4 (set0, set1, set2, ...).")


def test_small_texts():
    assert [p_text(value) for value in (0.0004, 0.0234, 0.5, 0.999, 1.0)] == [
        "p < .001",
        "p = .023",
        "p = .50",
        "p = 1",
        "p = 1",
    ]
    assert (count_text(1, "data set"), count_text(1200, "repeat")) == ("1 data set", "1,200 repeats")
    assert count_text(2, "strategy") == "2 strategies"
    assert (points(-0.00001), points(0.0123), points(-0.0123)) == ("0.00", "1.23", "-1.23")
    assert shorten("iris", 4) == "iris"
    assert shorten("runs/pool/2025/fold1", 10) == "run…/fold1"


def test_fewer_repeats_are_told():
    areas = areas_of({"margin": np.ones((6, 3)), "slow": np.full((6, 3), 2.0)})
    areas.loc[areas.index.get_level_values("repeat") == 2, "slow"] = np.nan
    sentences = verdict(compare(areas))
    told = (
        "Fewer repeats than 3: slow (2). Each is compared with others in these alone; a learner with chance in it, "
        "such as mlp, has other random numbers there."
    )
    assert told in sentences
    assert not [line for line in verdict(compare(areas[["random", "margin"]])) if "Fewer" in line]


# ---- a question and its answer


def compared(**scores):
    """Comparison of strategies on two data sets of three repeats; scores by strategy, the data sets one after other."""
    index = pd.MultiIndex.from_product((["a", "b"], range(3)), names=["dataset", "repeat"])
    return compare(pd.DataFrame(scores, index=index))


def test_a_question_is_answered_over_the_repeats_of_its_data_sets():
    comparison = compared(random=[0.5] * 6, margin=[0.51, 0.52, 0.53, 0.53, 0.54, 0.55])
    # Gains of the repeats, averaged over both data sets: 2, 3 and 4 points; 4.303 / sqrt(3) = 2.48.
    question = Question("Does it help?", [["margin", "random"]])
    assert (
        question.answer(comparison.areas)
        == "Does it help? margin over random 3.00 points (0.52 to 5.48, interval above 0)."
    )


def test_several_pairs_are_one_line():
    comparison = compared(random=[0.5] * 6, margin=[0.5, 0.6, 0.4] * 2, entropy=[0.45] * 6)
    question = Question("Which?", [["margin", "random"], ["entropy", "random"]])
    assert question.answer(comparison.areas) == (
        "Which? margin over random 0.00 points (-24.84 to 24.84, interval holds 0); "
        "entropy over random -5.00 points (-5.00 to -5.00, interval below 0)."
    )


def test_a_question_about_who_does_not_play_is_refused():
    with pytest.raises(AlmetaError, match="unknown strategy of the question 'margn'; did you mean 'margin'"):
        Question("Which?", [["margn", "random"]]).check(["random", "margin"])
    with pytest.raises(AlmetaError, match=r"question.pairs has \['margin'\]; each must name two strategies"):
        Question("Which?", [["margin"]])
    for pair in ({"says": "a", "first": ["margin"]}, {"says": "a", "first": [], "second": ["random"]}):
        with pytest.raises(AlmetaError, match="a pair of groups has says, first and second"):
            Question("Which?", [pair])
    groups = {"says": "a", "first": ["margn"], "second": ["random"]}
    with pytest.raises(AlmetaError, match="unknown strategy of the question 'margn'; did you mean 'margin'"):
        Question("Which?", [groups]).check(["random", "margin"])
