import io
import json

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from almeta.errors import AlmetaError
from almeta.evaluation.comparison import compare
from almeta.evaluation.curves import check_curves
from almeta.evaluation.pool_report import pool_report, short_names, shown_areas, shown_summary, shown_tests
from almeta.evaluation.writers import publish
from tests.evaluation.paired_curves import areas_of, curves_of

FILES = {
    *("curves.csv", "aulc.csv", "summary.csv", "tests.csv", "summary.md", "summary.tex", "summary.json"),
    *("learning_curves.png", "gain_curves.png", "ranks.png", "gains.png", "report.html"),
}


@pytest.fixture(scope="module")
def areas():
    rng = np.random.default_rng(0)
    return areas_of({"margin": rng.normal(2, 1, (6, 3)), "entropy": rng.normal(1, 1, (6, 3))})


@pytest.fixture(scope="module")
def reported(areas, tmp_path_factory):
    file = io.StringIO()
    console = Console(width=80, file=file)
    folder = tmp_path_factory.mktemp("report") / "new" / "folder"
    report = pool_report(curves_of(areas), config={"budget": 4})
    publish(report, folder, console, report.summary)
    return report, folder, file.getvalue()


def test_everything_is_written(reported):
    report, folder, text = reported
    assert {path.name for path in folder.iterdir()} == FILES
    assert set(report.summary["figures"]) == {name for name in FILES if name.endswith(".png")}
    assert all(name in text for name in FILES)


def test_files_hold_what_was_compared(areas, reported):
    report, folder, _ = reported
    content = report.summary
    curves = check_curves(curves_of(areas))
    assert (folder / "curves.csv").read_text("utf-8") == curves.to_csv(index=False)
    pd.testing.assert_frame_equal(pd.read_csv(folder / "curves.csv"), curves, check_exact=True)
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
    report, folder, _ = reported
    content = report.summary
    assert json.loads((folder / "summary.json").read_text()) == content
    assert content["datasets"]["set0"] == {"repeats": 3, "budget": 4}
    assert (content["unit"], content["reference"], content["measure"]) == ("data set", "margin", "accuracy")
    by_name = {row["strategy"]: row for row in content["strategies"]}
    assert by_name["random"]["gain_over_random"] is None
    assert by_name["margin"]["wins_random"] == 6 and by_name["margin"]["is_clear_random"] in (True, False)


def test_words_stand_on_the_terminal_and_in_the_markdown(reported):
    report, folder, text = reported
    content = report.summary
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


def test_details_for_people():
    comparison = compare(areas_of({"margin": [[1.0, 2.0], [3.0, 4.0]]}))
    areas, tests = shown_areas(comparison), shown_tests(comparison)
    assert areas.columns.tolist() == ["data set", "margin", "random"]
    assert areas.to_numpy().tolist() == [["set0", "51.50", "50.00"], ["set1", "54.50", "51.00"]]
    assert tests.to_numpy().tolist() == [["margin", "random", "+2.50 ± 12.71", "2/0/0", ".50", ".50"]]
    single = shown_tests(compare(areas_of({"margin": [[1.0]]})))
    assert single.to_numpy().tolist() == [["margin", "random", "+1.00", "1/0/0", "–", "–"]]


def test_a_single_data_set_and_another_area():
    areas = areas_of({"margin": [[1.0, 2.0, 3.0]]})
    curves = curves_of(areas)
    curves.loc[curves["queries"] == 4, "score"] += 0.1
    report = pool_report(curves, area="trapezoid", measure="macro F1")
    assert report.summary["unit"] == "repeat"
    by_name = {row["strategy"]: row for row in report.summary["strategies"]}
    assert by_name["random"]["aulc"] == pytest.approx(0.5 + 0.1 / 8)
    (note,) = (table.note for table in report.tables if table.name == "summary")
    assert "here of macro F1" in note and "over repeats" in note and "Clear against" not in note


def test_random_alone_is_still_drawn(areas):
    report = pool_report(curves_of(areas[["random"]]))
    assert list(report.figures) == ["learning_curves"]
    assert report.summary["figures"] == ["learning_curves.png"]
    assert report.summary["tests"] == [] and report.summary["friedman"] is None


