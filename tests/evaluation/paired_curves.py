"""Learning curves with known areas, for the tests of what is made from them."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike


def areas_of(gains: Mapping[str, ArrayLike]) -> pd.DataFrame:
    """A row a (data set, repeat): random scores .50, .51, .52, ... on the data sets, the others add their gains.

    Gains are in points: of each strategy, by data set and repeat.
    """
    shape = np.asarray(next(iter(gains.values()))).shape
    names = [f"set{number}" for number in range(shape[0])]
    index = pd.MultiIndex.from_product([names, range(shape[1])], names=["dataset", "repeat"])
    base = np.repeat(0.5 + 0.01 * np.arange(shape[0]), shape[1])
    columns = {name: base + np.asarray(gain).ravel() / 100 for name, gain in gains.items()}
    return pd.DataFrame({"random": base, **columns}, index=index)


def curves_of(areas: pd.DataFrame, budget: int = 4) -> pd.DataFrame:
    """Curves that rise from .2 below to .2 above their area, in a straight line."""
    long = areas.melt(var_name="strategy", value_name="area", ignore_index=False).reset_index()
    rows = long.loc[long.index.repeat(budget + 1)].reset_index(drop=True)
    rows["queries"] = np.tile(np.arange(budget + 1), len(long))
    rows["score"] = rows["area"] + 0.4 * (rows["queries"] / budget - 0.5)
    return rows[["dataset", "strategy", "repeat", "queries", "score"]]
