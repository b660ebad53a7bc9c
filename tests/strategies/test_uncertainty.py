import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from almeta.errors import AlmetaError
from almeta.seeding import make_generator
from almeta.strategies.uncertainty import Entropy, LeastConfident, Margin, entropy, least_confident, margin, rarity
from tests.strategies.pools import make_pools, utilities_of, with_probabilities


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


# ---- balance


def test_rarity_by_hand():
    """Two labels of class 0, one of class 1, and none of class 2; one row of class 1 waits for its label."""
    labels = torch.tensor([[0, -1, 1, 0, -1, -1]])
    predicted = torch.tensor([[0, 1, 1, 0, 2, 0]])
    none = torch.empty(1, 0, dtype=torch.int64)
    args = torch.nn.functional.one_hot(predicted, 4).float(), torch.tensor([3])  # the fourth class pads
    assert rarity(labels, none, *args)[0].tolist() == pytest.approx([2 / 3, 1, 1, 2 / 3, 2, 2 / 3])
    pending = torch.tensor([[1, -1]])
    mean = 4 / 3 + 1
    assert rarity(labels, pending, *args)[0].tolist() == pytest.approx([mean / k for k in (3, 3, 3, 3, 1, 3)])
    assert torch.equal(rarity(torch.full_like(labels, -1), none, *args), torch.ones(1, 6))


def test_rarity_against_scikit_learn():
    """Their weights of labels in which each class occurs once more."""
    other = pytest.importorskip("sklearn.utils.class_weight").compute_class_weight
    pools = make_pools(sizes=(60, 50), labelled=(30, 12))
    state = pools.pick([int(a.nonzero()[0]) for a in pools.state.available]).state
    result = rarity(state.labels, state.pending, state.probabilities, state.num_classes)
    for pool, classes in enumerate(state.num_classes.tolist()):
        predicted = state.probabilities[pool].argmax(-1)
        labels, waiting = state.labels[pool], state.picks[pool, -1]
        known = torch.cat((labels[labels >= 0], predicted[waiting][None], torch.arange(classes))).numpy()
        theirs = other("balanced", classes=np.arange(classes), y=known)
        assert result[pool].numpy() == pytest.approx(theirs[predicted.numpy()], rel=1e-6)


@pytest.mark.parametrize(
    "strategy, function",
    [(LeastConfident(balance=2), least_confident), (Margin(balance=2), margin), (Entropy(balance=2), entropy)],
)
def test_balance_multiplies_by_the_rarity_of_the_predicted_class(strategy, function):
    state = make_pools(labelled=(6, 5)).state
    probabilities = state.probabilities
    weight = rarity(state.labels, state.pending, probabilities, state.num_classes)
    expected = (function(probabilities) + (1 if function is margin else 0)) * weight**2
    torch.testing.assert_close(strategy.score(state), expected)
    assert torch.equal(type(strategy)(balance=0).score(state), function(probabilities))
    assert torch.equal(type(strategy)().score(state), function(probabilities))


@pytest.mark.parametrize("kind", [LeastConfident, Margin, Entropy])
def test_balance_asks_for_the_class_without_labels(kind):
    """The second row is a little surer, and of the other class; a pick of that class makes up for the labels."""
    state = with_probabilities([[0.9, 0.1], [0.6, 0.4], [0.35, 0.65], [0.3, 0.7]])
    labels, picks = torch.tensor([[0, -1, -1, -1]]), torch.tensor([[0]])
    state = replace(state, labels=labels, picks=picks, answered=1)
    assert kind().score(state).argmax() == 1
    assert kind(balance=1).score(state).argmax() == 2
    waiting = replace(state, picks=torch.tensor([[0, 2]]), available=torch.tensor([[False, True, False, True]]))
    assert utilities_of(kind(balance=1), waiting).argmax() == 1
    assert kind(balance=1).spreads and not kind(balance=0).spreads


# ---- rotations


@pytest.mark.parametrize(
    "strategy, function",
    [
        (LeastConfident(rotations=[90, -90]), least_confident),
        (Margin(rotations=[90, -90]), margin),
        (Entropy(rotations=[90, -90]), entropy),
    ],
)
def test_rotations_add_the_uncertainty_of_turned_images(strategy, function):
    state = make_pools(columns=(9, 9), classes=(3, 3), labelled=(6, 5)).state
    images = state.x.unflatten(2, (3, 3))
    expected = function(state.probabilities)
    for quarters in (1, -1):
        expected = expected + function(state.model.probabilities(torch.rot90(images, quarters, (2, 3)).flatten(2)))
    torch.testing.assert_close(strategy.score(state), expected, atol=1e-4, rtol=1e-4)
    assert (expected - 3 * function(state.probabilities)).abs().max() > 0.1
    assert strategy.lowest == 3 * type(strategy).lowest
    both = type(strategy)(rotations=[90, -90], balance=1)
    weight = rarity(state.labels, state.pending, state.probabilities, state.num_classes)
    torch.testing.assert_close(both.score(state), (expected - strategy.lowest) * weight, atol=1e-3, rtol=1e-3)
    assert both.lowest == 0


def test_rotations_of_what_is_no_image_are_told():
    state = make_pools(columns=(5, 5)).state
    with pytest.raises(AlmetaError, match="strategy margin with rotations: 5 features are no square image of 1 or 3"):
        Margin(rotations=[10]).score(state)
