import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from almeta.errors import AlmetaError
from almeta.learners import Ridge
from almeta.seeding import make_generator
from almeta.strategies import PoolStrategy, make_strategy, register_strategy
from almeta.strategies.choosing import best_action
from almeta.strategies.core_set import CoreSet
from almeta.strategies.portfolio import (
    Albl,
    Blend,
    Schedule,
    chances,
    importance_weighted_accuracy,
    lowest_chance,
    updated,
)
from almeta.strategies.uncertainty import Margin
from tests.strategies.pools import make_pools, utilities_of


def play(strategy, pools, query_sizes, seed=0):
    """Play queries, and yield before each pick the pools, the outputs and the memory after the step."""
    strategy.generator = make_generator(seed, "strategy")
    memory, ties = strategy.initial(len(pools.y)), make_generator(seed, "ties")
    for size in query_sizes:
        pools = replace(pools, state=replace(pools.state, query_size=size))
        for _ in range(size):
            outputs, memory = strategy.step(pools.state, memory)
            yield pools, outputs.utilities, memory
            pools = pools.pick(best_action(outputs.utilities, pools.state.available, ties))
        pools = pools.answer()


# --- schedule ---


def test_a_schedule_changes_after_so_many_picks():
    strategy = Schedule(first="core_set", then={"name": "margin"}, after=3)
    for number, (pools, utilities, _) in enumerate(play(strategy, make_pools(), [1] * 5)):
        assert torch.equal(utilities, utilities_of(CoreSet() if number < 3 else Margin(), pools.state))
        assert not torch.equal(utilities, utilities_of(Margin() if number < 3 else CoreSet(), pools.state))


def test_a_query_is_chosen_by_one_strategy():
    strategy = Schedule(first="core_set", then="margin", after=1)
    for number, (pools, utilities, _) in enumerate(play(strategy, make_pools(), [3, 2])):
        assert torch.equal(utilities, utilities_of(CoreSet() if number < 3 else Margin(), pools.state))


def test_a_batch_strategy_in_a_schedule_keeps_its_batch():
    picks = list(play(Schedule(first="margin", then="badge", after=2), make_pools(labelled=(5, 5), seed=2), [2, 3]))
    chosen = [memory[1][0] for *_, memory in picks[2:]]
    assert chosen[0].shape == (2, 3)
    assert all(torch.equal(one, chosen[0]) for one in chosen)
    for pick, (_, utilities, _) in enumerate(picks[2:]):
        assert torch.equal(utilities.argmax(1), chosen[0][:, pick])


def test_what_is_needed_later_is_missed_at_once():
    state = replace(make_pools().state, learner=Ridge(), model=object())
    with pytest.raises(AlmetaError, match="strategy badge needs a learner with a last linear layer; Ridge has none"):
        utilities_of(Schedule(first="margin", then="badge", after=5), state)
    for kind in (Blend, Albl):
        with pytest.raises(AlmetaError, match="strategy badge needs a learner with a last linear layer"):
            utilities_of(kind(strategies=["margin", "badge"]), state)


def test_what_the_parts_do_is_said_of_the_whole():
    assert not Schedule(first="core_set", then="random").uses_learner
    assert not Schedule(first="core_set", then="margin").uses_learner  # it begins without an opinion of the learner
    assert Schedule(first="margin", then="core_set").uses_learner
    assert Schedule(first="core_set", then="margin", after=0).uses_learner
    assert Blend(strategies=["core_set", "margin"]).uses_learner
    assert Schedule(first="margin", then="core_set").spreads
    assert not Blend(strategies=["margin", "entropy"]).spreads
    assert Albl(strategies=["margin", "entropy"]).spreads


def test_stored_results_know_the_code_of_all_parts():
    """Also of parts of parts: `parts` is what digests of contenders go by."""
    weighed = {"name": "information_density", "base": "margin"}
    strategy = Albl(strategies=[{"name": "schedule", "first": "core_set", "then": weighed}, "random"])
    assert sorted(part.name for part in strategy.parts) == [
        "core_set", "information_density", "margin", "random", "schedule"
    ]  # fmt: skip


# --- blend ---


@pytest.mark.parametrize("weights", [None, [1.0, 0.25]])
def test_a_blend_adds_z_scores_of_open_rows(weights):
    state = make_pools(labelled=(5, 4), seed=3).state
    utilities = utilities_of(Blend(strategies=["margin", {"name": "core_set"}], weights=weights), state)
    for pool in range(2):
        open_rows = state.available[pool].numpy()
        total = np.zeros(open_rows.sum())
        for strategy, weight in zip((Margin(), CoreSet()), weights or [1, 1], strict=True):
            values = utilities_of(strategy, state)[pool].numpy()[open_rows].astype(np.float64)
            total += weight * (values - values.mean()) / values.std()
        assert utilities[pool].numpy()[open_rows] == pytest.approx(total, abs=1e-5)


