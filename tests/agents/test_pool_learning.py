"""That learning is real on pools: trained policies beat the heuristics that they begin with, shuffled ones do not."""

import copy
import functools
import math

import pytest
import torch

from almeta.agents import GroupReinforce, PoolScorer
from almeta.agents.agent import Rollout
from almeta.data import load_dataset
from almeta.inputs import Candidates, PoolView
from almeta.seeding import make_generator
from almeta.strategies import make_strategy
from almeta.training.rollout import learning_curves
from tests.agents.pools import make_pool_agent, make_pools, small_scorer
from tests.agents.streams import play_exploring

INPUTS = Candidates()
F, G = len(INPUTS.candidate_names), len(INPUTS.pool_names)


def simulate(datasets, num_envs, seed=0, group=1, budget=10):
    options = {"pool_size": 60, "max_test": 300, "budget": budget, "group": group}
    return make_pools(seed, num_envs, datasets, **options)


def descend(agent, simulation, batches, learning_rate=4e-3, seed=0):
    """Train as the trainer does; return the mean return of each batch."""
    generator = make_generator(seed, "policy")
    optimizer, returns = torch.optim.Adam(agent.parameters(), learning_rate), []
    for _ in range(batches):
        rollout = play_exploring(simulation, agent, generator)
        returns.append(rollout.rewards.sum(0).mean())
        for lesson in agent.lessons(rollout, generator):
            loss, _ = agent.loss(lesson)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(agent.parameters(), 1.0)
            optimizer.step()
    return torch.stack(returns)


def train(datasets, batches, seed=0):
    torch.manual_seed(seed)
    agent = GroupReinforce(functools.partial(PoolScorer, hidden_size=32), Candidates())
    descend(agent, simulate(datasets, 64, seed, group=8), batches, seed=seed)
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
def test_several_epochs_of_ppo_learn_too():
    torch.set_num_threads(1)
    network = small_scorer("RecurrentPoolScorer", hidden_size=32)
    agent = make_pool_agent("PPO", network, update_epochs=4, gamma=0.9, ent_coef=0.003)
    returns = descend(agent, simulate(three_cluster(SEEN), 64), 40)
    assert returns[-10:].mean() > returns[:10].mean() + 0.15
    mean, error = gain(agent, make_strategy("margin"), three_cluster(UNSEEN))
    assert mean > 0.10 and mean > 10 * error, (mean, error)


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
        pool[:, INPUTS.pool_names.index("classes")] = kind.float()
    else:  # a share of the candidates has a high price; one's own price tells less
        high = torch.rand(tasks, 20, generator=generator) < 0.3 + 0.4 * kind[:, None]
        candidates[..., INPUTS.candidate_names.index("price")] = high.float()
    worth = candidates[..., INPUTS.candidate_names.index("entropy")] * (2 * kind[:, None] - 1)
    return tuple(part.repeat_interleave(group, 0) for part in (candidates, pool, worth, kind))


def earned(network, source, seed=1):
    """Mean worth of the best-scored candidates of each kind; by chance .5 and -.5, at best .95 and -.05."""
    candidates, pool, worth, kind = context_bandit(torch.Generator().manual_seed(seed), source, 2000, 1)
    view = PoolView(candidates, pool, torch.ones_like(worth, dtype=torch.bool))
    best = network.step(view, ())[0].argmax(-1, keepdim=True)
    result = worth.gather(1, best).squeeze(1)
    return result[kind == 1].mean().item(), result[kind == 0].mean().item()


@pytest.mark.slow
@pytest.mark.parametrize("source", ["pool", "candidates"])
def test_the_context_alone_tells_what_is_right_and_is_read(source):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    agent = GroupReinforce(functools.partial(PoolScorer, hidden_size=32, prior="none"), INPUTS, ent_coef=0.05)
    optimizer, generator = torch.optim.Adam(agent.parameters(), 4e-3), torch.Generator().manual_seed(0)
    for _ in range(600):
        candidates, pool, worth, _ = context_bandit(generator, source, 512)
        masks = torch.ones_like(worth, dtype=torch.bool)
        logits = agent.act(PoolView(candidates, pool, masks), ())[0].utilities
        actions = agent.explore(logits.detach(), masks, None, generator)
        rewards = worth.gather(1, actions[:, None]).squeeze(1)
        played = Rollout(logits[None], None, masks[None], actions[None], rewards[None], [], group=8)
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
