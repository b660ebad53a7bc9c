"""Letting whoever acts play, and recording it. Training, evaluation and baselines all come through here."""

from collections.abc import Callable, Iterator
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from almeta.agents.agent import Agent, Rollout
from almeta.agents.pool import PoolAgent, PoolRollout
from almeta.envs.pool import PoolOutcome, PoolSimulation
from almeta.envs.stream import StreamSimulation
from almeta.strategies.choosing import best_action
from almeta.strategies.pool import PoolActor, PoolState
from almeta.strategies.stream import StreamActor, StreamState
from almeta.tasks import PoolTasks, StreamSampler, StreamTasks

# (outputs [E, O], action mask [E, A], true slots [E]) -> actions [E]
Choose = Callable[[Tensor, Tensor, Tensor], Tensor]


def play(simulation: StreamSimulation, actor: StreamActor, choose: Choose) -> Rollout:
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


def explore_streams(simulation: StreamSimulation, agent: Agent, generator: torch.Generator) -> Rollout:
    """Let an agent that learns play one batch of streams."""

    def choose(outputs: Tensor, action_mask: Tensor, targets: Tensor) -> Tensor:
        return agent.explore(outputs, action_mask, targets, generator)

    return play(simulation, agent, choose)


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


def play_pools(
    simulation: PoolSimulation, choose: Callable[[PoolState], Tensor], tasks: PoolTasks | None = None
) -> Iterator[tuple[PoolState, Tensor, PoolOutcome]]:
    """Play one batch of pools, drawn or given, and yield each state, the rows `[E]` picked in it, and what came of it.

    Args:
        simulation: reset at the first step.
        choose: picks a row in each pool.
        tasks: to be played; None to draw them.
    """
    state = simulation.reset(tasks)
    while not simulation.finished:
        rows = choose(state)
        outcome = simulation.step(rows)
        yield state, rows, outcome
        state = simulation.state()


def explore_pools(simulation: PoolSimulation, agent: PoolAgent, generator: torch.Generator) -> PoolRollout:
    """Let an agent that learns play one batch of pools."""
    outputs: list[tuple[Tensor, Tensor]] = []

    def choose(state: PoolState) -> Tensor:
        outputs.append(agent.step(state))
        return agent.explore(outputs[-1][0].detach(), state.available, generator)

    steps, scores = [], []
    for state, rows, outcome in play_pools(simulation, choose):
        scores.append(outcome.score)
        steps.append((*outputs[-1], state.available, rows, outcome.reward))
    logits, values, masks, actions, rewards = (torch.stack(column) for column in zip(*steps, strict=True))
    return PoolRollout(logits, values, masks, actions, rewards, torch.stack(scores), simulation.group)


def learning_curves(
    simulation: PoolSimulation, actor: PoolActor, generator: torch.Generator, tasks: PoolTasks | None = None
) -> Tensor:
    """Let a strategy or a policy pick the rows it thinks best, and return the scores `[T + 1, E]`.

    Args:
        simulation: where it acts.
        actor: strategy or policy.
        generator: breaks ties, and draws for actors with chance in them.
        tasks: to be played; None to draw them.
    """

    def choose(state: PoolState) -> Tensor:
        if not curve:
            curve.append(simulation.score)
        return best_action(actor.utilities(state, generator), state.available, generator)

    curve: list[Tensor] = []
    curve.extend(outcome.score for _, _, outcome in play_pools(simulation, choose, tasks))
    return torch.stack(curve)


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
