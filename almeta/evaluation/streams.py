"""Evaluation of agents and strategies on the one-shot stream."""

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
    """Return the measures of an actor that plays streams greedily.

    Args:
        actor: an agent or a strategy.
        simulation: its data and options; its number of episodes is the most that are played at once.
        episodes: number of episodes, rounded up so that batches have equal size.
        seed: of the streams. Equal seeds give equal streams to all actors; no other generator is used.
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
