"""Losses as plain functions of tensors, time first: `[T, E]`."""

import torch
from torch import Tensor

from almeta.strategies.choosing import NEVER


def td_errors(
    values: Tensor,
    next_best: Tensor,
    rewards: Tensor,
    gamma: float,
    through_target: bool = True,
    terminal: bool = False,
) -> Tensor:
    """Return the temporal-difference errors Q(o_t, a_t) - (r_t + gamma max_a Q(o_{t+1}, a)).

    Args:
        values: `[T, E]`, Q of the actions taken.
        next_best: `[T, E]`, max over the allowed actions of Q at each step; the first row is not used.
        rewards: `[T, E]`.
        gamma: discount.
        through_target: let the gradient flow through the target too (residual gradient, Baird 1995), as Woodward
            & Finn 2017 do; False is ordinary Q-learning.
        terminal: add the error of the last step, Q(o_T, a_T) - r_T; the paper has none.

    Returns:
        `[T, E]` with `terminal`, else `[T - 1, E]`.
    """
    target = rewards[:-1] + gamma * (next_best[1:] if through_target else next_best[1:].detach())
    errors = values[:-1] - target
    if terminal:
        errors = torch.cat((errors, (values[-1] - rewards[-1])[None]))
    return errors


def steps_with_target(ended: Tensor) -> Tensor:
    """Return which steps `[T, E]` of episodes have something to learn from: those up to the end.

    The last step of an episode that was cut has not: what follows is not known.

    Args:
        ended: `[T, E]` bool, True from the step on that ends an episode.
    """
    counted = ~ended_before(ended)
    counted[-1] &= ended[-1]
    return counted


def ended_before(ended: Tensor) -> Tensor:
    """Return whether an episode had ended before the step, `[T, E]` bool."""
    return torch.cat((torch.zeros_like(ended[:1]), ended[:-1]))


def double_q_values(utilities: Tensor, target_utilities: Tensor, masks: Tensor) -> Tensor:
    """Return what a target network says of the allowed action that the network itself finds best, `[T, E]`.

    It is Q'(s, argmax_a Q(s, a)) of van Hasselt et al. 2016, equation 4; arguments are those of `double_q_errors`.
    """
    best = utilities.masked_fill(~masks, -torch.inf).argmax(-1, keepdim=True)
    return target_utilities.gather(-1, best).squeeze(-1)


def double_q_errors(
    utilities: Tensor,
    target_utilities: Tensor,
    masks: Tensor,
    actions: Tensor,
    rewards: Tensor,
    ended: Tensor,
    gamma: float,
) -> Tensor:
    """Return the errors of double Q-learning with a target network Q' (van Hasselt et al. 2016, equation 4), `[T, E]`.

    These are Q(s_t, a_t) - (r_t + gamma Q'(s_{t+1}, argmax_a Q(s_{t+1}, a))); at the end Q' counts 0. They are 0 for
    steps that are not among `steps_with_target`. No gradient flows through the target.

    Args:
        utilities: `[T, E, A]`, Q.
        target_utilities: `[T, E, A]`, Q'.
        masks: `[T, E, A]` bool, the allowed actions.
        actions: `[T, E]` int64.
        rewards: `[T, E]`.
        ended: `[T, E]` bool, True from the step on that ends an episode.
        gamma: discount.
    """
    values = utilities.gather(-1, actions[..., None]).squeeze(-1)
    following = double_q_values(utilities, target_utilities, masks).masked_fill(ended_before(ended), 0.0)
    errors = td_errors(values, following, rewards, gamma, through_target=False, terminal=True)
    return errors.where(steps_with_target(ended), 0.0)


def discounted_returns(rewards: Tensor, gamma: float) -> Tensor:
    """Return the discounted sum of rewards from each step on, `[T, E]` -> `[T, E]`."""
    returns = torch.empty_like(rewards)
    future = torch.zeros_like(rewards[0])
    for time in reversed(range(len(rewards))):
        future = rewards[time] + gamma * future
        returns[time] = future
    return returns


def gae_advantages(rewards: Tensor, values: Tensor, gamma: float, gae_lambda: float) -> Tensor:
    """Return generalised advantage estimates (Schulman et al. 2016, equation 16) of episodes that end after T steps.

    `rewards`, `values` and the result are `[T, E]`.
    """
    following = torch.cat((values[1:], torch.zeros_like(values[:1])))
    deltas = rewards + gamma * following - values
    return discounted_returns(deltas, gamma * gae_lambda)


def clipped_surrogate(log_ratio: Tensor, advantages: Tensor, clip_coef: float) -> Tensor:
    """Return PPO's objective (Schulman et al. 2017, equation 7), negated for descent, element by element."""
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1.0 - clip_coef, 1.0 + clip_coef)
    return -torch.min(ratio * advantages, clipped * advantages)


def masked_log_probs(logits: Tensor, mask: Tensor) -> Tensor:
    """Return log-probabilities `[..., A]` over the allowed actions; about -1e8 for the others."""
    return logits.masked_fill(~mask, NEVER).log_softmax(-1)


def masked_entropy(log_probs: Tensor, mask: Tensor) -> Tensor:
    """Return the entropy in nats over the allowed actions, `[..., A]` -> `[...]`."""
    return -(log_probs.exp() * log_probs).masked_fill(~mask, 0.0).sum(-1)


def normalised(advantages: Tensor) -> Tensor:
    """Scale advantages to mean 0 and standard deviation 1."""
    return (advantages - advantages.mean()) / (advantages.std(correction=0) + 1e-8)


def group_advantages(worth: Tensor, before: Tensor, group: int, gamma: float, gae_lambda: float = 1.0) -> Tensor:
    """Return advantages over the other episodes of the same task, scaled to unit variance.

    There are two baselines. The first is the mean over the `group` neighbouring episodes of the task. The second is a
    value: an episode that has gained more before an action stays ahead after it. How far is at each step the
    least-squares slope over all other tasks, so that no return is part of its own baseline. With `gae_lambda` below 1
    these values also stand in for what lies further ahead, as in `gae_advantages`.

    Args:
        worth: `[T, E]` float32, the reward of each step, or the point of the curve that it leads to.
        before: `[T, E]` float32, the sum of rewards before each action.
        group: episodes per task.
        gamma: discount.
        gae_lambda: 1 for whole returns; the lower, the less of what later actions did counts. With a single task there
            are no values to stand in for it.

    Returns:
        `[T, E]` float32.
    """
    returns, level = (_centred(values, group) for values in (discounted_returns(worth, gamma), before))
    along, square = (returns * level).sum(-1), level.square().sum(-1)  # [T, E / group]
    slope = (along.sum(1, keepdim=True) - along) / (square.sum(1, keepdim=True) - square).clamp_min(1e-8)
    values = slope[..., None] * level
    advantages = gae_advantages(_centred(worth, group), values, gamma, gae_lambda).flatten(1)
    return advantages / (advantages.std(correction=0) + 1e-8)


def _centred(values: Tensor, group: int) -> Tensor:
    """Subtract the mean over each group of neighbouring episodes: `[T, E]` -> `[T, E / group, group]`."""
    tasks = values.unflatten(1, (-1, group))
    return tasks - tasks.mean(-1, keepdim=True)
