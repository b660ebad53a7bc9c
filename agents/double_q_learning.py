"""Double Q-learning from experience: van Hasselt, Guez & Silver, AAAI 2016 (arXiv 1509.06461)."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from almeta.agents.agent import Agent, Rollout, follow
from almeta.agents.losses import double_q_errors, ended_before, steps_with_target
from almeta.agents.q_learning import epsilon_greedy
from almeta.checks import Count, Share, Weight, Within
from almeta.errors import AlmetaError
from almeta.inputs import Columns, PoolView
from almeta.strategies.choosing import best_action

# What is kept of each step.
_KEPT = ("candidates", "pool", "masks", "actions", "rewards", "ended", "priority")


class Experience:
    """The latest steps of episodes on pools, from which single steps are drawn by how wrong their values were.

    This is prioritised replay (Schaul et al. 2016, arXiv 1511.05952) without weights that correct the loss.

    Args:
        size: how many steps are kept; the oldest are overwritten.

    Attributes:
        kept: tensors `[size, ...]` by name; "priority" is 0 for steps that are not to be drawn. Empty at first.
        place: where the next step goes.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.kept: dict[str, Tensor] = {}
        self.place = 0

    def add(self, rollout: Rollout) -> None:
        """Keep the steps of a batch up to the end of each episode.

        Raises:
            AlmetaError: if there are more than `size`.
        """
        assert rollout.views is not None and rollout.ended is not None  # the agent asks for them, pools have them
        device, views = rollout.ended.device, rollout.views
        chosen = ~ended_before(rollout.ended).T.flatten()
        steps = int(chosen.sum())
        if steps > self.size:
            raise AlmetaError(f"agent.replay_size={self.size}, but a batch has {steps} steps; choose {steps} or more")
        highest = self.kept["priority"].amax().clamp_min(1.0) if self.kept else torch.ones((), device=device)
        parts = {
            "candidates": torch.stack([view.candidates for view in views]),
            "pool": torch.stack([view.pool for view in views]),
            "masks": rollout.masks,
            "actions": rollout.actions,
            "rewards": rollout.rewards,
            "ended": rollout.ended,
            "priority": torch.where(steps_with_target(rollout.ended), highest, 0.0),
        }
        rows = (self.place + torch.arange(steps, device=device)) % self.size
        for name, part in parts.items():
            # An episode's steps lie one after the other, so that the next state is in the next row. The last step of an
            # episode needs none, and so the row before the place that is written next never does.
            flat = part.transpose(0, 1).flatten(0, 1)[chosen]
            if name not in self.kept:
                self.kept[name] = flat.new_zeros(self.size, *flat.shape[1:])
            if name in ("candidates", "masks"):
                self.kept[name], flat = _of_equal_pools(self.kept[name], flat)
            self.kept[name][rows] = flat
        self.place = (self.place + steps) % self.size

    def draw(self, count: int, exponent: float, generator: torch.Generator) -> Tensor:
        """Draw `count` rows, `[B]` int64, each in proportion to its priority to the power of `exponent`."""
        priority = self.kept["priority"].double()
        weight = torch.where(priority > 0, priority**exponent, 0.0)
        return weight.multinomial(count, replacement=True, generator=generator)

    def transitions(self, rows: Tensor) -> dict[str, Tensor]:
        """Return what is kept of steps `[B]` and of those that follow, `[2, B, ...]` by name."""
        both = torch.stack((rows, (rows + 1) % self.size))
        return {name: part[both] for name, part in self.kept.items()}


def _of_equal_pools(*parts: Tensor) -> list[Tensor]:
    """Return tensors `[S, N, ...]` with rows of 0 added to the smaller pools; rows that are masked cannot be chosen."""
    most = max(part.shape[1] for part in parts)
    padded = []
    for part in parts:
        missing = part.new_zeros(len(part), most - part.shape[1], *part.shape[2:])
        padded.append(torch.cat((part, missing), 1) if missing.shape[1] else part)
    return padded


