"""Scorers and agents of pools: what they may depend on, what the losses are, and that learning is real."""

import copy
import functools
import math

import numpy as np
import pytest
import torch

from almeta.agents.pool import GroupReinforce, PoolActorCritic, PoolRollout, group_advantages
from almeta.agents.scorers import PoolScorer
from almeta.data import load_dataset
from almeta.envs.pool import PoolSimulation
from almeta.seeding import make_generator
from almeta.strategies import make_strategy
from almeta.strategies.inputs import CANDIDATE_INPUTS, POOL_INPUTS
from almeta.tasks import PoolSampler
from almeta.training.rollout import explore_pools, learning_curves
from tests.strategies.pools import make_pools

F, G = len(CANDIDATE_INPUTS), len(POOL_INPUTS)
AGENTS = (GroupReinforce, PoolActorCritic)
small = functools.partial(PoolScorer, 16)


def scramble(module, seed=0):
    """Random weights everywhere, also in the heads that begin at zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(generator=generator, std=0.3)
    return module


def inputs(*shape, rows=9, seed=0):
    generator = torch.Generator().manual_seed(seed)
    candidates = torch.randn(*shape, rows, F, generator=generator)
    available = torch.rand(*shape, rows, generator=generator) < 0.7
    available[..., 0] = True
    return candidates * available[..., None], torch.randn(*shape, G, generator=generator), available


# --- the scorer ---


def test_reordering_the_candidates_reorders_the_scores():
    scorer = scramble(PoolScorer())
    candidates, pool, available = inputs(4)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(1))
    scores, value = scorer(candidates, pool, available)
    others, same = scorer(candidates[:, order], pool, available[:, order])
    torch.testing.assert_close(others, scores[:, order])
    torch.testing.assert_close(same, value)
    assert scores.std() > 0.1 and value.std() > 0.01


@pytest.mark.parametrize("rows", [1, 2, 50, 1000])
def test_any_number_of_candidates(rows):
    scores, value = scramble(PoolScorer())(*inputs(3, rows=rows))
    assert scores.shape == (3, rows) and value.shape == (3,)
    assert scores.isfinite().all() and value.isfinite().all()


def test_rows_that_are_not_available_make_no_difference_to_others():
    scorer = scramble(PoolScorer())
    candidates, pool, available = inputs(4)
    scores, value = scorer(candidates, pool, available)
    changed, same = scorer(candidates + 5.0 * ~available[..., None], pool, available)
    assert torch.equal(changed[available], scores[available]) and torch.equal(same, value)
    there = available[0]
    shorter, same = scorer(candidates[:1, there], pool[:1], available[:1, there])
    torch.testing.assert_close(shorter[0], scores[0, there])
    torch.testing.assert_close(same[0], value[0])


def test_others_count_through_the_context():
    scorer = scramble(PoolScorer())
    candidates, pool, available = inputs(1)
    available[:] = True
    changed = candidates.clone()
    changed[:, 1:] += 1.0
    assert not torch.allclose(scorer(changed, pool, available)[0][:, 0], scorer(candidates, pool, available)[0][:, 0])


@pytest.mark.parametrize(
    "prior, column, weight", [("margin", "margin", -30.0), ("entropy", "entropy", 30.0), ("none", "margin", 0.0)]
)
def test_the_score_begins_as_the_heuristics(prior, column, weight):
    candidates, pool, available = inputs(4)
    scores, value = PoolScorer(prior=prior)(candidates, pool, available)
    torch.testing.assert_close(scores, weight * candidates[..., CANDIDATE_INPUTS.index(column)], rtol=0, atol=0)
    assert (value == 0).all()


def test_an_untrained_agent_picks_what_margin_picks():
    state, generator = make_pools(sizes=(40, 30)).state, make_generator(0, "test")
    utilities = GroupReinforce(small).utilities(state, generator)
    assert torch.equal(utilities.isfinite(), state.available)
    expected = make_strategy("margin").utilities(state, generator)
    torch.testing.assert_close(utilities[state.available], 30 * expected[state.available])
    assert not utilities.requires_grad


# --- acting ---


def test_predict_takes_the_best_allowed_row_of_one_pool_or_of_many():
    agent = scramble(GroupReinforce(small))
    candidates, pool, available = inputs(5)
    observation = {
        "candidates": candidates.numpy(),
        "pool": pool.numpy(),
        "action_mask": available.to(torch.int8).numpy(),
    }
    rows, memory = agent.predict(observation)
    expected = agent.network(candidates, pool, available)[0].masked_fill(~available, -math.inf).argmax(-1)
    assert rows.tolist() == expected.tolist() and rows.dtype == np.int64 and memory is None
    for e in range(5):
        single, _ = agent.predict({name: value[e] for name, value in observation.items()})
        assert single.shape == () and single == rows[e]
    only = np.zeros((5, 9), np.int8)
    only[:, 4] = 1
    assert agent.predict(observation, action_mask=only)[0].tolist() == [4] * 5


def test_predict_breaks_ties_by_the_generator():
    agent = GroupReinforce(small)  # all margins are alike, and it is level with them
    observation = {"candidates": np.zeros((9, F), np.float32), "pool": np.zeros(G, np.float32)}
    observation["action_mask"] = np.array([0, 1, 1, 0, 1, 1, 0, 0, 0], np.int8)
    generator = make_generator(0, "test")
    assert {int(agent.predict(observation, generator=generator)[0]) for _ in range(100)} == {1, 2, 4, 5}
    assert agent.predict(observation)[0] == 1


# --- losses ---


def rollout(rewards, actions, group=1, values=None, rows=3):
    """Episodes whose scores are level; one row of each is not available."""
    rewards = torch.tensor(rewards)
    masks = torch.ones(*rewards.shape, rows, dtype=torch.bool)
    masks[..., -1] = False
    values = torch.zeros_like(rewards) if values is None else torch.tensor(values)
    logits = torch.zeros(*rewards.shape, rows, requires_grad=True)
    scores = 0.5 + rewards.cumsum(0)
    return PoolRollout(logits, values.requires_grad_(), masks, torch.tensor(actions), rewards, scores, group)


def test_group_advantages_by_hand():
    returns = torch.tensor([[1.0, 3.0, 10.0, 20.0], [0.0, 0.0, 7.0, 7.0]])
    advantages = group_advantages(returns, torch.zeros(2, 4), 2)
    centred = np.array([[-1, 1, -5, 5], [0, 0, 0, 0]])
    np.testing.assert_allclose(advantages, centred / centred.std(), rtol=1e-6)
    assert (group_advantages(torch.rand(4, 3), torch.rand(4, 3), 1) == 0).all()


def test_the_level_before_a_pick_is_taken_out_as_the_other_tasks_have_it():
    before = torch.tensor([[0.0, 2.0, 0.0, 4.0]])
    returns = torch.tensor([[0.0, 6.0, 1.0, 9.0]])  # slopes 3 and 2
    advantages = group_advantages(returns, before, 2)
    rest = np.array([[-1, 1, 2, -2]])  # 6 - 2 * 2 in the first; 8 - 3 * 4 in the second
    np.testing.assert_allclose(advantages, rest / rest.std(), rtol=1e-6)


def test_with_the_level_before_a_pick_taken_out_less_noise_is_left():
    draws = np.random.default_rng(0).normal(size=(2, 5, 800)).astype(np.float32)
    before, effect = torch.from_numpy(draws)
    advantages = group_advantages(effect + 3 * before, before, 8)
    told = np.corrcoef(advantages.ravel(), effect.ravel())[0, 1]
    plain = np.corrcoef(group_advantages(effect + 3 * before, torch.zeros(5, 800), 8).ravel(), effect.ravel())[0, 1]
    assert told > 0.9 and plain < 0.4


def test_reinforce_by_hand():
    played = rollout([[0.1, 0.3], [0.2, -0.1]], [[0, 1], [1, 0]], group=2)
    agent = GroupReinforce(small, gamma=0.5, ent_coef=0.1)
    loss, figures = agent.loss(played)
    # The curves are .1, .3 and .3, .2; their discounted sums .25, .4 and .3, .2.
    centred = np.array([[-0.075, 0.075], [0.05, -0.05]])
    advantages = centred / centred.std()
    entropy = math.log(2)
    assert loss.item() == pytest.approx(entropy * advantages.mean() - 0.1 * entropy, abs=1e-5)
    assert figures["entropy"].item() == pytest.approx(entropy)
    loss.backward()
    expected = np.zeros((2, 2, 3))
    expected[..., 0] = -advantages * np.array([[1, -1], [-1, 1]]) / 2 / 4  # d log softmax = 1/2 or -1/2
    expected[..., 1] = -expected[..., 0]
    np.testing.assert_allclose(played.logits.grad, expected, atol=1e-5)


@pytest.mark.parametrize("agent", AGENTS)
def test_what_gained_more_becomes_likelier(agent):
    played = rollout([[0.3, 0.0, 0.3, 0.0]], [[0, 1, 0, 1]], group=2)
    agent(small).loss(played)[0].backward()
    assert (played.logits.grad[..., 0] < 0).all() and (played.logits.grad[..., 1] > 0).all()
    assert (played.logits.grad[..., 2] == 0).all()  # not available


def test_the_actor_critics_value_moves_to_the_return():
    played = rollout([[0.3, -0.2]], [[0, 1]], values=[[0.1, 0.1]])
    agent = PoolActorCritic(small, vf_coef=2.0)
    loss, figures = agent.loss(played)
    assert figures["value_loss"].item() == pytest.approx((0.2**2 + 0.3**2) / 2, rel=1e-5)
    loss.backward()
    np.testing.assert_allclose(played.values.grad, 2.0 * 2 * np.array([[-0.2, 0.3]]) / 2, rtol=1e-5)


@pytest.mark.parametrize("agent", AGENTS)
def test_a_bonus_for_entropy_levels_the_scores(agent):
    played = rollout([[0.0, 0.0]], [[0, 0]], group=2)
    with torch.no_grad():
        played.logits[..., 0] = 2.0
    agent(small, ent_coef=1.0).loss(played)[0].backward()
    assert (played.logits.grad[..., 0] > 0).all()


def test_figures_of_a_rollout():
    figures = rollout([[0.1, 0.3], [0.2, 0.0]], [[0, 1], [1, 0]]).scalars()
    assert figures["mean_return"].item() == pytest.approx(0.3)
    assert figures["aulc"].item() == pytest.approx((0.6 + 0.8 + 0.8 + 0.8) / 4)


@pytest.mark.parametrize("make", AGENTS)
def test_gradients_reach_every_weight_that_counts(make):
    agent, simulation = make(small), simulate([load_dataset("iris")], 8, group=4, budget=3)
    scramble(agent)
    agent.loss(explore_pools(simulation, agent, make_generator(0, "policy")))[0].backward()
    idle = {name for name, p in agent.named_parameters() if p.grad is None or not p.grad.any()}
    # A constant added to all scores changes nothing, and REINFORCE has no use for values.
    assert idle - {"network.score.bias"} == ({"network.value.weight", "network.value.bias"} & idle)
    assert make is GroupReinforce or not idle - {"network.score.bias"}


# --- learning is real ---


def simulate(datasets, num_envs, seed=0, group=1, budget=10):
    sampler = PoolSampler(datasets, pool_size=60)
    return PoolSimulation(sampler, num_envs, make_generator(seed, "env"), budget=budget, group=group)


def train(datasets, batches, seed=0):
    torch.manual_seed(seed)
    agent, generator = GroupReinforce(functools.partial(PoolScorer, 32)), make_generator(seed, "policy")
    simulation = simulate(datasets, 64, seed, group=8)
    optimizer = torch.optim.Adam(agent.parameters(), 4e-3)
    for _ in range(batches):
        loss, _ = agent.loss(explore_pools(simulation, agent, generator))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(agent.parameters(), 1.0)
        optimizer.step()
    return agent


def aulc(actor, datasets):
    """Of each of 400 tasks, the same for all actors."""
    return learning_curves(simulate(datasets, 400, seed=9), actor, make_generator(9, "judge")).mean(0)


def shuffle_weights(module, seed):
    """A copy with the same weights, each tensor's in another order."""
    generator, other = torch.Generator().manual_seed(seed), copy.deepcopy(module)
    with torch.no_grad():
        for value in other.parameters():
            order = torch.randperm(value.numel(), generator=generator)
            value.copy_(value.flatten()[order].view_as(value))
    return other


