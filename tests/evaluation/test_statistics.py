import pytest

from almeta.evaluation.statistics import Estimate, mean_interval, t_factor


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
