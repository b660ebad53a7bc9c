"""The command that says which rows of one's own to label next."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from almeta.queries.keys import row_keys
from almeta.queries.store import Answers, labels_path
from almeta.scripts import query

N = 300
FEW = ("n=10", "by=margin", "threads=1")


@pytest.fixture
def mine(command):
    """Writes `my.csv`, and returns the true labels: numbers, gaps, an identifier, 20 labels."""
    rng = np.random.default_rng(0)
    size, weight = rng.normal(size=(2, N)).round(3)
    truth = np.where(size + weight > 0, "cat", "dog")
    frame = pd.DataFrame({"id": [f"n{k:05d}" for k in rng.permutation(N)], "size": size, "weight": weight})
    frame["colour"] = rng.choice(["red", "blue"], N)
    frame.loc[::7, "size"] = np.nan
    frame["label"] = np.where(np.arange(N) < 20, truth, "")
    frame.to_csv("my.csv", index=False)
    return truth


def questions() -> pd.DataFrame:
    return pd.read_csv("next.csv", dtype=str, keep_default_na=False)


def fill_in(truth: np.ndarray, path: str = "next.csv", **changes: str) -> None:
    """Fill in the true answers, and other ones by row number."""
    asked = questions()
    asked["label"] = [changes.get(f"row{row}", truth[int(row) - 1]) for row in asked["row"]]
    asked.to_csv(path, index=False)


def test_a_round_asks_for_rows_and_leaves_the_file_untouched(command, mine):
    before = Path("my.csv").read_bytes()
    result = command(query, "data=my.csv", *FEW)
    assert result.status == 0
    assert Path("my.csv").read_bytes() == before
    assert "'id' (300 different values in 300 rows" in result.err
    assert "300 rows, 20 labels of 2 classes" in result.out
    assert "add answers=next.csv" in result.out
    asked = questions()
    assert list(asked)[:7] == ["row", "label", "guess", "why", "chosen_by", "key", "id"]
    assert len(asked) == 10 and (asked["label"] == "").all()
    assert asked["chosen_by"].tolist() == ["margin"] * 8 + ["random"] * 2
    assert all(int(row) > 20 for row in asked["row"])
    assert asked["why"].str.contains("uncertain between").any()
    assert asked["guess"].str.fullmatch(r"(cat|dog) \(\d+ %\)").all()
    rows = pd.read_csv("my.csv", dtype=str, keep_default_na=False)
    assert asked["id"].tolist() == [rows["id"][int(row) - 1] for row in asked["row"]]


def test_three_rounds_of_answers(command, mine):
    assert command(query, "data=my.csv", *FEW).status == 0
    seen = set(questions()["row"])
    for labels in (30, 40, 50):
        fill_in(mine)
        result = command(query, "data=my.csv", *FEW, "answers=next.csv")
        assert result.status == 0
        assert f"took 10 answers from next.csv; 0 rows have none yet\n300 rows, {labels} labels" in result.out
        assert not seen & set(questions()["row"])
        seen |= set(questions()["row"])


def test_rows_may_be_reordered_removed_and_labelled_in_the_file_between_rounds(command, mine):
    command(query, "data=my.csv", *FEW)
    asked = questions()
    gone, own = (int(row) - 1 for row in asked["row"][:2])
    fill_in(mine)
    rows = pd.read_csv("my.csv", dtype=str, keep_default_na=False)
    rows.loc[own, "label"] = "dog" if mine[own] == "cat" else "cat"
    order = np.random.default_rng(1).permutation(N)
    order = order[order != gone]
    rows.iloc[order].to_csv("my.csv", index=False)
    result = command(query, "data=my.csv", *FEW, "answers=next.csv")
    assert result.status == 0
    assert "answers rows that my.csv no longer has" in result.err
    assert "other labels than my.labels.sqlite for 1 rows" in result.err
    assert "299 rows, 29 labels" in result.out
    assert not set(asked["id"]) & set(questions()["id"])


def test_some_answers_are_missing_and_some_cannot_be_told(command, mine):
    command(query, "data=my.csv", *FEW)
    first, second = questions()["row"][:2]
    fill_in(mine, **{f"row{first}": "", f"row{second}": "?"})
    result = command(query, "data=my.csv", *FEW, "answers=next.csv")
    assert "took 9 answers from next.csv; 1 rows have none yet\n300 rows, 28 labels" in result.out
    fill_in(mine)
    command(query, "data=my.csv", "n=300", "by=margin", "threads=1", "answers=next.csv")
    rows = set(questions()["row"])
    assert second not in rows  # nobody can tell; it is not asked again
    assert "38 labels" not in rows


def test_a_new_class_is_asked_about(command, mine):
    command(query, "data=my.csv", *FEW)
    row = questions()["row"][0]
    fill_in(mine, **{f"row{row}": "cta"})
    result = command(query, "data=my.csv", *FEW, "answers=next.csv")
    assert result.status == 1
    assert f"error: next.csv: row {row}: unknown class 'cta'; did you mean 'cat'?" in result.err
    assert "if it is a new class, add classes=[cta]" in result.err
    result = command(query, "data=my.csv", *FEW, "answers=next.csv", "classes=[cta]")
    assert result.status == 0
    assert "30 labels of 3 classes" in result.out


def test_without_any_label(command):
    rng = np.random.default_rng(0)
    pd.DataFrame(rng.normal(size=(60, 2)), columns=["size", "weight"]).to_csv("my.csv", index=False)
    assert command(query, "data=my.csv", "n=4", "threads=1").status == 0
    asked = questions()
    assert asked["guess"].tolist() == [""] * 4
    fill_in(np.where(np.arange(60) % 2, "odd", "even"))
    result = command(query, "data=my.csv", "n=4", "threads=1", "answers=next.csv")
    assert result.status == 0
    assert "60 rows, 4 labels of" in result.out


def test_no_answer_is_lost(command, mine):
    command(query, "data=my.csv", *FEW)
    fill_in(mine)
    result = command(query, "data=my.csv", *FEW)
    assert result.status == 1
    assert "next.csv has 10 answers that were not taken; add answers=next.csv" in result.err
    Path("other.csv").write_text("size\n1\n")
    result = command(query, "data=my.csv", *FEW, "out=other.csv")
    assert "other.csv is there, and almeta-query did not write it" in result.err
    assert Path("other.csv").read_text() == "size\n1\n"


@pytest.mark.parametrize("n", [280, 1000])
def test_all_rows_that_are_left(command, mine, n):
    result = command(query, "data=my.csv", f"n={n}", "by=random", "threads=1")
    assert result.status == 0
    assert len(questions()) == 280
    assert ("1000 rows are asked for, but only 280 rows have no label" in result.err) == (n == 1000)
    fill_in(mine)
    result = command(query, "data=my.csv", *FEW, "answers=next.csv")
    assert result.status == 0
    assert "300 rows, 300 labels" in result.out
    assert "no row is left that has no label" in result.err


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data=yours.csv"], "there is no file yours.csv"),
        (["target=lable"], "unknown target column 'lable'; did you mean 'label'"),
        (["by=margni"], "unknown strategy or policy 'margni'; did you mean 'margin'"),
        (["n=0"], "n is 0"),
        (["random_share=2"], "random_share is 2"),
        (["answers=nowhere.csv"], "there is no file nowhere.csv"),
        (["answers=my.csv"], "my.csv has no column 'key'; give back the file that almeta-query wrote"),
        (["learner=svm"], "svm"),
        (["text=review"], "review"),
    ],
)
def test_bad_input(command, mine, overrides, message):
    result = command(query, "data=my.csv", *overrides)
    assert result.status == 1
    assert message in result.err
    assert not Path("next.csv").exists()


def test_an_export_of_all_answers_is_taken_back(command, mine):
    frame = pd.read_csv("my.csv").drop(columns="label")
    given = {25: "cat", 30: None, 28: "dog"}
    with Answers(labels_path("my.csv"), row_keys(frame)) as answers:
        answers.add(given, "margin")
        answers.export("all.csv", frame=frame)
    labels_path("my.csv").unlink()
    result = command(query, "data=my.csv", "answers=all.csv", *FEW)
    assert result.status == 0, result.err
    with Answers(labels_path("my.csv"), row_keys(frame)) as answers:
        assert answers.labels() == given
        assert {answer.chosen_by for answer in answers.answers()} == {"margin"}
