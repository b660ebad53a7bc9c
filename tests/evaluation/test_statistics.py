import numpy as np
import pytest
from scipy.stats import friedmanchisquare, rankdata, ttest_rel, wilcoxon

from almeta.evaluation.statistics import (
    Estimate,
    friedman_test,
    half_widths,
    holm,
    mean_interval,
    paired_difference,
    ranks,
    signed_rank_test,
    t_factor,
    t_test,
)


def test_t_factor_has_the_values_of_the_tables():
    assert t_factor(2) == pytest.approx(12.7062, abs=1e-4)
    assert t_factor(5) == pytest.approx(2.7764, abs=1e-4)
    assert t_factor(1_000_000) == pytest.approx(1.9600, abs=1e-4)
    with pytest.raises(ValueError, match="at least 2"):
        t_factor(1)


def test_mean_interval_worked_by_hand():
    estimate = mean_interval([1.0, 2.0, 3.0])  # standard deviation 1, t 4.3027
    assert estimate.mean == 2.0
    assert estimate.half_width == pytest.approx(4.3027 / 3**0.5, abs=1e-4)


def test_missing_values_are_left_out():
    assert mean_interval([None, 4.0]) == Estimate(4.0, None)
    assert mean_interval([None]) == Estimate(None, None)
    assert mean_interval([]) == Estimate(None, None)


def test_paired_difference_by_hand():
    found = paired_difference([3.0, 5.0, 4.0], [1.0, 2.0, 3.0])
    assert found.mean == 2.0
    assert found.half_width == pytest.approx(4.3027 / 3**0.5, rel=1e-4)  # standard deviation 1
    assert found.p_value == pytest.approx(0.0742, abs=1e-4)  # t = 2 * sqrt(3), 2 degrees of freedom
    assert found.count == 3 and not found.is_clear


def test_paired_difference_of_equals_and_of_one():
    assert paired_difference([1.0, 2.0], [1.0, 2.0]).p_value is None
    assert paired_difference([2.0], [1.0]).half_width is None
    with pytest.raises(ValueError, match="the same episodes, got 1 and 2"):
        paired_difference([1.0], [1.0, 2.0])


def test_half_widths_are_those_of_mean_interval():
    values = np.random.default_rng(0).random((7, 2, 3))
    widths = half_widths(values)
    assert widths.shape == (2, 3)
    assert widths[1, 2] == pytest.approx(mean_interval(values[:, 1, 2].tolist()).half_width)
    assert np.isnan(half_widths(values[:1])).all()


def test_t_test_is_the_paired_one():
    generator = np.random.default_rng(0)
    first, second = generator.random((2, 9, 4))
    expected = ttest_rel(first, second).pvalue
    assert t_test(first - second) == pytest.approx(expected, abs=1e-6)
    assert t_test([2.0, 3.0, 1.0]) == pytest.approx(0.0742, abs=1e-4)


def test_t_test_without_spread():
    differences = np.array([[0.0, 0.01, -0.01]] * 4) + 1e-9 * np.random.default_rng(0).random((4, 3))
    assert t_test(differences).tolist() == [1.0, 0.125, 0.125]  # four coins alike: 2 / 2**4
    assert np.isnan(t_test([[1.0, 2.0]])).all()


def test_signed_rank_test_by_hand():
    # Ranks of 1, 2, 3, 4, 5, 6: all positive but the 2; W = 2, and 2 * 3 / 2**6 (sums 0, 1, 2) is p.
    test = signed_rank_test([1.0, -2.0, 3.0, 4.0, 5.0, 6.0])
    assert test is not None and tuple(test) == (2.0, 1, pytest.approx(6 / 64))
    test = signed_rank_test([-1.0, 2.0, -3.0, -4.0, -5.0, -6.0])
    assert test is not None and tuple(test) == (2.0, -1, pytest.approx(6 / 64))


def test_signed_rank_test_with_zeros_and_ties():
    # |d| = 0, 0, 1, 1, 2 have ranks 1.5, 1.5, 3.5, 3.5, 5; those of the zeros are dropped, all others are positive:
    # of the 2**3 signs one gives the sum 0, and one the sum 12.
    test = signed_rank_test([0.0, 1e-9, 1.0, 1.0, 2.0])
    assert test is not None and tuple(test) == (0.0, 1, pytest.approx(2 / 8))
    many = np.random.default_rng(0).integers(-3, 5, 40).astype(float)
    test = signed_rank_test(many)
    assert test is not None and test.p_value == pytest.approx(wilcoxon(many, zero_method="pratt").pvalue)


def test_signed_rank_test_of_nothing():
    assert signed_rank_test([0.0, 1e-9, 0.0]) == (0.0, 0, 1.0)
    assert signed_rank_test([1.0]) is None


def test_holm_by_hand():
    # Sorted .01, .02, .03, .04 times 4, 3, 2, 1 are .04, .06, .06, .04; none falls below one before it.
    assert holm([0.03, 0.01, 0.04, 0.02]).tolist() == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.6, 0.7]).tolist() == [1.0, 1.0]
    assert holm([0.04]).tolist() == [0.04]
    assert holm([]).tolist() == []


def test_holm_against_statsmodels():
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    p_values = np.random.default_rng(0).random(50) ** 4
    p_values[[3, 30, 31]] = p_values[7]  # ties
    assert holm(p_values).tolist() == multitest.multipletests(p_values, method="holm")[1].tolist()


def test_holm_does_not_count_tests_that_were_not_made():
    adjusted = holm([np.nan, 0.02, 0.01])
    assert np.isnan(adjusted[0])
    assert adjusted[1:].tolist() == pytest.approx([0.02, 0.02])


def test_ranks_by_hand():
    values = [[0.9, 0.7, 0.7 + 1e-9, 0.1], [0.5, 0.6, 0.7, 0.8], [0.2, 0.2, 0.2, 0.2]]
    assert ranks(values).tolist() == [[1, 2.5, 2.5, 4], [4, 3, 2, 1], [2.5] * 4]
    random = np.random.default_rng(0).integers(0, 5, (20, 6)) / 5
    assert ranks(random) == pytest.approx(rankdata(-random, axis=1))


def test_friedman_test_by_hand():
    # Rank sums 3, 6, 9 of three rows: 12 / (3 * 3 * 4) * (9 + 36 + 81) - 3 * 3 * 4 = 6; chi-square of 2 degrees.
    test = friedman_test([[0.9, 0.5, 0.1], [0.8, 0.7, 0.6], [0.3, 0.2, 0.1]])
    assert test is not None and tuple(test) == (pytest.approx(6.0), 2, pytest.approx(np.exp(-3)))
    values = np.random.default_rng(0).integers(0, 4, (12, 5)).astype(float)
    test = friedman_test(values)
    assert test is not None and test.chi_square == pytest.approx(friedmanchisquare(*values.T).statistic)


def test_friedman_test_of_too_few():
    assert friedman_test([[0.1, 0.2], [0.1, 0.2]]) is None
    assert friedman_test([[0.1, 0.2, 0.3]]) is None
    assert friedman_test([[0.1, 0.1, 0.1], [0.2, 0.2, 0.2]]) is None


def test_what_is_missing_is_left_out():
    values = np.random.default_rng(4).normal(size=(6, 3))
    cut = values.copy()
    cut[4:, 1] = np.nan
    for test in (t_test, half_widths):
        whole, part = test(values), test(values[:4])
        assert test(cut).tolist() == pytest.approx([whole[0], part[1], whole[2]])
