import math

import pytest
import torch

from almeta.seeding import make_generator
from almeta.strategies.uncertainty import Entropy, LeastConfident, Margin, entropy, least_confident, margin
from tests.strategies.pools import utilities_of, with_probabilities


@pytest.fixture
def probabilities():
    """`[50, 4]`: peaked, flat, and with zeros."""
    logits = torch.randn(50, 4, generator=make_generator(0, "test")) * torch.linspace(0, 6, 50)[:, None]
    logits[::5, 2] = -torch.inf
    return logits.softmax(-1)


P = torch.tensor([[0.5, 0.3, 0.2], [1.0, 0.0, 0.0], [0.4, 0.4, 0.2], [0.0, 0.5, 0.5]])


def test_least_confident_by_hand():
    assert least_confident(P).tolist() == pytest.approx([0.5, 0.0, 0.6, 0.5])


def test_margin_by_hand():
    assert margin(P).tolist() == pytest.approx([-0.2, -1.0, 0.0, 0.0])


def test_entropy_by_hand():
    half = math.log(2)
    first = -(0.5 * math.log(0.5) + 0.3 * math.log(0.3) + 0.2 * math.log(0.2))
    third = -(0.8 * math.log(0.4) + 0.2 * math.log(0.2))
    assert entropy(P).tolist() == pytest.approx([first, 0.0, third, half])


def test_a_single_class():
    alone = torch.ones(3, 5, 1)
    assert torch.equal(least_confident(alone), torch.zeros(3, 5))
    assert torch.equal(margin(alone), -torch.ones(3, 5))
    assert torch.equal(entropy(alone), torch.zeros(3, 5))


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_bounds_are_reached(classes):
    flat, sure = torch.full((classes,), 1 / classes), torch.eye(classes)[0]
    assert least_confident(flat) == pytest.approx(1 - 1 / classes)
    assert margin(flat) == 0
    assert entropy(flat) == pytest.approx(math.log(classes))
    assert (least_confident(sure), margin(sure), entropy(sure)) == (0, -1, 0)


def test_two_classes_are_ranked_alike():
    p = torch.rand(200, generator=make_generator(1, "test"))
    p = torch.stack((p, 1 - p), -1)
    order = least_confident(p).argsort()
    assert torch.equal(margin(p).argsort(), order)
    assert torch.equal(entropy(p).argsort(), order)


@pytest.mark.parametrize(
    "function, method, shift",
    [(least_confident, "least_confident", 0), (margin, "margin_sampling", 1), (entropy, "entropy", 0)],
)
def test_values_against_scikit_activeml(probabilities, function, method, shift):
    other = pytest.importorskip("skactiveml.pool").uncertainty_scores
    theirs = other(probabilities.numpy().copy(), method=method)
    assert (function(probabilities) + shift).numpy() == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize(
    "strategy, function", [(LeastConfident(), least_confident), (Margin(), margin), (Entropy(), entropy)]
)
def test_strategies_are_the_functions_of_the_state(probabilities, strategy, function):
    state = with_probabilities(probabilities)
    assert torch.equal(utilities_of(strategy, state)[0], function(probabilities))


def test_any_leading_axes(probabilities):
    folded = probabilities.view(5, 2, 5, 4)
    for function in (least_confident, margin, entropy):
        assert torch.equal(function(folded).flatten(), function(probabilities))


def test_the_three_strategies_differ_by_more_than_a_name():
    """Three rows, each the favourite of one: by top probability, by margin, by entropy."""
    rows = [[0.40, 0.30, 0.30, 0.0], [0.5, 0.5, 0.0, 0.0], [0.46, 0.2, 0.17, 0.17]]
    state = with_probabilities(rows)
    assert utilities_of(LeastConfident(), state).argmax() == 0
    assert utilities_of(Margin(), state).argmax() == 1
    assert utilities_of(Entropy(), state).argmax() == 2
