import json
import math

import pytest
import torch

from almeta.evaluation.measures import StreamMeasures

# Two episodes of four steps over three slots, action 3 requests. Columns are episodes.
#   episode 0: request, right, wrong, right     3 predictions, 2 right
#   episode 1: right, request, request, right   2 predictions, 2 right
ACTIONS = torch.tensor([[3, 1], [0, 3], [2, 3], [1, 2]])
TARGETS = torch.tensor([[0, 1], [0, 0], [1, 1], [1, 2]])
REWARDS = torch.tensor([[-0.05, 1.0], [1.0, -0.05], [-1.0, -0.05], [1.0, 1.0]])
INSTANCES = torch.tensor([[1, 1], [2, 1], [1, 2], [2, 1]])


def measured(**options) -> StreamMeasures:
    return StreamMeasures(3, **options).add(ACTIONS, TARGETS, REWARDS, INSTANCES)


def random_episodes(episodes: int, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (30, episodes)
    return [
        torch.randint(0, 4, shape, generator=generator),
        torch.randint(0, 3, shape, generator=generator),
        torch.rand(shape, generator=generator) - 0.5,
        torch.randint(1, 15, shape, generator=generator),
    ]


def test_scalars_worked_by_hand():
    summary = measured().summary()
    assert summary["prediction_accuracy"] == pytest.approx(4 / 5)
    assert summary["request_rate"] == pytest.approx(3 / 8)
    assert summary["accuracy"] == pytest.approx(4 / 8)
    assert summary["mean_return"] == pytest.approx((0.95 + 1.90) / 2)
    assert (summary["episodes"], summary["steps"], summary["num_slots"]) == (2, 8, 3)


def test_instances_worked_by_hand():
    first, second, third = measured(max_instance=3).summary()["by_instance"]
    # 1st: request, right | wrong, request | right -> five steps; 2nd: right, request, right -> three steps.
    assert first == {
        "instance": 1,
        "count": 5,
        "request_rate": 2 / 5,
        "accuracy": 2 / 5,
        "prediction_accuracy": 2 / 3,
    }
    assert second == {
        "instance": 2,
        "count": 3,
        "request_rate": 1 / 3,
        "accuracy": 2 / 3,
        "prediction_accuracy": 1.0,
    }
    assert third == {
        "instance": 3,
        "count": 0,
        "request_rate": None,
        "accuracy": None,
        "prediction_accuracy": None,
    }


def test_later_instances_count_in_the_totals_only():
    summary = measured(max_instance=1).summary()
    assert [row["count"] for row in summary["by_instance"]] == [5]
    assert summary["steps"] == 8


def test_step_request_rates():
    assert measured().step_request_rates == [0.5, 0.5, 0.5, 0.0]


def test_intervals_worked_by_hand():
    intervals = measured().summary()["intervals"]
    t = 12.7062  # Student's t, 1 degree of freedom
    # Requests a step 1/4 and 2/4: standard deviation sqrt(1/32), standard error 1/8.
    assert intervals["request_rate"] == pytest.approx(t / 8, rel=1e-5)
    # Return 0.95 and 1.90: standard error 0.475.
    assert intervals["mean_return"] == pytest.approx(t * 0.475, rel=1e-5)
    assert intervals["accuracy"] == pytest.approx(0.0, abs=1e-9)
    # Ratio 4/5: residuals 2 - 0.8 * 3 and 2 - 0.8 * 2; variance 2 / 1 * (their squares) / 5^2.
    assert intervals["prediction_accuracy"] == pytest.approx(t * math.sqrt(2 * (0.16 + 0.16) / 25), rel=1e-5)


def test_interval_of_a_mean_is_the_usual_one():
    episodes = random_episodes(500)
    returns = episodes[2].double().sum(dim=0)
    summary = StreamMeasures(3).add(*episodes).summary()
    assert summary["mean_return"] == pytest.approx(returns.mean().item())
    expected = 1.96473 * returns.std().item() / math.sqrt(500)
    assert summary["intervals"]["mean_return"] == pytest.approx(expected, rel=1e-5)


def test_chunks_equal_the_whole():
    episodes = random_episodes(101)
    whole = StreamMeasures(3).add(*episodes)
    chunked = StreamMeasures(3)
    for start, stop in [(0, 1), (1, 40), (40, 101)]:
        chunked.add(*(tensor[:, start:stop] for tensor in episodes))
    assert chunked.step_request_rates == pytest.approx(whole.step_request_rates)
    ours, theirs = chunked.summary(), whole.summary()
    assert ours["by_instance"] == theirs["by_instance"]
    for name, interval in theirs["intervals"].items():
        assert ours[name] == pytest.approx(theirs[name])
        assert ours["intervals"][name] == pytest.approx(interval)


def test_never_predicting_gives_null():
    requests = torch.full_like(ACTIONS, 3)
    summary = StreamMeasures(3).add(requests, TARGETS, REWARDS, INSTANCES).summary()
    assert summary["prediction_accuracy"] is None
    assert summary["intervals"]["prediction_accuracy"] is None
    assert summary["by_instance"][0]["prediction_accuracy"] is None
    assert (summary["request_rate"], summary["accuracy"]) == (1.0, 0.0)
    assert '"prediction_accuracy": null' in json.dumps(summary)


def test_a_single_episode_has_no_interval():
    summary = StreamMeasures(3).add(*random_episodes(1)).summary()
    assert set(summary["intervals"].values()) == {None}


def test_free_labels_are_all_requested_and_all_predicted():
    guesses = ACTIONS.clamp(max=2)
    measures = StreamMeasures(3, labels_free=True).add(guesses, TARGETS, REWARDS, INSTANCES)
    summary = measures.summary()
    assert summary["request_rate"] == 1.0
    assert summary["accuracy"] == summary["prediction_accuracy"] == pytest.approx(4 / 8)
    assert summary["by_instance"][0]["request_rate"] == 1.0
    assert measures.step_request_rates == [1.0] * 4


def test_summary_survives_json():
    summary = measured().summary()
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert list(summary)[:4] == ["prediction_accuracy", "request_rate", "accuracy", "mean_return"]


def test_wrong_use_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        StreamMeasures(0)
    with pytest.raises(ValueError, match="at least 1"):
        StreamMeasures(3, max_instance=0)
    with pytest.raises(ValueError, match="no episode"):
        StreamMeasures(3).summary()
    with pytest.raises(ValueError, match="no episode"):
        _ = StreamMeasures(3).step_request_rates
    with pytest.raises(ValueError, match="one shape"):
        StreamMeasures(3).add(ACTIONS, TARGETS[:2], REWARDS, INSTANCES)
    with pytest.raises(ValueError, match="2 steps cannot be added to episodes of 4"):
        measured().add(ACTIONS[:2], TARGETS[:2], REWARDS[:2], INSTANCES[:2])
