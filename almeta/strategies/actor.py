"""The contract of actors: hand-made strategies, agents, and policies of others."""

from typing import Any, NamedTuple, Protocol, TypeVar

from torch import Tensor

# What an actor remembers between steps: any structure of tensors with leading axis E; `()` for a rule without memory.
Memory = Any
State = TypeVar("State", contravariant=True)


class Outputs(NamedTuple):
    """What an actor returns at one step of E episodes.

    Attributes:
        utilities: `[E, A]` float32, one for each action; higher is better, `-inf` cannot be chosen.
        value: `[E]` float32, the expected sum of rewards from here on; None if it has no such estimate.
        view: what it has read of the state, for `replay`; None from strategies.
    """

    utilities: Tensor
    value: Tensor | None = None
    view: Any = None


class Actor(Protocol[State]):
    """Scores the actions of E episodes at once; the functions of `choosing` choose among them."""

    def initial(self, num_envs: int) -> Memory:
        """Return the empty memory of `num_envs` episodes."""
        ...

    def step(self, state: State, memory: Memory) -> tuple[Outputs, Memory]:
        """Return the outputs for a state and the next memory; the memory given may be changed."""
        ...
