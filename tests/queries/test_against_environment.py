"""A loop around `almeta.query` picks the rows that the environment's simulation picks."""

import numpy as np
import pandas as pd
import pytest
import torch

import almeta
import almeta.tasks.pool
from almeta.data import Dataset, load_dataset
from almeta.envs.pool import PoolOptions, PoolSimulation
from almeta.policies import find_policy
from almeta.queries.labelling import find_actor
from almeta.training.rollout import greedy, play

TABLES = ("iris", "sonar", "zoo", "car", "house_votes", "heart_statlog")


def frame_of(dataset: Dataset, rows: np.ndarray) -> pd.DataFrame:
    """Return rows as their owner has them: numbers, categories by name, and gaps."""
    columns = {}
    for place, values in enumerate(dataset.x[rows].T):
        if names := dataset.categories.get(place):
            codes = np.where(np.isnan(values), -1, values).astype(int)
            values = pd.Categorical.from_codes(codes, list(names))
        columns[f"column {place}"] = values
    return pd.DataFrame(columns)


def picks_of_both(name: str, by, monkeypatch, budget: int = 20, **options) -> tuple[list[int], list[int], np.ndarray]:
    """Return the rows that are picked in the environment, and by the loop, and the features of all rows."""
    drawn: list[np.ndarray] = []
    prepare = almeta.tasks.pool.prepare

    def noted(data, pool_rows, *others):
        drawn.append(pool_rows)
        return prepare(data, pool_rows, *others)

    monkeypatch.setattr("almeta.tasks.pool.prepare", noted)
    dataset = load_dataset(name)
    simulation = PoolSimulation([dataset], PoolOptions(budget=budget), generator=torch.Generator().manual_seed(1))
    actor = find_actor(by, torch.Generator().manual_seed(2))
    steps = play(simulation, actor, greedy(torch.Generator().manual_seed(3)))
    inside = [int(step.actions) for step in steps]
    tasks = simulation.tasks
    X = frame_of(dataset, drawn[0])
    y = np.full(len(X), None, dtype=object)
    for row in tasks.first[0].tolist():
        y[row] = f"class {tasks.y[0, row]}"
    outside = []
    generator = torch.Generator().manual_seed(3)
    options["classes"] = [f"class {k}" for k in range(int(tasks.num_classes))]
    for _ in range(budget):
        (row,) = almeta.query(X, y, n=1, by=by, budget=budget, seed=generator, **options)
        y[row] = f"class {tasks.y[0, row]}"
        outside.append(int(row))
    return inside, outside, dataset.x[drawn[0]]


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("by", ["margin", "core_set"])
def test_a_loop_picks_what_the_environment_picks(name, by, monkeypatch):
    inside, outside, _ = picks_of_both(name, by, monkeypatch)
    assert inside == outside
    assert len(set(inside)) == 20


@pytest.mark.parametrize("name", TABLES)
def test_a_loop_by_a_policy_picks_what_the_environment_picks(name, monkeypatch):
    """Of rows that are alike, which have the same utility but for its rounding, either may be picked."""
    policy = find_policy("transfer").on(load_dataset(name)).make(torch.Generator())
    inside, outside, rows = picks_of_both(name, policy, monkeypatch)
    np.testing.assert_array_equal(rows[inside], rows[outside])
