"""Means, 95 % intervals and paired tests over independent repetitions (seeds, episodes, data sets)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtr, stdtrit
from scipy.stats import friedmanchisquare, rankdata, ttest_rel, wilcoxon


@dataclass(frozen=True)
class Estimate:
    """A mean, None for no values, and half of its 95 % interval, None for fewer than two values."""

    mean: float | None
    half_width: float | None


def t_factor(count: int) -> float:
    """Return the number of standard errors in half a 95 % interval of the mean of `count` independent values.

    It is the 0.975 quantile of Student's t with `count - 1` degrees of freedom: 12.706 for 2 values, 4.303 for 3,
    1.960 for very many.

    Raises:
        ValueError: if `count` is below 2.
    """
    if count < 2:
        raise ValueError(f"an interval needs at least 2 values, got {count}")
    return float(stdtrit(count - 1, 0.975))


def mean_interval(values: Sequence[float | None]) -> Estimate:
    """Return the mean and the 95 % t-interval over independent repetitions, such as seeds; None is left out."""
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
        half_width: of the 95 % interval of the mean; None for a single episode.
        p_value: of the paired t-test, two-sided; None for a single episode, or if no episode differs.
        count: number of episodes.
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
    """Compare two policies by their returns in the same episodes, in the same order.

    Raises:
        ValueError: if the numbers of episodes differ or are zero.
    """
    if len(first) != len(second) or len(first) == 0:
        raise ValueError(f"a paired comparison needs the same episodes, got {len(first)} and {len(second)}")
    differences = [a - b for a, b in zip(first, second, strict=True)]
    estimate = mean_interval(differences)
    p_value = float(ttest_rel(first, second).pvalue) if len(first) > 1 and any(differences) else None
    return Difference(fmean(differences), estimate.half_width, p_value, len(differences))


# ---- several strategies on several data sets, in the order of Demšar (JMLR 7, 2006, pages 1-30)


# Scores that are equal to this number of decimals are ties. Equal means of float32 scores differ by less, means of
# different counts of right predictions by more.
DECIMALS = 7


class SignedRank(NamedTuple):
    """Wilcoxon's signed-rank test of paired differences.

    Attributes:
        statistic: the smaller of the rank sums of positive and of negative differences.
        direction: 1 if the positive ones have the larger sum, -1 if the negative ones have, 0 if the sums are equal.
        p_value: two-sided.
    """

    statistic: float
    direction: int
    p_value: float


class Friedman(NamedTuple):
    """Friedman's test of whether any of several strategies differs from the others.

    Attributes:
        degrees: of freedom.
        p_value: from the chi-square distribution, an approximation for few rows.
    """

    chi_square: float
    degrees: int
    p_value: float


def half_widths(values: ArrayLike) -> np.ndarray:
    """Return half of the 95 % t-interval of the mean over the first axis: `[n, ...]` to `[...]`, NaN for n < 2.

    NaN among the values is left out.
    """
    count, _, error = _means(np.asarray(values, dtype=float))
    return stdtrit(count - 1, 0.975) * error


def known_means(values: ArrayLike) -> np.ndarray:
    """Return the mean over the first axis without NaN: `[n, ...]` to `[...]`, NaN where nothing else is."""
    return _means(np.asarray(values, dtype=float))[1]


def t_test(differences: ArrayLike) -> np.ndarray:
    """Return two-sided p-values of the paired t-test over the first axis: `[n, ...]` to `[...]`; NaN for n = 1.

    NaN among the differences is left out.

    Equal differences have no spread: then p is 1 if they are 0, else that of the sign test, which a few equal repeats
    of a coarse score do not pass.
    """
    values = np.asarray(differences, dtype=float).round(DECIMALS)
    count, mean, error = _means(values)
    constant = np.nanmax(values, axis=0) == np.nanmin(values, axis=0)
    p_value = 2 * stdtr(count - 1, -np.abs(mean) / np.where(constant, 1.0, error))
    sign_test = np.where(mean == 0, 1.0, 0.5 ** (count - 1))
    return np.where(count < 2, np.nan, np.where(constant, sign_test, p_value))


def _means(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return, over the first axis, the number n of values without NaN, their mean, and its error, NaN for n < 2."""
    count = (~np.isnan(values)).sum(axis=0)
    mean = np.nansum(values, axis=0) / np.where(count > 0, count, np.nan)
    squares = np.nansum(np.square(values - mean), axis=0)
    return count, mean, np.sqrt(squares / np.where(count > 1, count - 1, np.nan) / count)


def signed_rank_test(differences: ArrayLike) -> SignedRank | None:
    """Test differences `[n]` by Wilcoxon's signed-rank test, two-sided; return None for fewer than two.

    The test is exact for up to 50 differences, for up to 13 with ties or zeros. Differences are rounded to 7 decimals.
    Those of 0 are ranked with the others and their ranks then dropped (Pratt, JASA 54, 1959), so that data sets on
    which two strategies are equal count against a difference; if all are 0, p is 1.
    """
    values = np.asarray(differences, dtype=float).round(DECIMALS)
    if len(values) < 2:
        return None
    if not values.any():
        return SignedRank(0.0, 0, 1.0)
    test = wilcoxon(values, zero_method="pratt")
    direction = np.sign(np.sign(values) @ rankdata(np.abs(values)))
    return SignedRank(float(test.statistic), int(direction), float(test.pvalue))


def holm(p_values: ArrayLike) -> np.ndarray:
    """Correct p-values `[m]` for multiple tests (Holm, Scand. J. Statist. 6, 1979); NaN (no test) stays NaN."""
    # By hand: statsmodels collects Python's garbage in each call, which takes longer than a report.
    adjusted = np.array(p_values, dtype=float)
    ascending = adjusted.argsort()[: np.count_nonzero(~np.isnan(adjusted))]  # NaN comes last
    raised = adjusted[ascending] * np.arange(len(ascending), 0, -1)
    adjusted[ascending] = np.maximum.accumulate(raised).clip(max=1.0)
    return adjusted


def ranks(values: ArrayLike) -> np.ndarray:
    """Return ranks in each row, `[n, k]` to `[n, k]`: 1 is the highest value, ties to 7 decimals share their mean."""
    values = np.asarray(values, dtype=float)
    above = (values[:, None, :] - values[:, :, None]).round(DECIMALS)  # [n, k, k], of the last one over the other
    return 0.5 + (above > 0).sum(axis=-1) + 0.5 * (above == 0).sum(axis=-1)  # each is tied with itself


def friedman_test(values: ArrayLike) -> Friedman | None:
    """Test `[n, k]`, n data sets by k strategies; return None for n < 2, for k < 3, or if all strategies tie."""
    ranked = ranks(values)
    count, strategies = ranked.shape
    if count < 2 or strategies < 3 or not np.ptp(ranked, axis=1).any():
        return None
    test = friedmanchisquare(*ranked.T)
    return Friedman(float(test.statistic), strategies - 1, float(test.pvalue))
