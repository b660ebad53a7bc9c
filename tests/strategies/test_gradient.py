import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from almeta.errors import AlmetaError
from almeta.learners import Ridge
from almeta.seeding import make_generator
from almeta.strategies.gradient import (
    Badge,
    ExpectedGradientLength,
    ExpectedWordGradientLength,
    distant_gradients,
    expected_length,
    gradient_factors,
)
from tests.strategies.pools import FittedPrototypes, make_pools, utilities_of


def draws(*size):
    return torch.rand(*size, generator=make_generator(0, "test"), dtype=torch.float64)


# --- expected gradient length ---


def test_the_expected_length_by_hand():
    # The row x = 2 of a softmax regression with p = (.8, .2): p - e is (-.2, .2) or (.8, -.8), and ||[x, 1]|| = sqrt 5.
    lengths = torch.tensor([0.2, 0.8]) * math.sqrt(2) * math.sqrt(5)
    expected = 2 * 0.8 * 0.2 * math.sqrt(10)
    assert float(expected_length(torch.tensor([0.8, 0.2]), lengths)) == pytest.approx(expected)


def autograd_lengths(state, pool):
    """The lengths of the gradients of softmax regression's loss on each row, if it had each label, `[N, C]`."""
    model, classes = state.model, int(state.num_classes[pool])
    weights = model.means[pool, :classes].clone().requires_grad_()
    bias = (model.bias[pool, :classes] - weights.detach().square().sum(1) / 2).requires_grad_()
    lengths = torch.zeros_like(state.probabilities[pool, :, :classes])
    for row in range(state.x.shape[1]):
        for label in range(classes):
            loss = -(weights @ state.x[pool, row] + bias).log_softmax(0)[label]
            gradient = torch.cat([part.flatten() for part in torch.autograd.grad(loss, (weights, bias))])
            lengths[row, label] = gradient.norm()
    return lengths


def test_expected_gradient_length_against_autograd():
    state = make_pools(labelled=(6, 5), seed=2).state
    # In float64: where p is near 1, ||p - e|| has few digits in float32.
    x, model = state.x.double(), FittedPrototypes(state.model.means.double(), state.model.bias.double())
    state = replace(state, x=x, model=model, probabilities=model.probabilities(x))
    scores = ExpectedGradientLength().score(state)
    for pool, classes in enumerate((3, 2)):
        expected = (state.probabilities[pool, :, :classes] * autograd_lengths(state, pool)).sum(1)
        torch.testing.assert_close(scores[pool], expected, atol=1e-5, rtol=1e-5)
        assert expected.std() > 0.01


def test_expected_word_gradient_length_against_a_loop():
    state = make_pools(labelled=(6, 5), seed=2).state
    lengths, scores = state.model.word_gradient_lengths(state.x), ExpectedWordGradientLength().score(state)
    for pool, row in np.ndindex(2, 14):
        expected = sum(float(state.probabilities[pool, row, c] * lengths[pool, row, c]) for c in range(3))
        assert float(scores[pool, row]) == pytest.approx(expected, abs=1e-5)
    assert not torch.allclose(scores, ExpectedGradientLength().score(state))


@pytest.mark.parametrize(
    "strategy, lacking", [(ExpectedWordGradientLength(), "an embedding of words"), (Badge(), "a last linear layer")]
)
def test_a_learner_without_what_is_needed_is_refused(strategy, lacking):
    class Bare:
        """A model that gives probabilities alone."""

    state = replace(make_pools().state, model=Bare(), learner=Ridge())
    with pytest.raises(AlmetaError, match=f"{strategy.name} needs a learner with {lacking}; Ridge has none"):
        utilities_of(strategy, state)


# --- BADGE ---


