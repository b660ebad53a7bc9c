"""What is read of each missing cell, held to plain loops."""

import numpy as np
import pytest
import torch

from almeta.agents import CellScorer, GroupReinforce
from almeta.data import load_dataset
from almeta.envs import FeatureOptions, FeatureSimulation
from almeta.inputs import Cells
from almeta.inputs.cells import dearness, effects, relations
from almeta.learners import Prototype
from almeta.seeding import make_generator

NAMES = Cells().candidate_names


def make_state(steps=2, num_envs=4, **options):
    setting = {"pool_size": 12, "max_features": 6, "budget": 5, "missing": 0.6, "price": 0.01} | options
    datasets = [load_dataset(name) for name in ("iris", "wine")]
    generator = make_generator(0, "env")
    simulation = FeatureSimulation(datasets, FeatureOptions(**setting), num_envs, generator, Prototype())
    state = simulation.reset()
    for _ in range(steps):
        simulation.step(state.available.float().argmax(1))
        state = simulation.state()
    return state


@pytest.fixture(scope="module")
def state():
    return make_state()


def of(state, name):
    return Cells()(state).candidates[..., NAMES.index(name)].view(state.exists.shape)


def where_missing(state, e):
    return [tuple(cell) for cell in state.missing[e].nonzero().tolist()]


def test_effects_are_those_of_a_loop_over_cells(state):
    found = effects(state)
    for e in range(4):
        for n, d in where_missing(state, e):
            moved = state.filled[[e], n : n + 1].repeat(2, 1, 1)
            moved[0, 0, d] += state.deviation[e, n, d]
            moved[1, 0, d] -= state.deviation[e, n, d]
            rows = state.filled.repeat(2, 1, 1)[: len(state.filled)].clone()
            changes = []
            for side in moved[:, 0]:
                rows[e, n] = side
                changes.append(
                    float((state.model.probabilities(rows)[e, n] - state.probabilities[e, n]).abs().sum() / 2)
                )
            assert float(found[e, n, d]) == pytest.approx(np.mean(changes), abs=1e-5)
    assert (found[~state.missing] == 0).all() and found.max() > 0.01
    column = found.sum(1) / state.missing.sum(1).clamp_min(1)
    torch.testing.assert_close(of(state, "column effect"), column[:, None].expand_as(found).where(state.missing, 0.0))


def test_relations_are_correlation_ratios(state):
    found = relations(state)
    for e in range(4):
        for d in range(6):
            known = state.known[e, :, d]
            if not state.exists[e, :, d].any():
                assert found[e, d] == 0
                continue
            values, labels = state.filled[e, known, d].numpy(), state.labels[e, known].numpy()
            mean = values.mean()
            between = sum((labels == k).sum() * (values[labels == k].mean() - mean) ** 2 for k in np.unique(labels))
            assert float(found[e, d]) == pytest.approx(between / ((values - mean) ** 2).sum(), abs=1e-4)


def test_the_other_numbers_one_by_one(state):
    view = Cells()(state)
    cells, pool = view.candidates.view(*state.exists.shape, -1), view.pool
    for e in range(4):
        exists = state.exists[e]
        mean_price = state.prices[e][exists].mean()
        for n, d in where_missing(state, e):
            p = state.probabilities[e, n].sort(descending=True).values
            wanted = {
                "doubt": state.deviation[e, n, d],
                "uncertainty": 1 - (p[0] - p[1]),
                "loss": 1 - state.probabilities[e, n, state.labels[e, n]],
                "row known": state.known[e, n].sum() / exists[n].sum(),
                "column known": state.known[e, :, d].sum() / exists[:, d].sum(),
                "price": min(100 * state.prices[e, n, d], 10),
                "dearness": (state.prices[e, n, d] / mean_price).log().clamp(-3, 3),
            }
            for name, value in wanted.items():
                assert float(cells[e, n, d, NAMES.index(name)]) == pytest.approx(float(value), abs=1e-5), name
    assert pool[:, 0].tolist() == pytest.approx([2 / 5] * 4)
    assert float(pool[0, 1]) == pytest.approx(float(state.known[0].sum() / state.exists[0].sum()))
    assert float(pool[0, 2]) == pytest.approx(float(of(state, "uncertainty")[0].max(1).values.mean()), abs=0.2)
    assert float(pool[0, 3]) == pytest.approx(float((1 - state.label_probabilities()[0]).mean()), abs=1e-5)


def test_cells_that_may_not_be_asked_for_are_hidden_and_all_is_finite(state):
    view = Cells()(state)
    assert view.candidates.shape == (4, 72, len(NAMES)) and view.pool.shape == (4, len(Cells().pool_names))
    assert (view.candidates[~state.available] == 0).all()
    assert view.candidates.isfinite().all() and view.candidates.abs().max() <= 10


def test_without_prices_nothing_is_dear():
    assert (dearness(make_state(price=0.0)) == 0).all()


@pytest.mark.parametrize("prior, column, sign", [("uncertainty", "uncertainty", 1), ("cheapness", "dearness", -1)])
def test_a_scorer_of_cells_begins_as_its_rule(state, prior, column, sign):
    agent = GroupReinforce(lambda inputs, num_values: CellScorer(inputs, num_values, 8, prior, 2.0), Cells())
    outputs, _ = agent.step(state, agent.initial(4))
    wanted = 2.0 * sign * of(state, column).flatten(1)
    torch.testing.assert_close(outputs.utilities[state.available], wanted[state.available])
