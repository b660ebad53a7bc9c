import warnings

import pytest
from matplotlib.patches import Rectangle

from almeta.evaluation.stream_figures import accuracy_against_requests, requests_along_script
from almeta.evaluation.style import looks, png
from tests.evaluation.drawn import x_of


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def labels(figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_requests_along_script():
    scripts = ("AAAAAB", "AAAAAA", "AAAAAAAAAAB", "ABC")
    results = [{"script": script, "request_rates": [0.5] * len(script)} for script in scripts]
    figure = requests_along_script(results)
    assert png(figure).startswith(b"\x89PNG")
    assert len(figure.axes) == 4
    assert labels(figure)[-1] == "published: Woodward & Finn 2017, Figure 3"
    single = requests_along_script([{"script": "AAB", "request_rates": [0.9, 0.2, 0.7]}], published=False)
    assert sorted(bar.get_height() for bar in single.axes[0].patches if isinstance(bar, Rectangle)) == [0.2, 0.7, 0.9]
    assert labels(single) == ["class not seen before", "class seen before"]


def test_accuracy_against_requests(make_summary):
    silent = make_summary(prediction_accuracy=None, request_rate=1.0)
    curve = [make_summary(prediction_accuracy=0.5 + rate / 2, request_rate=rate) for rate in (0.1, 0.5, 0.9)]
    baselines = {"request always": silent, "nearest labelled image, all thresholds": [*curve, silent]}
    figure = accuracy_against_requests({"LSTM": make_summary(), **baselines})
    assert png(figure).startswith(b"\x89PNG")
    lines = {str(line.get_label()): line for line in figure.axes[0].get_lines()}
    assert list(x_of(lines["nearest labelled image, all thresholds"])) == [0.1, 0.5, 0.9]
    assert list(x_of(lines["LSTM"])) == [0.25]
    assert "request always (never predicts)" in lines
    styles = looks(["LSTM", *baselines])
    for label in ("LSTM", "nearest labelled image, all thresholds"):
        assert (lines[label].get_color(), lines[label].get_marker()) == (
            styles[label]["color"],
            styles[label]["marker"],
        )


def test_nothing_to_draw_is_refused():
    with pytest.raises(ValueError, match="no scripted episodes"):
        requests_along_script([])
    with pytest.raises(ValueError, match="'AB' has 2 steps, its request rates are 1"):
        requests_along_script([{"script": "AB", "request_rates": [0.5]}])
