"""Pools to ask and to tell: the same as in the simulation, with mistakes told, and nothing of what is hidden."""

import gc
import math
import types
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from almeta.data import load_dataset
from almeta.envs.pool import PoolOptions, PoolSimulation
from almeta.errors import AlmetaError
from almeta.learners import MLP, LogisticRegression, Prototype
from almeta.oracles import Oracle
from almeta.pool import Pool
from almeta.seeding import make_generator
from almeta.strategies import make_strategy
from tests.strategies.pools import make_pools, utilities_of

ORACLES = {"perfect": Oracle(), "any": Oracle(noise=0.2, decline=0.4, price=0.1, spread=0.5)}


def simulate(**options):
    datasets = [load_dataset("iris"), load_dataset("wine")]
    oracle = ORACLES[options.pop("oracle", "perfect")]
    learner = options.pop("learner", None)
    options = {"pool_size": 30, "budget": 7} | options
    return PoolSimulation(datasets, PoolOptions(**options), 6, make_generator(0, "env"), learner, oracle)


def same_pool(simulation):
    """A pool that begins as the simulation's does."""
    tasks = simulation.tasks
    return Pool(
        tasks.x,
        tasks.exists,
        tasks.first,
        tasks.y.gather(1, tasks.first.clamp_min(0)),
        tasks.num_classes,
        simulation.learner,
        prices=simulation.pool.prices,
        budget=simulation.length,
        query_size=simulation.options.query_size,
    )


def assert_same(state, other):
    for field in fields(state):
        mine, theirs = getattr(state, field.name), getattr(other, field.name)
        if field.name == "geometry":
            assert torch.equal(mine.nearest_pick(state.picks), theirs.nearest_pick(other.picks))
        elif field.name == "model":
            assert torch.equal(mine.probabilities(state.x), theirs.probabilities(other.x))
        elif isinstance(mine, Tensor):
            assert torch.equal(mine, theirs), field.name
        else:
            assert mine == theirs, field.name


def small(**options):
    """Two pools of five rows and of three, of two classes and of three; one row of each has a label."""
    settings: dict[str, Any] = {
        "x": torch.tensor([[[0.0], [1.0], [2.0], [3.0], [4.0]], [[0.0], [5.0], [9.0], [0.0], [0.0]]]),
        "exists": torch.tensor([[True] * 5, [True] * 3 + [False] * 2]),
        "picks": torch.tensor([[0], [2]]),
        "labels": torch.tensor([[1], [0]]),
        "num_classes": torch.tensor([2, 3]),
        "learner": Prototype(),
    }
    return Pool(**(settings | options))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"x": torch.zeros(5, 1)}, r"x is \[5, 1\] of torch.float32; it must be a tensor \[E, N, D\] .*x\[None\]"),
        ({"x": torch.zeros(2, 5, 1).double()}, r"x is .*float64; .* of torch.float32 .*x.to\(torch.float32\)"),
        ({"x": torch.full((2, 5, 1), math.nan)}, "x has values that are NaN or infinite; fill them in"),
        ({"x": torch.full((2, 5, 1), -math.inf)}, "x has values that are NaN or infinite; fill them in"),
        ({"x": [[[0.0]]]}, "x is list; it must be a tensor .* use torch.as_tensor"),
        (
            {"exists": torch.ones(2, 4, dtype=torch.bool)},
            r"exists is \[2, 4\] .* must be a tensor \[2, 5\] of torch.bool",
        ),
        ({"exists": torch.ones(2, 5)}, "exists is .* of torch.float32; .* of torch.bool"),
        ({"num_classes": torch.tensor([2])}, r"num_classes is \[1\] .* must be a tensor \[2\] of torch.int64"),
        ({"prices": torch.zeros(2)}, r"prices is \[2\] .* \[2, 5\] of torch.float32"),
        ({"learner": "svc"}, "learner is 'svc'; it must be a Learner: make one with make_learner"),
        ({"learner": Prototype}, "it must be a Learner"),
    ],
)
def test_what_makes_no_pool_is_told(options, message):
    with pytest.raises(AlmetaError, match=message):
        small(**options)


