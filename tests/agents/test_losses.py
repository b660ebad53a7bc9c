"""The losses against numbers worked out by hand, and against plain loops."""

import math

import numpy as np
import pytest
import torch

from almeta.agents.losses import (
    clipped_surrogate,
    discounted_returns,
    gae_advantages,
    group_advantages,
    masked_entropy,
    masked_log_probs,
    normalised,
    td_errors,
)
from almeta.seeding import make_generator


@pytest.fixture
def episode():
    """Q of the actions taken, the best Q at each step, rewards: three steps of one episode."""
    values = torch.tensor([[0.5], [1.0], [-2.0]], requires_grad=True)
    best = torch.tensor([[9.0], [2.0], [3.0]], requires_grad=True)
    rewards = torch.tensor([[-0.05], [1.0], [-1.0]])
    return values, best, rewards


def random_episodes(seed, steps=7, envs=3):
    generator = make_generator(seed, "test")
    return torch.randn((2, steps, envs), generator=generator, dtype=torch.float64)


def test_td_errors_by_hand(episode):
    values, best, rewards = episode
    errors = td_errors(values, best, rewards, gamma=0.5)
    # 0.5 - (-0.05 + 0.5 * 2),  1 - (1 + 0.5 * 3); the last step has no term
    torch.testing.assert_close(errors, torch.tensor([[-0.45], [-1.5]]))


def test_td_errors_terminal_adds_the_last_reward_alone(episode):
    values, best, rewards = episode
    errors = td_errors(values, best, rewards, gamma=0.5, terminal=True)
    torch.testing.assert_close(errors, torch.tensor([[-0.45], [-1.5], [-1.0]]))  # -2 - (-1)


@pytest.mark.parametrize("through_target, expected", [(True, [[0.0], [0.45], [1.5]]), (False, [[0.0], [0.0], [0.0]])])
def test_td_errors_gradient_goes_through_the_target_or_not(episode, through_target, expected):
    values, best, rewards = episode
    errors = td_errors(values, best, rewards, gamma=0.5, through_target=through_target)
    target_grad, value_grad = torch.autograd.grad(
        errors.square().sum(), (best, values), allow_unused=True, materialize_grads=True
    )
    # d/d best[t + 1] of error[t]^2 is 2 * error[t] * -gamma; best[0] is used nowhere
    torch.testing.assert_close(target_grad, torch.tensor(expected))
    torch.testing.assert_close(value_grad, torch.tensor([[-0.9], [-3.0], [0.0]]))  # 2 * error


def test_discounted_returns_by_hand():
    rewards = torch.tensor([[1.0, 0.0], [2.0, 0.0], [4.0, 8.0]])
    torch.testing.assert_close(discounted_returns(rewards, 0.5), torch.tensor([[3.0, 2.0], [4.0, 4.0], [4.0, 8.0]]))
    torch.testing.assert_close(discounted_returns(rewards, 0.0), rewards)
    torch.testing.assert_close(discounted_returns(rewards, 1.0)[0], torch.tensor([7.0, 8.0]))


def naive_gae(rewards, values, gamma, lam):
    """Equation 16 of Schulman et al. 2016, term by term: sum of (gamma lambda)^k delta[t + k]."""
    steps, envs = rewards.shape
    result = torch.zeros_like(rewards)
    for env in range(envs):
        for start in range(steps):
            for time in range(start, steps):
                following = values[time + 1, env] if time + 1 < steps else 0.0
                delta = rewards[time, env] + gamma * following - values[time, env]
                result[start, env] += (gamma * lam) ** (time - start) * delta
    return result


@pytest.mark.parametrize("gamma, lam", [(0.5, 0.95), (0.9, 0.3), (1.0, 0.5)])
def test_gae_against_a_plain_loop(gamma, lam):
    rewards, values = random_episodes(0)
    torch.testing.assert_close(gae_advantages(rewards, values, gamma, lam), naive_gae(rewards, values, gamma, lam))


def test_gae_with_lambda_1_is_return_minus_value_and_with_0_one_step():
    rewards, values = random_episodes(1)
    torch.testing.assert_close(gae_advantages(rewards, values, 0.9, 1.0), discounted_returns(rewards, 0.9) - values)
    following = torch.cat((values[1:], torch.zeros(1, 3, dtype=torch.float64)))
    torch.testing.assert_close(gae_advantages(rewards, values, 0.9, 0.0), rewards + 0.9 * following - values)


@pytest.mark.parametrize(
    "ratio, advantage, loss, slope",
    [
        (1.0, 3.0, -3.0, -3.0),
        (1.5, 2.0, -2.4, 0.0),  # clipped at 1.2: nothing more to gain
        (0.5, 2.0, -1.0, -2.0),  # a good action became rare: the gradient brings it back
        (1.5, -2.0, 3.0, 2.0),  # a bad action became frequent: as well
        (0.5, -2.0, 1.6, 0.0),  # clipped at 0.8
        (1.1, -2.0, 2.2, 2.0),
    ],
)
def test_clipped_surrogate_by_hand(ratio, advantage, loss, slope):
    log_ratio = torch.tensor([math.log(ratio)], requires_grad=True)
    value = clipped_surrogate(log_ratio, torch.tensor([advantage]), clip_coef=0.2)
    torch.testing.assert_close(value, torch.tensor([loss]))
    (gradient,) = torch.autograd.grad(value.sum(), log_ratio)
    torch.testing.assert_close(gradient, torch.tensor([slope * ratio]))  # d ratio / d log ratio = ratio


