"""Strategies compared by the area under their learning curves (AULC), in pairs and over data sets.

Data sets are the independent unit: one that happens to suit a strategy suits it in all its repeats. Where there is
a single data set, its repeats are compared instead, and nothing is said about other data sets.

A strategy may have played the first repeats only. Two strategies are compared in the repeats that both have played, and
all together, by their ranks, in those that all have played.
"""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
import pandas as pd

from almeta.errors import AlmetaError
from almeta.evaluation.statistics import (
    DECIMALS,
    Friedman,
    SignedRank,
    friedman_test,
    half_widths,
    holm,
    mean_interval,
    ranks,
    signed_rank_test,
    t_test,
)

Values = TypeVar("Values", pd.DataFrame, pd.Series)

RANDOM = "random"
LEVEL = 0.05

# Columns of `Comparison.summary` against one opponent: heading and dtype, by the attribute of `Pair` or the count of
# data sets that they hold.
_AGAINST = {
    "mean": ("gain_over_{}", "float"),
    "half_width": ("gain_over_{}_interval", "float"),
    "wins": ("wins_{}", "Int64"),
    "ties": ("ties_{}", "Int64"),
    "losses": ("losses_{}", "Int64"),
    "clear_wins": ("clear_wins_{}", "Int64"),
    "clear_losses": ("clear_losses_{}", "Int64"),
    "p_holm": ("p_{}", "float"),
    "is_clear": ("is_clear_{}", "boolean"),
}


@dataclass(frozen=True)
class Pair:
    """Two strategies on the same data sets (or in the same repeats of one).

    Attributes:
        mean: AULC of `first` less that of `second`, in units of the score.
        half_width: of the 95 % t-interval of `mean`; None for a single unit.
        wins: number of units on which `first` is better.
        ties: number of units that are equal to 7 decimals.
        losses: number of units on which `first` is worse.
        statistic: of the Wilcoxon signed-rank test; None for a single unit.
        p_value: of that test; None for a single unit.
        p_holm: `p_value` corrected for the number of pairs (Holm); None for a single unit.
        is_clear: `p_holm` is below 5 %, and mean and ranks point the same way.
    """

    first: str
    second: str
    mean: float
    half_width: float | None
    wins: int
    ties: int
    losses: int
    statistic: float | None
    p_value: float | None
    p_holm: float | None
    is_clear: bool

    @property
    def units(self) -> int:
        """The number of units."""
        return self.wins + self.ties + self.losses

    def reversed(self) -> Pair:
        """Return the same pair seen from `second`."""
        changed = {"first": self.second, "second": self.first, "mean": -self.mean + 0.0}  # no -0.0
        return Pair(**{**asdict(self), **changed, "wins": self.losses, "losses": self.wins})