# --- the same as in the simulation ---


@pytest.mark.parametrize("oracle", ORACLES)
def test_told_the_same_answers_its_states_are_those_of_the_simulation(oracle):
    simulation = simulate(oracle=oracle)
    strategy, pool, declined = make_strategy("core_set"), None, 0
    state = simulation.reset()
    pool = same_pool(simulation)
    assert_same(state, pool.state())
    while not simulation.finished:
        rows = utilities_of(strategy, pool.state()).argmax(1)
        simulation.step(rows)
        state = simulation.state()
        answers = state.labels.gather(1, rows[:, None]).squeeze(1)
        declined += int((answers < 0).sum())
        pool.tell(rows, answers)
        assert_same(state, pool.state())
    assert pool.state().spent == 7
    assert (declined > 5) == (oracle == "any")


@pytest.mark.parametrize("oracle", ORACLES)
def test_several_rows_at_once_are_a_query_of_the_simulation(oracle):
    simulation = simulate(oracle=oracle, query_size=3)
    simulation.reset()
    pool, step = same_pool(simulation), same_pool(simulation)
    while not simulation.finished:
        rows = []
        for _ in range(min(3, 7 - simulation.time)):
            rows.append(utilities_of(make_strategy("core_set"), simulation.state()).argmax(1))
            simulation.step(rows[-1])
            assert step.pick(rows[-1]).all()
            if step.pending.shape[1] < min(3, 7 - simulation.time + 1):
                assert_same(simulation.state(), step.state())  # picked and not answered yet
        told = torch.stack(rows, 1)
        answers = simulation.state().labels.gather(1, told)
        assert torch.equal(step.pending, told)
        step.answer(answers)
        pool.tell(told, answers)
        assert_same(simulation.state(), step.state())
        assert_same(simulation.state(), pool.state())


def test_pools_that_run_out_of_rows_go_on_with_the_others():
    pool = small()
    pool.tell(torch.tensor([1, 0]), torch.tensor([0, 2]))
    pool.tell(torch.tensor([3, 1]), torch.tensor([0, 1]))
    assert not pool.state().available[1].any()
    pool.tell(torch.tensor([4, -1]), torch.tensor([1, -1]))
    state = pool.state()
    assert state.picks.tolist() == [[0, 1, 3, 4], [2, 0, 1, -1]]
    assert state.labels.tolist() == [[1, 0, -1, 0, 1], [2, 1, 0, -1, -1]]
    assert state.available.tolist() == [[False, False, True, False, False], [False] * 5]


# --- what a state tells ---


def test_a_state_by_hand():
    prices = torch.arange(10.0).view(2, 5)
    pool = small(prices=prices, budget=4)
    state = pool.state()
    assert (state.budget, state.spent, state.answered) == (4, 0, 1)
    assert torch.equal(state.prices, prices)
    assert torch.equal(state.action_mask, state.available)
    assert state.available.tolist() == [[False, True, True, True, True], [True, True, False, False, False]]
    assert state.labels.tolist() == [[1, -1, -1, -1, -1], [-1, -1, 0, -1, -1]]
    # one class is seen in each pool, and is sure
    assert (state.probabilities[0, :, 1] == 1).all() and (state.probabilities[1, :, 0] == 1).all()

    pool.tell(torch.tensor([4, 0]), torch.tensor([0, 2]))
    state = pool.state()
    assert (state.budget, state.spent, state.answered) == (4, 1, 2)
    near = 1 / (1 + math.exp(3.0**2 - 1.0**2))  # row 1 is at 1 from its own class and at 3 from the other
    assert state.probabilities[0, 1].tolist() == pytest.approx([near, 1 - near, 0])
    assert state.probabilities[0, 2].tolist() == pytest.approx([0.5, 0.5, 0])
    assert state.probabilities[1, :, 1].tolist() == [0] * 5  # a class that was not seen
    x, labels, weight = state.labelled_rows()
    assert x.squeeze(-1).tolist() == [[0, 4], [9, 0]]
    assert labels.tolist() == [[1, 0], [0, 2]] and weight.tolist() == [[1, 1], [1, 1]]


