import hashlib
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot

from almeta.evaluation import pool_figures as figures
from almeta.evaluation.comparison import compare
from almeta.evaluation.curves import check_curves, curve_areas, split_curves
from almeta.evaluation.style import looks, png
from tests.evaluation.drawn import heights_of, x_of, y_of
from tests.evaluation.paired_curves import areas_of, curves_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def random_areas(
    datasets: int, repeats: int, strategies=("margin", "entropy", "runs/a-policy/with-a-long-name/2025-01-02")
):
    rng = np.random.default_rng(0)
    return areas_of({name: rng.normal(1, 2, (datasets, repeats)) for name in strategies})


def random_blocks(datasets: int, repeats: int, **options):
    return split_curves(check_curves(curves_of(random_areas(datasets, repeats, **options))))


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (3, 4), (2, 1)])
def test_every_figure_of_every_size(shape):
    blocks = random_blocks(*shape)
    comparison = compare(curve_areas(blocks))
    for draw in (figures.learning_curves, figures.gain_curves):
        (figure,) = draw(blocks)
        assert png(figure).startswith(b"\x89PNG")
    assert png(figures.rank_diagram(comparison)).startswith(b"\x89PNG")
    assert png(figures.gain_map(comparison)).startswith(b"\x89PNG")
    assert pyplot.get_fignums() == []  # nothing global was drawn on


def test_curves_and_bands_are_means_and_intervals():
    blocks = random_blocks(2, 5)
    (figure,) = figures.learning_curves(blocks)
    mean, first, second, unused = figure.axes
    scores = blocks["set1"].scores[1]  # margin
    assert y_of(second.get_lines()[1]) == pytest.approx(scores.mean(axis=0))
    band = heights_of(second.collections[1])
    half = 2.7764 * scores[:, 2].std(ddof=1) / 5**0.5
    assert np.abs(band - (scores[:, 2].mean() + half)).min() < 1e-4
    middle = [y_of(axis.get_lines()[1]) for axis in (first, second)]
    assert y_of(mean.get_lines()[1]) == pytest.approx((middle[0] + middle[1]) / 2)
    assert [axis.get_title(loc="left") for axis in (mean, first)] == ["mean of 2 data sets", "set0"]
    assert not unused.get_visible()


def test_gains_are_paired_and_in_points():
    blocks = random_blocks(2, 5)
    (figure,) = figures.gain_curves(blocks)
    mean, first, second, _ = figure.axes
    gains = [100 * (block.scores[1] - block.scores[0]).mean(axis=0) for block in blocks.values()]
    assert y_of(first.get_lines()[1]) == pytest.approx(gains[0])
    assert set(y_of(second.get_lines()[0])) == {0.0}  # random
    assert y_of(mean.get_lines()[1]) == pytest.approx((gains[0] + gains[1]) / 2)
    half = 12.7062 * abs(gains[0][0] - gains[1][0]) / 2  # over two data sets: t of 1 degree of freedom
    band = heights_of(mean.collections[1])
    assert band.max() == pytest.approx((gains[0] + gains[1])[0] / 2 + half, rel=1e-4)


def test_different_budgets_are_averaged_over_shares_of_the_budget():
    areas = areas_of({"margin": [[1.0, 1.0], [1.0, 1.0]]})
    curves = pd.concat([curves_of(areas.loc[["set0"]], budget=2), curves_of(areas.loc[["set1"]], budget=8)])
    (figure,) = figures.learning_curves(split_curves(check_curves(curves)))
    mean = figure.axes[0]
    assert mean.get_title(loc="left") == "mean of 2, by share of the budget"
    line = mean.get_lines()[1]
    assert x_of(line)[[0, -1]].tolist() == [0, 1]
    assert y_of(line)[[0, 50, 100]].tolist() == pytest.approx([0.315, 0.515, 0.715])


def test_many_data_sets_take_several_equal_pages():
    pages = figures.learning_curves(random_blocks(45, 2, strategies=("margin",)))
    shown = [[axis.get_title(loc="left") for axis in figure.axes if axis.get_visible()] for figure in pages]
    assert [len(page) for page in shown] == [16, 16, 14]
    assert [title for page in shown for title in page][:2] == ["mean of 45 data sets", "set0"]
    assert [figure.texts[-1].get_text().rpartition(". ")[2] for figure in pages] == [
        f"Page {number} of 3." for number in (1, 2, 3)
    ]