def gain(actor, other, datasets):
    """Mean paired difference of the areas, and its standard error."""
    difference = aulc(actor, datasets) - aulc(other, datasets)
    return difference.mean().item(), difference.std().item() / math.sqrt(len(difference))


def three_cluster(seeds):
    return [load_dataset("three-cluster", seed=seed, n=300) for seed in seeds]


def two_corners(seeds):
    """Two skewed clusters, little overlap, many outliers: what is far away tells little, and the border everything."""
    options = {"n": 300, "features": 2, "informative": 2, "separation": 2.0}
    return [load_dataset("classification", seed=seed, **options) for seed in seeds]


SEEN, UNSEEN = range(8), range(100, 116)


@pytest.mark.slow
def test_where_margin_fails_a_trained_policy_does_not_and_its_shuffled_weights_do():
    torch.set_num_threads(1)
    agent, unseen, margin = train(three_cluster(SEEN), 60), three_cluster(UNSEEN), make_strategy("margin")
    mean, error = gain(agent, margin, unseen)
    assert mean > 0.10 and mean > 10 * error, (mean, error)
    for seed in range(3):
        mean, error = gain(shuffle_weights(agent, seed), margin, unseen)
        assert mean < 0.02, (seed, mean, error)


@pytest.mark.slow
def test_on_two_kinds_of_tasks_a_policy_holds_its_own_against_the_better_heuristic_of_each():
    torch.set_num_threads(1)
    margin, core_set = make_strategy("margin"), make_strategy("core_set")
    clusters, corners = three_cluster(UNSEEN), two_corners(UNSEEN)
    assert gain(core_set, margin, clusters)[0] > 0.02  # to explore is right in one kind
    assert gain(margin, core_set, corners)[0] > 0.015  # and wrong in the other
    agent = train(three_cluster(SEEN) + two_corners(SEEN), 80)
    assert gain(agent, core_set, clusters)[0] > 0.05
    assert gain(agent, margin, corners)[0] > -0.003
    other = shuffle_weights(agent, 0)
    assert gain(other, core_set, clusters)[0] < -0.015 or gain(other, margin, corners)[0] < -0.015