def test_without_prices_and_a_budget_rows_are_free_and_the_smallest_pool_may_be_emptied():
    state = small().state()
    assert torch.equal(state.prices, torch.zeros(2, 5))
    assert state.budget == 2


def test_a_state_stays_as_it_was_when_more_is_told():
    pool = small(budget=3)
    state = pool.state()
    kept = {key: value.clone() for key, value in vars(state).items() if isinstance(value, Tensor)}
    for rows, labels in (([1, 0], [0, 1]), ([2, 1], [1, 1])):
        pool.tell(torch.tensor(rows), torch.tensor(labels))
    for key, value in kept.items():
        assert torch.equal(getattr(state, key), value), key
    assert (state.spent, state.answered) == (0, 1)


def test_a_pool_may_be_told_more_than_its_budget():
    x = torch.arange(12.0).view(1, 12, 1)
    exists = torch.ones(1, 12, dtype=torch.bool)
    none = torch.zeros(1, 0, dtype=torch.int64)
    pool = Pool(x, exists, none, none, torch.tensor([2]), Prototype(), budget=2)
    for row in range(12):
        pool.tell(torch.tensor([row]), torch.tensor([row % 2]))
        state = pool.state()
        assert state.picks.tolist() == [list(range(row + 1))]
        assert (state.spent, state.budget, state.answered) == (row + 1, 2, row + 1)
    assert not state.available.any()
    assert state.labels.tolist() == [[0, 1] * 6]


def test_without_any_label_all_classes_are_alike():
    none = torch.zeros(2, 0, dtype=torch.int64)
    state = small(picks=none, labels=none, learner=LogisticRegression()).state()
    assert state.picks.shape == (2, 0) and state.budget == 3
    alike = torch.tensor([[0.5, 0.5, 0.0], [1 / 3] * 3])  # the first pool has two classes
    torch.testing.assert_close(state.probabilities, alike[:, None].expand(2, 5, 3))


def test_declined_answers_are_picks_without_a_label():
    pool = small(budget=3)
    before = pool.state().probabilities
    pool.tell(torch.tensor([4, 0]), torch.tensor([-1, -1]))
    state = pool.state()
    assert (state.labels >= 0).sum(1).tolist() == [1, 1]
    assert not state.available[0, 4] and not state.available[1, 0]
    assert (state.spent, state.answered) == (1, 2)
    assert state.labelled_rows()[2].tolist() == [[1, 0], [1, 0]]
    assert torch.equal(state.probabilities, before)


def test_first_rows_may_be_without_a_label():
    state = small(picks=torch.tensor([[0, 3], [2, -1]]), labels=torch.tensor([[1, -1], [0, -1]])).state()
    assert state.labels.tolist() == [[1, -1, -1, -1, -1], [-1, -1, 0, -1, -1]]
    assert state.available.tolist() == [[False, True, True, False, True], [True, True, False, False, False]]
    assert state.picks.tolist() == [[0, 3], [2, -1]]
    assert state.spent == 0


def test_picks_wait_for_their_answer():
    pool = small(budget=4)
    probabilities = pool.state().probabilities
    assert pool.pending.shape == (2, 0)
    assert pool.pick(torch.tensor([1, 0])).tolist() == [True, True]
    assert pool.pick(torch.tensor([1, 4])).tolist() == [False, False]  # picked before; pads
    assert pool.pick(torch.tensor([2, -1])).tolist() == [True, False]
    assert pool.pending.tolist() == [[1, -1, 2], [0, -1, -1]]
    state = pool.state()
    assert (state.answered, state.spent) == (1, 3)
    assert torch.equal(state.probabilities, probabilities)
    assert not state.available[0, 1:3].any() and (state.labels[0, 1:3] == -1).all()
    pool.answer(torch.tensor([[0, 1, 1], [2, 1, 1]]))
    state = pool.state()
    assert state.labels.tolist() == [[1, 0, 1, -1, -1], [2, -1, 0, -1, -1]]  # none where nothing was picked
    assert pool.pending.shape == (2, 0)


