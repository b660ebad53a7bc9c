"""Judging whoever acts in the one-shot stream, agent or strategy, by one and the same code."""

import copy

import torch
from torch import Tensor

from almeta.envs.stream import StreamSimulation
from almeta.evaluation.measures import StreamMeasures
from almeta.seeding import make_generator
from almeta.strategies.stream import StreamActor
from almeta.training.rollout import play


@torch.no_grad()
def evaluate(actor: StreamActor, simulation: StreamSimulation, episodes: int, seed: int) -> StreamMeasures:
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
    generator = make_generator(seed, "evaluation ties", device)

    def choose(outputs: Tensor, action_mask: Tensor, targets: Tensor) -> Tensor:
        return actor.greedy(outputs, action_mask, generator)

    free = simulation.reveal == "always"
    measures = StreamMeasures(simulation.num_slots, labels_free=free)
    for _ in range(batches):
        rollout = play(simulation, actor, choose)
        measures.add(rollout.actions, rollout.tasks.targets, rollout.rewards, rollout.tasks.instances)
    return measures