def test_the_factors_by_hand():
    factors = gradient_factors(torch.tensor([[0.2, 0.7, 0.1], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]))
    expected = torch.tensor([[0.2, -0.3, 0.1], [-0.5, 0.5, 0.0], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(factors, expected)


def test_distant_gradients_by_hand():
    """Gradients (3, 0), (2, 0), (0, 1), and (0, 0) of one class: (0, 1) is at 10 from the longest, (2, 0) at 1."""
    inputs = torch.tensor([[[2.0, 0], [3, 0], [0, 1], [0, 0]]]).expand(3, -1, -1)
    factors, available = torch.ones(3, 4, 1), torch.ones(3, 4, dtype=torch.bool)
    lots = torch.tensor([[0.5, 0.04, 0.5], [0.5, 0.06, 0.5], [0.5, 0.54, 0.5]])  # the shares are 1, 10 and 9 of 20
    rows = distant_gradients(factors, inputs, available, lots.double())
    assert rows[:, :2].tolist() == [[1, 0], [1, 2], [1, 2]]
    # With (0, 1) chosen, (2, 0) is at 1 still, and (0, 0) at 1: an even chance. With (2, 0), it is 5 to 4 for (0, 1).
    assert rows[:, 2].tolist() == [2, 3, 3]
    lots[:, 2] = 0.49
    assert distant_gradients(factors, inputs, available, lots.double())[:, 2].tolist() == [2, 0, 0]


def test_long_gradients_that_differ_little_are_told_apart():
    """(1000, -0.1) is the longest; the others are at 0.01 and 0.0225 from it, less than float32 shows of a million."""
    inputs = torch.tensor([[[1000.0, 0.0], [1000.0, 0.05], [1000.0, -0.1]]]).expand(2, -1, -1)
    uniform = torch.tensor([[0.5, 0.28], [0.5, 0.34]]).double()  # the share of the first is 0.31
    rows = distant_gradients(torch.ones(2, 3, 1), inputs, torch.ones(2, 3, dtype=torch.bool), uniform)
    assert rows.tolist() == [[2, 0], [2, 1]]


def test_rows_are_drawn_by_the_law_of_k_means_plus_plus():
    """Second and third picks of 40,000 draws, against probabilities by gradients that are written out."""
    pools, state = 40_000, make_pools(sizes=(8,), labelled=(2,), classes=(3,), columns=(2,), seed=4).state
    probabilities = torch.rand(8, 3, generator=make_generator(1, "test")).softmax(-1)
    factors, x = gradient_factors(probabilities), state.x[0]
    available = state.available[0]
    many = [part.expand(pools, *part.shape) for part in (factors, x, available)]
    rows = distant_gradients(many[0], many[1], many[2], draws(pools, 3))
    gradients = torch.einsum("nc,nh->nch", factors, x).flatten(1).double().numpy()
    length, may = (gradients**2).sum(1), available.numpy()
    first = int(np.where(may, length, -1).argmax())
    assert (rows[:, 0] == first).all()
    to_first = ((gradients - gradients[first]) ** 2).sum(1)
    law = np.where(may, to_first, 0) / to_first[may].sum()
    found = np.bincount(rows[:, 1], minlength=8) / pools
    assert found == pytest.approx(law, abs=0.01)
    second = int(law.argmax())
    nearest = np.minimum(to_first, ((gradients - gradients[second]) ** 2).sum(1))
    third = rows[rows[:, 1] == second, 2]
    law = np.where(may, nearest, 0) / nearest[may].sum()
    assert np.bincount(third, minlength=8) / len(third) == pytest.approx(law, abs=0.02)


def test_rows_that_wait_for_their_answer_count_as_chosen():
    factors, inputs = torch.ones(1, 3, 1), torch.tensor([[[5.0], [5.0], [1.0]]])
    available = torch.tensor([[False, True, True]])
    rows = distant_gradients(factors, inputs, available, draws(1, 2), torch.tensor([[-1, 0]]))
    assert rows.tolist() == [[2, -1]]  # the second row is like the one that waits


def test_badge_is_drawn_among_gradients_of_the_last_layer():
    state = replace(make_pools(labelled=(6, 5), seed=2).state, query_size=4)
    strategy = Badge()
    strategy.generator = make_generator(7, "test")
    lots = torch.rand(2, 4, generator=make_generator(7, "test"), dtype=torch.float64)
    rows = strategy.select(state, 4)
    expected = distant_gradients(gradient_factors(state.probabilities), state.x, state.available, lots)
    assert torch.equal(rows, expected)
    assert all(len(set(picks)) == 4 for picks in rows.tolist())


def test_a_pool_without_gradients_is_left_to_chance():
    utilities = utilities_of(Badge(), make_pools(labelled=(1, 1)).state)  # one class is known, and sure everywhere
    assert (utilities[utilities.isfinite()] == 0).all()
    assert utilities_of(Badge(), make_pools(labelled=(6, 5), seed=2).state).amax() == 1
