import warnings

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure

from almeta.evaluation import benchmark_figures as figures
from almeta.evaluation.comparison import compare
from almeta.evaluation.curves import check_curves, curve_areas, split_curves
from tests.evaluation.paired_curves import areas_of, curves_of


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were saved, to look into."""
    kept: list[Figure] = []

    def keep(figure, path, save=figures._save):
        kept.append(figure)
        return save(figure, path)

    monkeypatch.setattr(figures, "_save", keep)
    return kept


def random_areas(
    datasets: int, repeats: int, strategies=("margin", "entropy", "runs/a-policy/with-a-long-name/2025-01-02")
):
    rng = np.random.default_rng(0)
    return areas_of({name: rng.normal(1, 2, (datasets, repeats)) for name in strategies})


def random_blocks(datasets: int, repeats: int, **options):
    return split_curves(check_curves(curves_of(random_areas(datasets, repeats, **options))))


def assert_png(path):
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG")
    assert len(content) > 5_000


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (3, 4), (2, 1)])
def test_every_figure_of_every_size(shape, tmp_path):
    blocks = random_blocks(*shape)
    comparison = compare(curve_areas(blocks))
    for draw in (figures.learning_curves, figures.gain_curves):
        (path,) = draw(blocks, tmp_path / f"{draw.__name__}.png")
        assert_png(path)
    assert_png(figures.rank_diagram(comparison, tmp_path / "ranks.png"))
    assert_png(figures.gain_map(comparison, tmp_path / "gains.png"))
    assert pyplot.get_fignums() == []  # nothing global was drawn on


def test_curves_and_bands_are_means_and_intervals(drawn, tmp_path):
    blocks = random_blocks(2, 5)
    figures.learning_curves(blocks, tmp_path / "a.png")
    mean, first, second, unused = drawn[0].axes
    scores = blocks["set1"].scores[1]  # margin
    assert second.get_lines()[1].get_ydata() == pytest.approx(scores.mean(axis=0))
    band = second.collections[1].get_paths()[0].vertices[:, 1]
    half = 2.7764 * scores[:, 2].std(ddof=1) / 5**0.5
    assert np.abs(band - (scores[:, 2].mean() + half)).min() < 1e-4
    middle = [np.asarray(axis.get_lines()[1].get_ydata()) for axis in (first, second)]
    assert mean.get_lines()[1].get_ydata() == pytest.approx((middle[0] + middle[1]) / 2)
    assert [axis.get_title(loc="left") for axis in (mean, first)] == ["mean of 2 data sets", "set0"]
    assert not unused.get_visible()


def test_gains_are_paired_and_in_points(drawn, tmp_path):
    blocks = random_blocks(2, 5)
    figures.gain_curves(blocks, tmp_path / "a.png")
    mean, first, second, _ = drawn[0].axes
    gains = [100 * (block.scores[1] - block.scores[0]).mean(axis=0) for block in blocks.values()]
    assert first.get_lines()[1].get_ydata() == pytest.approx(gains[0])
    assert set(second.get_lines()[0].get_ydata()) == {0.0}  # random
    assert mean.get_lines()[1].get_ydata() == pytest.approx((gains[0] + gains[1]) / 2)
    half = 12.7062 * abs(gains[0][0] - gains[1][0]) / 2  # over two data sets: t of 1 degree of freedom
    band = mean.collections[1].get_paths()[0].vertices[:, 1]
    assert band.max() == pytest.approx((gains[0] + gains[1])[0] / 2 + half, rel=1e-4)


def test_different_budgets_are_averaged_over_shares_of_the_budget(drawn, tmp_path):
    areas = areas_of({"margin": [[1.0, 1.0], [1.0, 1.0]]})
    curves = pd.concat([curves_of(areas.loc[["set0"]], budget=2), curves_of(areas.loc[["set1"]], budget=8)])
    figures.learning_curves(split_curves(check_curves(curves)), tmp_path / "a.png")
    mean = drawn[0].axes[0]
    assert mean.get_title(loc="left") == "mean of 2, by share of the budget"
    line = mean.get_lines()[1]
    assert line.get_xdata()[[0, -1]].tolist() == [0, 1]
    assert line.get_ydata()[[0, 50, 100]].tolist() == pytest.approx([0.315, 0.515, 0.715])


def test_many_data_sets_take_several_equal_pages(drawn, tmp_path):
    blocks = random_blocks(45, 2, strategies=("margin",))
    paths = figures.learning_curves(blocks, tmp_path / "curves.png")
    assert [path.name for path in paths] == ["curves.png", "curves_2.png", "curves_3.png"]
    for path in paths:
        assert_png(path)
    shown = [[axis.get_title(loc="left") for axis in figure.axes if axis.get_visible()] for figure in drawn]
    assert [len(page) for page in shown] == [16, 16, 14]
    assert [title for page in shown for title in page] == ["mean of 45 data sets", *blocks]


def test_gain_map_shows_the_gains_sorted(drawn, tmp_path):
    areas = areas_of({"margin": [[1.0], [3.0]], "entropy": [[2.0], [6.1]]})
    figures.gain_map(compare(areas), tmp_path / "a.png")
    axis = drawn[0].axes[0]
    rows, columns = (
        [label.get_text() for label in labels] for labels in (axis.get_yticklabels(), axis.get_xticklabels())
    )
    assert (rows, columns) == (["mean of 2 data sets", "set1", "set0"], ["entropy", "margin"])
    assert [text.get_text() for text in axis.texts] == ["+4.0", "+2.0", "+6.1", "+3.0", "+2.0", "+1.0"]
    low, high = axis.images[0].get_clim()
    assert low == -high  # white is no gain


def test_what_is_clear_is_bold(drawn, tmp_path):
    noise = np.array([-0.1, 0.1, 0.05, -0.05])
    areas = areas_of({"margin": np.array([[3.0], [0.0]]) + noise})
    figures.gain_map(compare(areas), tmp_path / "a.png")
    weights = {text.get_text(): text.get_weight() for text in drawn[0].axes[0].texts}
    assert weights == {"+1.5": "normal", "+3.0": "bold", "+0.0": "normal"}


def test_rank_diagram_joins_what_is_not_told_apart(drawn, tmp_path):
    rng = np.random.default_rng(0)
    gains = 3 + rng.normal(0, 0.1, (12, 1))
    comparison = compare(areas_of({"margin": gains, "entropy": gains + rng.normal(0, 0.1, (12, 1))}))
    figures.rank_diagram(comparison, tmp_path / "a.png")
    axis = drawn[0].axes[0]
    bars = [line for line in axis.get_lines() if line.get_linewidth() == 3]
    ends = [sorted(float(rank) for rank in bar.get_xdata()) for bar in bars]
    assert ends == [sorted(comparison.mean_ranks[["margin", "entropy"]])]
    assert {text.get_text().split()[0] for text in axis.texts} >= {"margin", "entropy"}


def test_labels_stay_inside_the_figure(drawn, tmp_path):
    names = ("margin", "e", "runs/" + "w" * 60, "a strategy with a very long name indeed")
    comparison = compare(random_areas(3, 2, strategies=names))
    figures.rank_diagram(comparison, tmp_path / "a.png")
    figures.gain_map(comparison, tmp_path / "b.png")
    for figure in drawn:
        figure.draw_without_rendering()
        axis = figure.axes[0]
        rows = axis.get_yticklabels() if axis.yaxis.get_visible() else []
        for text in [*figure.texts, *axis.texts, *axis.get_xticklabels(), *rows]:
            box = text.get_window_extent()
            assert box.x0 >= 0 and box.x1 <= figure.bbox.x1, text.get_text()
            assert box.y0 >= 0 and box.y1 <= figure.bbox.y1, text.get_text()


def test_dollars_make_no_formula(drawn, tmp_path):
    areas = random_areas(1, 2, strategies=(r"a $\broken{ b$",)).rename(index={"set0": "$x_1$ and $^$"})
    blocks = split_curves(check_curves(curves_of(areas)))
    figures.learning_curves(blocks, tmp_path / "a.png")
    figures.gain_map(compare(areas), tmp_path / "b.png")
    figures.rank_diagram(compare(areas), tmp_path / "c.png")
    assert len(drawn) == 3


def test_a_strategy_keeps_its_colour():
    styles = figures._styles(["entropy", "random", "margin", *"abcdefgh"])
    assert styles["random"]["color"] == figures.BLACK
    looks = {(style["color"], str(style["linestyle"])) for style in styles.values()}
    assert len(looks) == 11


def test_names_that_shorten_alike_are_left_whole():
    names = [f"{'a' * 20}{middle}{'b' * 40}" for middle in "xy"]
    assert figures._labels(names) == {name: name for name in names}


def test_random_alone_has_no_gain_and_no_rank(tmp_path):
    comparison = compare(random_areas(2, 2)[["random"]])
    with pytest.raises(ValueError, match="random is the only strategy"):
        figures.gain_map(comparison, tmp_path / "a.png")
    with pytest.raises(ValueError, match="at least two strategies"):
        figures.rank_diagram(comparison, tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []
