"""Judging whoever acts in the one-shot stream, agent or strategy, by one and the same code."""

import copy

import torch

from almeta.envs.stream import StreamSimulation
from almeta.evaluation.measures import StreamMeasures
from almeta.seeding import make_generator
from almeta.strategies.actor import Actor
from almeta.stream import StreamState
from almeta.training.rollout import greedy, play


@torch.no_grad()
def evaluate(actor: Actor[StreamState], simulation: StreamSimulation, episodes: int, seed: int) -> StreamMeasures:
    """Let an actor play `episodes` streams greedily and measure it.

    Args:
        actor: an agent or a strategy.
        simulation: where it plays; its batch size bounds the memory used.
        episodes: how many; they are played in the fewest batches of equal size, rounded up to fill them.
        seed: draws the streams, anew from the start at each call: equal seeds mean equal streams for all that are
            compared, and no other random number of a run is touched.
    """
    device = simulation.generator.device
    batches = -(-episodes // simulation.num_envs)
    simulation = copy.copy(simulation)
    simulation.num_envs = -(-episodes // batches)
    simulation.generator = make_generator(seed, "evaluation streams", device)
    choose = greedy(make_generator(seed, "evaluation ties", device))
    measures = StreamMeasures(simulation.num_slots, labels_free=simulation.reveal == "always")
    for _ in range(batches):
        steps = list(play(simulation, actor, choose))
        actions = torch.stack([step.actions for step in steps])
        rewards = torch.stack([step.outcome.reward for step in steps])
        measures.add(actions, simulation.tasks.targets, rewards, simulation.tasks.instances)
    return measures
