import math

import pytest
import torch

from almeta.seeding import make_generator
from almeta.strategies.choosing import best_action, best_actions, draw_row, sample_action, z_scores

INF = torch.inf


@pytest.fixture
def generator():
    return make_generator(0, "test")


def test_best_action_by_hand(generator):
    utilities = torch.tensor([[0.0, 2.0, 1.0], [0.0, 2.0, 1.0], [-INF, -INF, -3.0], [INF, 0.0, -INF]])
    mask = torch.tensor([[True, True, True], [True, False, True], [True, True, True], [False, True, True]])
    assert best_action(utilities, mask, generator).tolist() == [1, 2, 2, 1]


def test_best_action_breaks_ties_evenly(generator, looks_uniform):
    utilities = torch.tensor([1.0, 5.0, 5.0, 2.0, 5.0, 5.0]).expand(5000, -1)
    mask = torch.tensor([True, True, True, True, False, True]).expand(5000, -1)
    picked = best_action(utilities, mask, generator)
    assert set(picked.tolist()) == {1, 2, 5}
    assert looks_uniform(torch.tensor([0, 0, 1, 0, 0, 2])[picked], 3)


@pytest.mark.parametrize("value", [-INF, 0.0, INF])
def test_best_action_never_leaves_the_mask(generator, looks_uniform, value):
    mask = torch.tensor([False, True, True, False]).expand(2000, -1)
    picked = best_action(torch.full((2000, 4), value), mask, generator)
    assert looks_uniform(picked - 1, 2)


def test_best_action_draws_from_its_generator_alone(generator):
    utilities, mask = torch.zeros(100, 4), torch.ones(100, 4, dtype=torch.bool)
    before = torch.random.get_rng_state()
    first = best_action(utilities, mask, make_generator(1, "test"))
    assert torch.equal(first, best_action(utilities, mask, make_generator(1, "test")))
    assert not torch.equal(first, best_action(utilities, mask, make_generator(2, "test")))
    assert torch.equal(before, torch.random.get_rng_state())


# --- sampling ---


def test_best_actions_by_hand(generator):
    utilities = torch.tensor([[3.0, 5.0, -INF, 9.0], [1.0, 2.0, 3.0, 4.0]])
    mask = torch.tensor([[True, True, True, False], [False] * 4])
    assert best_actions(utilities, mask, 2, generator).tolist() == [[1, 0], [-1, -1]]
    assert best_actions(utilities, mask, 6, generator).tolist() == [[1, 0, 2, -1, -1, -1], [-1] * 6]


def test_best_actions_break_ties_evenly(generator, looks_uniform):
    utilities, mask = torch.tensor([[1.0, 0.0, 1.0, 1.0]]).expand(3000, -1), torch.ones(3000, 4, dtype=torch.bool)
    picked = best_actions(utilities, mask, 2, generator)
    assert (picked != 1).all() and (picked[:, 0] != picked[:, 1]).all()
    for column in picked.unbind(1):
        assert looks_uniform(torch.tensor([0, 9, 1, 2])[column], 3)


def test_sample_action_draws_from_the_softmax_of_what_is_allowed(generator):
    logits = torch.tensor([1.0, 0.0, 7.0, -1.0]).expand(40_000, -1)
    mask = torch.tensor([True, True, False, True]).expand(40_000, -1)
    shares = torch.bincount(sample_action(logits, mask, generator), minlength=4) / 40_000
    expected = torch.tensor([1.0, 0.0, -INF, -1.0]).softmax(0)
    assert shares[2] == 0
    torch.testing.assert_close(shares, expected, atol=0.01, rtol=0)  # four standard errors


@pytest.mark.parametrize("logit", [-1e9, 0.0, 1e9])
def test_sample_action_never_leaves_the_mask(generator, logit):
    mask = torch.rand((2000, 5), generator=generator) < 0.3
    mask[:, 4] = True
    logits = torch.full((2000, 5), logit).masked_fill(mask, -50.0)
    assert mask.gather(1, sample_action(logits, mask, generator)[:, None]).all()


def test_sample_action_draws_from_its_generator_alone():
    logits, mask = torch.zeros(100, 4), torch.ones(100, 4, dtype=torch.bool)
    before = torch.random.get_rng_state()
    first = sample_action(logits, mask, make_generator(1, "test"))
    assert torch.equal(first, sample_action(logits, mask, make_generator(1, "test")))
    assert not torch.equal(first, sample_action(logits, mask, make_generator(2, "test")))
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_row_is_drawn_in_proportion_to_its_weight():
    lots = torch.rand(20_000, generator=make_generator(0, "test"), dtype=torch.float64)
    weight = torch.tensor([0.0, 1, 0, 5, 2, 0]).double()
    shares = draw_row(weight.expand(len(lots), -1), lots).bincount(minlength=6) / len(lots)
    torch.testing.assert_close(shares, (weight / 8).float(), atol=0.01, rtol=0)
    padded = torch.nn.functional.pad(weight, (0, 3)).expand(len(lots), -1)
    assert torch.equal(draw_row(padded, lots), draw_row(weight.expand(len(lots), -1), lots))


def test_no_row_is_drawn_without_weight():
    ends = torch.tensor([0.0, 0.0, 1 - 2**-53]).double()
    weight = torch.tensor([[0.0, 0, 0], [0, 3, 0], [0, 3, 0]]).double()
    assert draw_row(weight, ends).tolist() == [-1, 1, 1]


# --- on one scale ---


def test_z_scores_by_hand():
    utilities = torch.tensor([[1.0, 3.0, 5.0, 7.0, -torch.inf], [2.0, 2.0, -torch.inf, 2.0, 2.0]])
    scores = z_scores(utilities, utilities.isfinite())
    # Mean 4, variance (9 + 1 + 1 + 9) / 4 = 5.
    expected = torch.tensor([-3.0, -1, 1, 3]) / math.sqrt(5)
    torch.testing.assert_close(scores, torch.stack((torch.cat((expected, torch.zeros(1))), torch.zeros(5))))
    assert (z_scores(torch.full((1, 3), 0.1), torch.ones(1, 3, dtype=torch.bool)) == 0).all()
