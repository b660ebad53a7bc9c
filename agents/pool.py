"""Agents of pool selection: a scorer of candidates and the rule by which it learns."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from almeta.agents.losses import discounted_returns, gae_advantages
from almeta.agents.policy_gradient import masked_entropy, masked_log_probs
from almeta.checks import Share, Weight
from almeta.strategies.choosing import best_action, sample_action
from almeta.strategies.inputs import candidate_inputs
from almeta.strategies.pool import PoolState

# Called without arguments.
MakeScorer = Callable[[], Any]


@dataclass(frozen=True)
class PoolRollout:
    """E finished episodes of T picks, time first.

    Attributes:
        logits: `[T, E, N]` float32, the scores, with their graph when gradients were on.
        values: `[T, E]` float32, the value of each state.
        masks: `[T, E, N]` bool, rows that could be picked.
        actions: `[T, E]` int64.
        rewards: `[T, E]` float32.
        scores: `[T, E]` float32, the learner's after each pick.
        group: so many neighbouring episodes share a task.
    """

    logits: Tensor
    values: Tensor
    masks: Tensor
    actions: Tensor
    rewards: Tensor
    scores: Tensor
    group: int

    def scalars(self) -> dict[str, Tensor]:
        """What a training record tells of the episodes."""
        return {"mean_return": self.rewards.sum(0).mean(), "aulc": self.scores.mean()}


class PoolAgent(nn.Module):
    """A policy that scores the rows of a pool; subclasses add `loss`, the rule by which it learns.

    Args:
        network: makes the scorer.
        gamma: discount.
        ent_coef: weight of the entropy bonus.

    Attributes:
        epochs: how often the loss is taken from one batch.
        min_group: so many episodes must share a task for it to learn anything.
    """

    epochs = 1
    min_group = 1

    def __init__(self, network: MakeScorer, gamma: float, ent_coef: float) -> None:
        super().__init__()
        self.network: Any = network()
        self.gamma, self.ent_coef = gamma, ent_coef

    def step(self, state: PoolState) -> tuple[Tensor, Tensor]:
        """Return scores `[E, N]` of the rows and the value `[E]` of the pools."""
        candidates, pool = candidate_inputs(state)
        return self.network(candidates, pool, state.available)

    @torch.no_grad()
    def utilities(self, state: PoolState, generator: torch.Generator) -> Tensor:
        """Return utilities `[E, N]` float32, as a strategy does: `-inf` for rows that are not available."""
        return self.step(state)[0].masked_fill(~state.available, -torch.inf)

    def explore(self, logits: Tensor, action_mask: Tensor, generator: torch.Generator) -> Tensor:
        """Draw rows `[E]` int64 with probability proportional to exp(logit)."""
        return sample_action(logits, action_mask, generator)

    @torch.no_grad()
    def predict(
        self,
        observation: dict[str, np.ndarray],
        memory: Any = None,
        episode_start: np.ndarray | bool | None = None,
        action_mask: np.ndarray | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[np.ndarray, Any]:
        """Act greedily in a Gymnasium environment, one step of one episode or of a batch.

        Args:
            observation: as `PoolSelectionEnv` or its batch returns it.
            memory: not used; here so that all agents are called alike.
            episode_start: likewise.
            action_mask: `info["action_mask"]`; None takes the observation's.
            generator: breaks ties between actions; None takes the first.

        Returns:
            The row, int64, a scalar or `[E]`, and None.
        """
        device = next(self.parameters()).device
        single = observation["candidates"].ndim == 2
        mask = observation["action_mask"] if action_mask is None else action_mask
        parts = (observation["candidates"], observation["pool"], mask)
        candidates, pool, available = (torch.as_tensor(part[None] if single else part, device=device) for part in parts)
        scores = self.network(candidates, pool, available.bool())[0].masked_fill(available == 0, -torch.inf)
        rows = scores.argmax(-1) if generator is None else best_action(scores, available.bool(), generator)
        return (rows[0] if single else rows).cpu().numpy(), None

    def loss(self, rollout: PoolRollout) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of a batch of episodes, and figures to log."""
        raise NotImplementedError

    def _read(self, rollout: PoolRollout) -> tuple[Tensor, Tensor]:
        """Return log-probability of the rows picked and entropy, each `[T, E]`."""
        log_probs = masked_log_probs(rollout.logits, rollout.masks)
        taken = log_probs.gather(-1, rollout.actions[..., None]).squeeze(-1)
        return taken, masked_entropy(log_probs, rollout.masks)