@dataclass(eq=False, repr=False)
class DoubleQLearning(Agent):
    """Double Q-learning with replay and a target network; for networks of pools without memory.

    Utilities are Q-values. After each batch played, the network learns from minibatches of the steps kept so far.

    Args:
        gamma: discount.
        epsilon: probability of an exploring step, any allowed row, in the end.
        epsilon_batches: batches over which that probability falls from 1, linearly.
        warm_start: batches before, in which all steps are exploring ones.
        updates: minibatches after each batch played.
        batch_size: steps in a minibatch.
        replay_size: steps that are kept.
        priority_exponent: a step is drawn in proportion to its last absolute error to this power; 0 draws all alike.
        target_rate: share of the way to the network that the target network goes after each minibatch.

    Raises:
        AlmetaError: for a network with memory, which single steps do not teach, and for inputs of varying width.
    """

    kinds: ClassVar[tuple[str, ...]] = ("pool",)

    gamma: Share = 1.0
    epsilon: Share = 0.1
    epsilon_batches: Count = 1000
    warm_start: Annotated[int, Within(0)] = 13
    updates: Count = 60
    batch_size: Count = 32
    replay_size: Count = 10_000
    priority_exponent: Weight = 3.0
    target_rate: Share = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.inputs, Columns):
            raise AlmetaError(
                f"inputs=columns are as wide as each table, and {type(self).__name__} keeps steps of all tables "
                "side by side; choose inputs=candidates or inputs=lal_rl, and a network that reads them"
            )
        if self.network.initial(1):
            raise AlmetaError(
                f"network is {type(self.network).__name__}, which has a memory, and {type(self).__name__} learns from "
                "single steps; choose a network without, such as network=scorer"
            )
        self.target = copy.deepcopy(self.network).requires_grad_(False)
        self.batches = 0
        self.experience = Experience(self.replay_size)

    @property
    def keeps_views(self) -> bool:
        return True

    def explore(self, utilities: Tensor, action_mask: Tensor, target: Any, generator: torch.Generator) -> Tensor:
        done = min(1.0, max(0, self.batches - self.warm_start) / self.epsilon_batches)
        any_row = best_action(torch.zeros_like(utilities), action_mask, generator)
        return epsilon_greedy(utilities, action_mask, any_row, 1.0 - done * (1.0 - self.epsilon), generator)

    def lessons(self, rollout: Rollout, generator: torch.Generator) -> Iterator[Rollout]:
        """Keep the batch, and yield minibatches of all that is kept; after each, the target network follows."""
        self.experience.add(rollout)
        self.batches += 1
        priority = self.experience.kept["priority"]
        if not priority.any():
            raise AlmetaError("no step of the batch has an end or a step after it; set env.budget to 2 or more")
        for _ in range(self.updates):
            rows = self.experience.draw(self.batch_size, self.priority_exponent, generator)
            lesson = self._lesson(rows)
            yield lesson
            with torch.no_grad():
                priority[rows] = self._errors(lesson)[0].abs().clamp_min(1e-6)
            follow(self.target, self.network, self.target_rate)

    def _lesson(self, rows: Tensor) -> Rollout:
        """Return steps `[B]` of the experience, each an episode that is cut after the state that follows."""
        kept = self.experience.transitions(rows)
        ended = torch.stack((kept["ended"][0], kept["ended"][0]))  # the second state only tells what the first leads to
        view = PoolView(*(kept[name].flatten(0, 1) for name in ("candidates", "pool", "masks")))
        with torch.no_grad():
            target_utilities = self.target.step(view, ())[0]
        return Rollout(
            utilities=self.act(view, ())[0].utilities.unflatten(0, (2, -1)),
            values=None,
            masks=kept["masks"],
            actions=kept["actions"],
            rewards=kept["rewards"],
            outcomes=[],
            ended=ended,
            views=[view],
            target_utilities=target_utilities.unflatten(0, (2, -1)),
        )

    def loss(self, rollout: Rollout) -> tuple[Tensor, dict[str, Tensor]]:
        assert rollout.ended is not None  # pools have it
        errors, counted = self._errors(rollout), steps_with_target(rollout.ended)
        values = rollout.utilities.detach().gather(-1, rollout.actions[..., None]).squeeze(-1)
        number = counted.sum().clamp_min(1)
        return errors.square().sum() / number, {"q_value": values.where(counted, 0.0).sum() / number}

    def _errors(self, rollout: Rollout) -> Tensor:
        """Return the errors `[T, E]`, by the rollout's own utilities where it has none of the target network."""
        assert rollout.ended is not None  # pools have it
        target = rollout.utilities if rollout.target_utilities is None else rollout.target_utilities
        return double_q_errors(
            rollout.utilities, target, rollout.masks, rollout.actions, rollout.rewards, rollout.ended, self.gamma
        )

    def learning_state(self) -> dict[str, Any]:
        return {"batches": self.batches, "place": self.experience.place, "kept": self.experience.kept}

    def load_learning_state(self, state: dict[str, Any]) -> None:
        device = next(self.parameters()).device
        if any(len(part) != self.replay_size for part in state["kept"].values()):
            raise ValueError("it has not as many steps as agent.replay_size says")
        if set(state["kept"]) not in (set(), set(_KEPT)) or not 0 <= state["place"] < self.replay_size:
            raise ValueError("it lacks a part of the steps, or the place of the next one")
        self.batches, self.experience.place = state["batches"], state["place"]
        self.experience.kept = {name: part.to(device) for name, part in state["kept"].items()}
