"""Strategies of cells: a contract for all, and values against direct transcriptions."""

import numpy as np
import pytest
import torch

from almeta.data import load_dataset
from almeta.envs import FeatureOptions, FeatureSimulation
from almeta.errors import AlmetaError
from almeta.learners import MLP, Prototype
from almeta.seeding import make_generator
from almeta.strategies.actor import Outputs
from almeta.strategies.features import (
    CellStrategy,
    ExpectedUtility,
    cell_strategy_names,
    make_cell_strategy,
    register_cell_strategy,
)
from almeta.training.rollout import greedy, play

COLUMNS = 5


def simulate(num_envs=4, learner=None, **options):
    setting = {"pool_size": 10, "max_features": COLUMNS, "budget": 4, "missing": 0.6, "price": 0.01} | options
    datasets = [load_dataset(name) for name in ("iris", "wine")]
    parts = (num_envs, make_generator(0, "env"), learner or Prototype())
    return FeatureSimulation(datasets, FeatureOptions(**setting), *parts)


@pytest.fixture(scope="module")
def state():
    return simulate().reset()


# --- the contract ---


@pytest.mark.parametrize("name", cell_strategy_names())
def test_who_compares_fits_refuses_a_learner_that_draws(name):
    state, strategy = simulate(learner=MLP(steps=5)).reset(), make_cell_strategy(name)
    if not strategy.compares_fits:
        assert name != "expected_utility" and strategy.step(state, ())
        return
    with pytest.raises(
        AlmetaError, match=f"strategy {name} compares fits of the learner, and those of MLP differ by ch"
    ):
        strategy.step(state, ())


@pytest.mark.parametrize("name", cell_strategy_names())
def test_it_scores_all_cells_and_plays_to_the_end(name):
    simulation, strategy = simulate(), make_cell_strategy(name, make_generator(0, "strategy"))
    steps = list(play(simulation, strategy, greedy(make_generator(0, "ties"))))
    assert len(steps) == 4 and not any(step.outcome.invalid.any() for step in steps)
    for step in steps:
        assert type(step.outputs) is Outputs and step.outputs.value is None
        utilities = step.outputs.utilities
        assert utilities.shape == (4, 10 * COLUMNS) and utilities.dtype == torch.float32
        assert (utilities[~step.state.available] == -torch.inf).all() and not utilities.isnan().any()


@pytest.mark.parametrize("name", cell_strategy_names())
def test_the_same_generator_gives_the_same_cells(name):
    def cells():
        strategy = make_cell_strategy(name, make_generator(1, "strategy"))
        simulation = simulate()
        return torch.stack([step.actions for step in play(simulation, strategy, greedy(make_generator(0, "ties")))])

    assert torch.equal(cells(), cells())


def test_names_and_mistakes():
    assert cell_strategy_names() == ["cheapest", "expected_utility", "most_uncertain_row", "random"]
    with pytest.raises(AlmetaError, match="unknown strategy of cells 'cheapst'; did you mean 'cheapest'"):
        make_cell_strategy("cheapst")
    with pytest.raises(AlmetaError, match="unknown key of strategy expected_utility 'candidate'"):
        make_cell_strategy({"name": "expected_utility", "candidate": 3})
    with pytest.raises(AlmetaError, match="candidates is 0; it must be a whole number of at least 1"):
        make_cell_strategy({"name": "expected_utility", "candidates": 0})
    with pytest.raises(AlmetaError, match="errors_first is 3"):
        make_cell_strategy({"name": "most_uncertain_row", "errors_first": 3})


def test_ones_own_is_registered_and_its_mistakes_are_told(state):
    with pytest.raises(AlmetaError, match="is no strategy; derive a class from CellStrategy"):
        register_cell_strategy(object)  # type: ignore[arg-type]
    with pytest.raises(AlmetaError, match="there is another strategy of cells 'random' already"):
        register_cell_strategy(type("Other", (CellStrategy,), {"name": "random"}))
    for scores, message in [(torch.zeros(4, 3), r"returned scores \[4, 3\]"), (3, "returned scores int")]:
        wrong = type("Wrong", (CellStrategy,), {"name": "wrong", "score": lambda self, state, s=scores: s})()
        with pytest.raises(AlmetaError, match=message):
            wrong.step(state, ())
    nan = type("Nan", (CellStrategy,), {"name": "nan", "score": lambda self, state: state.filled * float("nan")})()
    with pytest.raises(AlmetaError, match="that are NaN or inf"):
        nan.step(state, ())


# --- values ---


def test_the_cheapest_has_the_lowest_price(state):
    utilities = make_cell_strategy("cheapest").step(state, ())[0].utilities
    for e in range(4):
        price = state.prices[e].flatten()
        lowest = min(float(price[cell]) for cell in state.available[e].nonzero())
        assert float(price[int(utilities[e].argmax())]) == pytest.approx(lowest)


@pytest.mark.parametrize("errors_first", [False, True])
def test_the_most_uncertain_row_by_a_loop(state, errors_first):
    strategy = make_cell_strategy({"name": "most_uncertain_row", "errors_first": errors_first})
    utilities = strategy.step(state, ())[0].utilities
    wrong_ones = 0
    for e in range(4):
        order = []
        for n in range(10):
            if state.missing[e, n].any():
                p = state.probabilities[e, n].sort(descending=True).values
                wrong = int(state.probabilities[e, n].argmax()) != int(state.labels[e, n])
                wrong_ones += wrong
                order.append(((not wrong) if errors_first else 0, float(p[0] - p[1]), n))
        assert int(utilities[e].argmax()) // COLUMNS == min(order)[2]
    assert wrong_ones


def log_gain(state, e, x):
    """The mean log-probability of the labels by nearest class means fit to rows `x` `[N, D]`, one table."""
    y = state.labels[e].numpy()
    scale = max(1, int((x != 0).any(0).sum()))
    logits = np.stack([-((x - x[y == k].mean(0)) ** 2).sum(1) / scale for k in np.unique(y)], 1)
    p = np.exp(logits - logits.max(1, keepdims=True))
    return np.log(np.maximum((p / p.sum(1, keepdims=True))[np.arange(len(y)), y], 1e-7)).mean()


def expected_utility(state, e, n, d):
    """Equation 1 of Melville et al. 2005 with three values of the belief's Gaussian, by refits of one table."""
    x = state.filled[e].numpy().copy()
    before, gain = log_gain(state, e, x), 0.0
    mean, deviation = float(x[n, d]), float(state.deviation[e, n, d])
    for point, weight in ((-np.sqrt(3), 1 / 6), (0, 2 / 3), (np.sqrt(3), 1 / 6)):
        values, known = torch.tensor(x), state.known[e].clone()
        values[n, d], known[n, d] = mean + point * deviation, True
        whole, there = state.filled.clone(), state.known.clone()
        whole[e], there[e] = values, known
        refilled = x.copy()
        refilled[n] = state.belief.fill(whole, there)[0][e, n].where(state.exists[e, n], torch.tensor(0.0))
        gain += weight * (log_gain(state, e, refilled) - before)
    return gain


def test_expected_utility_is_equation_1_cell_by_cell(state):
    cells = torch.stack([row.nonzero().squeeze(1)[[0, 3, -1]] for row in state.available])
    found = ExpectedUtility().utilities(state, cells)
    for e in range(4):
        for k, cell in enumerate(cells[e].tolist()):
            wanted = expected_utility(state, e, *divmod(cell, COLUMNS))
            assert float(found[e, k]) == pytest.approx(wanted, abs=2e-4)
    assert found.abs().max() > 1e-3


def test_expected_utility_divides_by_the_price_and_multiplies_losses(state):
    def scored(**options):
        strategy = ExpectedUtility(candidates=50, **options)
        return strategy.step(state, ())[0].utilities

    plain, aware = scored(cost_aware=False), scored()
    some = state.available
    price = state.prices.flatten(1)
    wanted = torch.where(plain > 0, plain / price, plain * price)
    torch.testing.assert_close(aware[some], wanted[some], rtol=1e-4, atol=1e-7)
    assert (plain[some] > 0).any() and (plain[some] < 0).any()
    few = ExpectedUtility(candidates=3).step(state, ())[0].utilities
    assert ((few > -torch.inf).sum(1) == 3).all()


def test_free_cells_are_ordered_by_utility_alone():
    state = simulate(price=0.0).reset()
    made = [ExpectedUtility(50, aware).step(state, ())[0].utilities.argmax(1) for aware in (True, False)]
    assert torch.equal(*made)
