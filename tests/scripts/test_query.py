"""The command that says which rows of one's own to label next."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from almeta.data import load_dataset
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
    assert sorted(asked["chosen_by"]) == ["margin"] * 8 + ["random"] * 2
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
    assert result.status == 1  # next.csv would be written over
    assert "next.csv answers 1 rows that my.csv does not have, the first in line 2 (rows are known by" in result.err
    assert questions()["label"].isin(["cat", "dog"]).all()
    os.rename("next.csv", "answers.csv")
    result = command(query, "data=my.csv", *FEW, "answers=answers.csv")
    assert result.status == 0
    assert "answers 1 rows that my.csv does not have" in result.err
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
    result = command(query, "data=my.csv", "n=300", "by=margin", "threads=1", "answers=next.csv")
    assert "300 rows, 38 labels" in result.out
    assert second not in set(questions()["row"])  # nobody can tell; it is not asked again


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
    assert command(query, "data=my.csv", *FEW, "answers=next.csv", "out=second.csv").status == 0
    assert command(query, "data=my.csv", *FEW, "out=third.csv").status == 0
    assert command(query, "data=my.csv", *FEW).status == 0  # those in next.csv are taken by now


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
    result = command(query, "data=my.csv", *FEW)  # and again
    assert result.status == 0
    assert "Stop: no row is left without a label." in result.out


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
        (["out=next.xlsx"], "out=next.xlsx is no CSV file"),
        (["budget=0"], "budget is 0"),
    ],
)
def test_bad_input(command, mine, overrides, message):
    result = command(query, "data=my.csv", *overrides)
    assert result.status == 1
    assert message in result.err
    assert not Path("next.csv").exists()


def test_columns_may_be_added_between_rounds_and_not_taken_away(command, mine):
    command(query, "data=my.csv", *FEW)
    fill_in(mine)
    rows = pd.read_csv("my.csv", dtype=str, keep_default_na=False)
    rows.assign(age=range(N)).to_csv("my.csv", index=False)
    result = command(query, "data=my.csv", *FEW, "answers=next.csv", "keep=[age]")
    assert result.status == 0
    assert "300 rows, 30 labels" in result.out
    rows.drop(columns="size").to_csv("my.csv", index=False)
    result = command(query, "data=my.csv", *FEW, "out=second.csv")
    assert "10 answers to rows that the data no longer have" in result.err
    assert "column 'size' is gone, by which rows are known; bring it back to use them" in result.err


def test_answers_that_do_not_say_what_chose_them(command, mine):
    command(query, "data=my.csv", *FEW)
    asked = questions().assign(label=[mine[int(row) - 1] for row in questions()["row"]])
    asked.loc[:3, "chosen_by"] = ""
    asked.to_csv("next.csv", index=False)
    assert "300 rows, 30 labels" in command(query, "data=my.csv", *FEW, "answers=next.csv").out
    with Answers(labels_path("my.csv"), pd.read_csv("my.csv").drop(columns="label")) as answers:
        assert sum(answer.chosen_by == "user" for answer in answers.answers()) == 4


def test_answers_from_a_spreadsheet(command):
    """Semicolons, the encoding of Windows, columns in another order, whole numbers with a point."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(60, 2)), columns=["größe", "weight"])
    frame["label"] = ["1", "2"] * 5 + [""] * 50
    frame.to_csv("my.csv", index=False)
    command(query, "data=my.csv", *FEW)
    asked = questions().assign(label="2.0")
    asked[asked.columns[::-1]].to_csv("next.csv", index=False, sep=";", encoding="cp1252")
    result = command(query, "data=my.csv", *FEW, "answers=next.csv")
    assert result.status == 0, result.err
    assert "60 rows, 20 labels of 2 classes" in result.out


def test_contradicting_and_changed_answers(command, mine):
    command(query, "data=my.csv", *FEW)
    fill_in(mine)
    asked = questions()
    twice = pd.concat([asked, asked[:1].assign(label="dog" if asked["label"][0] == "cat" else "cat")])
    twice.to_csv("twice.csv", index=False)
    result = command(query, "data=my.csv", *FEW, "answers=twice.csv", "out=second.csv")
    assert f"twice.csv answers row {asked['row'][0]} twice, with" in result.err
    command(query, "data=my.csv", *FEW, "answers=next.csv", "out=second.csv")
    twice[1:].to_csv("changed.csv", index=False)
    result = command(query, "data=my.csv", *FEW, "answers=changed.csv", "out=second.csv")
    assert "took 10 answers from changed.csv; 0 rows have none yet; 1 answers of before were changed" in result.out


