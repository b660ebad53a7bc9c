import io
import json

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from almeta.errors import AlmetaError
from almeta.evaluation.benchmark_report import report, shown_summary
from almeta.evaluation.comparison import compare
from almeta.evaluation.curves import check_curves, read_curves
from tests.evaluation.paired_curves import areas_of, curves_of

TABLES = {"curves.csv", "aulc.csv", "summary.csv", "tests.csv", "summary.md", "summary.json"}
FIGURES = {"learning_curves.png", "gain_curves.png", "ranks.png", "gains.png"}


@pytest.fixture(scope="module")
def areas():
    rng = np.random.default_rng(0)
    return areas_of({"margin": rng.normal(2, 1, (6, 3)), "entropy": rng.normal(1, 1, (6, 3))})


@pytest.fixture(scope="module")
def reported(areas, tmp_path_factory):
    console = Console(width=80, record=True, file=io.StringIO())
    folder = tmp_path_factory.mktemp("report") / "new" / "folder"
    return report(curves_of(areas), folder, console), folder, console.export_text()


def test_everything_is_written(reported):
    content, folder, text = reported
    names = {path.name for path in folder.iterdir()}
    assert names == TABLES | FIGURES
    assert set(content["figures"]) == FIGURES
    assert all(name in text for name in names)


def test_files_hold_what_was_compared(areas, reported):
    content, folder, _ = reported
    pd.testing.assert_frame_equal(read_curves(folder / "curves.csv"), check_curves(curves_of(areas)))
    means = pd.read_csv(folder / "aulc.csv", index_col="dataset")
    assert means.loc["set2", "margin"] == pytest.approx(areas.loc["set2", "margin"].mean())
    expected = compare(areas)
    summary = pd.read_csv(folder / "summary.csv", index_col="strategy")
    assert summary.loc["margin", "gain_over_random"] == pytest.approx(expected.pair("margin", "random").mean)
    tests = pd.read_csv(folder / "tests.csv")
    assert tests["p_holm"].tolist() == pytest.approx(expected.tests()["p_holm"].tolist())
    assert content["strategies"][0]["strategy"] == expected.strategies[0]
    assert content["tests"][0]["p_value"] == pytest.approx(tests["p_value"][0])
    assert expected.friedman is not None
    assert content["friedman"]["p_value"] == pytest.approx(expected.friedman.p_value)


def test_summary_json_is_what_is_returned(reported):
    content, folder, _ = reported
    assert json.loads((folder / "summary.json").read_text()) == content
    assert content["datasets"]["set0"] == {"repeats": 3, "budget": 4}
    assert (content["unit"], content["reference"], content["measure"]) == ("data set", "margin", "accuracy")
    by_name = {row["strategy"]: row for row in content["strategies"]}
    assert by_name["random"]["gain_over_random"] is None
    assert by_name["margin"]["wins_random"] == 6 and by_name["margin"]["is_clear_random"] in (True, False)


def test_words_stand_on_the_terminal_and_in_the_markdown(reported):
    content, folder, text = reported
    markdown = (folder / "summary.md").read_text(encoding="utf-8")
    assert markdown.startswith("# 3 strategies on 6 data sets, 3 repeats each\n")
    printed = " ".join(text.split())
    for sentence in content["verdict"]:
        assert f"- {sentence}\n" in markdown
        assert sentence in printed
    assert (
        "| strategy | AULC, points | mean rank | gain over random | against random | clear against random |" in markdown
    )


def test_no_line_of_the_terminal_is_cut(reported):
    _, _, text = reported
    rows = {
        line.split()[0]: line for line in text.splitlines() if line.split() and line.split()[0] in ("margin", "random")
    }
    assert "…" not in rows["margin"] + rows["random"]
    assert len(rows["margin"].rstrip()) <= 80


def test_cells_for_people():
    noise = np.array([-0.1, 0.1, 0.05, -0.05])
    gains = np.linspace(1, 2, 10)[:, None] + noise
    comparison = compare(areas_of({"margin": gains, "entropy": gains * 0 - 1 + noise}))
    shown = shown_summary(comparison).set_index("strategy")
    assert list(shown.index) == ["margin", "random", "entropy"]
    half = 2.2622 * comparison.units["margin"].std() * 100 / 10**0.5
    assert shown.loc["margin", "AULC,\npoints"] == f"56.00 ± {half:.2f}"
    assert shown.loc["margin", "gain over\nrandom"] == "+1.50 ± 0.24*"
    assert shown.loc["margin", "against\nrandom"] == "10/0/0"
    assert shown.loc["margin", "clear against\nrandom"] == "10/0"
    assert shown.loc["entropy", "against\nmargin"] == "0/0/10"
    assert shown.loc["entropy", "clear against\nrandom"] == "0/10"
    assert shown.loc["random", "gain over\nrandom"] == shown.loc["margin", "against\nmargin"] == "–"
    assert shown_summary(comparison, narrow=True).columns.tolist() == [
        "strategy",
        "AULC,\npoints",
        "mean\nrank",
        "gain over\nrandom",
        "against\nrandom",
        "gain over\nmargin",
        "against\nmargin",
    ]


def test_a_single_data_set_and_another_area(tmp_path):
    areas = areas_of({"margin": [[1.0, 2.0, 3.0]]})
    curves = curves_of(areas)
    curves.loc[curves["queries"] == 4, "score"] += 0.1
    content = report(curves, tmp_path, Console(quiet=True), area="trapezoid", measure="macro F1")
    assert content["unit"] == "repeat"
    by_name = {row["strategy"]: row for row in content["strategies"]}
    assert by_name["random"]["aulc"] == pytest.approx(0.5 + 0.1 / 8)
    markdown = (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert "here of macro F1" in markdown and "over repeats" in markdown and "clear against" not in markdown


def test_random_alone_is_still_drawn(areas, tmp_path):
    content = report(curves_of(areas[["random"]]), tmp_path, Console(quiet=True))
    assert content["figures"] == ["learning_curves.png"]
    assert content["tests"] == [] and content["friedman"] is None


def test_mistakes_leave_nothing(areas, tmp_path):
    curves = curves_of(areas)
    with pytest.raises(AlmetaError, match="lacks repeat"):
        report(curves[(curves["strategy"] != "margin") | (curves["repeat"] > 0)], tmp_path, Console(quiet=True))
    with pytest.raises(AlmetaError, match="area is 'sum'"):
        report(curves, tmp_path, Console(quiet=True), area="sum")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(AlmetaError, match="could not make the folder"):
        report(curves, tmp_path / "file" / "folder", Console(quiet=True))
