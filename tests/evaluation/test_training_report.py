import warnings
from typing import Any

import pytest

from almeta.evaluation import training_report as figures
from almeta.evaluation.style import looks, png
from tests.evaluation.drawn import x_of, y_of


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


@pytest.mark.parametrize("published", [True, False])
def test_instances_over_training(metrics, published):
    figure = figures.instances_over_training(metrics, published)
    assert png(figure).startswith(b"\x89PNG")
    line = figure.axes[0].get_lines()[0]  # requests of the first instance, on training classes
    assert list(x_of(line)) == [0, 10_000, 20_000, 30_000]
    assert list(y_of(line)) == [0.1] * 4
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert any(label.startswith("published") for label in labels) == published


def test_a_run_that_has_only_begun_can_be_drawn(metrics):
    assert png(figures.instances_over_training(metrics[:2])).startswith(b"\x89PNG")
    assert png(figures.learning_curve(metrics[:2])).startswith(b"\x89PNG")


def test_batches_are_whole_numbers(metrics):
    short = [{**line, "batch": line["batch"] // 10_000} for line in metrics]
    figure = figures.learning_curve(short)
    figure.draw_without_rendering()
    assert all(float(tick).is_integer() for tick in figure.axes[0].get_xticks())


def test_learning_curve(metrics, make_summary):
    returns = {"request always": -1.5, "nearest labelled image": 7.0, "mine": 3.0}
    baselines = {name: make_summary(mean_return=value) for name, value in returns.items()}
    figure = figures.learning_curve(metrics, baselines, "LSTM")
    assert png(figure).startswith(b"\x89PNG")
    lines = {str(line.get_label()): line for line in figure.axes[0].get_lines()}
    assert list(lines) == [
        *("LSTM, training classes", "LSTM, test classes"),
        *("nearest labelled image: 7.0", "mine: 3.0", "request always: -1.5"),
    ]
    assert list(y_of(lines["LSTM, test classes"])) == [0, 5, 10, 15]
    styles = looks(["LSTM", *baselines])
    for label, line in lines.items():
        assert line.get_color() == styles[label.partition(":")[0].partition(",")[0]]["color"]


def test_gain_over_training():
    lines = [
        {"kind": "evaluation", "batch": batch, "classes": part, "gain": 0.001 * batch}
        for batch in (3, 1, 2)
        for part in ("train", "test")
    ]
    figure = figures.gain_over_training(lines, "margin")
    assert png(figure).startswith(b"\x89PNG")
    test = figure.axes[0].get_lines()[1]
    assert list(x_of(test)) == [1, 2, 3]
    assert list(y_of(test)) == pytest.approx([0.1, 0.2, 0.3])  # in points
    assert figure.axes[0].get_ylabel() == "gain over margin, points of mean score"


@pytest.mark.parametrize("draw", [figures.instances_over_training, figures.learning_curve])
def test_nothing_to_draw_is_refused(draw):
    with pytest.raises(ValueError, match="no evaluation"):
        draw([{"kind": "train", "batch": 1}])
    with pytest.raises(ValueError, match="no evaluation"):
        figures.gain_over_training([], "margin")


def test_settings_are_drawn_as_means_over_their_seeds():
    def run(*returns):
        test = [
            {"kind": "evaluation", "batch": 10 * k, "classes": "test", "mean_return": one}
            for k, one in enumerate(returns)
        ]
        return [*test, {"kind": "evaluation", "batch": 10, "classes": "train", "mean_return": 99.0}]

    figure = figures.learning_curves({"one": [run(1.0, 5.0), run(3.0, 6.0, 7.0)], "other": [run(2.0)]})
    one, other = figure.axes[0].lines
    assert (list(x_of(one)), list(y_of(one))) == ([0, 10], [2.0, 5.5])  # 20 is not of both
    assert list(y_of(other)) == [2.0]
    assert [line.get_label() for line in (one, other)] == ["one", "other"]
