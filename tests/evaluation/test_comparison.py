import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import friedmanchisquare, ttest_rel, wilcoxon

from almeta.errors import AlmetaError
from almeta.evaluation.comparison import compare, smallest_p_value
from tests.evaluation.paired_curves import areas_of


@pytest.fixture
def three_sets():
    """Gains over random in points: margin 1, 2, 3 on three data sets; entropy 2, 0, -2."""
    return areas_of({"margin": [[0.5, 1.5], [2.0, 2.0], [4.0, 2.0]], "entropy": [[2.0, 2.0], [0.0, 0.0], [-3.0, -1.0]]})


def row(comparison, strategy):
    return comparison.summary().set_index("strategy").loc[strategy]


def test_gains_and_ranks_by_hand(three_sets):
    comparison = compare(three_sets)
    assert comparison.unit == "data set"
    # Ranks of margin: 2, 1, 1; of entropy: 1, 2.5, 3; of random: 3, 2.5, 2.
    assert comparison.strategies == ["margin", "entropy", "random"]
    assert comparison.mean_ranks.to_dict() == pytest.approx({"margin": 4 / 3, "entropy": 6.5 / 3, "random": 7.5 / 3})
    margin = row(comparison, "margin")
    assert margin["aulc"] == pytest.approx((0.51 + 0.53 + 0.55) / 3)
    assert margin["aulc_interval"] == pytest.approx(4.3027 * 0.02 / math.sqrt(3), rel=1e-4)
    assert margin["gain_over_random"] == pytest.approx(0.02)
    assert margin["gain_over_random_interval"] == pytest.approx(4.3027 * 0.01 / math.sqrt(3), rel=1e-4)
    assert (margin["wins_random"], margin["ties_random"], margin["losses_random"]) == (3, 0, 0)
    assert math.isnan(margin["gain_over_reference"])
    entropy = row(comparison, "entropy")
    assert entropy["gain_over_random"] == pytest.approx(0)
    assert (entropy["wins_random"], entropy["ties_random"], entropy["losses_random"]) == (1, 1, 1)
    assert entropy["gain_over_reference"] == pytest.approx(-0.02)
    assert (entropy["wins_reference"], entropy["ties_reference"], entropy["losses_reference"]) == (1, 0, 2)
    assert row(comparison, "random")["gain_over_reference"] == pytest.approx(-0.02)


def test_a_pair_from_both_sides(three_sets):
    comparison = compare(three_sets)
    there, back = comparison.pair("entropy", "margin"), comparison.pair("margin", "entropy")
    assert (there.first, there.second, there.mean) == ("entropy", "margin", pytest.approx(-0.02))
    assert there.half_width == back.half_width == pytest.approx(4.3027 * 0.03 / math.sqrt(3), rel=1e-4)
    assert (back.wins, back.losses) == (there.losses, there.wins) == (2, 1)
    assert there.reversed() == back


def test_pairs_have_the_tests_of_scipy_corrected_by_holm():
    gains = np.random.default_rng(0).normal([1, 0.3, 0], 1, (15, 1, 3))
    areas = areas_of({name: gains[..., number] for number, name in enumerate(("margin", "entropy", "core_set"))})
    tests = compare(areas).tests()
    assert len(tests) == 6
    for line in tests.itertuples():
        differences = areas[line.first] - areas[line.second]
        assert line.p_value == pytest.approx(wilcoxon(differences).pvalue)
        assert line.statistic == wilcoxon(differences).statistic
    smallest = tests["p_value"].min()
    assert tests["p_holm"].min() == pytest.approx(6 * smallest)
    assert (tests["is_clear"] == (tests["p_holm"] < 0.05)).all()
    assert 0 < tests["is_clear"].sum() < 6
    friedman = compare(areas).friedman
    assert friedman is not None
    assert friedman.p_value == pytest.approx(friedmanchisquare(*areas.to_numpy().T).pvalue)


def test_repeats_of_a_data_set_are_averaged_not_counted():
    rng = np.random.default_rng(0)
    gains = rng.normal(1, 3, (8, 5))
    comparison = compare(areas_of({"margin": gains}))
    assert len(comparison.units) == 8
    assert comparison.pair("margin", "random").wins == (gains.mean(axis=1) > 0).sum()
    assert comparison.by_dataset["margin"]["set3"] == pytest.approx(0.53 + gains[3].mean() / 100)


def test_clear_on_a_data_set_by_itself():
    noise = np.random.default_rng(0).normal(0, 1, 10)
    noise -= noise.mean()
    edge = 2.8214 * noise.std(ddof=1) / 10**0.5  # t of 9 degrees of freedom at p = .02
    gains = np.array([5 + noise, edge + noise, -5 + noise, noise])
    areas = areas_of({"margin": gains})
    assert ttest_rel(areas["margin"]["set1"], areas["random"]["set1"]).pvalue == pytest.approx(0.02, abs=1e-4)
    comparison = compare(areas)  # Holm: the third smallest of four is multiplied by 2
    assert comparison.clear_on("random")["margin"].to_dict() == {"set0": 1, "set1": 1, "set2": -1, "set3": 0}
    summary = row(comparison, "margin")
    assert (summary["clear_wins_random"], summary["clear_losses_random"]) == (2, 1)
    more = areas_of({"margin": np.vstack([gains, noise])})  # one data set more: times 3
    assert compare(more).clear_on("random")["margin"].tolist() == [1, 0, -1, 0, 0]


