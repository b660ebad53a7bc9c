"""Recurrent Q-learning, as in Woodward & Finn, "Active One-shot Learning", arXiv 1702.06559 (2017), section 3."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from almeta.agents.agent import Agent, Rollout
from almeta.agents.losses import td_errors
from almeta.checks import Share
from almeta.errors import AlmetaError
from almeta.strategies.choosing import best_action


@dataclass(eq=False, repr=False)
class QLearning(Agent):
    """On-policy recurrent Q-learning without replay or target network.

    Utilities are Q-values. The defaults are those of the paper.

    Args:
        gamma: discount.
        epsilon: probability of an exploring step.
        exploration: what an exploring step does. "balanced" (the paper, streams only): the correct slot, a wrong slot
            or a request, a third each; "uniform" (the authors' code): any allowed action.
        through_target: let the gradient flow through the target too (paper and code); False is ordinary Q-learning.
        last_step: "skipped" (paper and code): the loss has no term for the last step; "terminal": its target is its
            reward.

    Raises:
        AlmetaError: for balanced exploration of anything but streams.
    """

    gamma: Share = 0.5
    epsilon: Share = 0.05
    exploration: Literal["balanced", "uniform"] = "balanced"
    through_target: bool = True
    last_step: Literal["skipped", "terminal"] = "skipped"

    def __post_init__(self) -> None:
        if self.exploration == "balanced" and self.inputs.kind != "stream":
            raise AlmetaError("agent.exploration=balanced looks at the true slot of a stream; choose uniform")
        super().__post_init__()

    def explore(
        self, utilities: Tensor, action_mask: Tensor, target: Tensor | None, generator: torch.Generator
    ) -> Tensor:
        if self.exploration == "balanced" and target is not None:
            other = _balanced_action(target, utilities.shape[-1] - 1, generator)
        else:
            other = best_action(torch.zeros_like(utilities), action_mask, generator)
        return epsilon_greedy(utilities, action_mask, other, self.epsilon, generator)

    def loss(self, rollout: Rollout) -> tuple[Tensor, dict[str, Tensor]]:
        if self.last_step == "skipped" and len(rollout.actions) < 2:
            raise AlmetaError("episodes of one step leave agent.last_step=skipped nothing to learn from; set terminal")
        values = rollout.utilities.gather(-1, rollout.actions[..., None]).squeeze(-1)
        best = rollout.utilities.masked_fill(~rollout.masks, -torch.inf).amax(-1)
        errors = td_errors(values, best, rollout.rewards, self.gamma, self.through_target, self.last_step == "terminal")
        return errors.square().sum(0).mean(), {}


def epsilon_greedy(
    utilities: Tensor, action_mask: Tensor, other: Tensor, epsilon: float, generator: torch.Generator
) -> Tensor:
    """Return the best allowed action or, with probability `epsilon`, another one where it is allowed, `[E]` int64.

    Args:
        utilities: `[E, A]`.
        action_mask: `[E, A]` bool.
        other: `[E]` int64, the action of an exploring step.
        epsilon: in [0, 1].
        generator: draws.
    """
    explores = torch.rand(len(other), generator=generator, device=other.device) < epsilon
    explores &= action_mask.gather(-1, other[:, None]).squeeze(-1)
    return torch.where(explores, other, best_action(utilities, action_mask, generator))


def _balanced_action(targets: Tensor, num_slots: int, generator: torch.Generator) -> Tensor:
    """Draw the correct slot, a wrong one, or the request, each with probability 1/3; `[E]` -> `[E]`."""
    shape, device = targets.shape, targets.device
    kind = torch.randint(3, shape, generator=generator, device=device)
    shift = torch.randint(1, max(num_slots, 2), shape, generator=generator, device=device)
    wrong = (targets + shift) % num_slots
    return torch.where(kind == 0, targets, torch.where(kind == 1, wrong, num_slots))
