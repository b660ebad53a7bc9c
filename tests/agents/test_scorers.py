"""Networks of pools: what scores may depend on, where they begin, and what the recurrent one remembers."""

import dataclasses
import functools

import pytest
import torch

from almeta.agents import GroupReinforce, PoolScorer
from almeta.errors import AlmetaError
from almeta.inputs import Candidates, LookAheadCandidates, PoolView
from almeta.strategies import make_strategy
from tests.agents.pools import POOL_NETWORKS, scramble, small_scorer
from tests.strategies.pools import make_pools, utilities_of

INPUTS = Candidates()
F, G = len(INPUTS.candidate_names), len(INPUTS.pool_names)

SCORERS = {name: network for name, network in POOL_NETWORKS.items() if issubclass(network, PoolScorer)}
every_scorer = pytest.mark.parametrize("name", SCORERS)


def make(name, **options):
    return scramble(SCORERS[name](INPUTS, **options))


def views(*shape, rows=9, seed=0):
    """What is read of pools `shape`, of which some rows may not be picked."""
    generator = torch.Generator().manual_seed(seed)
    candidates = torch.randn(*shape, rows, F, generator=generator)
    available = torch.rand(*shape, rows, generator=generator) < 0.7
    available[..., 0] = True
    return PoolView(candidates * available[..., None], torch.randn(*shape, G, generator=generator), available)


def score(scorer, view, memory=None):
    """Scores and value at one step, without memory at the first."""
    return scorer.step(view, scorer.initial(len(view.pool)) if memory is None else memory)[:2]


# --- every scorer ---


@every_scorer
def test_reordering_the_candidates_reorders_the_scores(name):
    scorer, view = make(name), views(4)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(1))
    scores, value = score(scorer, view)
    others, same = score(scorer, PoolView(view.candidates[:, order], view.pool, view.action_mask[:, order]))
    torch.testing.assert_close(others, scores[:, order])
    torch.testing.assert_close(same, value)
    assert scores.std() > 0.1 and value.std() > 0.01


@every_scorer
@pytest.mark.parametrize("rows", [1, 2, 50, 1000])
def test_any_number_of_candidates(name, rows):
    scores, value = score(make(name), views(3, rows=rows))
    assert scores.shape == (3, rows) and value.shape == (3,)
    assert scores.isfinite().all() and value.isfinite().all()


@every_scorer
def test_rows_that_are_not_available_make_no_difference_to_others(name):
    scorer, view = make(name), views(4)
    candidates, pool, available = view.candidates, view.pool, view.action_mask
    scores, value = score(scorer, view)
    changed, same = score(scorer, PoolView(candidates + 5.0 * ~available[..., None], pool, available))
    assert torch.equal(changed[available], scores[available]) and torch.equal(same, value)
    there = available[0]
    shorter, same = score(scorer, PoolView(candidates[:1, there], pool[:1], available[:1, there]))
    torch.testing.assert_close(shorter[0], scores[0, there])
    torch.testing.assert_close(same[0], value[0])


@every_scorer
def test_others_count_through_the_context(name):
    scorer, view = make(name), views(1)
    view.action_mask[:] = True
    changed = view.candidates.clone()
    changed[:, 1:] += 1.0
    others = score(scorer, dataclasses.replace(view, candidates=changed))[0]
    assert not torch.allclose(others[:, 0], score(scorer, view)[0][:, 0])


@every_scorer
@pytest.mark.parametrize(
    "prior, column, weight", [("margin", "margin", -30.0), ("entropy", "entropy", 30.0), ("none", "margin", 0.0)]
)
def test_the_score_begins_as_the_heuristics(name, prior, column, weight):
    view = views(4)
    scores, value = score(SCORERS[name](INPUTS, prior=prior), view)
    expected = weight * view.candidates[..., INPUTS.candidate_names.index(column)]
    torch.testing.assert_close(scores, expected, rtol=0, atol=0)
    assert (value == 0).all()


@every_scorer
def test_the_weight_of_the_heuristic(name):
    view = views(4)
    scores, _ = score(SCORERS[name](INPUTS, prior="entropy", prior_weight=7.0), view)
    expected = 7.0 * view.candidates[..., INPUTS.candidate_names.index("entropy")]
    torch.testing.assert_close(scores, expected, rtol=0, atol=0)
    assert (score(SCORERS[name](INPUTS, prior_weight=0.0), view)[0] == 0).all()


@every_scorer
def test_an_untrained_agent_says_what_margin_says(name):
    state = make_pools(sizes=(40, 30)).state
    agent = GroupReinforce(small_scorer(name), INPUTS)
    utilities = utilities_of(agent, state)
    assert utilities.isfinite().all()  # who chooses minds the mask
    expected = utilities_of(make_strategy("margin"), state)
    torch.testing.assert_close(utilities[state.available], 30 * expected[state.available])