class GroupReinforce(PoolAgent):
    """REINFORCE (Williams 1992) that judges a pick by the other episodes of its task.

    The return of a pick is the discounted sum of the curve that follows, not of the gains: each later point of the
    curve that is lifted counts. Splits and first labels differ in what can be reached far more than picks do, and
    earlier picks more than the next one; `group_advantages` takes out both.

    Args:
        network: makes the scorer.
        gamma: discount.
        ent_coef: weight of the entropy bonus.
    """

    min_group = 2

    def __init__(self, network: MakeScorer, gamma: Share = 0.9, ent_coef: Weight = 0.003) -> None:
        super().__init__(network, gamma, ent_coef)

    def loss(self, rollout: PoolRollout) -> tuple[Tensor, dict[str, Tensor]]:
        log_probs, entropy = self._read(rollout)
        curve = rollout.rewards.cumsum(0)  # what the pick has gained, less what it cost
        returns = discounted_returns(curve, self.gamma)
        advantages = group_advantages(returns, curve - rollout.rewards, rollout.group)
        loss = -(log_probs * advantages).mean() - self.ent_coef * entropy.mean()
        return loss, {"entropy": entropy.mean().detach()}


class PoolActorCritic(PoolAgent):
    """Advantage actor-critic with generalised advantages; the value is the network's, of the whole pool.

    Args:
        network: makes the scorer.
        gamma: discount.
        ent_coef: weight of the entropy bonus.
        vf_coef: weight of the value's squared error.
        gae_lambda: how far advantages look ahead before they trust the value.
    """

    def __init__(
        self,
        network: MakeScorer,
        gamma: Share = 0.9,
        ent_coef: Weight = 0.003,
        vf_coef: Weight = 0.5,
        gae_lambda: Share = 0.95,
    ) -> None:
        super().__init__(network, gamma, ent_coef)
        self.vf_coef, self.gae_lambda = vf_coef, gae_lambda

    def loss(self, rollout: PoolRollout) -> tuple[Tensor, dict[str, Tensor]]:
        log_probs, entropy = self._read(rollout)
        before = rollout.values.detach()
        advantages = gae_advantages(rollout.rewards, before, self.gamma, self.gae_lambda)
        value_loss = (rollout.values - (advantages + before)).square().mean()
        advantages = (advantages - advantages.mean()) / (advantages.std(correction=0) + 1e-8)
        loss = -(log_probs * advantages).mean() + self.vf_coef * value_loss - self.ent_coef * entropy.mean()
        return loss, {"entropy": entropy.mean().detach(), "value_loss": value_loss.detach()}


def group_advantages(returns: Tensor, before: Tensor, group: int) -> Tensor:
    """What a pick's return is above what the task and the curve so far let expect, scaled to unit variance.

    The first baseline is the mean over the `group` neighbouring episodes of the task. The second is a control variate:
    among those episodes, one that stands higher before the pick stays higher after it, to a degree that least squares
    find at each step in all other tasks; in those alone, so that no return is part of its own baseline.

    Args:
        returns: `[T, E]` float32.
        before: `[T, E]` float32, the curve before each pick.
        group: so many neighbouring episodes share a task.

    Returns:
        `[T, E]` float32.
    """
    centred, level = _centred(returns, group), _centred(before, group)
    along, square = (centred * level).sum(-1), level.square().sum(-1)  # [T, E / group]
    slope = (along.sum(1, keepdim=True) - along) / (square.sum(1, keepdim=True) - square).clamp_min(1e-8)
    advantages = (centred - slope[..., None] * level).flatten(1)
    return advantages / (advantages.std(correction=0) + 1e-8)


def _centred(values: Tensor, group: int) -> Tensor:
    """`[T, E]` less the mean over each group of neighbouring episodes, `[T, E / group, group]`."""
    tasks = values.unflatten(1, (-1, group))
    return tasks - tasks.mean(-1, keepdim=True)