def test_first_classes_are_named_and_must_differ(command):
    pd.DataFrame(np.random.default_rng(0).normal(size=(60, 2)), columns=["a", "b"]).to_csv("my.csv", index=False)
    command(query, "data=my.csv", "n=4", "threads=1")
    questions().assign(label=["cat", "Cat", "dog", "dog"]).to_csv("next.csv", index=False)
    result = command(query, "data=my.csv", "n=4", "threads=1", "answers=next.csv")
    assert "has the labels 'Cat' and 'cat', which differ only in case" in result.err
    questions().assign(label=["cat", "cat", "dog", "dog"]).to_csv("next.csv", index=False)
    result = command(query, "data=my.csv", "n=4", "threads=1", "answers=next.csv")
    assert "; new classes: cat, dog" in result.out


def test_a_class_is_gone_when_the_file_corrects_it(command, mine):
    command(query, "data=my.csv", *FEW)
    row = int(questions()["row"][0])
    fill_in(mine, **{f"row{row}": "bird"})
    assert "of 3 classes" in command(query, "data=my.csv", *FEW, "answers=next.csv", "classes=[bird]").out
    rows = pd.read_csv("my.csv", dtype=str, keep_default_na=False)
    rows.loc[row - 1, "label"] = "cat"
    rows.to_csv("my.csv", index=False)
    assert "of 2 classes" in command(query, "data=my.csv", *FEW).out


def test_names_of_columns_that_are_ours_or_look_like_markup(command, mine):
    rows = pd.read_csv("my.csv", dtype=str, keep_default_na=False)
    names = {"id": "why", "size": "guess", "weight": "b [/x]", "colour": "size [cm]"}
    rows.rename(columns=names).to_csv("my.csv", index=False)
    result = command(query, "data=my.csv", *FEW, "keep=[why]")
    assert result.status == 0, result.err
    assert "b [/x]" in result.out
    assert list(questions())[6:] == ["why (data)", "guess (data)", "b [/x]", "size [cm]"]


def test_a_folder_of_images(command):
    digits = load_dataset("digits")
    for place, image in enumerate(digits.x[:80].reshape(-1, 8, 8)):
        folder = Path("pictures") / (digits.class_names[digits.y[place]] if place < 30 else "")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image * 255).astype(np.uint8)).save(folder / f"{place:02}.png")
    result = command(query, "data=pictures", *FEW, "size=8")
    assert result.status == 0, result.err
    assert "80 rows, 30 labels of 10 classes" in result.out
    asked = questions()
    asked.assign(label=[str(digits.y[int(Path(name).stem)]) for name in asked["file"]]).to_csv("next.csv", index=False)
    assert "80 rows, 40 labels" in command(query, "data=pictures", *FEW, "size=8", "answers=next.csv").out


def test_a_column_of_text(command):
    words = [["fine", "good"], ["awful", "bad"]]
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice([*words[k % 2], "film", "plot", "actor"], 6)) for k in range(100)]
    pd.DataFrame({"review": texts, "label": ["+", "-"] * 5 + [""] * 90}).to_csv("my.csv", index=False)
    result = command(query, "data=my.csv", *FEW, "text=review")
    assert result.status == 0, result.err
    assert "100 rows, 10 labels of 2 classes" in result.out
    assert len(questions()) == 10


def test_small_rounds_have_random_rows_too(command, mine):
    chosen = []
    for seed in range(12):
        command(query, "data=my.csv", "n=1", "by=margin", "threads=1", f"seed={seed}", "random_share=0.5")
        chosen += questions()["chosen_by"].tolist()
    assert 2 <= chosen.count("random") <= 10


def test_the_same_round_twice_is_one_and_another_learner_has_its_own(command, mine):
    for learner in ("ridge", "ridge", "prototype"):
        command(query, "data=my.csv", *FEW, f"learner={learner}")
    with Answers(labels_path("my.csv"), pd.read_csv("my.csv").drop(columns="label")) as answers:
        kept = answers._database.ask("SELECT labels, options FROM rounds")
    assert [labels for labels, _ in kept] == [20, 20]
    assert ["Ridge" in kept[0][1], "Prototype" in kept[1][1]] == [True, True]


def test_an_export_of_all_answers_is_taken_back(command, mine):
    frame = pd.read_csv("my.csv").drop(columns="label")
    given = {25: "cat", 30: None, 28: "dog"}
    with Answers(labels_path("my.csv"), frame) as answers:
        answers.add(given, "margin")
        answers.export("all.csv", frame=frame)
    labels_path("my.csv").unlink()
    result = command(query, "data=my.csv", "answers=all.csv", *FEW)
    assert result.status == 0, result.err
    with Answers(labels_path("my.csv"), frame) as answers:
        assert answers.labels() == given
        assert {answer.chosen_by for answer in answers.answers()} == {"margin"}