def test_a_single_data_set_is_compared_over_its_repeats():
    gains = np.array([[3, 1, 2, 4, 5, 6, 7, 8]])
    comparison = compare(areas_of({"margin": gains, "entropy": -gains / 10}))
    assert comparison.unit == "repeat"
    pair = comparison.pair("margin", "random")
    assert (pair.wins, pair.mean) == (8, pytest.approx(0.045))
    assert pair.p_value == pytest.approx(2 / 2**8)
    assert pair.p_holm == pytest.approx(6 / 2**8)
    assert comparison.mean_ranks["margin"] == 1
    assert comparison.clear_on("random").loc["set0"].to_dict() == {"random": 0, "margin": 1, "entropy": -1}


def test_a_single_repeat_of_a_single_data_set():
    comparison = compare(areas_of({"margin": [[1.0]], "entropy": [[1.0]]}))
    pair = comparison.pair("margin", "random")
    assert (pair.mean, pair.half_width, pair.p_value, pair.p_holm) == (pytest.approx(0.01), None, None, None)
    assert not pair.is_clear
    assert comparison.friedman is None
    assert comparison.tests()["p_holm"].isna().all()


def test_float32_leaves_equals_tied():
    noise = np.random.default_rng(0).normal(0, 1e-7, (30, 1))  # in points
    pair = compare(areas_of({"margin": noise})).pair("margin", "random")
    assert (pair.ties, pair.p_holm, pair.is_clear) == (30, 1.0, False)


def test_mean_and_ranks_that_disagree_are_not_clear():
    gains = [[1.0 + number / 100] for number in range(28)] + [[-40.0], [-40.5]]
    pair = compare(areas_of({"margin": gains})).pair("margin", "random")
    assert pair.mean < 0 and pair.wins == 28
    assert pair.p_holm is not None and pair.p_holm < 0.05
    assert not pair.is_clear


def test_random_must_be_there(three_sets):
    with pytest.raises(AlmetaError, match=r"'random' is not among the strategies \(margin, entropy\); add it"):
        compare(three_sets.drop(columns="random"))


def test_reference_may_be_missing_or_random(three_sets):
    for reference in ("density", "random"):
        comparison = compare(three_sets, reference)
        assert comparison.opponents == {"random": "random"}
        assert not any("reference" in name for name in comparison.summary())
    assert compare(three_sets, "entropy").opponents == {"random": "random", "reference": "entropy"}


def test_smallest_p_value():
    assert smallest_p_value(compare(areas_of({"margin": np.ones((6, 1))}))) == 2 / 2**6
    few = compare(areas_of({"margin": np.ones((3, 1)), "entropy": np.ones((3, 1))}))
    assert smallest_p_value(few) == pytest.approx(3 * 2 / 2**3)


def test_types_of_the_tables(three_sets):
    summary = compare(three_sets).summary()
    assert str(summary["wins_random"].dtype) == "Int64"
    assert str(summary["is_clear_random"].dtype) == "boolean"
    assert summary["gain_over_random"].dtype == float
    assert summary.loc[2, "wins_random"] is pd.NA


def fewer(gains, few, repeats):
    """Areas in which "slow" has played the first repeats only."""
    areas = areas_of({"margin": gains, "slow": few})
    areas.loc[areas.index.get_level_values("repeat") >= repeats, "slow"] = np.nan
    return areas


def test_a_strategy_with_fewer_repeats_is_compared_in_those_alone():
    """margin gains 5 points in the first two repeats and 1 in the others; slow 6, in the first two alone."""
    gains = np.tile([5.0, 5.0, 1.0, 1.0], (8, 1)) + np.arange(8)[:, None] / 10
    comparison = compare(fewer(gains, gains + 1, 2))
    pair = comparison.pair("slow", "margin")
    assert pair.mean == pytest.approx(0.01) and (pair.wins, pair.losses) == (8, 0)
    assert comparison.pair("margin", "random").mean == pytest.approx(0.03 + 0.0035)
    cut = compare(areas_of({"margin": gains[:, :2], "slow": gains[:, :2] + 1}))
    assert pair == cut.pair("slow", "margin") and comparison.pair("slow", "random") == cut.pair("slow", "random")
    pd.testing.assert_series_equal(comparison.mean_ranks, cut.mean_ranks)
    above_random = comparison.by_dataset["slow"] - comparison.by_dataset["random"]
    assert above_random.tolist() == pytest.approx(cut.gains_over("random")["slow"].tolist())
    assert comparison.friedman == cut.friedman
    assert comparison.clear_on("random")["slow"].tolist() == cut.clear_on("random")["slow"].tolist()
    assert comparison.gains_over("margin")["slow"].tolist() == pytest.approx([0.01] * 8)
    assert comparison.summary().set_index("strategy")["repeats"].to_dict() == {"slow": 2, "margin": 4, "random": 4}


def test_fewer_repeats_of_a_single_data_set():
    gains = np.array([[3.0, 2.0, 4.0, 3.0, 2.0, 1.0, 5.0, 3.0]])
    comparison = compare(fewer(gains, gains + 1, 6))
    assert comparison.unit == "repeat" and len(comparison.units) == 6
    assert comparison.pair("slow", "margin").units == 6 and comparison.pair("margin", "random").units == 8
    assert comparison.summary()["aulc_interval"].notna().all()