def test_picks_count_unless_nobody_could_answer():
    pool = small(budget=4)  # with one label each
    assert pool.state().counted_picks.tolist() == [[True], [True]]
    pool.tell(torch.tensor([1, 0]), torch.tensor([-1, 2]))
    pool.pick(torch.tensor([2, 3]))  # row 3 pads the second pool
    assert pool.state().counted_picks.tolist() == [[True, False, True], [True, True, False]]


def test_a_learner_with_chance_draws_from_the_generator():
    def probabilities(seed):
        pool = small(learner=MLP(steps=5), generator=make_generator(seed, "test"))
        pool.tell(torch.tensor([4, 0]), torch.tensor([0, 2]))
        return pool.state().probabilities

    assert torch.equal(probabilities(0), probabilities(0))
    assert not torch.equal(probabilities(0), probabilities(1))


def test_the_learner_begins_where_it_ended():
    starts = []

    class Watched(Prototype):
        def fit(self, x, y, weight, num_classes, start=None, generator=None):
            model = super().fit(x, y, weight, num_classes, start, generator)
            starts.append((start, model))
            return model

    pool = small(learner=Watched())
    pool.tell(torch.tensor([1, 0]), torch.tensor([0, 1]))
    assert starts[0][0] is None and starts[1][0] is starts[0][1] and pool.model is starts[1][1]


def test_labelled_rows_are_those_that_were_answered():
    pools = make_pools(labelled=(3, 2))
    open_rows = [int(available.nonzero()[0]) for available in pools.state.available]
    state = pools.pick(open_rows).state  # the fourth pick has no answer yet
    declined = state.picks[0, 1]
    state.labels[0, declined] = -1
    x, labels, weight = state.labelled_rows()
    assert weight.dtype == torch.float32
    assert weight.tolist() == [[1, 0, 1, 0], [1, 1, 0, 0]]
    for pool, places in ((0, (0, 2)), (1, (0, 1))):
        for place in places:
            row = state.picks[pool, place]
            assert torch.equal(x[pool, place], state.x[pool, row])
            assert labels[pool, place] == pools.y[pool, row]
    assert labels.min() >= 0  # an index wherever the weight is 0, too


def test_no_picks_are_no_rows():
    x, labels, weight = make_pools(labelled=(0, 0)).state.labelled_rows()
    assert x.shape == (2, 0, 3)
    assert labels.shape == weight.shape == (2, 0)


# --- told in other ways ---


def test_a_pool_without_a_label_beside_one_that_has_some():
    none = torch.zeros(2, 0, dtype=torch.int64)
    pool = small(picks=none, labels=none)
    pool.tell(torch.tensor([-1, 1]), torch.tensor([-1, 1]))
    assert pool.state().probabilities[:, 0].tolist() == [[0.5, 0.5, 0.0], [0.0, 1.0, 0.0]]


def test_one_row_is_told_as_a_column_or_by_itself():
    plain, column = small(), small(picks=torch.tensor([0, 2]), labels=torch.tensor([1, 0]))
    plain.tell(torch.tensor([1, 0]), torch.tensor([0, 1]))
    column.tell(torch.tensor([[1], [0]]), torch.tensor([[0], [1]]))
    assert_same(plain.state(), column.state())


def test_to_tell_of_no_row_changes_nothing():
    pool, none = small(), torch.zeros(2, 0, dtype=torch.int64)
    pool.tell(none, none)
    assert_same(pool.state(), small().state())


# --- mistakes ---

