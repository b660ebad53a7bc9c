"""What all simulations share: E episodes at once, on tensors, of equal length."""

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from almeta.checks import Count, check_value
from almeta.errors import AlmetaError
from almeta.seeding import make_generator


class Simulation(ABC):
    """E episodes at once. The Gymnasium environments are views of one; training and evaluation step it as well.

    A kind of problem is a subclass, in one file of `almeta/envs`.

    Args:
        num_envs: episodes run in parallel E.
        generator: draws the tasks, and what happens in an episode; None for one of seed 0.
        group: episodes per task; they are neighbours.

    Attributes:
        kind: the one word for this kind of problem; configs, checkpoints and cards carry it.
        length: steps of an episode T.
        time: steps taken.
        discount: how much the next step's reward counts now, for agents that learn here; in [0, 1].

    Raises:
        AlmetaError: if `num_envs` is no multiple of `group`.
    """

    kind: ClassVar[str]
    length = time = 0
    discount = 1.0

    def __init__(self, num_envs: int, generator: torch.Generator | None, group: int = 1) -> None:
        check_value("num_envs", num_envs, Count)
        if num_envs % group:
            raise AlmetaError(f"num_envs={num_envs} is no multiple of env.group={group}, the episodes per task")
        self.num_envs, self.group, self.generator = num_envs, group, generator or make_generator(0, "env")

    @property
    def finished(self) -> bool:
        """Whether the episodes have ended (all at once: they have equal lengths)."""
        return self.time >= self.length

    @property
    def images(self) -> Tensor | None:
        """`[T, E, P]` float32, what is known of all steps before the first, for encoders; None for nothing."""
        return None

    @property
    def target(self) -> Tensor | None:
        """`[E]` int64, the right actions now, for training alone; None where there are none."""
        return None

    def expect(self, actor: Any) -> None:
        """Hear, before the reset, who will act: for tasks that are drawn by what the actor makes of them."""
        return

    def show_to(self, actor: Any) -> None:
        """Show an actor what is known of all steps before the first."""
        return

    @property
    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """What a checkpoint keeps of the tasks it was trained on.

        `datasets` are the names of the data sets; `digest` is a text that changes with what is drawn from them; `rows`,
        by which copies are recognised, has a sketch (`almeta.data.rows.sketch`) of each as one text, or is left out.
        """

    @abstractmethod
    def reset(self, tasks: Any = None, generators: Sequence[torch.Generator] | None = None) -> Any:
        """Begin new episodes, and return the first state.

        Args:
            tasks: the E / group tasks to play, each in `group` neighbouring episodes; None to draw them.
            generators: one for each task, which draws the task and what else is drawn at the start of its episode, so
                that no episode depends on the others; None to draw everything from `generator`.
        """

    @abstractmethod
    def state(self) -> Any:
        """Return what may be known now; it has an `action_mask` `[E, A]` bool."""

    @abstractmethod
    def step(self, actions: Tensor) -> Any:
        """Take the actions `[E]` int64, and return an outcome that has a `reward` `[E]` float32."""

    def scalars(self, rollout: Any) -> dict[str, Tensor]:
        """Return the measures of finished episodes that a training record holds."""
        return {"mean_return": rollout.rewards.sum(0).mean()}


def check_memory(num_envs: int, each: int, device: torch.device) -> None:
    """Raise AlmetaError if E episodes of at least `each` bytes cannot lie in the device's memory."""
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
