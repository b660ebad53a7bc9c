"""What all agents share: a network, the inputs it reads, and a loss."""

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn

from almeta.agents.live import TAKES_MORE, Label, LiveStream
from almeta.checks import check_fields
from almeta.errors import AlmetaError
from almeta.inputs import Inputs
from almeta.strategies.actor import Memory, Outputs
from almeta.strategies.choosing import best_action

# A class of networks with its options: called with `inputs` and `num_values`.
MakeNetwork = Callable[..., Any]


@dataclass(frozen=True)
class Rollout:
    """E finished episodes of T steps, time first.

    Attributes:
        utilities: `[T, E, A]` float32, as the agent returned them, with their graph if gradients were on.
        values: `[T, E]` float32, the state values; None from an agent that has none.
        masks: `[T, E, A]` bool, the allowed actions.
        actions: `[T, E]` int64.
        rewards: `[T, E]` float32.
        outcomes: T outcomes of the simulation, for its own measures.
        targets: `[T, E]` int64, the right actions; None where there are none.
        group: episodes per task; they are neighbours.
        ended: `[T, E]` bool, whether later steps are worth nothing; True from the end on. An episode whose last step is
            False was cut there. None where the kind of problem does not say.
        views: what the agent read at each step; None unless the agent `keeps_views`.
        images: `[T, E, P]`, for `replay` to encode again; None where there are none, or without views.
        behaviour: the rollout as it was played; None if this is it.
        target_utilities: `[T, E, A]` float32, those of a target network; None where there is none.
    """

    utilities: Tensor
    values: Tensor | None
    masks: Tensor
    actions: Tensor
    rewards: Tensor
    outcomes: list[Any]
    targets: Tensor | None = None
    group: int = 1
    ended: Tensor | None = None
    views: list[Any] | None = None
    images: Tensor | None = None
    behaviour: "Rollout | None" = None
    target_utilities: Tensor | None = None

    def blocks(self, number: int) -> "list[Rollout]":
        """Return equal parts, one after the other, without outcomes, views and images: `[T, E / number]` each."""
        if number == 1:
            return [self]
        names = ("utilities", "values", "masks", "actions", "rewards", "targets", "ended", "target_utilities")
        present = [name for name in names if getattr(self, name) is not None]
        parts = zip(*(getattr(self, name).chunk(number, 1) for name in present), strict=True)
        played = [None] * number if self.behaviour is None else self.behaviour.blocks(number)
        bare = replace(self, outcomes=[], views=None, images=None)
        return [
            replace(bare, **dict(zip(present, part, strict=True)), behaviour=before)
            for part, before in zip(parts, played, strict=True)
        ]

    def with_outputs(self, utilities: Tensor, values: Tensor | None) -> "Rollout":
        """Return the same episodes and actions with the outputs of the present weights."""
        played = self if self.behaviour is None else self.behaviour
        return replace(self, utilities=utilities, values=values, behaviour=played)


@dataclass(eq=False, repr=False)
class Network(nn.Module):
    """Utilities of the actions, and a memory; subclasses add `initial` and `step`.

    A subclass is a dataclass: its options are fields with a type, bounds and a default. It may have a method
    `auxiliary_loss(view)`, a scalar of what it read at one step, which every agent adds to its loss; and
    `centre_codes(images)`, called once its image encoder has been trained on these images.

    Args:
        inputs: what it reads.
        num_values: 1 if it must have a state value too, else 0.

    Attributes:
        kind: the kind of problems that it can act in.
        slots_alike: whether it treats all label slots of a stream alike, so that its weights serve any number of them.

    Raises:
        AlmetaError: for an option that is out of range.
    """

    kind: ClassVar[str]
    slots_alike: ClassVar[bool] = False

    inputs: Any
    num_values: int = 0

    def __post_init__(self) -> None:
        super().__init__()  # keeps the fields, which are set already
        check_fields(self, "network", given=("inputs", "num_values"))