@dataclass(frozen=True)
class Comparison:
    """Strategies compared with each other, with random and with a reference.

    Attributes:
        areas: the AULC, with a row for each (data set, repeat) and a column for each strategy; NaN for repeats that a
            strategy did not play.
        reference: the strategy that all are compared with beside random; it may be missing.
    """

    areas: pd.DataFrame
    reference: str

    @cached_property
    def by_dataset(self) -> pd.DataFrame:
        """The mean AULC over repeats, with a row for each data set.

        A strategy with fewer repeats has random's mean plus its own mean gain over random: what luck there was in its
        repeats, random had it, too.
        """
        means = _by_dataset(self.areas)
        for name in self.areas.columns[self.areas.isna().any()]:
            means[name] = means[RANDOM] + _by_dataset(self.areas[name] - self.areas[RANDOM])
        return means

    @property
    def unit(self) -> str:
        """The unit of comparison: "data set", or "repeat" for a single data set."""
        return "repeat" if len(self.by_dataset) == 1 else "data set"

    @cached_property
    def units(self) -> pd.DataFrame:
        """The AULC, with a row for each data set, or for each repeat of a single one that all have played."""
        return self.areas.dropna().droplevel("dataset") if self.unit == "repeat" else self.by_dataset

    @cached_property
    def repeats(self) -> pd.Series:
        """By strategy, the number of repeats that it has played, on the data set with the most of them."""
        return self.areas.groupby("dataset").count().max()

    @cached_property
    def mean_ranks(self) -> pd.Series:
        """By strategy, the mean over units of its rank, ascending; 1 is best, ties share their mean rank."""
        means = pd.Series(ranks(self.units).mean(axis=0), index=self.units.columns)
        return means[sorted(means.index, key=lambda name: (means[name], -self.units[name].mean(), name))]

    def _units(self, areas: Values) -> Values:
        return areas.droplevel("dataset") if self.unit == "repeat" else _by_dataset(areas)

    @property
    def strategies(self) -> list[str]:
        """Best mean rank first; of equal ones the higher mean, then the name in alphabetical order."""
        return list(self.mean_ranks.index)

    @cached_property
    def pairs(self) -> dict[tuple[str, str], Pair]:
        """Every pair once, the better ranked strategy first."""
        names = list(itertools.combinations(self.strategies, 2))
        differences = [self._units((self.areas[first] - self.areas[second]).dropna()) for first, second in names]
        tests = list(map(signed_rank_test, differences))
        adjusted = holm([np.nan if test is None else test.p_value for test in tests])
        return {
            name: _pair(*name, *results) for name, *results in zip(names, differences, tests, adjusted, strict=True)
        }

    @cached_property
    def friedman(self) -> Friedman | None:
        """Whether any strategy differs at all; None for fewer than three strategies or two units."""
        return friedman_test(self.units)

    @property
    def opponents(self) -> dict[str, str]:
        """The strategies that all are compared with: "random", and "reference" if it is there and not random."""
        known = self.reference in self.strategies and self.reference != RANDOM
        return {"random": RANDOM} | ({"reference": self.reference} if known else {})

    def pair(self, first: str, second: str) -> Pair:
        """Return the pair, seen from `first`."""
        return self.pairs.get((first, second)) or self.pairs[second, first].reversed()

    def is_clear(self, first: str, second: str) -> bool:
        """Whether two strategies differ clearly; no strategy differs from itself."""
        return first != second and self.pair(first, second).is_clear

    def gains_over(self, opponent: str) -> pd.DataFrame:
        """Return the mean AULC less that of `opponent` in the same repeats: a row a data set, a column a strategy."""
        return _by_dataset(self.areas.sub(self.areas[opponent], axis=0))

    def clear_on(self, opponent: str) -> pd.DataFrame:
        """Return where a data set by itself shows a clear difference to `opponent`.

        The test is the paired t-test over the data set's repeats, Holm-corrected over data sets; for a single data set
        it is the test of the pair, which is over its repeats.

        Returns:
            A row for each data set, a column for each strategy: 1 where the strategy is clearly better than `opponent`,
            -1 where it is clearly worse, else 0.
        """
        signs = np.sign(self.gains_over(opponent))
        if self.unit == "repeat":
            return (signs * pd.Series({name: self.is_clear(name, opponent) for name in signs})).astype(int)
        differences = self.areas.sub(self.areas[opponent], axis=0).groupby("dataset", sort=False)
        adjusted = np.apply_along_axis(holm, 0, np.stack([t_test(block) for _, block in differences]))
        return (signs * (adjusted < LEVEL)).astype(int)

    def summary(self) -> pd.DataFrame:
        """Return a row for each strategy, best mean rank first, in units of the score.

        Returns:
            Columns `strategy`, `aulc` (mean over data sets) and `aulc_interval` (half of a 95 % interval over
            units), `mean_rank`, and `repeats` if a strategy has played fewer than another; then for random, and under
            `reference` for the reference, `gain_over_random` and `gain_over_random_interval` (paired), `wins_random`,
            `ties_random`, `losses_random` (units), `clear_wins_random` and `clear_losses_random` (data sets, see
            `clear_on`), `p_random` (Holm) and `is_clear_random`. Missing where a strategy would be compared with
            itself, or a unit is alone.
        """
        units = (self._units(self.areas) if self.unit == "repeat" else self.by_dataset)[self.strategies]
        table = pd.DataFrame({"strategy": self.strategies})
        table["aulc"] = [float(values.mean()) for _, values in units.items()]
        table["aulc_interval"] = half_widths(units)
        table["mean_rank"] = list(self.mean_ranks)
        if self.repeats.nunique() > 1:
            table["repeats"] = list(self.repeats[self.strategies])
        for role, opponent in self.opponents.items():
            clear = self.clear_on(opponent)
            counts = {"clear_wins": (clear > 0).sum(), "clear_losses": (clear < 0).sum()}
            rows = [
                asdict(self.pair(name, opponent)) | {key: count[name] for key, count in counts.items()}
                if name != opponent
                else {}
                for name in self.strategies
            ]
            columns = pd.DataFrame(rows, columns=list(_AGAINST))
            for attribute, (heading, dtype) in _AGAINST.items():
                table[heading.format(role)] = columns[attribute].astype(dtype)
        return table

    def tests(self) -> pd.DataFrame:
        """Return a row for each pair, with the attributes of `Pair` as columns."""
        columns = list(Pair.__dataclass_fields__)
        table = pd.DataFrame([asdict(pair) for pair in self.pairs.values()], columns=columns)
        return table.astype(dict.fromkeys(("half_width", "statistic", "p_value", "p_holm"), float))


def compare(areas: pd.DataFrame, reference: str = "margin") -> Comparison:
    """Compare strategies on paired data sets and repeats.

    Args:
        areas: from `curve_areas`, "random" among the strategies.
        reference: the strategy to compare all others with, beside random.

    Raises:
        AlmetaError: if random is missing.
    """
    if RANDOM not in areas:
        raise AlmetaError(
            f"'{RANDOM}' is not among the strategies ({', '.join(areas)}); add it: every gain is measured over it"
        )
    return Comparison(areas, reference)


def smallest_p_value(comparison: Comparison) -> float:
    """Return the smallest Holm-corrected p-value that the signed-rank test can give for these units and pairs."""
    most = max((pair.units for pair in comparison.pairs.values()), default=1)
    return min(1.0, len(comparison.pairs) * 2.0 ** (1 - most))


def _by_dataset(areas: Values) -> Values:
    """Return the means over repeats, without NaN."""
    return areas.groupby("dataset", sort=False).mean()


def _pair(first: str, second: str, differences: pd.Series, test: SignedRank | None, p_holm: float) -> Pair:
    signs = np.sign(differences.round(DECIMALS))
    mean = float(differences.mean())
    return Pair(
        first=first,
        second=second,
        mean=mean,
        half_width=mean_interval(differences.tolist()).half_width,
        wins=int((signs > 0).sum()),
        ties=int((signs == 0).sum()),
        losses=int((signs < 0).sum()),
        statistic=None if test is None else test.statistic,
        p_value=None if test is None else test.p_value,
        p_holm=None if test is None else float(p_holm),
        is_clear=test is not None and bool(p_holm < LEVEL) and mean * test.direction > 0,
    )
