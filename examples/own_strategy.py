# %% [markdown]
# # A strategy of your own, in a fair comparison
#
# A strategy scores the rows of a pool; the highest score is picked. Nothing of almeta is edited.

# %%
import tempfile
from pathlib import Path
from typing import Annotated

import torch
from torch import Tensor

import almeta
from almeta.checks import Within
from almeta.envs.pool import PoolOptions
from almeta.evaluation.benchmark import Setting, StrategySpec, run_benchmark
from almeta.evaluation.pool_report import pool_report
from almeta.learners import make_learner
from almeta.oracles import Oracle
from almeta.pool import PoolState
from almeta.strategies import PoolStrategy

# %% [markdown]
# The idea: early labels should cover the pool, later ones settle the border. So the score goes from the distance to the
# nearest labelled row to the uncertainty of the classifier.


# %%
@almeta.register_strategy
class CoverThenSettle(PoolStrategy):
    """Distance at first, margin later."""

    name = "cover_then_settle"

    def __init__(self, after: Annotated[float, Within(above=0, high=1)] = 0.5) -> None:
        self.after = after  # the share of the budget at which the margin has taken over

    def score(self, state: PoolState) -> Tensor:
        top = state.probabilities.topk(2, dim=-1).values
        unsure = 1 - (top[..., 0] - top[..., 1])
        away = state.geometry.nearest_pick(state.picks)
        share = min(1.0, state.spent / (self.after * state.budget))
        return share * unsure + (1 - share) * away / away.amax(1, keepdim=True).clamp_min(1e-9)


# %% [markdown]
# Everybody plays the same tasks: the same rows, first labels and test rows. A command does it at
# full size: `python scripts/benchmark.py modules=[own_strategy] strategies=[cover_then_settle,margin] suite=tables`.

# %%
torch.set_num_threads(1)
contenders = [
    StrategySpec.read("random"),
    StrategySpec.read("margin"),
    StrategySpec.read({"name": "cover_then_settle", "after": 0.25}),
]
setting = Setting(
    env=PoolOptions(budget=10),
    learner=make_learner("logistic_regression"),
    oracle=Oracle(),
    repeats=8,
)
cells = Path(tempfile.mkdtemp()) / "cells.sqlite"
curves = run_benchmark(["iris", "wine", "breast_cancer"], contenders, setting, cells).curves
report = pool_report(curves, "margin")
print(curves.groupby(["dataset", "strategy"])["score"].mean().unstack().round(3))
print(*report.sentences, sep="\n")
