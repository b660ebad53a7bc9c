import pytest

from almeta.evaluation.statistics import Estimate, mean_interval, paired_difference, t_factor


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