@dataclass(eq=False, repr=False)
class Agent(nn.Module):
    """A policy and the rule by which it learns; subclasses add `explore` and `loss`.

    What an agent needs to go on learning beside its weights is its `learning_state`; checkpoints keep it.

    A subclass is a dataclass: its options are fields with a type, bounds and a default.

    Args:
        network: makes the network, called with `inputs` and `num_values`; afterwards the network itself.
        inputs: what the network reads of a state.

    Attributes:
        kinds: the kinds of problems it can learn from; None for all.
        num_values: 1 if the loss needs a state value from the network, else 0.
        min_group: the fewest episodes per task that it can learn from.
        reveal: the option `env.reveal` of the streams it plays.
        members: agents that learn at once, each in its block of the episodes, if this one stands for several.
        learns_q_values: whether utilities are Q-values, for which networks may be dueling.

    Raises:
        AlmetaError: for an option that is out of range.
    """

    network: Any
    inputs: Inputs

    kinds: ClassVar[tuple[str, ...] | None] = None
    num_values: ClassVar[int] = 0
    min_group: ClassVar[int] = 1
    reveal: ClassVar[Literal["requested", "always"]] = "requested"
    learns_q_values: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__init__()  # keeps the fields, which are set already
        self._live: LiveStream | None = None
        self.members: list[Agent] = []
        check_fields(self, "agent", given=("network", "inputs"))
        self.network = self.network(inputs=self.inputs, num_values=self.num_values)

    @property
    def epochs(self) -> int:
        """The number of passes over each batch."""
        return 1

    def without_effect(self) -> list[str]:
        """Return a sentence for each option that was changed and has no effect beside the others."""
        dropout, sentences = getattr(self.network, "dropout", 0), []
        if dropout and getattr(self, "exploration", None) != "thompson":
            sentences.append(f"network.dropout={dropout:g} has no effect without agent.exploration=thompson")
        if getattr(self.network, "dueling", False) and not self.learns_q_values:
            sentences.append("network.dueling=true has no effect: the agent learns no Q-values")
        return sentences

    @property
    def keeps_views(self) -> bool:
        """Whether a rollout must hold what was read at each step: for later epochs, or a network's auxiliary loss."""
        return self.epochs > 1 or hasattr(self.network, "auxiliary_loss")

    @property
    def encoder_version(self) -> int | None:
        """A number that changes with the encoder; None while the encoder learns."""
        return self.network.encoder_version

    def encode(self, images: Tensor) -> Tensor:
        """Return the network's items `[..., F]` of images `[..., P]`."""
        return self.network.encode(images)

    def initial(self, num_envs: int) -> Memory:
        """Return the empty memory of `num_envs` episodes."""
        return self.network.initial(num_envs)

    def begin(self, num_envs: int, generator: torch.Generator) -> Memory:
        """Return the memory with which training episodes begin; the generator draws what holds for whole episodes."""
        return self.initial(num_envs)

    def step(self, state: Any, memory: Memory) -> tuple[Outputs, Memory]:
        """Return the outputs for a state, and the next memory."""
        return self.act(self.inputs(state), memory)

    def act(self, view: Any, memory: Memory) -> tuple[Outputs, Memory]:
        """Return the outputs for what was read of a state, and the next memory."""
        utilities, value, memory = self.network.step(view, memory)
        return Outputs(utilities, value, view), memory

    @torch.no_grad()
    def predict(
        self,
        observation: Any,
        memory: Memory = None,
        episode_start: np.ndarray | bool | None = None,
        action_mask: Any = None,
        generator: torch.Generator | None = None,
    ) -> tuple[np.ndarray, Memory]:
        """Act greedily in a Gymnasium environment, one step of one episode or of a batch.

        Args:
            observation: as the environments return it.
            memory: what the previous call returned; None before the first step.
            episode_start: where an episode begins and memory must be emptied, a bool or `[E]`; None for nowhere.
            action_mask: `info["action_mask"]`, `[A]` or `[E, A]`, an array or a list; None takes the observation's, or
                allows everything.
            generator: breaks ties between actions; None takes the first.

        Returns:
            The action, int64, a scalar or `[E]`, and the memory for the next call; the memory given may be changed.

        Raises:
            AlmetaError: if the observation, the mask or the start has another shape, or a mask allows nothing.
        """
        device = next(self.parameters()).device
        view, single = self.inputs.observed(observation, action_mask, episode_start, device)
        if hasattr(self.network, "encode"):
            view = replace(view, item=self.encode(view.item))
        mask = view.action_mask
        outputs, memory = self.act(view, self.initial(len(mask)) if memory is None else memory)
        if generator is None:
            action = outputs.utilities.masked_fill(~mask, -torch.inf).argmax(-1).cpu().numpy()
        else:
            action = best_action(outputs.utilities, mask, generator).cpu().numpy()
        return (action[0] if single else action), memory

    def for_streams(self, num_slots: int, capacity: int = 0) -> Self:
        """Return the agent, with the same weights, for streams with more label slots or more steps to remember.

        Args:
            num_slots: label slots that are needed.
            capacity: steps that are to be remembered, where the network has such an option.

        Raises:
            AlmetaError: for more slots than it has, if its network does not treat all slots alike.
        """
        network: Any = self.network
        inputs: Any = self.inputs  # those of streams, which have slots
        own_slots: int = inputs.num_slots
        if num_slots > own_slots and not getattr(network, "slots_alike", False):
            raise AlmetaError(
                f"the policy distinguishes {own_slots} classes; choose {own_slots} or fewer, or {TAKES_MORE}"
            )
        changed = {"capacity": capacity} if getattr(network, "capacity", capacity) < capacity else {}
        if num_slots <= own_slots and not changed:
            return self
        options = {one.name: getattr(network, one.name) for one in fields(network)} | changed
        made = {name: value for name, value in options.items() if name not in ("inputs", "num_values")}
        own = {one.name: getattr(self, one.name) for one in fields(self)}
        make: MakeNetwork = type(network)
        own["network"] = functools.partial(make, **made)
        own["inputs"] = replace(inputs, num_slots=max(num_slots, own_slots))
        with torch.device("meta"):  # it takes the weights that are there
            other = type(self)(**own)
        other.load_state_dict(self.state_dict(), assign=True)
        return other.train(self.training)

    def begin_stream(
        self,
        labels: Iterable[Label] | None = None,
        dark_ink: bool = False,
        num_classes: int | None = None,
        capacity: int | None = None,
        incorrect: float | None = None,
    ) -> LiveStream:
        """Begin a stream of one's own images, for agents of streams; forget the one before.

        Args:
            labels: of all classes, where they are known beforehand: then the agent may conclude from the others what
                an image is. None otherwise.
            dark_ink: whether the ink is dark on a bright ground, as on paper.
            num_classes: classes to tell apart at most; None for as many as labels, and at least as in training.
            capacity: images to remember at least, for networks with such an option; None for as many as in training.
            incorrect: the reward of a mistake, beside 1 for a right answer and -0.05 for a request, for agents that
                were told it in training: the lower, the more they ask.

        Returns:
            The stream, which counts the requests.

        Raises:
            AlmetaError: for an agent of another kind of problem, and for more classes than it has slots, unless its
                network treats all slots alike.
        """
        self._live = LiveStream(self, labels, dark_ink, num_classes, capacity, incorrect)
        return self._live

    def observe(self, image: Any) -> Label | None:
        """Return the label that an image of one's own stream has, as far as the agent knows; None if it asks.

        Args:
            image: `[H, W]`, or `[H, W, 3]`, see `LiveStream.observe`.
        """
        return self._own_stream.observe(image)

    def tell(self, label: Label) -> None:
        """Tell the label of the image that was observed last, see `LiveStream.tell`."""
        self._own_stream.tell(label)

    @property
    def _own_stream(self) -> LiveStream:
        return self.begin_stream() if self._live is None else self._live

    def explore(
        self, utilities: Tensor, action_mask: Tensor, target: Tensor | None, generator: torch.Generator
    ) -> Tensor:
        """Return actions `[E]` int64 for training.

        Args:
            utilities: `[E, A]` without a graph.
            action_mask: `[E, A]` bool.
            target: `[E]` int64, the right actions; None where there are none.
            generator: draws.
        """
        raise NotImplementedError

    def lessons(self, rollout: Rollout, generator: torch.Generator) -> Iterator[Rollout]:
        """Yield what the loss of each step of the optimiser is taken of; the next one is asked for after the step.

        Args:
            rollout: the batch just played.
            generator: draws, where lessons are drawn.
        """
        yield rollout
        for _ in range(self.epochs - 1):
            yield replay(rollout, self)

    def learning_state(self) -> dict[str, Any]:
        """Return tensors and plain values that learning goes on from, beside the weights."""
        return {}

    def load_learning_state(self, state: dict[str, Any]) -> None:
        """Take over what `learning_state` returned; what is missing or of another size is a KeyError or ValueError."""
        return

    def loss(self, rollout: Rollout) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss, a scalar with its graph, and further scalars to log."""
        raise NotImplementedError

    def total_loss(self, rollout: Rollout) -> tuple[Tensor, dict[str, Tensor]]:
        """Return what `loss` does, with the mean over all steps of the network's auxiliary loss, if it has one."""
        loss, scalars = self.loss(rollout)
        if not hasattr(self.network, "auxiliary_loss"):
            return loss, scalars
        assert rollout.views is not None  # kept, as the network has such a loss
        auxiliary = torch.stack([self.network.auxiliary_loss(view) for view in rollout.views]).mean()
        return loss + auxiliary, scalars | {"auxiliary_loss": auxiliary.detach()}


