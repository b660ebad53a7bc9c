import warnings
from typing import Any

import pytest

from almeta.evaluation import figures


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture
def metrics(make_summary):
    lines: list[dict[str, Any]] = []
    for batch in (0, 10_000, 20_000, 30_000):
        lines.append({"kind": "train", "batch": batch, "loss": 1.0})
        for classes in ("train", "test"):
            summary = make_summary(mean_return=batch / 2_000)
            lines.append({"kind": "evaluation", "batch": batch, "classes": classes, **summary})
    lines[1]["by_instance"][9]["accuracy"] = None
    lines[1]["intervals"]["mean_return"] = None
    return lines


def assert_png(path):
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG")
    assert len(content) > 10_000


@pytest.mark.parametrize("published", [True, False])
def test_instances_over_training(metrics, tmp_path, published):
    assert_png(figures.instances_over_training(metrics, tmp_path / "a.png", published))


def test_a_run_that_has_only_begun_can_be_drawn(metrics, tmp_path):
    assert_png(figures.instances_over_training(metrics[:2], tmp_path / "a.png"))
    assert_png(figures.learning_curve(metrics[:2], tmp_path / "b.png"))


def test_requests_along_script(tmp_path):
    results = [
        {"script": script, "request_rates": [0.5] * len(script)}
        for script in ("AAAAAB", "AAAAAA", "AAAAAAAAAAB", "ABC")
    ]
    assert_png(figures.requests_along_script(results, tmp_path / "a.png"))
    assert_png(figures.requests_along_script(results[:1], tmp_path / "b.png", published=False))


def test_accuracy_against_requests(make_summary, tmp_path):
    silent = make_summary(prediction_accuracy=None, request_rate=1.0)
    curve = [make_summary(prediction_accuracy=0.5 + rate / 2, request_rate=rate) for rate in (0.1, 0.5, 0.9)]
    baselines = {"always": silent, "nearest, all thresholds": [*curve, silent]}
    path = figures.accuracy_against_requests({"LSTM": make_summary()}, tmp_path / "a.png", True, baselines)
    assert_png(path)


def test_learning_curve(metrics, make_summary, tmp_path):
    baselines = {f"baseline {i}": make_summary(mean_return=float(-i)) for i in range(7)}
    assert_png(figures.learning_curve(metrics, tmp_path / "a.png", baselines))


def test_nothing_to_draw_is_refused(tmp_path):
    path = tmp_path / "a.png"
    with pytest.raises(ValueError, match="no evaluation"):
        figures.instances_over_training([{"kind": "train", "batch": 1}], path)
    with pytest.raises(ValueError, match="no evaluation"):
        figures.learning_curve([], path)
    with pytest.raises(ValueError, match="no scripted episodes"):
        figures.requests_along_script([], path)
    with pytest.raises(ValueError, match="'AB' has 2 steps, its request rates are 1"):
        figures.requests_along_script([{"script": "AB", "request_rates": [0.5]}], path)
    assert not path.exists()
