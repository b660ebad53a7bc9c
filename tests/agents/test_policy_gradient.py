"""The losses of policy gradients by hand, where they compare the episodes of a task or learn a value."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from almeta.agents import PPO, ActorCritic, GroupReinforce, Reinforce
from almeta.agents.agent import Rollout
from almeta.inputs import Candidates
from tests.agents.pools import make_pool_agent, make_pools, small_scorer
from tests.agents.streams import make_agent, make_streams, play_exploring

AGENTS = (GroupReinforce, Reinforce, ActorCritic, PPO)


def agent_of(kind, **options):
    return kind(small_scorer(), Candidates(), **options)


def rollout(rewards, actions, group=1, values=None, rows=3):
    """Episodes whose scores are level; one row of each is not available."""
    rewards = torch.tensor(rewards)
    masks = torch.ones(*rewards.shape, rows, dtype=torch.bool)
    masks[..., -1] = False
    values = torch.zeros_like(rewards) if values is None else torch.tensor(values)
    logits = torch.zeros(*rewards.shape, rows, requires_grad=True)
    return Rollout(logits, values.requires_grad_(), masks, torch.tensor(actions), rewards, [], group=group)


def test_reinforce_by_hand():
    played = rollout([[0.1, 0.3], [0.2, -0.1]], [[0, 1], [1, 0]], group=2)
    agent = agent_of(GroupReinforce, gamma=0.5, ent_coef=0.1)
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
    np.testing.assert_allclose(played.utilities.grad, expected, atol=1e-5)


@pytest.mark.parametrize("agent", AGENTS)
def test_what_gained_more_becomes_likelier(agent):
    played = rollout([[0.3, 0.0, 0.3, 0.0]], [[0, 1, 0, 1]], group=2, values=[[0.15] * 4])
    agent_of(agent).loss(played)[0].backward()
    assert (played.utilities.grad[..., 0] < 0).all() and (played.utilities.grad[..., 1] > 0).all()
    assert (played.utilities.grad[..., 2] == 0).all()  # not available


def test_the_actor_critics_value_moves_to_the_return():
    played = rollout([[0.3, -0.2]], [[0, 1]], values=[[0.1, 0.1]])
    agent = agent_of(ActorCritic, vf_coef=2.0)
    loss, figures = agent.loss(played)
    assert figures["value_loss"].item() == pytest.approx((0.2**2 + 0.3**2) / 2, rel=1e-5)
    loss.backward()
    np.testing.assert_allclose(played.values.grad, 2.0 * 2 * np.array([[-0.2, 0.3]]) / 2, rtol=1e-5)


@pytest.mark.parametrize("agent", AGENTS)
def test_a_bonus_for_entropy_levels_the_scores(agent):
    played = rollout([[0.0, 0.0]], [[0, 0]], group=2)
    with torch.no_grad():
        played.utilities[..., 0] = 2.0
    agent_of(agent, ent_coef=1.0).loss(played)[0].backward()
    assert (played.utilities.grad[..., 0] > 0).all()


def test_figures_of_a_rollout():
    played = rollout([[0.1, 0.3], [0.2, 0.0]], [[0, 1], [1, 0]])
    played.outcomes.extend(SimpleNamespace(score=0.5 + score) for score in played.rewards.cumsum(0))
    figures = make_pools().scalars(played)
    assert figures["mean_return"].item() == pytest.approx(0.3)
    assert figures["aulc"].item() == pytest.approx((0.6 + 0.8 + 0.8 + 0.8) / 4)


# --- the episodes of a task ---


def test_group_reinforce_raises_the_later_points_of_the_curve_or_the_sum_of_rewards():
    played = rollout([[0.1, 0.3], [0.2, -0.1], [0.4, 0.0]], [[0, 1], [1, 0], [0, 1]], group=2)

    def slopes(**options):
        played.utilities.grad = None
        agent_of(GroupReinforce, gamma=0.5, ent_coef=0.0, **options).loss(played)[0].backward()
        return played.utilities.grad[..., 0].numpy()

    def expected(returns):
        centred = returns - returns.mean(1, keepdims=True)
        return -centred / centred.std() * np.array([[1, -1], [-1, 1], [1, -1]]) / 2 / 6

    # The curves are .1, .3, .7 and .3, .2, .2.
    curve = np.array([[0.1 + 0.15 + 0.175, 0.3 + 0.1 + 0.05], [0.3 + 0.35, 0.2 + 0.1], [0.7, 0.2]])
    rewards = np.array([[0.1 + 0.1 + 0.1, 0.3 - 0.05], [0.2 + 0.2, -0.1], [0.4, 0.0]])
    np.testing.assert_allclose(slopes(), expected(curve), atol=1e-6)
    np.testing.assert_allclose(slopes(returns="curve"), expected(curve), atol=1e-6)
    np.testing.assert_allclose(slopes(returns="rewards"), expected(rewards), atol=1e-6)


def test_group_reinforce_looks_as_far_ahead_as_it_is_told():
    played = rollout([[0.1, 0.3], [0.2, -0.1], [0.4, 0.0]], [[0, 1], [1, 0], [0, 1]], group=2)
    agent_of(GroupReinforce, gamma=0.5, ent_coef=0.0, gae_lambda=0.0).loss(played)[0].backward()
    steps = played.rewards.cumsum(0).numpy()  # no other task tells a slope, so that values are 0
    centred = steps - steps.mean(1, keepdims=True)
    expected = -centred / centred.std() * np.array([[1, -1], [-1, 1], [1, -1]]) / 2 / 6
    np.testing.assert_allclose(played.utilities.grad[..., 0], expected, atol=1e-6)


@pytest.mark.parametrize("returns", ["curve", "rewards"])
def test_without_a_group_there_is_nothing_to_compare(returns):
    played = rollout([[0.1, 0.3], [0.2, -0.1]], [[0, 1], [1, 0]])
    agent_of(GroupReinforce, ent_coef=0.0, returns=returns).loss(played)[0].backward()
    assert (played.utilities.grad == 0).all()


def test_the_episodes_of_a_group_share_their_stream():
    simulation = make_streams(num_envs=12, group=4)
    played = play_exploring(simulation, make_agent("GroupReinforce"))
    assert played.group == 4
    for part in vars(simulation.tasks).values():
        tasks = part.unflatten(1, (3, 4))
        assert torch.equal(tasks, tasks[..., :1].expand_as(tasks))
    assert not torch.equal(simulation.tasks.items[:, 0], simulation.tasks.items[:, 4])
    torch.testing.assert_close(played.targets, simulation.tasks.targets, atol=0, rtol=0)
    actions = played.actions.unflatten(1, (3, 4))
    assert (actions != actions[..., :1]).any()  # they act each for itself


def test_the_episodes_of_a_group_share_their_pool():
    simulation = make_pools(num_envs=12, group=4)
    played = play_exploring(simulation, make_pool_agent("GroupReinforce"))
    assert played.group == 4
    for part in (simulation.tasks.x, simulation.tasks.first, simulation.answers.labels, simulation.pool.prices):
        tasks = part.unflatten(0, (3, 4))
        assert torch.equal(tasks, tasks[:, :1].expand_as(tasks))
    assert not torch.equal(simulation.tasks.x[0], simulation.tasks.x[4])