def test_mistakes_in_strategies_and_weights_are_told():
    with pytest.raises(AlmetaError, match="strategies of blend is empty"):
        make_strategy("blend", strategies=[])
    with pytest.raises(AlmetaError, match="weights of blend has 1 numbers for 2 strategies"):
        make_strategy("blend", strategies=["margin", "entropy"], weights=[1])
    with pytest.raises(AlmetaError, match="unknown strategy 'margn'"):
        make_strategy("albl", strategies=["margn"])
    with pytest.raises(AlmetaError, match="strategy albl.delta is 0; it must be a number above 0, at most 1"):
        make_strategy("albl", delta=0)


# --- the bandit ---


def test_the_bandit_by_hand():
    # Two strategies and eight rounds: p_min = sqrt(ln 2 / 16).
    lowest = math.sqrt(math.log(2) / 16)
    assert lowest_chance(2, 8) == pytest.approx(lowest)
    assert lowest_chance(4, 1) == 0.25
    assert lowest_chance(1, 5) == 0
    weights = torch.tensor([3.0, 1.0])
    expected = [(1 - 2 * lowest) * 0.75 + lowest, (1 - 2 * lowest) * 0.25 + lowest]
    assert chances(weights.log(), 8).tolist() == pytest.approx(expected)
    after = updated(weights.log(), torch.tensor([2.0, 0.0]), torch.tensor([0.8, 0.2]), 8, 0.5)
    bonus = math.sqrt(math.log(2 / 0.5) / 16)
    factors = [math.exp(lowest / 2 * (2 + bonus / 0.8)), math.exp(lowest / 2 * bonus / 0.2)]
    assert after.exp().tolist() == pytest.approx([3 * factors[0], factors[1]])


def test_the_estimated_accuracy_by_hand_and_without_bias():
    correct, importance = torch.tensor([[True, False, True]]), torch.tensor([[2.0, 9.0, 4.0]])
    assert importance_weighted_accuracy(correct, importance, torch.tensor([10]), 3).tolist() == pytest.approx([6 / 30])
    # Drawn with probability q, the rows give the accuracy over all rows on average.
    q, right = torch.tensor([0.5, 0.3, 0.15, 0.05]), torch.tensor([True, False, False, True])
    rows = q.expand(20_000, -1).multinomial(3, replacement=True, generator=make_generator(0, "test"))
    estimates = importance_weighted_accuracy(right[rows], 1 / q[rows], torch.tensor([4]), 3)
    assert float(estimates.mean()) == pytest.approx(0.5, abs=0.02)


def test_without_a_second_pick_of_a_row_the_estimate_is_low_by_what_was_picked():
    """Rows are drawn from those that are left, and all predictions are right: (4 + 3 + 2) / 4 / 3, and not 1."""
    q = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
    rows = q.expand(20_000, -1).multinomial(3, replacement=False, generator=make_generator(0, "test"))
    picked = q[rows]
    chance = picked / (1 - picked.cumsum(1) + picked)
    estimates = importance_weighted_accuracy(torch.ones_like(rows, dtype=torch.bool), 1 / chance, torch.tensor([4]), 3)
    assert float(estimates.mean()) == pytest.approx(0.75, abs=0.02)


def paper(pool, log, budget, names, delta, sizes):
    """ALBL with EXP4.P for one pool, transcribed with weights w and loops; return w before each query.

    `log` has the state, the strategies' utilities and the row picked, of each pick.
    """
    count, rounds = len(names), budget
    p_min = min(1 / count, math.sqrt(math.log(count) / count / rounds))
    w, position, waiting = np.ones(count), 0, 0
    picks: list = []
    before: list = []
    for size in sizes:
        state = log[position][0]
        for row, importance, psi, p in picks[len(picks) - waiting :]:
            reward = sum(
                one * (int(state.probabilities[pool, picked].argmax()) == int(state.labels[pool, picked]))
                for picked, one, _, _ in picks
            ) / (int(state.exists[pool].sum()) * rounds)
            for k in range(count):
                r_hat, v_hat = reward * psi[k][row] * importance, 1 / p[k]
                w[k] *= math.exp(p_min / 2 * (r_hat + v_hat * math.sqrt(math.log(count / delta) / count / rounds)))
        before.append(w.copy())
        for state, utilities, row in log[position : position + size]:
            p = (1 - count * p_min) * w / w.sum() + p_min
            available = state.available[pool].numpy()
            psi = []
            for k, name in enumerate(names):
                wanted = available.copy()
                if name != "random":
                    values = utilities[k][pool].numpy()
                    wanted &= values == values[available].max()
                psi.append(wanted / wanted.sum())
            q = sum(p[k] * psi[k] for k in range(count))
            picks.append((int(row[pool]), 1 / q[int(row[pool])], psi, p))
        position, waiting = position + size, size
    return before


