"""What strategies of pools share, their specs, and how people add their own."""

from dataclasses import replace

import pytest
import torch

import almeta
from almeta.checks import Weight
from almeta.errors import AlmetaError
from almeta.learners import Ridge
from almeta.learners.learner import Samples
from almeta.seeding import make_generator
from almeta.specs import Spec
from almeta.strategies import BatchStrategy, PoolStrategy, make_strategy, strategy_class, strategy_names
from almeta.strategies.density import InformationDensity
from almeta.strategies.uncertainty import Margin
from tests.strategies.pools import make_pools, utilities_of


class Wrong(PoolStrategy):
    """A strategy with a mistake."""

    name = "wrong"

    def __init__(self, scores) -> None:
        self.scores = scores

    def score(self, state):
        return self.scores(state)


@pytest.mark.parametrize(
    ("scores", "says"),
    [
        (
            lambda state: state.probabilities,
            r"strategy wrong returned scores \[2, 14, 3\]; .* a tensor \[E, N\] = \[2, 14\]",
        ),
        (lambda state: state.prices.numpy(), r"strategy wrong returned scores ndarray; they must be a tensor"),
        (lambda state: state.prices / 0, "strategy wrong returned scores that are NaN or infinite"),
        (lambda state: state.prices + torch.inf, "strategy wrong returned scores that are NaN or infinite"),
    ],
)
def test_scores_that_cannot_be_ranked_are_refused(scores, says):
    state = make_pools().state
    with pytest.raises(AlmetaError, match=says):
        Wrong(scores).step(state, ())


def test_scores_of_rows_that_may_not_be_picked_do_not_matter():
    state = make_pools().state
    hidden = torch.zeros_like(state.prices).masked_fill(~state.available, torch.nan)
    assert torch.equal(Wrong(lambda _: hidden).step(state, ())[0].utilities == 0, state.available)


class Cheapest(PoolStrategy):
    """A strategy of one's own."""

    name = "cheapest"

    def __init__(self, weight: Weight = 1.0) -> None:
        self.weight = weight

    def score(self, state):
        return -self.weight * state.prices


# --- what they share ---


def test_a_strategy_has_to_score():
    with pytest.raises(NotImplementedError):
        utilities_of(PoolStrategy(), make_pools().state)


def test_rows_that_are_not_available_have_utility_minus_infinity():
    state = make_pools().state
    utilities = utilities_of(Cheapest(), state)
    assert torch.equal(utilities == -torch.inf, ~state.available)
    assert (utilities[state.available] == 0).all()


def test_who_is_given_no_generator_has_one_of_a_fixed_seed():
    state = make_pools().state
    first, second = (utilities_of(make_strategy("random"), state) for _ in range(2))
    assert torch.equal(first, second)
    given = utilities_of(make_strategy("random", make_generator(5, "test")), state)
    assert not torch.equal(first, given)
    assert torch.equal(given, utilities_of(make_strategy("random", generator=make_generator(5, "test")), state))


class Sampled(PoolStrategy):
    """One that needs dropout."""

    name = "sampled"
    needs = (Samples,)

    def score(self, state):
        return state.model.sample(state.x, 3, self.generator).amax((1, 3))


def test_a_learner_that_cannot_do_what_is_needed_is_refused():
    state = make_pools().state
    assert utilities_of(Sampled(), state).isfinite().any()
    learner = Ridge()
    x, labels, weight = state.labelled_rows()
    model = learner.fit(x, labels, weight, 3)
    message = "strategy sampled needs a learner with dropout, which it can leave on; Ridge has none: choose .* mlp"
    with pytest.raises(AlmetaError, match=message):
        utilities_of(Sampled(), replace(state, learner=learner, model=model))


class Farthest(BatchStrategy):
    """One that chooses the rows of a query by their first feature."""

    name = "farthest"

    def select(self, state, size):
        return state.x[..., 0].masked_fill(~state.available, -torch.inf).topk(size).indices


def test_a_batch_is_chosen_once_and_picked_in_its_order():
    pools = make_pools(labelled=(0, 0))
    pools = replace(pools, state=replace(pools.state, query_size=3))
    expected = Farthest().select(pools.state, 3)
    strategy, memory = Farthest(), Farthest().initial(2)
    for pick in range(3):
        outputs, memory = strategy.step(pools.state, memory)
        assert torch.equal(outputs.utilities.argmax(1), expected[:, pick])
        assert outputs.utilities.amax() == 3 - pick
        pools.state.x[:] = 0  # later looks do not count
        pools = pools.pick(expected[:, pick])
    pools = pools.answer()
    later, memory = strategy.step(pools.state, memory)
    assert (later.utilities[pools.state.available] <= 3).all() and not torch.equal(memory[0], expected)


class Counted(PoolStrategy):
    """One that draws, and counts how often it scores."""

    name = "counted"

    def __init__(self, spreads: bool = False) -> None:
        self.spreads, self.times = spreads, 0

    def score(self, state):
        self.times += 1
        return torch.rand(state.exists.shape, generator=self.generator)


def query(strategy, pools, size):
    """Pick the best row of each pool, `size` times, and return the utilities of all picks, the memory and the pools."""
    memory, said = strategy.initial(2), []
    for _ in range(size):
        outputs, memory = strategy.step(pools.state, memory)
        said.append(outputs.utilities)
        pools = pools.pick(outputs.utilities.argmax(1))
    return said, memory, pools


