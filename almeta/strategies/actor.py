"""The contract of whoever acts: hand-made strategy, agent, or a policy of somebody else."""

from typing import Any, NamedTuple, Protocol, TypeVar

from torch import Tensor

# What an actor remembers between steps: any structure of tensors with leading axis E; `()` for a rule without memory.
Memory = Any
State = TypeVar("State", contravariant=True)


class Outputs(NamedTuple):
    """What an actor says of one step of E episodes.

    Attributes:
        utilities: `[E, A]` float32, one for each action; higher is better, `-inf` cannot be chosen.
        value: `[E]` float32, what it expects to gain from here on; None from whoever does not say.
        view: what it has read of the state, for whoever runs the same steps again; None from others.
    """

    utilities: Tensor
    value: Tensor | None = None
    view: Any = None


class Actor(Protocol[State]):
    """Whoever acts in E episodes at once. Choosing an action by its utilities is apart: see `choosing`."""

    def initial(self, num_envs: int) -> Memory:
        """Return the empty memory of `num_envs` episodes."""
        ...

    def step(self, state: State, memory: Memory) -> tuple[Outputs, Memory]:
        """Return the outputs for a state and the next memory; the memory given may be changed."""
        ...
