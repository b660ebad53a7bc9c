import itertools
import signal
from typing import Any

import numpy as np
import pytest
from matplotlib.artist import Artist
from matplotlib.figure import Figure

from almeta.evaluation.style import legend, looks, places, png
from almeta.strategies import strategy_names

TWELVE = ["random", "margin", "transfer", "entropy", *"abcdefgh"]


@pytest.mark.parametrize(
    "names",
    [
        TWELVE,
        [*strategy_names(), "transfer", "mine", "margin(x=1)", "another"][:12],
        ["nearest labelled image", "request always", "LSTM", *"abcdefghi"],
        list("abcdefghijkl"),
    ],
)
def test_twelve_contenders_differ_in_colour_and_dash_and_marker(names):
    styles = looks(names)
    assert list(styles) == names and len(names) == 12
    for key in ("color", "linestyle", "marker"):
        assert len({str(style[key]) for style in styles.values()}) == 12


def test_further_ones_still_differ():
    styles = looks(map(str, range(60))).values()
    assert len({tuple(map(str, style.values())) for style in styles}) == 60


@pytest.mark.parametrize("name", [*places()])
def test_a_known_strategy_looks_the_same_whoever_stands_beside_it(name):
    """A strategy without a place of its own in style.py would look different from run to run."""
    for others in (["x", "random"], ["margin", "y", "request always"], TWELVE):
        if name in places() and places()[name] in {places().get(other) for other in others if other != name}:
            continue  # one of pools and one of streams, which no figure shows together
        assert looks([*others, name])[name] == looks([name])[name]


def test_the_order_does_not_change_the_look_of_known_strategies():
    one, two = looks(["random", "margin", "mine"]), looks(["mine", "margin", "random"])
    assert one == two


def test_a_policy_looks_the_same_beside_other_strategies():
    assert looks(["random", "margin", "transfer"])["transfer"] == looks(["transfer", "core_set", "random"])["transfer"]


def test_every_png_opens_and_is_the_same_twice():
    def draw() -> bytes:
        figure = Figure()
        axis = figure.subplots()
        axis.plot([0, 1], [0, 1], label="b")
        axis.plot([0, 1], [1, 0], label="published: a")
        axis.plot([0, 1], [1, 1], label="b")
        legend(figure, [axis, axis])
        assert [text.get_text() for text in figure.legends[0].get_texts()] == ["b", "published: a"]
        return png(figure)

    assert draw() == draw()
    assert draw().startswith(b"\x89PNG")


def test_a_legend_has_as_many_columns_as_the_figure_is_wide():
    def widths(letters: int) -> tuple[int, float]:  # columns, and the share of the figure's width
        figure = Figure(figsize=(6, 3), layout="constrained")
        axis = figure.subplots()
        for name in "abc":
            axis.plot([0, 1], label=name * letters)
        legend(figure, [axis], ncols=3, loc="outside lower center")
        drawn: Any = figure.legends[0]
        return drawn._ncols, figure.legends[0].get_window_extent().width / figure.bbox.width

    assert widths(3)[0] == 3
    assert widths(20)[0] == 2
    columns, width = widths(40)
    assert columns == 1
    assert width < 1


def test_colours_are_far_apart():
    """In CIELAB; 20 is seen at a glance, two neighbours of the palette of Okabe & Ito are 26 apart."""
    colours = [style["color"] for style in looks(TWELVE).values()]
    lab = np.array([_lab(colour) for colour in colours])
    distances = [float(np.linalg.norm(one - two)) for one, two in itertools.combinations(lab, 2)]
    assert min(distances) > 20


def _lab(colour: str) -> np.ndarray:
    rgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ linear / np.array([0.9505, 1.0, 1.0888])
    x, y, z = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_a_stop_waits_until_a_figure_is_drawn():
    """Within matplotlib's renderer it would become a ValueError."""
    drawn = []

    class Stopping(Artist):
        def draw(self, renderer):
            signal.raise_signal(signal.SIGINT)
            drawn.append("whole")

    figure = Figure()
    figure.add_artist(Stopping())
    with pytest.raises(KeyboardInterrupt):
        png(figure)
    assert drawn == ["whole"]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()
