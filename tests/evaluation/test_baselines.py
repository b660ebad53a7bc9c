import numpy as np
import pytest

from almeta.data import Dataset
from almeta.envs.stream import StreamOptions, StreamSimulation
from almeta.evaluation.baselines import QUANTILES, make_baselines, measure, nearest_by_threshold, summary_of
from almeta.evaluation.streams import evaluate
from almeta.seeding import make_generator
from almeta.strategies.stream import NearestLabelled


@pytest.fixture(scope="module")
def streams():
    """Streams of classes that pixels tell apart: a class is a random image, a drawing of it adds a little noise."""
    random = np.random.default_rng(0)
    classes = random.random((8, 1, 16), dtype=np.float32)
    images = (classes + random.normal(0, 0.05, (8, 10, 16))).clip(0, 1).astype(np.float32)
    names = tuple(f"class {k}" for k in range(8))
    dataset = Dataset("easy", images.reshape(-1, 16), np.arange(8).repeat(10), names, "random numbers", (4, 4))

    def make(**options):
        settings = StreamOptions(**{"length": 12, **options})
        return StreamSimulation(dataset, settings, 50, make_generator(0, "env"))

    return make


def summaries(actors, simulation, episodes, seed):
    found = measure(actors, simulation, episodes, seed)
    return {name: summary_of(actors[name], measures) for name, measures in found.items()}


def test_the_baselines_are_there(streams):
    assert list(make_baselines(streams(), 50, seed=0)) == [
        "request always",
        "never request: guess",
        "request at random, 10%",
        "request at random, 50%",
        "nearest labelled image",
    ]


def test_their_names_hold_in_the_measures(streams):
    simulation = streams()
    results = summaries(make_baselines(simulation, 50, seed=0), simulation, 400, seed=1)
    rates = {name: summary["request_rate"] for name, summary in results.items()}
    assert rates["request always"] == 1.0
    assert rates["never request: guess"] == 0.0
    assert rates["request at random, 10%"] == pytest.approx(0.1, abs=0.02)
    assert rates["request at random, 50%"] == pytest.approx(0.5, abs=0.03)
    best = max(results, key=lambda name: results[name]["mean_return"])
    assert best == "nearest labelled image"
    assert results[best]["prediction_accuracy"] > 0.95
    assert [name for name, summary in results.items() if "threshold" in summary] == [best]


def test_a_higher_threshold_requests_less(streams):
    simulation = streams()
    actors = nearest_by_threshold(simulation, seed=0)
    thresholds = [actor.threshold for actor in actors]
    assert len(thresholds) == len(QUANTILES)
    assert thresholds == sorted(thresholds)
    rates = [evaluate(actor, simulation, 100, seed=0).summary()["request_rate"] for actor in actors]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > 0.9 > 0.3 > rates[-1]


@pytest.mark.parametrize("incorrect", [-1.0, -50.0])
def test_the_threshold_is_the_best_one_on_the_given_streams(streams, incorrect):
    simulation = streams(reward={"incorrect": incorrect})
    chosen = make_baselines(simulation, 100, seed=0)["nearest labelled image"]
    assert isinstance(chosen, NearestLabelled)
    returns = {
        actor.threshold: evaluate(actor, simulation, 100, seed=0).summary()["mean_return"]
        for actor in nearest_by_threshold(simulation, seed=0)
    }
    assert returns[chosen.threshold] == max(returns.values())


def test_equal_seeds_give_equal_baselines(streams):
    one, two, other = (summaries(make_baselines(streams(), 50, seed), streams(), 50, seed=0) for seed in (0, 0, 1))
    assert one == two
    assert one["request at random, 50%"] != other["request at random, 50%"]
