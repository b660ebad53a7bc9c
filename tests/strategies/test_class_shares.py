"""Rules that share rows out among classes: weights by hand, rounding, and classes that are used up."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from almeta.errors import AlmetaError
from almeta.seeding import make_generator
from almeta.strategies.class_shares import class_strategy_names, make_class_strategy, shares_of
from tests.test_classes import C, drawn, make_state

every_strategy = pytest.mark.parametrize("name", class_strategy_names())


def state_of(**changes):
    labels, (now, before) = drawn(rows=12)
    return make_state(labels, now, before[:, :7], **changes)


def test_the_names():
    assert class_strategy_names() == [
        *("accuracy_improvement", "inverse_accuracy", "proportional", "random", "redistricting", "uniform")
    ]


# --- weights ---


def test_inverse_accuracy_by_hand():
    state = state_of()
    accuracies = state.accuracies
    for floor in (0.1, 0.5):
        shares = shares_of(make_class_strategy("inverse_accuracy", floor=floor).weights(state), state.available)
        for e in range(len(shares)):
            inverse = [1 / max(floor, accuracies[e, c].item()) for c in range(C)]
            assert shares[e].tolist() == pytest.approx([one / sum(inverse) for one in inverse])


def test_accuracy_improvement_by_hand():
    state = state_of()
    gains = state.gains
    shares = shares_of(make_class_strategy("accuracy_improvement").weights(state), state.available)
    for e in range(len(shares)):
        positive = [max(0.0, gains[e, c].item()) for c in range(C)]
        assert shares[e].tolist() == pytest.approx([one / sum(positive) for one in positive])
    assert (gains < 0).any()


def test_redistricting_by_hand():
    state = state_of()
    changed = state.redistricted
    shares = shares_of(make_class_strategy("redistricting").weights(state), state.available)
    for e in range(len(shares)):
        assert shares[e].tolist() == pytest.approx((changed[e] / changed[e].sum()).tolist())


@pytest.mark.parametrize("name", ["accuracy_improvement", "redistricting", "uniform"])
def test_without_a_reason_all_classes_are_alike(name):
    labels, (now, _) = drawn()
    state = make_state(labels, now, now[:, :0])  # the first query
    assert shares_of(make_class_strategy(name).weights(state), state.available).tolist() == [[1 / C] * C] * 5


# --- sharing out ---


def play(strategy, state, rows, queries=1):
    """How many rows of each class a strategy asks for in some queries, `[E, C]`."""
    memory = strategy.initial(5)
    labels, chosen = state.labels, torch.zeros(5, 0, dtype=torch.int64)
    for time in range(rows * queries):
        if time % rows == 0:  # the learner is told
            told = torch.cat((labels, chosen), 1)
            held_out = torch.zeros(*told.shape, C)
            state = replace(state, labels=told, picks=told, held_out=held_out, drawn=torch.zeros_like(state.drawn))
        utilities, memory = strategy.step(state, memory)
        classes = utilities.utilities.argmax(1)
        chosen = torch.cat((chosen, classes[:, None]), 1)
        state = replace(state, picks=torch.cat((labels, chosen), 1), drawn=state.drawn + counts_of(classes[:, None]))
    return counts_of(chosen)


def counts_of(classes):
    return torch.nn.functional.one_hot(classes, C).sum(1)


def by_largest_remainder(shares, rows):
    """Whole numbers: each share of the rows rounded down, and one more for the largest remainders."""
    exact = np.array(shares) * rows
    whole = np.floor(exact).astype(int)
    for place in np.argsort(-(exact - whole), kind="stable")[: rows - whole.sum()]:
        whole[place] += 1
    return whole.tolist()


@pytest.mark.parametrize("shares", [[0.43, 0.32, 0.21, 0.04], [0.9, 0.06, 0.03, 0.01], [0.26, 0.25, 0.25, 0.24]])
@pytest.mark.parametrize("rows", [1, 3, 5, 10])
def test_each_class_has_its_share_by_the_largest_remainders(shares, rows):
    state = state_of(shares=torch.tensor([shares] * 5), query_size=rows)
    found = play(make_class_strategy("proportional"), state, rows)
    assert found.tolist() == [by_largest_remainder(shares, rows)] * 5


def test_what_is_less_than_a_row_is_owed_on_in_the_next_query():
    shares = [0.52, 0.28, 0.16, 0.04]
    state = state_of(shares=torch.tensor([shares] * 5), query_size=5)
    proportional = make_class_strategy("proportional")
    assert play(proportional, state, 5).tolist() == [[3, 1, 1, 0]] * 5
    assert play(proportional, state, 5, queries=10).tolist() == [[26, 14, 8, 2]] * 5
    assert play(make_class_strategy("uniform"), state, 5, queries=4).tolist() == [[5] * 4] * 5


@every_strategy
def test_a_class_that_is_used_up_has_no_share(name):
    available = torch.ones(5, C, dtype=torch.bool)
    available[:, 1] = available[0, :3] = False
    strategy = make_class_strategy(name, make_generator(0, "test"))
    utilities = strategy.step(state_of(available=available), strategy.initial(5))[0].utilities
    assert utilities.dtype == torch.float32
    assert (utilities.isfinite() == available).all()
    found = shares_of(strategy.weights(state_of()), available)
    torch.testing.assert_close(found.sum(1), torch.ones(5))
    assert not found[~available].any()


def test_random_draws_classes_by_their_shares_in_the_data():
    shares = torch.tensor([0.5, 0.3, 0.15, 0.05])
    labels, (now, before) = drawn(episodes=4000)
    state = make_state(labels, now, before, shares=shares.expand(4000, C))
    chosen = make_class_strategy("random").step(state, None)[0].utilities.argmax(1)
    found = torch.bincount(chosen, minlength=C) / 4000
    torch.testing.assert_close(found, shares, atol=0.03, rtol=0)
    again, other = (make_class_strategy("random", make_generator(seed, "test")) for seed in (0, 1))
    assert not torch.equal(again.step(state, None)[0].utilities, other.step(state, None)[0].utilities)


# --- mistakes ---


def test_mistakes_are_told():
    with pytest.raises(AlmetaError, match="unknown class strategy 'unifrom'; did you mean 'uniform'"):
        make_class_strategy("unifrom")
    with pytest.raises(AlmetaError, match="'flor'; did you mean 'floor'"):
        make_class_strategy("inverse_accuracy", flor=0.1)
    for floor in (0, 2, "low"):
        with pytest.raises(AlmetaError, match=f"floor is {floor!r}; it must be a number"):
            make_class_strategy({"name": "inverse_accuracy", "floor": floor})