def test_gain_map_shows_the_gains_sorted():
    areas = areas_of({"margin": [[1.0], [3.0]], "entropy": [[2.0], [6.1]]})
    figure = figures.gain_map(compare(areas))
    axis = figure.axes[0]
    rows, columns = (
        [label.get_text() for label in labels] for labels in (axis.get_yticklabels(), axis.get_xticklabels())
    )
    assert (rows, columns) == (["mean of 2 data sets", "set1", "set0"], ["entropy", "margin"])
    assert [text.get_text() for text in axis.texts] == ["+4.0", "+2.0", "+6.1", "+3.0", "+2.0", "+1.0"]
    low, high = axis.images[0].get_clim()
    assert low == -high  # white is no gain


def test_what_is_clear_is_bold():
    noise = np.array([-0.1, 0.1, 0.05, -0.05])
    areas = areas_of({"margin": np.array([[3.0], [0.0]]) + noise})
    figure = figures.gain_map(compare(areas))
    weights = {text.get_text(): text.get_fontweight() for text in figure.axes[0].texts}
    assert weights == {"+1.5": "normal", "+3.0": "bold", "+0.0": "normal"}


def test_rank_diagram_joins_what_is_not_told_apart():
    rng = np.random.default_rng(0)
    gains = 3 + rng.normal(0, 0.1, (12, 1))
    comparison = compare(areas_of({"margin": gains, "entropy": gains + rng.normal(0, 0.1, (12, 1))}))
    figure = figures.rank_diagram(comparison)
    axis = figure.axes[0]
    bars = [line for line in axis.get_lines() if line.get_linewidth() == 3]
    ends = [sorted(float(rank) for rank in x_of(bar)) for bar in bars]
    assert ends == [sorted(comparison.mean_ranks[["margin", "entropy"]])]
    assert {text.get_text().split()[0] for text in axis.texts} >= {"margin", "entropy"}


def test_many_ranks_are_a_list_in_which_the_clearly_worse_are_hollow():
    rng = np.random.default_rng(0)
    others = {f"s{number:02}": number / 20 + rng.normal(0, 0.1, (40, 1)) for number in range(1, 18)}
    comparison = compare(areas_of(others))
    figure = figures.rank_diagram(comparison)
    axis = figure.axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == comparison.strategies
    assert comparison.strategies[0] == "s17" and comparison.strategies[-1] == "random"
    markers = [line for line in axis.get_lines() if line.get_marker() == "o"]
    assert [x_of(line)[0] for line in markers] == pytest.approx(comparison.mean_ranks.tolist())
    hollow = [line.get_fillstyle() == "none" for line in markers]
    assert hollow == [comparison.is_clear("s17", name) for name in comparison.strategies]
    assert 0 < sum(hollow) < len(hollow) - 1
    assert next(text.get_text() for text in axis.texts) == f"{comparison.mean_ranks['s17']:.2f}"
    assert axis.get_title(loc="left").endswith("Hollow: clearly worse than s17 by a paired test.")


def ties(order=("margin", "entropy", "core_set", "random")):
    """Margin, entropy and core set are equal on all data sets."""
    gains = np.full((8, 3), 2.0)
    return compare(areas_of({"margin": gains, "entropy": gains, "core_set": gains})[list(order)])


def test_markers_of_tied_ranks_stand_side_by_side():
    comparison = ties()
    figure = figures.rank_diagram(comparison)
    axis = figure.axes[0]
    figure.draw_without_rendering()
    styles = looks(comparison.areas)
    markers = {}
    for line in axis.get_lines():
        if list(y_of(line)) == [0]:
            (name,) = (name for name, style in styles.items() if style["color"] == line.get_color())
            assert line.get_marker() == styles[name]["marker"]
            markers[name] = axis.transData.transform((x_of(line)[0], 0))[0] * 72 / figure.dpi
    assert list(markers) == ["core_set", "entropy", "margin", "random"]  # equal ones by name
    places = list(markers.values())
    assert np.diff(places).min() >= 6  # the width of a marker, in typographic points
    middle = axis.transData.transform((2, 0))[0] * 72 / figure.dpi
    assert np.mean(places[:3]) == pytest.approx(middle)  # around their rank
    assert {text.get_text() for text in axis.texts} == {
        *("core_set  2.00", "entropy  2.00", "2.00  margin", "4.00  random"),
    }


def test_equal_results_in_another_order_give_the_same_ranks():
    assert png(figures.rank_diagram(ties())) == png(
        figures.rank_diagram(ties(("random", "core_set", "entropy", "margin")))
    )


