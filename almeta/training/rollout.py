"""Playing episodes and recording them, for training, evaluation and benchmarks alike."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from almeta.agents.agent import Agent, Rollout, stacked
from almeta.envs.classes import ClassSimulation
from almeta.envs.features import FeatureSimulation
from almeta.envs.pool import PoolSimulation
from almeta.envs.simulation import Simulation
from almeta.strategies.actor import Actor, Memory, Outputs
from almeta.strategies.choosing import best_action
from almeta.tasks import PoolTasks

# Simulations with `scores`, whose learning curves are recorded.
Scored = PoolSimulation | ClassSimulation | FeatureSimulation
# (utilities [E, A] without a graph, action mask [E, A]) -> actions [E]
Choose = Callable[[Tensor, Tensor], Tensor]


class Step(NamedTuple):
    """One step of E episodes.

    Attributes:
        state: what could be known before it.
        outputs: what the actor returned.
        actions: `[E]` int64, what was chosen.
        outcome: what the simulation returned.
        seconds: what the actor and the choice took.
    """

    state: Any
    outputs: Outputs
    actions: Tensor
    outcome: Any
    seconds: float


def play(
    simulation: Simulation,
    actor: Actor[Any],
    choose: Choose,
    tasks: Any = None,
    generators: Sequence[torch.Generator] | None = None,
    clock: Callable[[], float] = time.perf_counter,
    memory: Memory = None,
) -> Iterator[Step]:
    """Play one batch of episodes from start to end, and yield each step.

    Args:
        simulation: it is reset first.
        actor: a strategy, an agent or a policy.
        choose: chooses actions by their utilities.
        tasks: the tasks to play; None to draw them.
        generators: of the tasks, see `Simulation.reset`.
        clock: tells seconds; on a GPU, which is not waited for, one that waits makes `Step.seconds` right.
        memory: the actor's, before the first step; None for its empty one.
    """
    simulation.expect(actor)
    simulation.reset(tasks, generators)
    simulation.show_to(actor)
    memory = actor.initial(simulation.num_envs) if memory is None else memory
    while not simulation.finished:
        state, begun = simulation.state(), clock()
        outputs, memory = actor.step(state, memory)
        actions = choose(outputs.utilities.detach(), state.action_mask)
        seconds = clock() - begun
        yield Step(state, outputs, actions, simulation.step(actions), seconds)


def greedy(generator: torch.Generator) -> Choose:
    """Return what chooses the best allowed action; the generator breaks ties."""
    return lambda utilities, mask: best_action(utilities, mask, generator)


def explore(simulation: Simulation, agent: Agent, generator: torch.Generator) -> Rollout:
    """Play one batch of episodes as an agent explores, and return the record."""

    def choose(utilities: Tensor, mask: Tensor) -> Tensor:
        targets.append(simulation.target)
        return agent.explore(utilities, mask, targets[-1], generator)

    targets: list[Tensor | None] = []
    steps = list(play(simulation, agent, choose, memory=agent.begin(simulation.num_envs, generator)))
    return Rollout(
        utilities=torch.stack([step.outputs.utilities for step in steps]),
        values=stacked([step.outputs.value for step in steps]),
        masks=torch.stack([step.state.action_mask for step in steps]),
        actions=torch.stack([step.actions for step in steps]),
        rewards=torch.stack([step.outcome.reward for step in steps]),
        outcomes=[step.outcome for step in steps],
        targets=stacked(targets),
        group=simulation.group,
        ended=stacked([getattr(step.outcome, "ended", None) for step in steps]),
        views=[step.outputs.view for step in steps] if agent.keeps_views else None,
        images=simulation.images if agent.keeps_views else None,
    )


@torch.no_grad()
def record_curves(
    simulation: Scored,
    actor: Actor[Any],
    generator: torch.Generator,
    tasks: PoolTasks | None = None,
    generators: Sequence[torch.Generator] | None = None,
    measures: Sequence[str] = (),
) -> tuple[Tensor, float]:
    """Play one batch, choosing what has the highest utility.

    Args:
        simulation: it is reset first.
        actor: a strategy or a policy.
        generator: breaks ties.
        tasks: the tasks to play; None to draw them.
        generators: of the tasks, see `Simulation.reset`.
        measures: K names of `simulation.scores`; none for the one of its options.

    Returns:
        The learning curves by each measure, `[K, T + 1, E]` float32, and the seconds that the actor took in all.
    """

    def choose(utilities: Tensor, mask: Tensor) -> Tensor:
        if not curves:
            note()
        return best_action(utilities, mask, generator)

    def note() -> None:
        curves.append(torch.stack([simulation.scores[name] for name in names]))

    def clock() -> float:
        if generator.device.type == "cuda":
            torch.cuda.synchronize(generator.device)
        return time.perf_counter()

    names = measures or (simulation.options.score,)
    curves: list[Tensor] = []
    seconds = 0.0
    for step in play(simulation, actor, choose, tasks, generators, clock):
        note()
        seconds += step.seconds
    return torch.stack(curves, 1), seconds


def learning_curves(
    simulation: Scored,
    actor: Actor[Any],
    generator: torch.Generator,
    tasks: PoolTasks | None = None,
    generators: Sequence[torch.Generator] | None = None,
    measures: Sequence[str] = (),
) -> Tensor:
    """Return the learning curves `[T + 1, E]` of one batch by the first measure; arguments as `record_curves`."""
    return record_curves(simulation, actor, generator, tasks, generators, measures)[0][0]


class PoolRecord(NamedTuple):
    """What E episodes on pools brought.

    Attributes:
        scores: `[K, T + 1, E]` float32, the learning curves by each of K measures.
        first: `[E, L]` int64, the rows of the data sets that had labels at the start; -1 pads.
        picks: `[E, T]` int64, the rows of the data sets in the order in which they were picked; -1 for none.
        seconds: what the actor took for all its picks.
    """

    scores: Tensor
    first: Tensor
    picks: Tensor
    seconds: float


def picked_rows(simulation: PoolSimulation | ClassSimulation) -> tuple[Tensor, Tensor]:
    """Return the rows of the data sets that had labels at the start, `[E, L]`, and those picked, `[E, T]`; -1 pads."""
    tasks, picks = simulation.tasks, simulation.state().picks
    rows = tasks.rows.gather(1, picks.clamp_min(0)).where(picks >= 0, -1)
    first = tasks.first.shape[1]
    return rows[:, :first], rows[:, first:]


def record_pools(
    simulation: PoolSimulation,
    actor: Actor[Any],
    generator: torch.Generator,
    tasks: PoolTasks | None = None,
    generators: Sequence[torch.Generator] | None = None,
    measures: Sequence[str] = (),
) -> PoolRecord:
    """Play one batch of pools and return its record; arguments as `record_curves`."""
    scores, seconds = record_curves(simulation, actor, generator, tasks, generators, measures)
    return PoolRecord(scores, *picked_rows(simulation), seconds)
