"""What strategies share that are built on another."""

import pytest
import torch

from almeta.errors import AlmetaError
from almeta.learners import Ridge
from almeta.learners.learner import Samples
from almeta.seeding import make_generator
from almeta.strategies import PoolStrategy, make_strategy, register_strategy
from almeta.strategies.based import BasedStrategy
from almeta.strategies.uncertainty import Margin, entropy, margin
from tests.strategies.pools import make_pools


class Cheap(PoolStrategy):
    """Scores that are below 0 without a known bound, for learners with dropout."""

    name = "cheap_of_tests"

    def score(self, state):
        return -3 - state.x[..., 0].abs()


class Sampled(Cheap):
    name = "sampled_of_tests"
    needs = (Samples,)


def test_scores_of_at_least_0():
    state = make_pools().state
    zero = torch.zeros(())
    plain = BasedStrategy("entropy").informativeness(state)
    assert torch.equal(plain, entropy(state.probabilities).where(state.available, zero))
    shifted = BasedStrategy("margin").informativeness(state)
    assert torch.equal(shifted, (1 + margin(state.probabilities)).where(state.available, zero))


def test_a_balanced_margin_counts_from_0_already():
    state = make_pools().state
    expected = Margin(balance=1).score(state).where(state.available, torch.zeros(()))
    found = BasedStrategy({"name": "margin", "balance": 1}).informativeness(state)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("name", ["best_annotator", "ask_again"])
def test_who_judges_classes_takes_no_base_for_numbers(name):
    message = f"strategy {name} is for classes, and base=predictive_variance for numbers; name another .* margin"
    with pytest.raises(AlmetaError, match=message):
        make_strategy({"name": name, "base": "predictive_variance"})
    strategy = make_strategy({"name": name, "base": "core_set"})  # for both
    assert strategy.targets == ("classes",)
    with pytest.raises(AlmetaError, match=f"strategy {name} is for classes, and targets are numbers"):
        strategy.check(make_pools(numbers=True).state)


def test_targets_are_those_of_the_base_else():
    assert make_strategy({"name": "per_price", "base": "core_set"}).targets == ("classes", "numbers")
    assert make_strategy({"name": "per_price", "base": "predictive_variance"}).targets == ("numbers",)


@pytest.mark.usefixtures("fresh_table")
def test_scores_without_a_known_bound_are_moved_by_the_lowest_of_the_pool():
    register_strategy(Cheap)
    state = make_pools().state
    size = state.x[..., 0].abs()
    for pool in range(2):
        available = state.available[pool]
        expected = (size[pool, available].max() - size[pool]).where(available, 0.0)
        torch.testing.assert_close(BasedStrategy("cheap_of_tests").informativeness(state)[pool], expected)


@pytest.mark.usefixtures("fresh_table")
def test_what_holds_of_the_base_holds_of_it():
    register_strategy(Sampled)
    assert BasedStrategy("core_set").spreads and not BasedStrategy("core_set").uses_learner
    assert not BasedStrategy("margin").spreads and BasedStrategy("margin").uses_learner
    state = make_pools().state
    random = BasedStrategy("random")
    random.generator = make_generator(5, "test")
    expected = make_strategy("random", make_generator(5, "test")).score(state)
    assert torch.equal(random.informativeness(state)[state.available], expected[state.available])
    x, labels, weight = state.labelled_rows()
    model = Ridge().fit(x, labels, weight, 3)
    object.__setattr__(state, "model", model)
    with pytest.raises(AlmetaError, match="strategy sampled_of_tests needs a learner with dropout"):
        BasedStrategy("sampled_of_tests").informativeness(state)


def test_its_parts_are_all_strategies_below_it():
    nested = BasedStrategy({"name": "information_density", "base": {"name": "mean_kl", "num_members": 3}})
    assert [one.name for one in nested.parts] == ["information_density", "mean_kl"]
    assert make_strategy("margin").parts == []
    with pytest.raises(AlmetaError, match="unknown strategy 'margn'; did you mean 'margin'"):
        BasedStrategy("margn")