FINE = [1, 0]
MISTAKES = {
    "picked before": ([0, 0], FINE, "row 0 was picked before, or pads its pool; choose another one"),
    "padding": ([1, 3], FINE, "row 3 was picked before, or pads its pool; choose another one"),
    "twice": ([[1, 1], [0, 1]], [FINE] * 2, "a row is given twice; name it once"),
    "beyond": ([5, 0], FINE, "row 5 is not in a pool of 5 rows; rows count from 0"),
    "below": ([1, -2], FINE, "row -2 is not in a pool of 5 rows; rows count from 0"),
    "label beyond": (FINE, [2, 0], "label 2 is out of range; labels are 0 to 1 in this pool, or -1 for none"),
    "label beyond the other": (FINE, [1, 3], "label 3 is out of range; labels are 0 to 2 in this pool"),
    "label below": (FINE, [0, -2], "label -2 is out of range"),
    "shapes": ([[1], [0]], FINE, r"rows \[2, 1\] and labels \[2\] must both be \[E\] or \[E, K\], E=2 pools"),
    "too many pools": ([1, 0, 0], [1, 0, 0], r"rows \[3\] and labels \[3\] must both be .* E=2 pools"),
    "too many axes": ([[FINE]] * 2, [[FINE]] * 2, r"rows \[2, 1, 2\] and labels \[2, 1, 2\] must both be"),
    "one number": (1, 1, r"rows \[\] and labels \[\] must both be"),
    "fractions": ([1.0, 0.0], FINE, "rows are torch.float32 and labels torch.int64; both must be torch.int64"),
    "short labels": (FINE, torch.tensor(FINE, dtype=torch.int32), "labels torch.int32; both must be torch.int64"),
}


