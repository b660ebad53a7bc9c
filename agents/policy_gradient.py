"""Policy gradients: REINFORCE, actor-critic and PPO."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from almeta.agents.agent import Agent, Rollout
from almeta.agents.losses import (
    clipped_surrogate,
    discounted_returns,
    gae_advantages,
    group_advantages,
    masked_entropy,
    masked_log_probs,
    normalised,
)
from almeta.checks import Count, Positive, Share, Weight
from almeta.strategies.choosing import sample_action

Loss = tuple[Tensor, dict[str, Tensor]]


@dataclass(eq=False, repr=False)
class PolicyGradient(Agent):
    """Utilities are logits; the agent acts by sampling.

    Args:
        gamma: discount.
        ent_coef: weight of the entropy bonus.
    """

    gamma: Share = 0.5
    ent_coef: Weight = 0.01

    def explore(self, utilities: Tensor, action_mask: Tensor, target: Any, generator: torch.Generator) -> Tensor:
        return sample_action(utilities, action_mask, generator)

    def read(self, rollout: Rollout) -> tuple[Tensor, Tensor]:
        """Return log-probability of the actions taken and entropy, each `[T, E]`."""
        log_probs = masked_log_probs(rollout.utilities, rollout.masks)
        taken = log_probs.gather(-1, rollout.actions[..., None]).squeeze(-1)
        return taken, masked_entropy(log_probs, rollout.masks)


@dataclass(eq=False, repr=False)
class GroupReinforce(PolicyGradient):
    """REINFORCE (Williams 1992) with the other episodes of the same task as baseline.

    Returns differ more between tasks than between actions. `group_advantages` subtracts the effect of the task, and
    that of earlier actions.

    Args:
        returns: what an action is to raise: "curve", every later point of the curve of summed rewards (on pools, the
            learning curve); or "rewards", the sum of later rewards.
        gae_lambda: 1 counts all that follows; lower values replace what is far ahead by an estimate from the gain so
            far, with less noise and some bias. It is lambda of `group_advantages`.
    """

    min_group: ClassVar[int] = 2

    gamma: Share = 0.9
    ent_coef: Weight = 0.003
    returns: Literal["curve", "rewards"] = "curve"
    gae_lambda: Share = 1.0

    def loss(self, rollout: Rollout) -> Loss:
        log_probs, entropy = self.read(rollout)
        curve = rollout.rewards.cumsum(0)
        worth = curve if self.returns == "curve" else rollout.rewards
        advantages = group_advantages(worth, curve - rollout.rewards, rollout.group, self.gamma, self.gae_lambda)
        loss = -(log_probs * advantages).mean() - self.ent_coef * entropy.mean()
        return loss, {"entropy": entropy.mean().detach()}


@dataclass(eq=False, repr=False)
class Reinforce(PolicyGradient):
    """REINFORCE (Williams 1992) with a learned state value as baseline.

    Args:
        vf_coef: weight of the value's squared error.
    """

    num_values: ClassVar[int] = 1

    vf_coef: Weight = 0.5

    def loss(self, rollout: Rollout) -> Loss:
        log_probs, entropy = self.read(rollout)
        values = _values(rollout)
        returns = discounted_returns(rollout.rewards, self.gamma)
        policy_loss = -(log_probs * (returns - values.detach())).mean()
        return self._total(policy_loss, (values - returns).square().mean(), entropy)

    def _total(self, policy_loss: Tensor, value_loss: Tensor, entropy: Tensor) -> Loss:
        loss = policy_loss + self.vf_coef * value_loss - self.ent_coef * entropy.mean()
        return loss, {"entropy": entropy.mean().detach(), "value_loss": value_loss.detach()}


@dataclass(eq=False, repr=False)
class ActorCritic(Reinforce):
    """Advantage actor-critic with generalised advantages.

    Args:
        gae_lambda: how far advantages look ahead before they rely on the value, lambda of `gae_advantages`.
        norm_adv: scale the advantages of a batch to mean 0 and standard deviation 1.
    """

    gae_lambda: Share = 0.95
    norm_adv: bool = True

    def loss(self, rollout: Rollout) -> Loss:
        log_probs, entropy = self.read(rollout)
        values = _values(rollout)
        played = rollout if rollout.behaviour is None else rollout.behaviour
        with torch.no_grad():
            old_log_probs, old_values = self.read(played)[0], _values(played)
            advantages = gae_advantages(rollout.rewards, old_values, self.gamma, self.gae_lambda)
            returns = advantages + old_values
            if self.norm_adv:
                advantages = normalised(advantages)
        policy_loss = self._policy_loss(log_probs, old_log_probs, advantages)
        return self._total(policy_loss, (values - returns).square().mean(), entropy)

    def _policy_loss(self, log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor) -> Tensor:
        return -(log_probs * advantages).mean()


@dataclass(eq=False, repr=False)
class PPO(ActorCritic):
    """Actor-critic with PPO's clipping (Schulman et al. 2017), several epochs a batch.

    Args:
        clip_coef: how far the probability ratio may move from 1.
        update_epochs: passes over each batch.
    """

    clip_coef: Positive = 0.2
    update_epochs: Count = 3

    @property
    def epochs(self) -> int:
        return self.update_epochs

    def _policy_loss(self, log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor) -> Tensor:
        return clipped_surrogate(log_probs - old_log_probs, advantages, self.clip_coef).mean()


def _values(rollout: Rollout) -> Tensor:
    assert rollout.values is not None  # the network was asked for one: `num_values`
    return rollout.values
