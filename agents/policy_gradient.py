"""Recurrent policy gradients: REINFORCE with a learned baseline, and PPO. Both take action masks."""

import torch
from torch import Tensor

from almeta.agents.agent import Agent, MakeNetwork, Rollout
from almeta.agents.losses import clipped_surrogate, discounted_returns, gae_advantages
from almeta.checks import Count, Positive, Share, Weight
from almeta.strategies.choosing import NEVER, sample_action


def masked_log_probs(logits: Tensor, mask: Tensor) -> Tensor:
    """Log-probabilities `[..., A]` over the allowed actions; about -1e8 for the others."""
    return logits.masked_fill(~mask, NEVER).log_softmax(-1)


def masked_entropy(log_probs: Tensor, mask: Tensor) -> Tensor:
    """Entropy in nats over the allowed actions, `[..., A]` -> `[...]`."""
    return -(log_probs.exp() * log_probs).masked_fill(~mask, 0.0).sum(-1)


class _ActorCritic(Agent):
    """Logits of the actions and, last, a state value; acts by sampling."""

    def __init__(
        self,
        network: MakeNetwork,
        num_pixels: int,
        num_slots: int,
        gamma: float,
        ent_coef: float,
        vf_coef: float,
    ) -> None:
        super().__init__(network, num_pixels, num_slots, num_values=1)
        self.gamma, self.ent_coef, self.vf_coef = gamma, ent_coef, vf_coef

    def explore(self, outputs: Tensor, action_mask: Tensor, targets: Tensor, generator: torch.Generator) -> Tensor:
        return sample_action(outputs[..., : self.num_actions], action_mask, generator)

    def _read(self, rollout: Rollout) -> tuple[Tensor, Tensor, Tensor]:
        """Return log-probability of the actions taken, entropy and value, each `[T, E]`."""
        log_probs = masked_log_probs(rollout.outputs[..., : self.num_actions], rollout.masks)
        taken = log_probs.gather(-1, rollout.actions[..., None]).squeeze(-1)
        return taken, masked_entropy(log_probs, rollout.masks), rollout.outputs[..., -1]


class Reinforce(_ActorCritic):
    """REINFORCE (Williams 1992) with a learned state value as baseline.

    Args:
        network: makes the network.
        num_pixels: numbers in an image P.
        num_slots: label slots S.
        gamma: discount.
        ent_coef: weight of the entropy bonus.
        vf_coef: weight of the baseline's squared error.
    """

    def __init__(
        self,
        network: MakeNetwork,
        num_pixels: int,
        num_slots: int,
        gamma: Share = 0.5,
        ent_coef: Weight = 0.01,
        vf_coef: Weight = 0.5,
    ) -> None:
        super().__init__(network, num_pixels, num_slots, gamma, ent_coef, vf_coef)

    def loss(self, rollout: Rollout) -> tuple[Tensor, dict[str, Tensor]]:
        log_probs, entropy, values = self._read(rollout)
        returns = discounted_returns(rollout.rewards, self.gamma)
        policy_loss = -(log_probs * (returns - values.detach())).mean()
        value_loss = (values - returns).square().mean()
        loss = policy_loss + self.vf_coef * value_loss - self.ent_coef * entropy.mean()
        return loss, {"entropy": entropy.mean().detach(), "value_loss": value_loss.detach()}


class PPO(_ActorCritic):
    """Actor-critic with generalised advantages and PPO's clipping (Schulman et al. 2017).

    Args:
        network: makes the network.
        num_pixels: numbers in an image P.
        num_slots: label slots S.
        gamma: discount.
        gae_lambda: how far advantages look ahead before they trust the value.
        clip_coef: how far the probability ratio may move.
        update_epochs: passes over each batch.
        ent_coef: weight of the entropy bonus.
        vf_coef: weight of the value's squared error.
        norm_adv: scale the batch's advantages to mean 0 and standard deviation 1.
    """

    def __init__(
        self,
        network: MakeNetwork,
        num_pixels: int,
        num_slots: int,
        gamma: Share = 0.5,
        gae_lambda: Share = 0.95,
        clip_coef: Positive = 0.2,
        update_epochs: Count = 3,
        ent_coef: Weight = 0.01,
        vf_coef: Weight = 0.5,
        norm_adv: bool = True,
    ) -> None:
        super().__init__(network, num_pixels, num_slots, gamma, ent_coef, vf_coef)
        self.gae_lambda, self.clip_coef = gae_lambda, clip_coef
        self.epochs, self.norm_adv = update_epochs, norm_adv

    def loss(self, rollout: Rollout) -> tuple[Tensor, dict[str, Tensor]]:
        log_probs, entropy, values = self._read(rollout)
        with torch.no_grad():
            played = rollout.outputs if rollout.behaviour is None else rollout.behaviour
            old_log_probs, _, old_values = self._read(rollout.with_outputs(played))
            advantages = gae_advantages(rollout.rewards, old_values, self.gamma, self.gae_lambda)
            returns = advantages + old_values
            if self.norm_adv:
                advantages = (advantages - advantages.mean()) / (advantages.std(correction=0) + 1e-8)
        policy_loss = clipped_surrogate(log_probs - old_log_probs, advantages, self.clip_coef).mean()
        value_loss = (values - returns).square().mean()
        loss = policy_loss + self.vf_coef * value_loss - self.ent_coef * entropy.mean()
        return loss, {"entropy": entropy.mean().detach(), "value_loss": value_loss.detach()}
