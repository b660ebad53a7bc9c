"""Whom to ask: what an answer tells, how skilled annotators seem, and what is chosen for its price."""

import math
from dataclasses import replace

import pytest
import torch

from almeta.errors import AlmetaError
from almeta.seeding import make_generator
from almeta.strategies import make_strategy
from almeta.strategies.annotators import BestAnnotator, PerPrice, estimated_skill, information
from almeta.strategies.second_opinion import held_out_probabilities
from almeta.strategies.uncertainty import margin
from tests.strategies.pools import make_pools, utilities_of
from tests.strategies.test_second_opinion import again, asked_of_two


def capacity(s, classes):
    """The mutual information of a uniform class and the answer, summed over all pairs of them."""
    total = 0.0
    for true in range(classes):
        for told in range(classes):
            p = s if told == true else (1 - s) / (classes - 1)
            total += p / classes * math.log(p * classes) if p > 0 else 0.0
    return total


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_the_information_of_an_answer(classes):
    skills = [1 / classes, 0.4 + 0.6 / classes, 0.95, 1.0]
    found = information(torch.tensor([skills], dtype=torch.float64), torch.tensor([classes]))
    assert found[0].tolist() == pytest.approx([capacity(s, classes) for s in skills], abs=1e-12)
    assert found[0, 0] == pytest.approx(0, abs=1e-12)
    assert found[0, 3] == pytest.approx(math.log(classes))
    assert information(torch.tensor([[0.1]]), torch.tensor([2])).item() == 0  # worse than guessing
    assert information(torch.tensor([[0.7]]), torch.tensor([1])).item() == pytest.approx(0, abs=1e-6)  # nothing to ask


def skill_by_hand(answers, classes, rounds=20):
    """Expectation and maximisation for one annotator, of the probabilities p of its answers."""
    skill = 0.8
    for _ in range(rounds):
        right = [skill * p / (skill * p + (1 - skill) * (1 - p) / (classes - 1)) for p in answers]
        skill = (sum(right) + 0.8 * 2) / (len(answers) + 2)
    return skill


def test_skills_by_expectation_and_maximisation():
    p = torch.tensor([[0.9, 0.2, 0.7, 0.95, 0.1], [0.3, 0.6, 0.9, 0.5, 0.5]])
    who = torch.tensor([[0, 1, 0, 1, 1], [0, 0, 1, -1, -1]])
    counted = (who[..., None] == torch.arange(3)).float()
    skill, number = estimated_skill(p, counted, torch.tensor([2, 4]))
    assert number.tolist() == [[2, 3, 0], [2, 1, 0]]
    for pool, classes in enumerate((2, 4)):
        for annotator in range(3):
            own = p[pool][who[pool] == annotator].tolist()
            assert skill[pool, annotator].item() == pytest.approx(skill_by_hand(own, classes), abs=1e-6)
    # Answers about which nothing is known leave the belief where it is.
    nothing = torch.full((1, 4), 1 / 3)
    assert estimated_skill(nothing, torch.ones(1, 4, 1), torch.tensor([3]))[0].item() == pytest.approx(0.8)


def test_good_annotators_are_told_from_bad_ones():
    generator = make_generator(0, "test")
    true = torch.rand(1, 8000, generator=generator) < 0.5
    right = torch.rand(1, 8000, generator=generator)
    who = torch.arange(8000) % 2
    said = true ^ (right > torch.tensor([0.9, 0.6])[who])
    sure = 0.5 + 0.4 * torch.rand(1, 8000, generator=generator)  # of a classifier that is right as often as it says
    agrees = torch.rand(1, 8000, generator=generator) < sure
    chances = torch.where(said == (true == agrees), sure, 1 - sure)
    skill, _ = estimated_skill(chances, (who[None, :, None] == torch.arange(2)).float(), torch.tensor([2]))
    assert skill[0].tolist() == pytest.approx([0.9, 0.6], abs=0.05)


def with_prices(state, prices):
    return replace(state, prices=torch.tensor(prices).repeat(len(state.x), state.x.shape[1] // len(prices)))


def test_the_score_per_price():
    state = asked_of_two(make_pools(labelled=(5, 4)))
    prices = torch.rand(state.prices.shape, generator=make_generator(0, "test")) + 0.5
    chosen = utilities_of(make_strategy(PerPrice(base="margin").name, base="margin"), replace(state, prices=prices))
    expected = (1 + margin(state.probabilities)) / prices
    assert torch.equal(chosen, expected.masked_fill(~state.available, -torch.inf))


@pytest.mark.parametrize(
    "prices, per_price, chosen",
    # Information 0.495 and 0.193 of skills 0.95 and 0.8: the first is worth 2.57 times the price of the second.
    [([2.5, 1.0], True, 0), ([2.6, 1.0], True, 1), ([9.0, 1.0], False, 0), ([0.0, 0.0], True, 0)],
)
def test_the_annotator_who_tells_most_for_the_price_is_asked(prices, per_price, chosen):
    state = with_prices(asked_of_two(make_pools(labelled=(5, 4), classes=(2, 2))), prices)
    strategy = make_strategy("best_annotator", base="margin", skills=[0.95, 0.8], per_price=per_price)
    best = utilities_of(strategy, state).argmax(1)
    assert (best % 2).tolist() == [chosen] * 2
    row = utilities_of(make_strategy("margin"), state).argmax(1) // 2
    assert torch.equal(best // 2, row)


def test_skills_are_those_of_answers_to_what_was_asked():
    state = again(asked_of_two(make_pools(labelled=(9, 8), classes=(2, 2))), 0, 3, 1)
    probabilities = held_out_probabilities(state, make_generator(0, "test"))
    plain, bold = (BestAnnotator(optimism=optimism).skill(state) for optimism in (0.0, 2.0))
    for pool in range(2):
        for annotator in range(2):
            own = []
            for column, pick in enumerate(state.picks[pool].tolist()):
                if column and pick >= 0 and pick % 2 == annotator:  # the first label is nobody's
                    own.append(probabilities[pool, column, state.labels[pool, pick]].item())
            skill = skill_by_hand([p for p in own if p > 0], 2)
            assert plain[pool, annotator].item() == pytest.approx(skill, abs=1e-5)
            error = math.sqrt(skill * (1 - skill) / (len([p for p in own if p > 0]) + 2))
            assert bold[pool, annotator].item() == pytest.approx(min(1, skill + 2 * error), abs=1e-5)


def test_mistakes_are_told():
    with pytest.raises(AlmetaError, match="best_annotator.skills has 3 numbers, and there are 2 annotators"):
        utilities_of(make_strategy("best_annotator", skills=[0.9, 0.8, 0.7]), asked_of_two(make_pools()))
    with pytest.raises(AlmetaError, match="strategy best_annotator.optimism is -1"):
        make_strategy("best_annotator", optimism=-1)