@pytest.mark.parametrize("sizes", [[1] * 6, [3, 2, 1]], ids=["one row", "several rows"])
def test_albl_against_the_papers_bandit(sizes):
    names, delta = ["margin", "core_set", "random"], 0.2
    pools = make_pools(sizes=(30, 24), labelled=(4, 3), seed=5)
    pools = replace(pools, state=replace(pools.state, budget=6))
    log, memories, rows = [], [], []
    for now, utilities, (past, _) in play(Albl(strategies=names, delta=delta), pools, sizes):
        rows = past.rows[:, -1]
        assert torch.equal(utilities.argmax(1), rows)
        log.append((now.state, [utilities_of(make_strategy(name), now.state) for name in names], rows))
        memories.append(past.log_weights)
    for pool in range(2):
        expected = paper(pool, log, 6, names, delta, sizes)
        for query, begin in enumerate(np.cumsum([0, *sizes[:-1]])):
            weights = memories[begin][pool].exp().numpy()
            assert weights == pytest.approx(expected[query], rel=1e-9)
        assert expected[-1].std() > 0.01  # they have learned something


class Certain(PoolStrategy):
    """Wants the row of highest first feature."""

    name = "certain"

    def score(self, state):
        return state.x[..., 0]


@pytest.mark.usefixtures("fresh_table")
def test_rows_are_drawn_from_the_mixed_query_distributions():
    register_strategy(Certain)
    one = make_pools(sizes=(6,), labelled=(1,), columns=(2,), classes=(2,))
    many = replace(
        one.state,
        **{name: getattr(one.state, name).expand(9000, *getattr(one.state, name).shape[1:]) for name in
           ("x", "exists", "available", "labels", "picks", "probabilities", "num_classes", "prices")},
        budget=10_000,
    )  # fmt: skip
    rows = utilities_of(Albl(strategies=["certain", "random"]), many).argmax(1)
    best = int(utilities_of(Certain(), one.state)[0].argmax())
    law = torch.full((6,), 0.1) * one.state.available[0]
    law[best] += 0.5
    torch.testing.assert_close(rows.bincount(minlength=6) / 9000, law, atol=0.02, rtol=0)


def test_utilities_rank_the_other_rows_by_their_chance():
    state = make_pools().state
    utilities = utilities_of(Albl(strategies=["margin", "random"]), state)
    wanted = utilities_of(Margin(), state).argmax(1)
    for pool in range(2):
        drawn, second = utilities[pool].argsort(descending=True)[:2].tolist()
        assert utilities[pool, drawn] > 1
        assert int(wanted[pool]) in (drawn, second)


def test_no_strategy_is_forgotten():
    pools = make_pools(sizes=(60, 60), labelled=(6, 6), classes=(2, 2))
    pools = replace(pools, state=replace(pools.state, budget=20))
    *_, (_, _, (past, _)) = play(Albl(strategies=["margin", "core_set", "random"], delta=0.1), pools, [1] * 20)
    assert past.rows.shape == (2, 20)
    assert past.log_weights.std(1).amin() > 0.01
    assert (chances(past.log_weights, 20) >= lowest_chance(3, 20) - 1e-12).all()
    assert past.gains.shape == (2, 1, 3)  # of the last pick alone


def test_picks_without_an_answer_count_for_nothing():
    pools = make_pools()
    strategy = Albl(strategies=["margin", "random"])
    outputs, memory = strategy.step(pools.state, strategy.initial(2))
    pools = pools.pick(outputs.utilities.argmax(1)).answer()
    state = replace(pools.state, labels=torch.full_like(pools.state.labels, -1))
    _, (past, _) = strategy.step(state, memory)
    assert (past.log_weights == 0).all()
    _, (past, _) = strategy.step(pools.state, memory)
    assert (past.log_weights > 0).all()


def test_padding_does_not_change_what_is_drawn():
    for seed in range(5):
        utilities = []
        for more in ((0, 0, 0), (20, 5, 3)):
            pools = make_pools(more=more)
            pools = replace(pools, state=replace(pools.state, budget=4))
            *_, last = play(Albl(), pools, [1, 2, 1], seed)
            utilities.append(last[1][:, :14])
        torch.testing.assert_close(*utilities)


def test_a_strategy_with_a_memory_works_within():
    batches = {"name": "schedule", "first": "badge", "then": "margin", "after": 4}
    pools = make_pools(labelled=(5, 5), seed=2)
    for now, utilities, (past, memories) in play(Albl(strategies=[batches, "random"]), pools, [2, 2, 2]):
        assert torch.equal(utilities.isfinite(), now.state.available)
        assert memories[0][0][0].shape == (2, 2)  # the batch of `badge`
        assert past.rows.shape[1] == now.state.spent + 1
