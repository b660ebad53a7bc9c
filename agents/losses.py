"""Losses as plain functions of tensors, time first: `[T, E]`."""

import torch
from torch import Tensor


def td_errors(
    values: Tensor,
    next_best: Tensor,
    rewards: Tensor,
    gamma: float,
    through_target: bool = True,
    terminal: bool = False,
) -> Tensor:
    """Temporal-difference errors Q(o_t, a_t) - (r_t + gamma max_a Q(o_{t+1}, a)).

    Args:
        values: `[T, E]`, Q of the actions taken.
        next_best: `[T, E]`, max over the allowed actions of Q at each step; the first row is not used.
        rewards: `[T, E]`.
        gamma: discount.
        through_target: let the gradient flow through the target too (residual gradient, Baird 1995), as Woodward
            & Finn 2017 do; False is ordinary Q-learning.
        terminal: give the last step the term Q(o_T, a_T) - r_T; without it (the paper) the last step has none.

    Returns:
        `[T, E]` with `terminal`, else `[T - 1, E]`.
    """
    target = rewards[:-1] + gamma * (next_best[1:] if through_target else next_best[1:].detach())
    errors = values[:-1] - target
    if terminal:
        errors = torch.cat((errors, (values[-1] - rewards[-1])[None]))
    return errors


def discounted_returns(rewards: Tensor, gamma: float) -> Tensor:
    """Sum of future rewards from each step on, `[T, E]` -> `[T, E]`."""
    returns = torch.empty_like(rewards)
    future = torch.zeros_like(rewards[0])
    for time in reversed(range(len(rewards))):
        future = rewards[time] + gamma * future
        returns[time] = future
    return returns


def gae_advantages(rewards: Tensor, values: Tensor, gamma: float, gae_lambda: float) -> Tensor:
    """Generalised advantage estimates (Schulman et al. 2016, equation 16) of episodes that end after T steps.

    `rewards`, `values` and the result are `[T, E]`.
    """
    following = torch.cat((values[1:], torch.zeros_like(values[:1])))
    deltas = rewards + gamma * following - values
    return discounted_returns(deltas, gamma * gae_lambda)


def clipped_surrogate(log_ratio: Tensor, advantages: Tensor, clip_coef: float) -> Tensor:
    """PPO's loss (Schulman et al. 2017, equation 7), negated for descent; element by element."""
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1.0 - clip_coef, 1.0 + clip_coef)
    return -torch.min(ratio * advantages, clipped * advantages)
