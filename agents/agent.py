"""What all agents share: a network, a way to act, and a loss to learn from what was played."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from almeta.strategies.choosing import best_action
from almeta.strategies.stream import Memory, StreamState
from almeta.tasks import StreamSampler, StreamTasks

# Called as make_network(num_pixels=P, num_slots=S, num_outputs=O).
MakeNetwork = Callable[..., Any]


@dataclass(frozen=True)
class Rollout:
    """E finished streams of T steps, time first.

    Attributes:
        outputs: `[T, E, O]` float32, what the actor returned, with its graph when gradients were on.
        labels: `[T, E, S]` float32, the label inputs.
        masks: `[T, E, S + 1]` bool, the allowed actions.
        actions: `[T, E]` int64.
        rewards: `[T, E]` float32.
        tasks: the streams that were played.
        sampler: where they came from.
        labels_free: whether every label was revealed without a request.
        behaviour: `[T, E, O]`, the outputs while playing, when `outputs` are those of later weights; else None.
    """

    outputs: Tensor
    labels: Tensor
    masks: Tensor
    actions: Tensor
    rewards: Tensor
    tasks: StreamTasks
    sampler: StreamSampler
    labels_free: bool
    behaviour: Tensor | None = None

    def scalars(self) -> dict[str, Tensor]:
        """What a training record tells of the streams."""
        requested = self.actions == self.labels.shape[-1]
        return {
            "mean_return": self.rewards.sum(0).mean(),
            "accuracy": (self.actions == self.tasks.targets).float().mean(),
            "request_rate": requested.float().mean(),
        }

    def with_outputs(self, outputs: Tensor) -> "Rollout":
        """Return the same streams and actions with the outputs of today's weights."""
        behaviour = self.outputs.detach() if self.behaviour is None else self.behaviour
        return replace(self, outputs=outputs, behaviour=behaviour)


class Agent(nn.Module):
    """A policy and the rule by which it learns; subclasses add `explore` and `loss`.

    Args:
        network: makes the network, called with `num_pixels`, `num_slots`, `num_outputs`.
        num_pixels: numbers in an image P.
        num_slots: label slots S; there are S + 1 actions, the last one is the request.
        num_values: outputs beyond one per action, such as a state value.

    Attributes:
        epochs: how often the loss is taken from one batch; before each further time the network is run over the
            recorded batch again.
        reveal: the streams it plays, `env.reveal`.
    """

    epochs = 1
    reveal: Literal["requested", "always"] = "requested"

    def __init__(self, network: MakeNetwork, num_pixels: int, num_slots: int, num_values: int = 0) -> None:
        super().__init__()
        self.num_pixels, self.num_actions = num_pixels, num_slots + 1
        self.network: Any = network(
            num_pixels=num_pixels, num_slots=num_slots, num_outputs=self.num_actions + num_values
        )

    @property
    def encoder_version(self) -> int | None:
        """Equal numbers mean that an image is encoded alike; None while the encoder learns."""
        return self.network.encoder_version

    def encode(self, images: Tensor) -> Tensor:
        """Turn images `[..., P]` into the network's items `[..., F]`."""
        return self.network.encode(images)

    def initial(self, num_envs: int) -> Memory:
        """Return the empty memory of `num_envs` episodes."""
        return self.network.initial(num_envs)

    def step(self, state: StreamState, memory: Memory) -> tuple[Tensor, Memory]:
        """Return outputs `[E, O]`, utilities of the actions first, and the next memory."""
        return self.network.step(state, memory)

    def greedy(self, outputs: Tensor, action_mask: Tensor, generator: torch.Generator) -> Tensor:
        """Return the best allowed action `[E]` int64."""
        return best_action(outputs[..., : self.num_actions], action_mask, generator)

    @torch.no_grad()
    def predict(
        self,
        observation: np.ndarray,
        memory: Memory = None,
        episode_start: np.ndarray | bool | None = None,
        action_mask: np.ndarray | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[np.ndarray, Memory]:
        """Act greedily in a Gymnasium environment, one step of one episode or of a batch.

        Args:
            observation: `[S + P]` or `[E, S + P]` float32, label input and image, as the environments return it.
            memory: what the previous call returned; None before the first step.
            episode_start: where an episode begins and memory must be emptied, a bool or `[E]`.
            action_mask: `info["action_mask"]`, `[A]` or `[E, A]`; None if everything is allowed.
            generator: breaks ties between actions; None takes the first.

        Returns:
            The action, int64, a scalar or `[E]`, and the memory for the next call; the memory given may be changed.
        """
        weight = next(self.parameters())
        batch = torch.as_tensor(np.atleast_2d(observation), device=weight.device)
        label, image = batch.split([self.num_actions - 1, self.num_pixels], dim=-1)
        allowed = torch.ones(len(batch), self.num_actions, dtype=torch.bool, device=weight.device)
        if action_mask is not None:
            allowed &= torch.as_tensor(np.atleast_2d(action_mask), device=weight.device).bool()
        start = None
        if episode_start is not None:
            start = torch.tensor(np.broadcast_to(episode_start, len(batch)), device=weight.device)
        memory = self.initial(len(batch)) if memory is None else memory
        outputs, memory = self.step(StreamState(self.encode(image), label, allowed, start), memory)
        if generator is None:
            chosen = outputs[:, : self.num_actions].masked_fill(~allowed, -torch.inf).argmax(-1)
        else:
            chosen = self.greedy(outputs, allowed, generator)
        action = chosen.cpu().numpy()
        return (action[0] if observation.ndim == 1 else action), memory

    def explore(self, outputs: Tensor, action_mask: Tensor, targets: Tensor, generator: torch.Generator) -> Tensor:
        """Return actions `[E]` int64 for training.

        Args:
            outputs: `[E, O]` without a graph.
            action_mask: `[E, A]` bool.
            targets: `[E]` the true slots, for rules of exploration that look at them.
            generator: draws.
        """
        raise NotImplementedError(f"{type(self).__name__} says not how it explores")

    def loss(self, rollout: Rollout) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss (a scalar with its graph) and further scalars worth logging."""
        raise NotImplementedError(f"{type(self).__name__} has no loss")