def context_bandit(generator, source, episodes=128, group=8):
    """One pick among 20 candidates: in half of the pools the highest entropy is right, in half the lowest.

    Which it is, only the pool's number of classes tells, or only all candidates' prices taken together.
    """
    tasks = episodes // group
    candidates = torch.rand(tasks, 20, F, generator=generator)
    pool = torch.rand(tasks, G, generator=generator)
    kind = torch.randint(2, (tasks,), generator=generator)
    if source == "pool":
        pool[:, POOL_INPUTS.index("classes")] = kind.float()
    else:  # a share of the candidates has a high price; one's own price tells less
        high = torch.rand(tasks, 20, generator=generator) < 0.3 + 0.4 * kind[:, None]
        candidates[..., CANDIDATE_INPUTS.index("price")] = high.float()
    worth = candidates[..., CANDIDATE_INPUTS.index("entropy")] * (2 * kind[:, None] - 1)
    return tuple(part.repeat_interleave(group, 0) for part in (candidates, pool, worth, kind))


def earned(network, source, seed=1):
    """Mean worth of the best-scored candidates of each kind; by chance .5 and -.5, at best .95 and -.05."""
    candidates, pool, worth, kind = context_bandit(torch.Generator().manual_seed(seed), source, 2000, 1)
    best = network(candidates, pool, torch.ones_like(worth, dtype=torch.bool))[0].argmax(-1, keepdim=True)
    result = worth.gather(1, best).squeeze(1)
    return result[kind == 1].mean().item(), result[kind == 0].mean().item()


@pytest.mark.slow
@pytest.mark.parametrize("source", ["pool", "candidates"])
def test_the_context_alone_tells_what_is_right_and_is_read(source):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    agent = GroupReinforce(functools.partial(PoolScorer, 32, prior="none"), ent_coef=0.05)
    optimizer, generator = torch.optim.Adam(agent.parameters(), 4e-3), torch.Generator().manual_seed(0)
    for _ in range(600):
        candidates, pool, worth, _ = context_bandit(generator, source, 512)
        masks = torch.ones_like(worth, dtype=torch.bool)
        logits, values = agent.network(candidates, pool, masks)
        actions = agent.explore(logits.detach(), masks, generator)
        rewards = worth.gather(1, actions[:, None]).squeeze(1)
        played = PoolRollout(
            logits[None], values[None], masks[None], actions[None], rewards[None], scores=rewards[None], group=8
        )
        loss, _ = agent.loss(played)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        high, low = earned(agent.network, source)
        # Whoever always takes the highest earns about .95 and -.95, on average nothing.
        assert (high + low) / 2 > 0.3, (high, low)
        for seed in range(3):
            high, low = earned(shuffle_weights(agent.network, seed), source)
            assert (high + low) / 2 < 0.15, (seed, high, low)