@pytest.mark.parametrize("rows, labels, message", MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_told_and_change_nothing(rows, labels, message):
    pool = small()
    with pytest.raises(AlmetaError, match=message):
        pool.tell(torch.as_tensor(rows), torch.as_tensor(labels))
    assert_same(pool.state(), small().state())


def test_nothing_is_told_while_picks_wait():
    pool = small()
    pool.pick(torch.tensor([1, 0]))
    pool.pick(torch.tensor([2, 1]))
    with pytest.raises(AlmetaError, match=r"2 picks wait for their answer; give it with answer\(\)"):
        pool.tell(torch.tensor([3, -1]), torch.tensor([0, -1]))
    pool.answer(torch.tensor([[0, 1], [1, 1]]))
    pool.tell(torch.tensor([3, -1]), torch.tensor([0, -1]))
    assert pool.state().labels[0].tolist() == [1, 0, 1, 0, -1]


def test_answers_are_as_many_as_wait():
    pool = small()
    pool.pick(torch.tensor([1, 0]))
    pool.pick(torch.tensor([2, 1]))
    for wrong in (torch.tensor([[0], [1]]), torch.tensor([0, 1])):  # neither is spread over the picks
        with pytest.raises(AlmetaError, match=r"2 picks of 2 pools wait; labels must be \[2, 2\], not \["):
            pool.answer(wrong)


FIRST_MISTAKES = {
    "beyond": ({"picks": torch.tensor([[5], [2]])}, "row 5 is not in a pool of 5 rows"),
    "padding": ({"picks": torch.tensor([[0], [4]])}, "row 4 was picked before, or pads its pool"),
    "twice": ({"picks": torch.tensor([[0, 0], [1, 2]]), "labels": torch.zeros(2, 2).long()}, "a row is given twice"),
    "label": ({"labels": torch.tensor([[2], [0]])}, "label 2 is out of range; labels are 0 to 1"),
    "shapes": ({"labels": torch.tensor([1, 0])}, r"rows \[2, 1\] and labels \[2\]"),
}


@pytest.mark.parametrize("options, message", FIRST_MISTAKES.values(), ids=FIRST_MISTAKES)
def test_mistakes_in_first_labels_are_told(options, message):
    with pytest.raises(AlmetaError, match=message):
        small(**options)


# --- several annotators ---


def test_a_row_may_be_asked_again_once_it_is_answered():
    x, exists = torch.randn(1, 3, 2).repeat_interleave(2, 1), torch.ones(1, 6, dtype=torch.bool)
    first = torch.tensor([[0]])
    pool = Pool(x, exists, first, first * 0, torch.tensor([2]), LogisticRegression(), query_size=2, annotators=2)

    def marks():
        state = pool.state()
        assert state.again is not None
        return ["".join("-+"[bool(value)] for value in mask[0]) for mask in (state.available, state.again)]

    assert marks() == ["--++++", "-+----"]
    assert pool.pick(torch.tensor([3])).all()
    assert marks() == ["----++", "-+----"]  # what waits for its answer is not asked again
    assert not pool.pick(torch.tensor([3])).any()
    pool.answer(torch.tensor([[1, -1]]))
    assert marks() == ["----++", "-++---"]
    pool.tell(torch.tensor([2]), torch.tensor([0]))  # both answers count
    rows, labels, weight = pool.state().labelled_rows()
    assert labels[0, weight[0] > 0].tolist() == [0, 1, 0]
    assert torch.equal(rows[0, 1], rows[0, -1])
    assert pool.state().action_mask[0].tolist() == [False, True, False, False, True, True]
    alone = Pool(x, exists, first, first * 0, torch.tensor([2]), LogisticRegression())
    assert alone.state().again is None
    assert torch.equal(alone.state().action_mask, alone.state().available)


# --- nothing hidden is in it ---


def reachable(thing):
    """All objects that can be reached from one by attributes, elements and closures; code and classes left out."""
    seen, queue = {}, [thing]
    while queue:
        one = queue.pop()
        if id(one) in seen or isinstance(one, (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType)):
            continue
        seen[id(one)] = one
        queue += gc.get_referents(one)
    return list(seen.values())


def memory(tensors):
    return {tensor.untyped_storage().data_ptr() for tensor in tensors if tensor.numel()}


def leaks(thing, simulation):
    """Whether tasks, answers or test rows can be reached, themselves or as a copy of what was not told."""
    found = reachable(thing)
    tensors = [one for one in found if isinstance(one, Tensor)]
    tasks, answers = simulation.tasks, simulation.answers
    of_oracle = [answers.labels, answers.mistakes, answers.stamina, answers.region]
    hidden = memory([tasks.y, tasks.test_x, tasks.test_y, tasks.test_exists, *of_oracle])
    open_rows = simulation.state().available
    copies = any(
        one.shape == tasks.y.shape and torch.equal(one[open_rows].double(), kept[open_rows].double())
        for one in tensors
        for kept in (tasks.y, answers.labels)
    )
    return copies or bool(hidden & memory(tensors)) or any(one is tasks or one is simulation for one in found)


def test_neither_test_rows_nor_hidden_labels_can_be_reached():
    simulation = simulate(query_size=2, learner=LogisticRegression())
    simulation.reset()
    for _ in range(5):  # with a pick that waits for its answer
        simulation.step(simulation.state().available.float().argmax(1))
        for known in (simulation.pool, simulation.state()):
            assert not leaks(known, simulation)
    # what would be found
    assert leaks(simulation, simulation)
    assert leaks([simulation.tasks.test_x[:1]], simulation)
    simulation.pool.extra = {"labels": [simulation.tasks.y.clone()]}
    assert leaks(simulation.pool, simulation)


def test_hidden_labels_and_test_rows_change_nothing_of_what_is_known():
    simulation, other = simulate(), simulate()
    simulation.reset()
    tasks = simulation.tasks
    first = torch.zeros_like(tasks.exists).scatter(1, tasks.first.clamp_min(0), tasks.first >= 0)
    swapped = torch.where(first, tasks.y, (tasks.y + 1) % tasks.num_classes[:, None])
    other.reset(replace(tasks, y=swapped, test_x=tasks.test_x + 1, test_y=tasks.test_y.flip(1)))
    assert_same(simulation.state(), other.state())
