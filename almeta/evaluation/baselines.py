"""The rules that agents of the one-shot stream are compared with."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from almeta.envs.stream import StreamSimulation
from almeta.evaluation.measures import StreamMeasures
from almeta.evaluation.streams import evaluate
from almeta.seeding import make_generator
from almeta.strategies.actor import Actor
from almeta.strategies.stream import AlwaysRequest, NearestLabelled, NeverRequest, RandomRequest
from almeta.stream import StreamState

StreamActor = Actor[StreamState]

# Request thresholds tried for the nearest labelled example, as quantiles of the distance between two images.
QUANTILES = (0.0, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.8)


def make_baselines(
    simulation: StreamSimulation, episodes: int, seed: int, rates: Sequence[float] = (0.1, 0.5)
) -> dict[str, StreamActor]:
    """Return the baselines by the name they have in tables.

    Args:
        simulation: streams of training classes; the threshold of the nearest labelled example is the one with the
            highest mean return on them.
        episodes: number of streams to choose it on.
        seed: of these streams.
        rates: of the random requests.
    """
    slots = simulation.num_slots
    generator = make_generator(seed, "random requests", simulation.generator.device)
    random = {f"request at random, {rate:.0%}": RandomRequest(slots, rate, generator) for rate in rates}
    nearest = max(
        nearest_by_threshold(simulation, seed),
        key=lambda actor: evaluate(actor, simulation, episodes, seed).summary()["mean_return"],
    )
    return {
        "request always": AlwaysRequest(slots),
        "never request: guess": NeverRequest(slots),
        **random,
        "nearest labelled image": nearest,
    }


def nearest_by_threshold(simulation: StreamSimulation, seed: int) -> list[NearestLabelled]:
    """Return the nearest-example rule at several thresholds, from almost always requesting to almost never."""
    images = simulation.sampler.images
    generator = make_generator(seed, "thresholds", images.device)
    first, second = torch.randint(len(images), (2, 2000), generator=generator, device=images.device)
    distances = torch.linalg.vector_norm(images[first] - images[second], dim=-1)
    thresholds = distances[first != second].quantile(torch.tensor(QUANTILES, device=images.device))
    return [NearestLabelled(simulation.num_slots, value, simulation.length) for value in thresholds.tolist()]


def measure(
    actors: Mapping[str, StreamActor], simulation: StreamSimulation, episodes: int, seed: int
) -> dict[str, StreamMeasures]:
    """Evaluate each actor on the same streams and return its measures by name."""
    return {name: evaluate(actor, simulation, episodes, seed) for name, actor in actors.items()}


def summary_of(actor: StreamActor, measures: StreamMeasures) -> dict[str, Any]:
    """Return the summary of an actor's measures, with its threshold if it has one."""
    threshold = {"threshold": actor.threshold} if isinstance(actor, NearestLabelled) else {}
    return measures.summary() | threshold