def test_further_pages_are_numbered():
    report = pool_report(curves_of(areas_of({"margin": np.ones((25, 2))})))
    pages = ["learning_curves", "learning_curves_2", "gain_curves", "gain_curves_2"]
    assert list(report.figures) == [*pages, "ranks", "gains"]


def test_mistakes_are_told(areas):
    curves = curves_of(areas)
    with pytest.raises(AlmetaError, match="lacks repeat"):
        pool_report(curves[(curves["strategy"] != "margin") | (curves["repeat"] > 0)])
    with pytest.raises(AlmetaError, match="area is 'sum'"):
        pool_report(curves, area="sum")  # type: ignore[arg-type]


# ---- data sets that are files


@pytest.mark.parametrize(
    "names, short",
    [
        (["csv:/long/path/my.csv.gz", "iris"], ["my", "iris"]),
        (["csv:my.csv", "csv:other.table.CSV.GZ"], ["my", "other.table"]),
        (["csv:a/my.csv", "csv:b/my.csv.gz", "csv:b/c.csv"], ["csv:a/my.csv", "csv:b/my.csv.gz", "c"]),
        (["csv:a/iris.csv", "iris"], ["csv:a/iris.csv", "iris"]),
        (["folder:/my/pets", "table:/my/t.parquet", "csv:p.csv"], ["pets", "t", "p"]),
        (["openml:40", "csv:no_suffix"], ["openml:40", "no_suffix"]),
    ],
)
def test_files_are_called_by_their_stem_unless_two_collide(names, short):
    assert list(short_names(names).values()) == short


def test_people_read_stems_and_programs_whole_names(tmp_path):
    whole = "csv:/some/long/path/to/my.csv.gz"
    curves = curves_of(areas_of({"margin": [[1.0, 2.0], [3.0, 5.0]]}))
    curves["dataset"] = curves["dataset"].map({"set0": whole, "set1": "wine"})
    report = pool_report(curves)
    publish(report, tmp_path, Console(quiet=True))
    for name in ("curves.csv", "aulc.csv"):
        assert whole in (tmp_path / name).read_text("utf-8")
    assert list(report.summary["datasets"]) == [whole, "wine"]
    for name in ("summary.md", "report.html"):
        assert "long/path" not in (tmp_path / name).read_text("utf-8")
    titles = [axis.get_title(loc="left") for axis in report.figures["gain_curves"].axes]
    assert titles[:3] == ["mean of 2 data sets", "my", "wine"]
    rows = [label.get_text() for label in report.figures["gains"].axes[0].get_yticklabels()]
    assert sorted(rows[1:]) == ["my", "wine"]
    alone = pool_report(curves[curves["dataset"] == whole])
    assert "one data set, my:" in alone.summary["verdict"][0]


@pytest.mark.filterwarnings("error")
def test_a_share_that_one_strategy_never_has_is_told_without_ranks(areas):
    """Random has no pseudo-labels, margin not before the first query."""
    curves = curves_of(areas)
    some = curves["strategy"].ne("random") & (curves["strategy"].eq("entropy") | curves["queries"].gt(0))
    curves["wrong_pseudo_labels"] = np.where(some, 0.1 + 0.01 * curves["repeat"], np.nan)
    report = pool_report(curves, measures=["wrong_pseudo_labels"])
    (table,) = [one for one in report.tables if one.name == "summary_wrong_pseudo_labels"]
    assert table.numbers["strategy"].tolist() == ["random", "margin", "entropy"]
    assert table.numbers["aulc"].tolist() == pytest.approx([np.nan, 0.11, 0.11], nan_ok=True)
    assert table.shown is not None and list(table.shown["AULC,\npoints"]) == ["–", "11.00 ± 2.48", "11.00 ± 2.48"]
    assert report.figures["learning_curves_wrong_pseudo_labels"].axes
    whole = pool_report(curves.assign(wrong_pseudo_labels=0.1), measures=["wrong_pseudo_labels"])
    assert "mean_rank" in next(one for one in whole.tables if one.name == "summary_wrong_pseudo_labels").numbers
