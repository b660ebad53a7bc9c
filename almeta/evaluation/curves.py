"""Learning curves as a table: checked for gaps, cut into arrays, summed up as areas.

A strategy may have played the first repeats only. Nothing is then known of it in the others, which is NaN.

Index letters here: S strategies, R repeats, Q scores along a curve, the first one before any query.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from almeta.envs.measures import SHARES
from almeta.errors import AlmetaError

COLUMNS = ("dataset", "strategy", "repeat", "queries", "score")

Area = Literal["mean", "trapezoid"]
# The share by which sums of float32 prices may be wrong: ten of 0.1 can be more than 1, and ten of 0.7 less than 7.
_ROUNDING = 1e-6

# What curves are over: queries (for labels, or for cells), or what was paid.
Over = Literal["queries", "cells", "money"]


@dataclass(frozen=True)
class Curves:
    """The learning curves of one data set, paired over strategies.

    Attributes:
        strategies: S names.
        repeats: `[R]` int64, numbers of the repeats; equal repeats had the same split and first labels.
        queries: `[Q]` int64, labels asked for after the first ones, from 0.
        scores: `[S, R, Q]` float64, higher is better; NaN in repeats that a strategy did not play, and where there is
            nothing to share (`almeta.envs.measures.SHARES`).
    """

    strategies: list[str]
    repeats: np.ndarray
    queries: np.ndarray
    scores: np.ndarray

    @property
    def played(self) -> dict[str, int]:
        """How many repeats each strategy has played, those of which something is known."""
        return dict(zip(self.strategies, (~np.isnan(self.scores)).any(axis=2).sum(axis=1).tolist(), strict=True))


def check_curves(curves: pd.DataFrame, measures: Sequence[str] = ()) -> pd.DataFrame:
    """Check that curves are complete and paired, and return them sorted and with plain types.

    Args:
        curves: columns `dataset`, `strategy`, `repeat`, `queries` (labels asked for after the first ones; 0 is
            the score after the first labels) and `score` (higher is better), in any order; others are dropped.
        measures: columns of further scores, which stay; shares of nothing are NaN.

    Returns:
        The same rows: data sets by name, strategies as they first appear, repeats and queries by number.

    Raises:
        AlmetaError: if a column or all rows are missing, a number is missing or not finite, a row occurs twice, a
            strategy lacks a repeat that another one has (unless it has played the same number of first repeats of each
            data set), or the curves of one data set have different queries or do not begin at 0.
    """
    needed = (*COLUMNS, *measures)
    if missing := [name for name in needed if name not in curves]:
        raise AlmetaError(f"learning curves lack the columns {', '.join(missing)}; they need {', '.join(needed)}")
    if curves.empty:
        raise AlmetaError("there are no learning curves to compare; run at least one data set")
    table = curves[list(needed)].reset_index(drop=True)
    for name in needed[2:]:
        table[name] = _numbers(table, name)
    table = table.astype({"dataset": str, "strategy": str})
    by_number = table.assign(strategy=pd.factorize(table["strategy"])[0])  # in the order of first appearance
    table = table.loc[by_number.sort_values(list(COLUMNS[:4]), kind="stable").index].reset_index(drop=True)
    _check_whole(table)
    return table


def split_curves(curves: pd.DataFrame, score: str = "score") -> dict[str, Curves]:
    """Return the arrays of each data set, by name, of a column of the curves that `check_curves` returned."""
    strategies = list(curves["strategy"].unique())
    blocks = {}
    for name, block in curves.groupby("dataset", sort=False):
        repeats, queries = np.unique(block["repeat"]), np.unique(block["queries"])
        index = pd.MultiIndex.from_product([strategies, repeats, queries])
        values = block.set_index(["strategy", "repeat", "queries"])[score].reindex(index)
        scores = values.to_numpy().reshape(len(strategies), len(repeats), len(queries))
        blocks[str(name)] = Curves(strategies, repeats, queries, scores)
    return blocks


def over_money(curves: pd.DataFrame) -> pd.DataFrame:
    """Return curves over the money spent: `queries` are then 0, 1, 2, ... units of it.

    The score at an amount is the one after the last query that it pays for. The curves of a data set end at the least
    amount that any of them has spent, so that all are known up to there.

    Args:
        curves: from `check_curves`, with a column `money`, the sum of the prices so far.

    Raises:
        AlmetaError: if the curves of a data set have less than one unit in common.
    """
    parts = []
    for dataset, block in curves.groupby("dataset", sort=False):
        least = block.groupby(["strategy", "repeat"], sort=False)["money"].max().min() * (1 + _ROUNDING)
        if least < 1:
            raise AlmetaError(
                f"the curves of data set '{dataset}' are to be drawn over money, but one of them spends {least:g} in "
                "all, and money is counted in whole units; choose higher prices (oracle.price) or a larger budget"
            )
        amounts = np.arange(int(least) + 1)
        for _, curve in block.groupby(["strategy", "repeat"], sort=False):
            paid = np.searchsorted(curve["money"], amounts * (1 + _ROUNDING), side="right") - 1
            parts.append(curve.iloc[paid].assign(queries=amounts))
    return pd.concat(parts, ignore_index=True)


def curve_areas(blocks: dict[str, Curves], area: Area = "mean") -> pd.DataFrame:
    """Return the area under each learning curve (AULC), in units of the score.

    Args:
        blocks: from `split_curves`.
        area: "mean": the mean of all scores along the curve, from 0 queries on. "trapezoid":
            the integral of the curve over the queries by the trapezoid rule, divided by their range, known as area
            under the budget curve (Lu, Li & Lin, arXiv 2306.08954); the first and the last score count half.

    A point that is NaN is left out, and the weights of the others grow in proportion.

    Returns:
        A row for each (data set, repeat), a column for each strategy, NaN in repeats that it did not play.
    """
    parts = {}
    for name, block in blocks.items():
        weights, known = query_weights(block.queries, area), ~np.isnan(block.scores)
        with np.errstate(invalid="ignore"):  # 0 / 0 where nothing is known
            values = np.where(known, block.scores, 0) @ weights / (known @ weights)  # [S, R]
        parts[name] = pd.DataFrame(values.T, index=pd.Index(block.repeats, name="repeat"), columns=block.strategies)
    return pd.concat(parts, names=["dataset"])


def repeat_means(areas: pd.DataFrame) -> pd.DataFrame:
    """Return the means over data sets of `curve_areas`: a row for each repeat, a column for each strategy.

    A strategy counts by the data sets on which it has any value; it is NaN in repeats that lack one of them, so that
    all its means are about the same data sets.
    """
    has_any = areas.notna().groupby("dataset").transform("any")
    lacks = (has_any & areas.isna()).groupby("repeat").any()
    return areas.groupby("repeat").mean().mask(lacks)


def query_weights(queries: np.ndarray, area: Area = "mean") -> np.ndarray:
    """Return the weight of each score in the area under a curve: `[Q]` float64, sum 1.

    Raises:
        AlmetaError: if `area` is neither "mean" nor "trapezoid".
    """
    if area not in ("mean", "trapezoid"):
        raise AlmetaError(f"area is {area!r}; choose 'mean' or 'trapezoid'")
    if area == "mean" or len(queries) == 1:
        return np.full(len(queries), 1 / len(queries))
    steps = np.diff(queries)
    return (np.append(steps, 0) + np.insert(steps, 0, 0)) / (2 * steps.sum())


def _numbers(table: pd.DataFrame, name: str) -> pd.Series:
    """Return a column as finite floats, or as whole numbers if it counts repeats or queries."""
    numbers = pd.to_numeric(table[name], errors="coerce").astype(float)
    whole = name in ("repeat", "queries")
    bad = ~np.isfinite(numbers) | (whole & (numbers % 1 != 0))
    if name in SHARES:
        bad &= table[name].notna()
    if bad.any():
        first = table.loc[bad.idxmax()]
        raise AlmetaError(
            f"{name} is {first[name]} in a row of {_curve(first)} ({bad.sum():,} such rows); "
            f"it must be a {'whole' if whole else 'finite'} number: run that cell again"
        )
    return numbers.astype(np.int64) if whole else numbers


def _check_whole(table: pd.DataFrame) -> None:
    """Raise unless every strategy has every curve, or those of the first repeats, with the same queries, from 0."""
    twice = table.duplicated(list(COLUMNS[:4]))
    if twice.any():
        first = table.loc[twice.idxmax()]
        raise AlmetaError(
            f"the score of {_curve(first)}, after {first['queries']} queries, occurs twice; keep one of them"
        )
    counts = table.groupby(["dataset", "repeat", "strategy"], sort=False).size()
    gaps = _gaps(counts.unstack("strategy").sort_index().notna()).stack()
    if gaps.any():
        dataset, repeat, strategy = gaps.idxmax()
        raise AlmetaError(
            f"the curves are not paired: '{strategy}' lacks repeat {repeat} of data set '{dataset}', which another "
            f"strategy has ({gaps.sum():,} such gaps); run what is missing, or leave that strategy or data set out"
        )
    lengths = table.groupby("dataset")["queries"].nunique()
    short = counts < lengths.reindex(counts.index.get_level_values("dataset")).to_numpy()
    if short.any():
        dataset, repeat, strategy = short.idxmax()
        raise AlmetaError(
            f"the curves of data set '{dataset}' have different queries: '{strategy}', repeat {repeat}, has "
            f"{counts[dataset, repeat, strategy]} scores where {lengths[dataset]} are known; run that cell again"
        )
    first_queries = table.groupby("dataset")["queries"].min()
    if (first_queries != 0).any():
        dataset = first_queries.ne(0).idxmax()
        raise AlmetaError(
            f"the curves of data set '{dataset}' begin at {first_queries[dataset]} queries; "
            "the score after the first labels, queries 0, is missing"
        )


def _gaps(played: pd.DataFrame) -> pd.DataFrame:
    """Return where a strategy lacks a repeat, of which repeats each has played: both with a row a (data set, repeat).

    A strategy may have played a number of first repeats, the same number of each data set that has as many.
    """
    most = played.groupby("dataset", sort=False).sum().max()
    place = played.groupby("dataset", sort=False).cumcount()
    return pd.DataFrame({name: ~played[name] & (place < most[name]) for name in played})


def _curve(row: pd.Series) -> str:
    return f"'{row['strategy']}' on data set '{row['dataset']}', repeat {row['repeat']}"