def test_rows_are_scored_once_a_query():
    strategy = Counted()
    said, memory, pools = query(strategy, make_pools(), 4)
    assert strategy.times == 1
    assert torch.equal(pools.state.pending, said[0].topk(4).indices)
    strategy.step(pools.answer().state, memory)
    assert strategy.times == 2
    utilities_of(strategy, pools.state)  # who comes to a query that has begun scores the rows, too
    assert strategy.times == 3


def test_who_takes_pending_picks_into_account_scores_at_each_pick():
    strategy = Counted(spreads=True)
    _, memory, _ = query(strategy, make_pools(), 4)
    assert strategy.times == 4 and memory == ()


def test_a_committee_and_networks_with_dropout_are_drawn_once_a_query():
    for name in ("bald", "mean_kl", {"name": "information_density", "base": "bald"}):
        first, *others = query(make_strategy(name), make_pools(labelled=(6, 6), seed=1), 4)[0]
        for later in others:
            assert torch.equal(later, first.where(later.isfinite(), -torch.inf))


class Doubled(Margin):
    """One that goes on from the step of another."""

    def step(self, state, memory):
        outputs, memory = super().step(state, memory)
        return outputs._replace(utilities=2 * outputs.utilities), memory


def test_a_step_of_ones_own_may_go_on_from_that_of_another():
    doubled, plain = (query(strategy, make_pools(), 3)[0] for strategy in (Doubled(), Margin()))
    torch.testing.assert_close(doubled, [2 * one for one in plain])


# --- made from specs ---


@pytest.mark.parametrize(
    "given",
    [{"name": "information_density", "beta": 2}, Spec("information_density", (("beta", 2),))],
    ids=["mapping", "spec"],
)
def test_a_strategy_is_made_from_a_spec(given):
    generator = make_generator(0, "test")
    strategy = make_strategy(given, generator)
    assert isinstance(strategy, InformationDensity) and strategy.beta == 2 and strategy.generator is generator
    assert make_strategy(given, beta=3).beta == 3  # type: ignore[attr-defined]
    state = make_pools().state
    expected = utilities_of(InformationDensity(beta=2), state)
    assert torch.equal(utilities_of(strategy, state), expected)
    assert not torch.equal(utilities_of(InformationDensity(), state), expected)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"name": "margn"}, "unknown strategy 'margn'; did you mean 'margin'?"),
        ({"name": "information_density", "bta": 1}, "unknown key of strategy information_density 'bta'; .* 'beta'?"),
        ({"name": "information_density", "beta": -1}, "strategy information_density.beta is -1; .* at least 0"),
        ({"name": "mean_kl", "num_members": [1, 2]}, r"strategy mean_kl.num_members is \(1, 2\); .* whole number"),
        ({"name": "random", "generator": 3}, "unknown key of strategy random 'generator'"),
        ({"beta": 1}, "names no strategy"),
    ],
)
def test_mistakes_in_a_spec_are_told(given, message):
    with pytest.raises(AlmetaError, match=message):
        make_strategy(given)


# --- registered ---


@pytest.mark.usefixtures("fresh_table")
def test_a_strategy_of_ones_own_is_registered_by_its_name():
    before = strategy_names()
    assert almeta.register_strategy(Cheapest) is Cheapest
    assert strategy_names() == sorted([*before, "cheapest"])
    assert strategy_class("cheapest") is Cheapest
    state = make_pools().state
    state.prices[:] = torch.rand(2, 14, generator=make_generator(0, "prices"))
    expected = (-3 * state.prices).masked_fill(~state.available, -torch.inf)
    assert torch.equal(utilities_of(make_strategy({"name": "cheapest", "weight": 3}), state), expected)
    with pytest.raises(AlmetaError, match="strategy cheapest.weight is 'much'; it must be a number"):
        make_strategy("cheapest", weight="much")
    almeta.register_strategy(Cheapest)  # once more changes nothing
    assert strategy_names() == sorted([*before, "cheapest"])


@pytest.mark.usefixtures("fresh_table")
def test_an_option_that_must_be_given():
    @almeta.register_strategy
    class Weighted(PoolStrategy):
        name = "weighted"

        def __init__(self, weight: float) -> None:
            self.weight = weight

        def score(self, state):
            return self.weight * state.prices

    assert make_strategy("weighted", weight=2).weight == 2  # type: ignore[attr-defined]
    with pytest.raises(AlmetaError, match="strategy weighted is not complete: missing a required argument: 'weight'"):
        make_strategy("weighted")


@pytest.mark.usefixtures("fresh_table")
def test_it_is_a_decorator():
    @almeta.register_strategy
    class Dearest(PoolStrategy):
        name = "dearest"

        def score(self, state):
            return state.prices

    assert type(make_strategy("dearest")) is Dearest


@pytest.mark.usefixtures("fresh_table")
def test_a_taken_name_is_refused():
    class Other(PoolStrategy):
        name = "margin"

    class Heir(Margin):
        """Has the name of the one it is derived from."""

    for taken in (Other, Heir):
        with pytest.raises(AlmetaError, match="there is another strategy 'margin' already; choose another name"):
            almeta.register_strategy(taken)
    assert strategy_class("margin") is Margin


class Nameless(PoolStrategy):
    """Forgot its name."""


class Unrelated:
    name = "unrelated"


@pytest.mark.usefixtures("fresh_table")
@pytest.mark.parametrize("wrong", [Nameless, Unrelated, Cheapest(), "cheapest", None], ids=range(5))
def test_what_is_no_strategy_is_refused(wrong):
    before = strategy_names()
    with pytest.raises(AlmetaError, match="is no strategy; derive a class from PoolStrategy and give it a name"):
        almeta.register_strategy(wrong)
    assert strategy_names() == before
