"""What all simulations share: E episodes at once, on tensors, of equal length."""

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from almeta.errors import AlmetaError


class Simulation(ABC):
    """E episodes at once. The Gymnasium environments are views of one; training and evaluation step the same.

    A kind of problem is a subclass, in one file of `almeta/envs`.

    Args:
        num_envs: episodes run in parallel E.
        generator: draws the tasks, and whatever happens in an episode.

    Attributes:
        kind: the one word for this kind of problem; configs, checkpoints and cards carry it.
        length: steps of an episode T.
        time: steps taken.
        discount: how much the next step's reward counts now, for agents that learn here; in [0, 1].
        group: episodes per task; they are neighbours.
        images: what is known of all steps before the first, `[T, E, P]`, for whoever encodes it; None for nothing.
        target: `[E]` int64, the right actions now, for training alone; None where there are none.
    """

    kind: ClassVar[str]
    length = time = 0
    discount = 1.0
    group = 1

    def __init__(self, num_envs: int, generator: torch.Generator) -> None:
        self.num_envs, self.generator = num_envs, generator

    @property
    def finished(self) -> bool:
        """Whether the episodes have ended (all at once: they have equal lengths)."""
        return self.time >= self.length

    @property
    def images(self) -> Tensor | None:
        return None

    @property
    def target(self) -> Tensor | None:
        return None

    def show_to(self, actor: Any) -> None:
        """Let whoever acts see at once what is known of all steps before the first."""
        return

    @property
    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """What a checkpoint keeps of the tasks it was trained on.

        `datasets`, their names; `digest`, a text that changes with what is drawn from them; and, where copies are to be
        told by their rows, `rows`: by name, a sketch as one text (`almeta.data.rows.sketch`).
        """

    @abstractmethod
    def reset(self, tasks: Any = None, generators: Sequence[torch.Generator] | None = None) -> Any:
        """Begin new episodes, and return the first state.

        Args:
            tasks: to be played; None to draw them.
            generators: one for each task, which draws it and what else is drawn at the start of its episode, so that
                no episode depends on the others; None to draw all from `generator`.
        """

    @abstractmethod
    def state(self) -> Any:
        """Return what may be known now; it has an `action_mask` `[E, A]` bool."""

    @abstractmethod
    def step(self, actions: Tensor) -> Any:
        """Take the actions `[E]` int64, and return an outcome that has a `reward` `[E]` float32."""

    def scalars(self, rollout: Any) -> dict[str, Tensor]:
        """Return what a training record tells of finished episodes."""
        return {"mean_return": rollout.rewards.sum(0).mean()}


def check_memory(num_envs: int, each: int, device: torch.device) -> None:
    """Raise if E episodes of `each` bytes at least cannot lie in the device's memory, before any of it is spent."""
    if device.type == "cuda":
        have = torch.cuda.get_device_properties(device).total_memory
    elif hasattr(os, "sysconf"):
        have = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    else:  # Windows does not say
        return
    if num_envs * each > have:
        way = f"choose num_envs={have // each} or less" if have >= each else "choose smaller tasks"
        raise AlmetaError(
            f"num_envs={num_envs} episodes need more than {num_envs * each / 1e9:.0f} GB of memory, and there are "
            f"{have / 1e9:.0f} GB; {way}"
        )
