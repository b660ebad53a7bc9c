"""Letting whoever acts play streams, and recording it. Training, evaluation and baselines all come through here."""

from collections.abc import Callable
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from almeta.agents.agent import Rollout
from almeta.envs.one_shot import OneShotSimulation
from almeta.strategies.one_shot import StreamActor, StreamState
from almeta.tasks import StreamSampler, StreamTasks

# (outputs [E, O], action mask [E, A], true slots [E]) -> actions [E]
Choose = Callable[[Tensor, Tensor, Tensor], Tensor]


def play(simulation: OneShotSimulation, actor: StreamActor, choose: Choose) -> Rollout:
    """Play one batch of streams from start to end."""
    simulation.reset()
    tasks = simulation.tasks
    items = _encode(actor, simulation.sampler, tasks)
    memory = actor.initial(simulation.num_envs)
    steps = []
    # unbind, not items[time]: the gradient of an index is a tensor of zeros as large as all steps together.
    for item, target in zip(items.unbind(), tasks.targets.unbind(), strict=True):
        state = simulation.state(item)
        outputs, memory = actor.step(state, memory)
        action = choose(outputs.detach(), state.action_mask, target)
        outcome = simulation.step(action)
        steps.append((outputs, state.label, state.action_mask, action, outcome.reward))
    outputs, labels, masks, actions, rewards = (torch.stack(column) for column in zip(*steps, strict=True))
    free = simulation.reveal == "always"
    return Rollout(outputs, labels, masks, actions, rewards, tasks, simulation.sampler, free)


def replay(rollout: Rollout, actor: StreamActor) -> Rollout:
    """Run the actor over the recorded inputs again: the same streams and actions, the outputs of today's weights."""
    items = _encode(actor, rollout.sampler, rollout.tasks)
    memory = actor.initial(rollout.actions.shape[1])
    start = torch.ones_like(rollout.actions[0], dtype=torch.bool)
    outputs = []
    for time, item in enumerate(items.unbind()):
        state = StreamState(item, rollout.labels[time], rollout.masks[time], start if time == 0 else None)
        output, memory = actor.step(state, memory)
        outputs.append(output)
    return rollout.with_outputs(torch.stack(outputs))


def _encode(actor: StreamActor, sampler: StreamSampler, tasks: StreamTasks) -> Tensor:
    """Return the encoded images `[T, E, F]` of the streams, all steps at once."""
    if actor.encoder_version is None:
        return actor.encode(sampler.images[tasks.items])
    return _codes(actor, sampler.images)[tasks.items]


# For each actor and each table of images: the encoder's version, and the codes.
_coded: WeakKeyDictionary[StreamActor, WeakTensorKeyDictionary] = WeakKeyDictionary()


def _codes(actor: StreamActor, images: Tensor) -> Tensor:
    """Return the codes `[V, F]` of all images `[V, P]`, computed once as long as the encoder stays as it is."""
    tables = _coded.setdefault(actor, WeakTensorKeyDictionary())
    version = actor.encoder_version
    if images not in tables or tables[images][0] != version:
        tables[images] = version, actor.encode(images)
    return tables[images][1]
