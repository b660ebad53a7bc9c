"""What runs on suites share: agents are measured beside the reference of their kind, on the same tasks at each call."""

import pytest
import torch

from almeta.errors import AlmetaError
from almeta.runs import run_of
from almeta.runs.config import TrainConfig
from almeta.runs.suites import curve_measures
from tests.small_config import SMALL_POOLS, small_config

KINDS = {
    "pool": ("experiment=pool/quickstart", "env.num_first=2", "oracle=noisy"),
    "classes": ("experiment=study/classes", "env.query_size=2"),
    "features": ("experiment=study/features", "env.max_features=4"),
}


def make_run(kind, *overrides):
    config = TrainConfig.read(small_config(*KINDS[kind], *SMALL_POOLS, "evaluate_episodes=3", *overrides))
    return run_of(config)(config)


@pytest.mark.parametrize("kind", KINDS)
def test_the_reference_gains_nothing_over_itself_at_any_call(kind):
    run = make_run(kind)
    assert run.kind == kind and run.evaluations.keys() == {"train", "test"}
    measure = run.evaluations["test"]
    measured = measure(type(run).maker(run.reference))
    assert measured["gain"] == measured["better"] == 0 and measured["episodes"] == 3
    assert measured["aulc"] == measured[f"aulc_of_{run.reference}"]
    random = measure(type(run).maker("random"))
    assert random["gain"] != 0 and random == make_run(kind).evaluations["test"](type(run).maker("random"))


def test_tables_are_judged_less_what_was_paid():
    """Who does not look at prices buys the same cells at ten times the price: it costs ten times as much."""
    returns = []
    for price in (0.0, 0.01, 0.1):
        run = make_run("features", f"env.price={price}")
        returns.append(run.evaluations["test"](type(run).maker("random"))["mean_return"])
    free, cheap, dear = returns
    assert free - cheap > 0 and free - dear == pytest.approx(10 * (free - cheap), rel=1e-4)


def test_measures_of_curves_against_plain_loops():
    curves, reference = torch.rand(2, 5, 4, generator=torch.Generator().manual_seed(0))
    curves[:, 1] += 0.5  # one data set of three gains
    names = ["a", "b", "a", "c"]
    gains = [sum(float(curves[t, e] - reference[t, e]) for t in range(5)) / 5 for e in range(4)]
    means = [(gains[0] + gains[2]) / 2, gains[1], gains[3]]
    measures = curve_measures(curves, reference, names, "rule")
    assert measures["gain"] == pytest.approx(sum(gains) / 4, abs=1e-6)
    assert measures["better"] == pytest.approx(sum(mean > 0 for mean in means) / 3) and 0 < measures["better"] < 1
    returns = [float(curves[4, e] - curves[0, e]) for e in range(4)]
    assert measures["mean_return"] == pytest.approx(sum(returns) / 4, abs=1e-6)
    assert measures["aulc_of_rule"] == pytest.approx(float(reference.mean())) and measures["episodes"] == 4


@pytest.mark.parametrize("kind, name", [("pool", "margin"), ("classes", "uniform"), ("features", "cheapest")])
def test_a_policy_is_not_named_as_a_strategy(kind, name):
    config = TrainConfig.read(small_config(*KINDS[kind], f"name={name}"))
    with pytest.raises(AlmetaError, match=f"name is '{name}', which is a strategy; choose another name for the policy"):
        run_of(config).check(config)
