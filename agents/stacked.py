"""Agents of one kind, each with weights of its own, as one agent: their weights lie side by side on a first axis.

E episodes are S equal blocks, one after the other; the k-th agent acts in the k-th block. A product for all blocks
takes hardly longer than one for a block as long as it is small, which the products of a step are.
"""

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.utils._pytree import tree_map

from almeta.agents.agent import Agent
from almeta.agents.memories import MemoryModule
from almeta.errors import AlmetaError


def stack_agents(agents: Sequence[Agent]) -> Agent:
    """Return one agent that acts and learns as each of several does in its block of the episodes.

    Its loss is that of the first one for all episodes; who trains it takes the loss of each block (`Rollout.blocks`).

    Args:
        agents: built alike; they become its `members`.

    Raises:
        AlmetaError: for networks that cannot be stacked, see `stack_networks`.
    """
    together = copy.deepcopy(agents[0])
    together.network = stack_networks([agent.network for agent in agents])
    together.members = list(agents)
    return together


def stack_networks(networks: Sequence[Any]) -> Any:
    """Return networks of streams as one, which acts as each of them does in its block of the episodes.

    Image encoders are not stacked: the result holds each one once, as a list, and cannot encode by them.

    Args:
        networks: built alike.

    Raises:
        AlmetaError: for an encoder that learns with the agent, and for networks with parts of other kinds than linear
            layers, functions without weights, and memory modules.
    """
    first = networks[0]
    if getattr(first, "fine_tune", False):
        raise AlmetaError("network.fine_tune=true trains an encoder for each run; leave out at_once, and sweep with -m")
    if list(first.parameters(recurse=False)):
        raise _not_stacked(first)
    stacked = copy.deepcopy(first)
    for name, part in first.named_children():
        parts = [getattr(network, name) for network in networks]
        if name == "encoder" and part is not None:
            stacked.encoder = nn.ModuleList(dict.fromkeys(parts))  # runs of one seed share one
        else:
            setattr(stacked, name, _stack(parts))
    return stacked


@torch.no_grad()
def unstack(agent: Agent) -> None:
    """Copy the weights of an agent of `stack_agents` into its members."""
    for number, member in enumerate(agent.members):
        for own, stacked in paired_weights(agent.network, member.network):
            own.copy_(stacked[number])


def paired_weights(stacked: Any, network: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield each weight of one network with the stacked one `[S, ...]`; encoders are left out."""
    for name, part in network.named_children():
        if name != "encoder":
            yield from zip(part.parameters(), getattr(stacked, name).parameters(), strict=True)


class StackedLinear(nn.Module):
    """S linear layers: `[E, ..., I]` -> `[E, ..., O]`, each for its block of the episodes.

    Args:
        layers: S layers of equal sizes.
    """

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.stack([layer.weight.detach() for layer in layers]))  # [S, O, I]
        biases = [layer.bias.detach() for layer in layers if layer.bias is not None]
        self.bias = nn.Parameter(torch.stack(biases)) if biases else None

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs of the layers."""
        blocks, weight = x.reshape(len(self.weight), -1, x.shape[-1]), self.weight.mT
        y = blocks @ weight if self.bias is None else torch.baddbmm(self.bias[:, None], blocks, weight)
        return y.view(*x.shape[:-1], -1)


class StackedMemory(MemoryModule):
    """S memory modules, each for its block of the episodes.

    Args:
        memories: S modules of equal sizes.
    """

    def __init__(self, memories: Sequence[MemoryModule]) -> None:
        super().__init__()
        self.number, self.output_size = len(memories), memories[0].output_size
        self._one = [copy.deepcopy(memories[0])]  # in a list: the weights are not its own
        weights, _ = stack_module_state(list(memories))
        self._names = list(weights)
        self.weights = nn.ParameterList(weight.detach() for weight in weights.values())

    def project(self, early: Tensor) -> Tensor:
        blocks = early.unflatten(-2, (self.number, -1))  # [..., S, e, early_size]
        return self._mapped("project", (blocks,), -3).flatten(-3, -2)

    def initial(self, batch: int) -> Any:
        return self._one[0].to(self.weights[0].device).initial(batch)

    def step(self, early: Tensor, late: Tensor, state: Any, start: Tensor | None = None) -> tuple[Tensor, Any]:
        blocks = tree_map(lambda part: part.unflatten(0, (self.number, -1)), (early, late, state))
        begins = () if start is None else (start.unflatten(0, (self.number, -1)),)
        stepped = self._mapped("step", (*blocks, *begins), 0)
        output, state = tree_map(lambda part: part.flatten(0, 1), stepped)
        return output, state

    def _mapped(self, method: str, blocks: tuple[Any, ...], axis: int) -> Any:
        """Return what each module's method returns for its block, along an axis."""

        def call(weights: dict[str, Tensor], *own: Any) -> Any:
            return functional_call(caller, {f"module.{name}": weight for name, weight in weights.items()}, own)

        caller = _Caller(self._one[0], method)
        weights = dict(zip(self._names, self.weights, strict=True))
        return vmap(call, (0, *[axis] * len(blocks)), axis)(weights, *blocks)


class _Caller(nn.Module):
    """Calls a method of a module in its `forward`, which is what `functional_call` calls."""

    def __init__(self, module: nn.Module, method: str) -> None:
        super().__init__()
        self.module, self._method = module, method

    def forward(self, *parts: Any) -> Any:
        return getattr(self.module, self._method)(*parts)


def _stack(parts: Sequence[Any]) -> Any:
    """Return modules of one class as one."""
    first = parts[0]
    if isinstance(first, MemoryModule):
        return StackedMemory(parts)
    if isinstance(first, nn.Linear):
        return StackedLinear(parts)
    if isinstance(first, nn.Sequential):
        return nn.Sequential(*(_stack(each) for each in zip(*parts, strict=True)))
    if not list(first.parameters()):
        return first
    raise _not_stacked(first)


def _not_stacked(part: Any) -> AlmetaError:
    return AlmetaError(
        f"at_once cannot train {type(part).__name__} for several runs as one computation: it has weights beside linear "
        "layers and memory modules; leave out at_once, and sweep with -m"
    )