def test_ranks_do_not_depend_on_the_order_of_sets_of_text():
    """Python orders sets of text by chance, in each process anew."""
    found = hashlib.sha256(png(figures.rank_diagram(compare(random_areas(5, 2, strategies="abcdef"))))).hexdigest()
    code = (
        "from tests.evaluation.test_pool_figures import *\n"
        "comparison = compare(random_areas(5, 2, strategies='abcdef'))  # one bar over all\n"
        "import hashlib; print(hashlib.sha256(png(figures.rank_diagram(comparison))).hexdigest())"
    )
    digests = [
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": str(seed), "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        ).stdout
        for seed in (1, 2)
    ]
    assert digests == [f"{found}\n"] * 2


def test_labels_stay_inside_the_figure():
    names = ("margin", "e", "runs/" + "w" * 60, "a strategy with a very long name indeed")
    comparison = compare(random_areas(3, 2, strategies=names))
    for figure in (figures.rank_diagram(comparison), figures.gain_map(comparison)):
        figure.draw_without_rendering()
        axis = figure.axes[0]
        rows = axis.get_yticklabels() if axis.yaxis.get_visible() else []
        for text in [*figure.texts, *axis.texts, *axis.get_xticklabels(), *rows]:
            box = text.get_window_extent()
            assert box.x0 >= 0 and box.x1 <= figure.bbox.x1, text.get_text()
            assert box.y0 >= 0 and box.y1 <= figure.bbox.y1, text.get_text()


def test_legends_stay_inside_the_figure_and_apart():
    """Twelve contenders, the narrowest page and long names."""
    names = [f"a strategy with a long name, number {number}" for number in range(11)]
    (figure,) = figures.learning_curves(random_blocks(1, 2, strategies=names))
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y0 >= 0
    assert box.y1 <= figure.axes[0].xaxis.label.get_window_extent().y0


def test_dollars_make_no_formula():
    areas = random_areas(1, 2, strategies=(r"a $\broken{ b$",)).rename(index={"set0": "$x_1$ and $^$"})
    (curves,) = figures.learning_curves(split_curves(check_curves(curves_of(areas))))
    for figure in (curves, figures.gain_map(compare(areas)), figures.rank_diagram(compare(areas))):
        figure.draw_without_rendering()  # raises what a broken formula would


def test_a_strategy_looks_the_same_in_every_figure():
    names = ("entropy", "mine", "core_set")
    blocks = random_blocks(2, 3, strategies=names)
    comparison = compare(curve_areas(blocks))
    styles = looks(["random", *names])
    (curves,), (gains,) = figures.learning_curves(blocks), figures.gain_curves(blocks)
    for figure in (curves, gains):
        for axis in figure.axes[:3]:
            drawn = [(line.get_color(), line.get_marker()) for line in axis.get_lines()]
            assert drawn == [(style["color"], style["marker"]) for style in styles.values()]
    marked = figures.rank_diagram(comparison).axes[0].get_lines()
    markers = {(line.get_color(), line.get_marker()) for line in marked if list(y_of(line)) == [0]}
    assert markers == {(style["color"], style["marker"]) for style in styles.values()}


def test_names_that_shorten_alike_are_left_whole():
    names = [f"{'a' * 20}{middle}{'b' * 40}" for middle in "xy"]
    assert figures._labels(names) == {name: name for name in names}


def test_random_alone_has_no_gain_and_no_rank():
    comparison = compare(random_areas(2, 2)[["random"]])
    with pytest.raises(ValueError, match="random is the only strategy"):
        figures.gain_map(comparison)
    with pytest.raises(ValueError, match="at least two strategies"):
        figures.rank_diagram(comparison)


def test_fewer_repeats_are_drawn_and_told():
    areas = areas_of({"margin": np.random.default_rng(0).normal(size=(2, 4))})
    areas.loc[areas.index.get_level_values("repeat") > 1, "margin"] = np.nan
    blocks = split_curves(check_curves(curves_of(areas).dropna()))
    comparison = compare(curve_areas(blocks))
    (curves,), (gains,) = figures.learning_curves(blocks), figures.gain_curves(blocks)
    for figure in (curves, gains):
        assert "Fewer repeats than 4: margin (2)." in figure.texts[-1].get_text()
        drawn = [line.get_ydata() for axis in figure.axes if axis.get_visible() for line in axis.lines]
        assert all(np.isfinite(line).all() for line in drawn)
    expected = 100 * comparison.gains_over("random")["margin"].to_numpy()
    shown = figures.gain_map(comparison).axes[0].images[0].get_array()
    assert shown is not None and sorted(np.ravel(shown)) == pytest.approx(sorted([expected.mean(), *expected]))