def replay(rollout: Rollout, agent: Agent) -> Rollout:
    """Return a rollout with the outputs of the agent's present weights for what it read then."""

    def act(view: Any, memory: Memory) -> tuple[Tensor, Tensor | None, Memory]:
        outputs, memory = agent.act(view, memory)
        return outputs.utilities, outputs.value, memory

    memory = agent.initial(rollout.actions.shape[1])
    return rollout.with_outputs(*outputs_for(rollout, agent.network, memory, act))


def outputs_for(
    rollout: Rollout, network: Any, memory: Memory, act: Callable[..., Any] | None = None
) -> tuple[Tensor, Tensor | None]:
    """Return the utilities `[T, E, A]` of a network for what was read then, and its values `[T, E]` if it has any.

    Args:
        rollout: with views.
        network: its encoder reads the images, where it learns.
        memory: before the first step.
        act: what answers at each step, in place of the network's `step`.
    """
    act = act or network.step
    views = rollout.views or []
    if rollout.images is not None and hasattr(network, "encode") and network.encoder_version is None:
        items = network.encode(rollout.images).unbind()
        views = [replace(view, item=item) for view, item in zip(views, items, strict=True)]
    utilities, values = [], []
    for view in views:
        utility, value, memory = act(view, memory)
        utilities.append(utility)
        values.append(value)
    return torch.stack(utilities), stacked(values)


@torch.no_grad()
def follow(target: nn.Module, network: nn.Module, rate: float) -> None:
    """Move the weights of a target network a share of the way to those of the network."""
    for old, new in zip(target.parameters(), network.parameters(), strict=True):
        old.lerp_(new, rate)


def stacked(parts: list[Tensor | None]) -> Tensor | None:
    """Return tensors on top of each other, time first; None if there are none."""
    known = [part for part in parts if part is not None]
    return torch.stack(known) if known else None
