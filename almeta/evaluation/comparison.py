"""Strategies compared by the area under their learning curves (AULC), in pairs and over data sets.

Data sets are the independent unit: one that happens to suit a strategy suits it in all its repeats. Where there is
a single data set, its repeats are compared instead, and nothing is said about other data sets.
"""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from almeta.errors import AlmetaError
from almeta.evaluation.statistics import (
    DECIMALS,
    Friedman,
    friedman_test,
    half_widths,
    holm,
    mean_interval,
    ranks,
    signed_rank_test,
    t_test,
)

RANDOM = "random"
LEVEL = 0.05


@dataclass(frozen=True)
class Pair:
    """Two strategies on the same data sets (or in the same repeats of one).

    Attributes:
        first: a strategy.
        second: the one it is compared with.
        mean: AULC of the first less that of the second, in units of the score.
        half_width: of the 95 % t-interval of `mean`; None for a single unit.
        wins: on how many units the first is better; `ties` and `losses` accordingly.
        ties: equal to 7 decimals.
        losses: on how many it is worse.
        statistic: of the Wilcoxon signed-rank test; None for a single unit.
        p_value: of that test.
        p_holm: the same, adjusted for all pairs being tested.
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

    def reversed(self) -> Pair:
        """The same pair seen from the second one."""
        changed = {"first": self.second, "second": self.first, "mean": -self.mean + 0.0}  # no -0.0
        return Pair(**{**asdict(self), **changed, "wins": self.losses, "losses": self.wins})


@dataclass(frozen=True)
class Comparison:
    """Strategies compared with each other, with random and with a reference.

    Attributes:
        areas: a row a (data set, repeat), a column a strategy: the AULC.
        reference: the strategy that all are compared with beside random; it may be missing.
        strategies: best mean rank first; of equal ones the higher mean, then the name in alphabetical order.
        pairs: every pair once, the better ranked one first.
    """

    areas: pd.DataFrame
    reference: str
    strategies: list[str]
    pairs: dict[tuple[str, str], Pair]

    @cached_property
    def by_dataset(self) -> pd.DataFrame:
        """A row a data set, a column a strategy: the mean AULC over repeats."""
        return self.areas.groupby("dataset", sort=False).mean()

    @property
    def unit(self) -> str:
        """What is compared: "data set", or "repeat" where there is one data set only."""
        return "repeat" if len(self.by_dataset) == 1 else "data set"

    @cached_property
    def units(self) -> pd.DataFrame:
        """A row a unit, a column a strategy."""
        return _units(self.areas)

    @cached_property
    def mean_ranks(self) -> pd.Series:
        """By strategy, the mean over units of its rank; 1 is best, ties share their mean rank."""
        return _mean_ranks(self.units)[self.strategies]

    @cached_property
    def friedman(self) -> Friedman | None:
        """Whether any strategy differs at all; None for fewer than three strategies or two units."""
        return friedman_test(self.units)

    @property
    def opponents(self) -> dict[str, str]:
        """Whom all are compared with: "random", and "reference" if that is there and another one."""
        known = self.reference in self.strategies and self.reference != RANDOM
        return {"random": RANDOM} | ({"reference": self.reference} if known else {})

    def pair(self, first: str, second: str) -> Pair:
        """The pair, seen from `first`."""
        known = self.pairs.get((first, second))
        return known if known is not None else self.pairs[second, first].reversed()

    def clear_on(self, opponent: str) -> pd.DataFrame:
        """Where the difference to `opponent` is clear by itself: a row a data set, a column a strategy.

        By the paired t-test over the data set's repeats, Holm-corrected over data sets; for a single data set by
        the test of the pair, which is over its repeats.

        Returns:
            1 where the strategy is clearly better than `opponent`, -1 where it is clearly worse, else 0.
        """
        differences = self.areas.sub(self.areas[opponent], axis=0)
        signs = np.sign(differences.groupby("dataset", sort=False).mean())
        if self.unit == "repeat":
            others = [name for name in self.strategies if name != opponent]
            clear = {name: self.pair(name, opponent).is_clear for name in others} | {opponent: False}
            return (signs * pd.Series(clear)).astype(int)
        p_values = np.stack([t_test(block) for _, block in differences.groupby("dataset", sort=False)])
        adjusted = np.apply_along_axis(holm, 0, p_values)
        return (signs * (adjusted < LEVEL)).astype(int)

    def summary(self) -> pd.DataFrame:
        """One row a strategy, best mean rank first, in units of the score.

        Returns:
            Columns `strategy`, `aulc` (mean over data sets) and `aulc_interval` (half of a 95 % interval over
            units), `mean_rank`; then for random, and under `reference` for the reference, `gain_over_random`
            and `gain_over_random_interval` (paired), `wins_random`, `ties_random`, `losses_random` (units),
            `clear_wins_random` and `clear_losses_random` (data sets, see `clear_on`), `p_random` (Holm)
            and `is_clear_random`. Missing where a strategy would be compared with itself, or a unit is alone.
        """
        units = self.units
        table = pd.DataFrame({"strategy": self.strategies})
        table["aulc"] = [float(units[name].mean()) for name in self.strategies]
        table["aulc_interval"] = half_widths(units[self.strategies])
        table["mean_rank"] = list(self.mean_ranks)
        for key, opponent in self.opponents.items():
            clear = self.clear_on(opponent)
            rows = [self._against(name, opponent, key, clear) for name in self.strategies]
            columns = pd.DataFrame(rows, dtype=object)
            for name in columns:
                table[name] = columns[name].astype(_dtype(str(name)))
        return table

    def tests(self) -> pd.DataFrame:
        """One row a pair, with the attributes of `Pair` as columns."""
        columns = list(Pair.__dataclass_fields__)
        table = pd.DataFrame([asdict(pair) for pair in self.pairs.values()], columns=columns)
        return table.astype(dict.fromkeys(("half_width", "statistic", "p_value", "p_holm"), float))

    def _against(self, name: str, opponent: str, key: str, clear: pd.DataFrame) -> dict[str, Any]:
        pair = self.pair(name, opponent) if name != opponent else None
        return {
            f"gain_over_{key}": pair and pair.mean,
            f"gain_over_{key}_interval": pair and pair.half_width,
            f"wins_{key}": pair and pair.wins,
            f"ties_{key}": pair and pair.ties,
            f"losses_{key}": pair and pair.losses,
            f"clear_wins_{key}": pair and int((clear[name] > 0).sum()),
            f"clear_losses_{key}": pair and int((clear[name] < 0).sum()),
            f"p_{key}": pair and pair.p_holm,
            f"is_clear_{key}": pair and pair.is_clear,
        }


def compare(areas: pd.DataFrame, reference: str = "margin") -> Comparison:
    """Compare strategies on paired data sets and repeats.

    Args:
        areas: a row a (data set, repeat), a column a strategy, as `curve_areas`
            returns it; "random" among them.
        reference: a strategy to compare all others with, beside random.

    Raises:
        AlmetaError: if random is not there.
    """
    if RANDOM not in areas:
        raise AlmetaError(
            f"'{RANDOM}' is not among the strategies ({', '.join(areas)}); add it: every gain is measured over it"
        )
    units = _units(areas)
    mean_ranks = _mean_ranks(units)
    strategies = sorted(units, key=lambda name: (mean_ranks[name], -units[name].mean(), name))
    names = list(itertools.combinations(strategies, 2))
    tests = [signed_rank_test(units[first] - units[second]) for first, second in names]
    adjusted = holm([np.nan if test is None else test.p_value for test in tests])
    pairs = {}
    for (first, second), test, p_holm in zip(names, tests, adjusted, strict=True):
        differences = units[first] - units[second]
        signs = np.sign(differences.round(DECIMALS))
        mean = float(differences.mean())
        pairs[first, second] = Pair(
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
    return Comparison(areas, reference, strategies, pairs)


def smallest_p_value(comparison: Comparison) -> float:
    """The smallest Holm-corrected p-value that the signed-rank test can give for so few units and so many pairs."""
    return min(1.0, len(comparison.pairs) * 2.0 ** (1 - len(comparison.units)))


def _units(areas: pd.DataFrame) -> pd.DataFrame:
    means = areas.groupby("dataset", sort=False).mean()
    return means if len(means) > 1 else areas.droplevel("dataset")


def _mean_ranks(units: pd.DataFrame) -> pd.Series:
    return pd.Series(ranks(units).mean(axis=0), index=units.columns)


def _dtype(column: str) -> str:
    if column.startswith("is_clear"):
        return "boolean"
    return "Int64" if column.startswith(("wins", "ties", "losses", "clear")) else "float"
