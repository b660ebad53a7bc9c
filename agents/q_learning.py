"""Recurrent Q-learning, as in Woodward & Finn, "Active One-shot Learning", arXiv 1702.06559 (2017), section 3."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor

from almeta.agents.agent import Agent, Rollout, follow, outputs_for
from almeta.agents.losses import double_q_values, td_errors
from almeta.checks import Positive, Share, Within
from almeta.errors import AlmetaError
from almeta.strategies.actor import Memory
from almeta.strategies.choosing import best_action, sample_action


@dataclass(eq=False, repr=False)
class QLearning(Agent):
    """On-policy recurrent Q-learning without replay.

    Utilities are Q-values. The defaults are those of the paper.

    Args:
        gamma: discount.
        epsilon: probability of an exploring step, where `exploration` is "balanced" or "uniform".
        exploration: how it explores. "balanced" (the paper, streams only): an exploring step takes the correct slot, a
            wrong slot or a request, a third each; "uniform" (the authors' code): any allowed action. "boltzmann": each
            action with probability proportional to exp(Q / temperature). "thompson" (streams only): the best action of
            a network without some units, drawn anew for each episode (Gal & Ghahramani 2016, arXiv
            1506.02142); targets are of a network without others; the network's `dropout` says how many.
        temperature: of "boltzmann", in units of the rewards.
        through_target: let the gradient flow through the target too (paper and code); False is ordinary Q-learning.
        last_step: "skipped" (paper and code): the loss has no term for the last step; "terminal": its target is its
            reward.
        target_rate: share of the way to the network that a target network goes after each batch; None for no target
            network.
        double_q: with a target network, the target's action is the best one of the network itself, and only its value
            is that of the target network (van Hasselt et al. 2016, arXiv 1509.06461, equation 4).

    Raises:
        AlmetaError: for exploration of anything but streams that needs one, "thompson" without dropout, and options
            that do not fit each other.
    """

    learns_q_values: ClassVar[bool] = True

    gamma: Share = 0.5
    epsilon: Share = 0.05
    exploration: Literal["balanced", "uniform", "boltzmann", "thompson"] = "balanced"
    temperature: Positive = 0.1
    through_target: bool = True
    last_step: Literal["skipped", "terminal"] = "skipped"
    target_rate: Annotated[float, Within(above=0, high=1)] | None = None
    double_q: bool = True

    def __post_init__(self) -> None:
        if self.exploration in ("balanced", "thompson") and self.inputs.kind != "stream":
            raise AlmetaError(f"agent.exploration={self.exploration} is for streams; choose uniform")
        super().__post_init__()
        if self.exploration == "thompson" and not getattr(self.network, "dropout", 0):
            raise AlmetaError(
                "agent.exploration=thompson leaves out units, and network.dropout is 0; set it to 0.2 or so"
            )
        if self.through_target and self._has_targets:
            raise AlmetaError(
                "agent.through_target=true takes the target from the network that acts; set it to false for a target "
                "network or exploration=thompson"
            )
        # Made at the first lesson, when the encoder is trained. A list: no part of the weights that are published.
        self._target: list[Any] = []

    @property
    def _has_targets(self) -> bool:
        """Whether targets are of another network than the one that acted, or of the same without other units."""
        return self.target_rate is not None or self.exploration == "thompson"

    def without_effect(self) -> list[str]:
        sentences = super().without_effect()
        if not self.double_q and not self._has_targets:
            sentences.append("agent.double_q=false has no effect without a target network (agent.target_rate)")
        if self.temperature != type(self).temperature and self.exploration != "boltzmann":
            sentences.append(
                f"agent.temperature={self.temperature:g} has no effect without agent.exploration=boltzmann"
            )
        if self.epsilon != type(self).epsilon and self.exploration in ("boltzmann", "thompson"):
            sentences.append(
                f"agent.epsilon={self.epsilon:g} has no effect with agent.exploration={self.exploration}, which "
                "draws no other actions"
            )
        return sentences

    @property
    def keeps_views(self) -> bool:
        return super().keeps_views or self._has_targets

    def begin(self, num_envs: int, generator: torch.Generator) -> Memory:
        return self._begun(self.network, num_envs, generator)

    def _begun(self, network: Any, num_envs: int, generator: torch.Generator) -> Memory:
        thompson = self.exploration == "thompson"
        return network.initial(num_envs, generator) if thompson else network.initial(num_envs)

    def explore(
        self, utilities: Tensor, action_mask: Tensor, target: Tensor | None, generator: torch.Generator
    ) -> Tensor:
        if self.exploration == "boltzmann":
            best = utilities.masked_fill(~action_mask, -torch.inf).amax(-1, keepdim=True)
            return sample_action((utilities - best) / self.temperature, action_mask, generator)
        if self.exploration == "thompson":
            return best_action(utilities, action_mask, generator)
        if self.exploration == "balanced" and target is not None:
            other = _balanced_action(target, utilities.shape[-1] - 1, generator)
        else:
            other = best_action(torch.zeros_like(utilities), action_mask, generator)
        return epsilon_greedy(utilities, action_mask, other, self.epsilon, generator)

    def loss(self, rollout: Rollout) -> tuple[Tensor, dict[str, Tensor]]:
        if self.last_step == "skipped" and len(rollout.actions) < 2:
            raise AlmetaError("episodes of one step leave agent.last_step=skipped nothing to learn from; set terminal")
        values = rollout.utilities.gather(-1, rollout.actions[..., None]).squeeze(-1)
        target = rollout.utilities if rollout.target_utilities is None else rollout.target_utilities
        if rollout.target_utilities is not None and self.double_q:
            best = double_q_values(rollout.utilities, target, rollout.masks)
        else:
            best = target.masked_fill(~rollout.masks, -torch.inf).amax(-1)
        errors = td_errors(values, best, rollout.rewards, self.gamma, self.through_target, self.last_step == "terminal")
        return errors.square().sum(0).mean(), {}

    def lessons(self, rollout: Rollout, generator: torch.Generator) -> Iterator[Rollout]:
        """Yield the batch, with the utilities of the target network where there is one, which then follows."""
        if not self._has_targets:
            yield from super().lessons(rollout, generator)
            return
        if self.target_rate is not None and not self._target:
            self._target.append(copy.deepcopy(self.network).requires_grad_(False))
        network = self._target[0] if self._target else self.network
        with torch.no_grad():
            memory = self._begun(network, rollout.actions.shape[1], generator)
            utilities, _ = outputs_for(rollout, network, memory)
        yield replace(rollout, target_utilities=utilities)
        if self.target_rate is not None:
            follow(network, self.network, self.target_rate)

    def learning_state(self) -> dict[str, Any]:
        if self.target_rate is None:
            return {}
        return {"target": self._target[0].state_dict() if self._target else None}

    def load_learning_state(self, state: dict[str, Any]) -> None:
        self._target.clear()
        if self.target_rate is not None and state["target"] is not None:  # None before the first lesson
            target = copy.deepcopy(self.network).requires_grad_(False)
            try:
                target.load_state_dict(state["target"])
            except RuntimeError as error:  # torch's words for another network
                raise ValueError("its target network has other weights") from error
            self._target.append(target)


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
