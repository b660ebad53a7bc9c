"""Means and 95 % intervals over independent repetitions (seeds, episodes)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from scipy.special import stdtrit
from scipy.stats import ttest_rel


@dataclass(frozen=True)
class Estimate:
    """A mean and its 95 % interval, ``mean +- half_width``.

    Attributes:
        mean: the mean, or None where there was nothing to average.
        half_width: None where it is unknown (fewer than two values).
    """

    mean: float | None
    half_width: float | None


def t_factor(count: int) -> float:
    """Standard errors in half a 95 % interval: Student's t with ``count - 1`` degrees of freedom.

    Args:
        count: number of independent values, at least 2.

    Returns:
        12.706 for 2 values, 4.303 for 3, 1.960 for very many.

    Raises:
        ValueError: if ``count`` is below 2.
    """
    if count < 2:
        raise ValueError(f"an interval needs at least 2 values, got {count}")
    return float(stdtrit(count - 1, 0.975))


def mean_interval(values: Sequence[float | None]) -> Estimate:
    """Mean and 95 % t-interval over independent repetitions, such as seeds.

    Args:
        values: one number a repetition; None (not measured) is left out.

    Returns:
        The estimate: without half-width for a single value, without either for no value.
    """
    known = [value for value in values if value is not None]
    if not known:
        return Estimate(None, None)
    if len(known) == 1:
        return Estimate(float(known[0]), None)
    return Estimate(fmean(known), t_factor(len(known)) * stdev(known) / len(known) ** 0.5)


@dataclass(frozen=True)
class Difference:
    """A paired comparison of two policies on the same episodes.

    Attributes:
        mean: of the differences.
        half_width: of its 95 % interval; None for a single episode.
        p_value: of the paired t-test, two-sided; None where it does not exist (a single episode, no differences).
        count: episodes.
    """

    mean: float
    half_width: float | None
    p_value: float | None
    count: int

    @property
    def is_clear(self) -> bool:
        """Whether the test rules out, at 5 %, that there is no difference."""
        return self.p_value is not None and self.p_value < 0.05


def paired_difference(first: Sequence[float], second: Sequence[float]) -> Difference:
    """Compare two policies by what each returned in the same episodes, in the same order.

    Raises:
        ValueError: if the numbers of episodes differ or are zero.
    """
    if len(first) != len(second) or len(first) == 0:
        raise ValueError(f"a paired comparison needs the same episodes, got {len(first)} and {len(second)}")
    differences = [a - b for a, b in zip(first, second, strict=True)]
    estimate = mean_interval(differences)
    p_value = float(ttest_rel(first, second).pvalue) if len(first) > 1 and any(differences) else None
    return Difference(fmean(differences), estimate.half_width, p_value, len(differences))