def test_masked_log_probs_and_entropy():
    logits = torch.tensor([[0.0, math.log(3.0), 50.0], [2.0, 1.0, 0.0]], requires_grad=True)
    mask = torch.tensor([[True, True, False], [False, False, True]])
    log_probs = masked_log_probs(logits, mask)
    entropy = masked_entropy(log_probs, mask)
    torch.testing.assert_close(log_probs[0, :2].exp(), torch.tensor([0.25, 0.75]))
    torch.testing.assert_close(log_probs[1, 2], torch.tensor(0.0))
    assert (log_probs[~mask] < -1e7).all()
    expected = -0.25 * math.log(0.25) - 0.75 * math.log(0.75)
    torch.testing.assert_close(entropy, torch.tensor([expected, 0.0]))

    (gradient,) = torch.autograd.grad(log_probs[0, 0] + entropy.sum(), logits)
    assert gradient.isfinite().all()
    assert (gradient[~mask] == 0).all()
    assert (gradient[0, :2] != 0).all()


def test_entropy_of_equal_logits_is_the_log_of_how_many_are_allowed():
    mask = torch.tensor([[True, True, True, True], [True, False, True, False]])
    entropy = masked_entropy(masked_log_probs(torch.zeros(2, 4), mask), mask)
    torch.testing.assert_close(entropy, torch.tensor([math.log(4.0), math.log(2.0)]))


def test_group_advantages_by_hand():
    worth = torch.tensor([[1.0, 3.0, 6.5, 16.5], [0.0, 0.0, 7.0, 7.0]])
    advantages = group_advantages(worth, torch.zeros(2, 4), 2, gamma=0.5)
    centred = np.array([[-1, 1, -5, 5], [0, 0, 0, 0]])
    np.testing.assert_allclose(advantages, centred / centred.std(), rtol=1e-6)
    assert (group_advantages(torch.rand(4, 3), torch.rand(4, 3), 1, 0.9) == 0).all()


def test_the_level_before_a_pick_is_taken_out_as_the_other_tasks_have_it():
    before = torch.tensor([[0.0, 2.0, 0.0, 4.0]])
    returns = torch.tensor([[0.0, 6.0, 1.0, 9.0]])  # slopes 3 and 2
    advantages = group_advantages(returns, before, 2, 0.9)
    rest = np.array([[-1, 1, 2, -2]])  # 6 - 2 * 2 in the first; 8 - 3 * 4 in the second
    np.testing.assert_allclose(advantages, rest / rest.std(), rtol=1e-6)


def test_with_the_level_before_a_pick_taken_out_less_noise_is_left():
    draws = np.random.default_rng(0).normal(size=(2, 5, 800)).astype(np.float32)
    before, effect = torch.from_numpy(draws)
    advantages = group_advantages(effect + 3 * before, before, 8, 0.0)
    told = np.corrcoef(advantages.ravel(), effect.ravel())[0, 1]
    plain = group_advantages(effect + 3 * before, torch.zeros(5, 800), 8, 0.0)
    assert told > 0.9 and np.corrcoef(plain.ravel(), effect.ravel())[0, 1] < 0.4


def test_group_advantages_that_look_less_far_ahead_by_hand():
    """Values are the level times a slope, 3 for the first task and 2 for the second at the second step."""
    worth = torch.tensor([[2.0, 4.0, 1.0, 5.0], [0.0, 4.0, 0.0, 6.0]])
    before = torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.0, 2.0, 0.0, 2.0]])
    advantages = group_advantages(worth, before, 2, gamma=0.5, gae_lambda=0.4)
    last = np.array([-2 + 3, 2 - 3, -3 + 2, 3 - 2])  # less the values -3, 3, -2, 2
    first = np.array([-1, 1, -2, 2]) + 0.5 * np.array([-3, 3, -2, 2]) + 0.5 * 0.4 * last
    wanted = np.stack((first, last))
    np.testing.assert_allclose(advantages, wanted / wanted.std(), rtol=1e-6)


def test_group_advantages_that_look_less_far_ahead_tell_a_short_effect_from_later_noise():
    effect, *noise = torch.from_numpy(np.random.default_rng(0).normal(size=(9, 1, 800)).astype(np.float32))
    worth = torch.cat((effect, *(3 * one for one in noise)))
    before = torch.zeros_like(worth)
    told, plain = (
        np.corrcoef(group_advantages(worth, before, 8, 0.9, gae_lambda)[0], effect[0])[0, 1] for gae_lambda in (0, 1)
    )
    assert told > 0.9 and plain < 0.4


def test_normalised_advantages():
    advantages = normalised(torch.tensor([[1.0, 2.0], [3.0, 6.0]]))
    np.testing.assert_allclose(advantages, (np.array([[1, 2], [3, 6]]) - 3) / np.sqrt(3.5), rtol=1e-6)
    assert (normalised(torch.full((2, 3), 7.0)) == 0).all()