@every_scorer
@pytest.mark.parametrize("prior, options", [("look_ahead", {}), ("look_ahead_and_margin", {"margin": 1.0})])
def test_an_untrained_agent_chooses_as_the_look_ahead(name, prior, options):
    state = make_pools(sizes=(40, 30)).state
    network = functools.partial(SCORERS[name], prior=prior, prior_weight=2.0)
    utilities = utilities_of(GroupReinforce(network, LookAheadCandidates()), state)
    rule = utilities_of(make_strategy({"name": "look_ahead", **options}), state).masked_fill(~state.available, -1e9)
    assert torch.equal(utilities.masked_fill(~state.available, -1e9).argmax(1), rule.argmax(1))


@every_scorer
def test_a_prior_that_the_inputs_lack_is_refused(name):
    with pytest.raises(AlmetaError, match=r"network.prior is 'look_ahead', but the inputs have no 'look-ahead'; set"):
        SCORERS[name](INPUTS, prior="look_ahead")


@every_scorer
def test_sizes(name):
    scorer = make(name, hidden_size=5)
    assert [layer.out_features for layer in scorer.embed if isinstance(layer, torch.nn.Linear)] == [5, 5]
    assert scorer.embed[0].in_features == F + G


# --- the recurrent one ---


recurrent = functools.partial(make, "RecurrentPoolScorer", hidden_size=6)


def run(scorer, steps, memory=None):
    """Scores `[T, E, N]` and values `[T, E]` of views one after the other."""
    memory, scores, values = memory or scorer.initial(len(steps[0].pool)), [], []
    for view in steps:
        step, value, memory = scorer.step(view, memory)
        scores.append(step)
        values.append(value)
    return torch.stack(scores), torch.stack(values)


def test_memory_has_the_size_of_the_layers():
    hidden, cell = recurrent().initial(3)
    assert hidden.shape == cell.shape == (3, 6)
    assert not hidden.any() and not cell.any()


def test_what_was_seen_changes_what_is_said_later():
    scorer, steps = recurrent(), [views(4, seed=seed) for seed in range(3)]
    scores, values = run(scorer, steps)
    others, other_values = run(scorer, [views(4, seed=9), *steps[1:]])
    assert not torch.allclose(others[2], scores[2], atol=1e-3)
    assert not torch.allclose(other_values[2], values[2], atol=1e-4)
    plain = make("PoolScorer", hidden_size=6)
    assert torch.equal(run(plain, [views(4, seed=9), *steps[1:]])[0][1:], run(plain, steps)[0][1:])


def test_a_start_empties_the_memory_of_its_episode_alone():
    scorer, steps = recurrent(), [views(4, seed=seed) for seed in range(4)]
    begins = torch.tensor([False, True, False, True])
    restarted = [*steps[:2], dataclasses.replace(steps[2], start=begins), steps[3]]
    whole, _ = run(scorer, steps)
    second, second_values = run(scorer, steps[2:])
    scores, together = run(scorer, restarted)
    torch.testing.assert_close(scores[:2], whole[:2])
    torch.testing.assert_close(scores[2:, begins], second[:, begins])
    torch.testing.assert_close(together[2:, begins], second_values[:, begins])
    torch.testing.assert_close(scores[2:, ~begins], whole[2:, ~begins])
    assert not torch.allclose(scores[2:, begins], whole[2:, begins], atol=1e-3)


def test_rows_that_pad_leave_no_trace_in_memory():
    scorer, steps = recurrent(), [views(2, seed=seed) for seed in range(3)]
    nothing = torch.zeros(2, 5, F), torch.zeros(2, 5, dtype=torch.bool)
    padded = [
        PoolView(torch.cat((view.candidates, nothing[0]), 1), view.pool, torch.cat((view.action_mask, nothing[1]), 1))
        for view in steps
    ]
    torch.testing.assert_close(run(scorer, padded)[0][..., :9], run(scorer, steps)[0])
    torch.testing.assert_close(run(scorer, padded)[1], run(scorer, steps)[1])


def test_gradients_reach_what_was_seen_before_and_stop_at_a_start():
    steps = [views(2, seed=seed) for seed in range(3)]
    steps[2] = dataclasses.replace(steps[2], start=torch.tensor([True, False]))
    steps[0].candidates.requires_grad_()
    run(recurrent(), steps)[0][2].sum().backward()
    grad = steps[0].candidates.grad
    assert (grad[0] == 0).all() and (grad[1][steps[0].action_mask[1]] != 0).any()
    assert (grad[~steps[0].action_mask] == 0).all()
