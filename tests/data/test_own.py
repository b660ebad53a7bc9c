"""Rows of one's own, of which some have a label, or none."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from almeta.data.own import read_own
from almeta.data.preparation import prepare
from almeta.errors import AlmetaError

IDS = [f"c{i:04d}" for i in range(30)]
PART = "id,age,town,label\n" + "".join(
    f"{one},{i % 7},{'Bonn' if i % 3 else 'Köln'},{'yes' if i == 4 else 'no' if i in (2, 9) else ''}\n"
    for i, one in enumerate(IDS)
)


@pytest.fixture
def read(tmp_path):
    def write_and_read(content, /, name="my.csv", **options):
        (tmp_path / name).write_text(content, "utf-8")
        return read_own(tmp_path / name, **options)

    return write_and_read


def test_rows_stay_in_order_whether_they_have_a_label_or_not(read):
    with pytest.warns(UserWarning, match="left out: 'id' .30 different values in 30 rows, like an identifier"):
        own = read(PART)
    assert own.labels == [{4: "yes", 2: "no", 9: "no"}.get(i) for i in range(30)]
    assert (own.target, own.class_names, own.images) == ("label", ("no", "yes"), ())
    assert list(own.set_aside) == ["id"]
    assert own.dataset.columns == ("age", "town") and own.dataset.categories == {1: ("Bonn", "Köln")}
    assert own.dataset.x[:, 0].tolist() == [i % 7 for i in range(30)]
    assert own.frame["id"].tolist() == IDS and list(own.frame) == ["id", "age", "town", "label"]
    features, _ = prepare(own.dataset, np.arange(30), np.arange(0))
    assert features.shape == (30, 3) and features.dtype == np.float32


def test_no_label_at_all(read):
    for text in ("a,b\n1,x\n2,y\n", "a,b,label\n1,x,\n2,y,\n"):
        own = read(text)
        assert own.labels == [None, None] and own.class_names == ()
        assert own.target == ("label" if "label" in text else None)
        assert own.dataset.columns == ("a", "b")


def test_all_rows_and_one_class_have_labels(read):
    own = read("a,label\n1,x\n2,x\n")
    assert (own.labels, own.class_names) == (["x", "x"], ("x",))


def test_cells_are_shown_as_they_are_written(read):
    own = read('day,price,label\n2024-01-01,$1,\n2024-01-03,"$1,200",x\n')
    assert own.frame.fillna("").values.tolist() == [["2024-01-01", "$1", ""], ["2024-01-03", "$1,200", "x"]]
    assert own.dataset.x.tolist() == [[19723, 1], [19725, 1200]]


def test_columns_that_repeat_the_labels_are_judged_by_labelled_rows(read):
    rows = "".join(f"{'pq'[i % 2]},{i % 5},{'xy'[i % 2] if i < 40 else ''}\n" for i in range(200))
    with pytest.warns(UserWarning, match="left out: 'copy' .repeats the labels"):
        own = read(f"copy,a,label\n{rows}")
    assert own.set_aside == {"copy": "repeats the labels"}


def test_ignored_columns_are_shown(read):
    own = read("id,a,label\n7,1,\n9,2,x\n", ignore=["id"])
    assert own.dataset.columns == ("a",) and own.frame["id"].tolist() == [7, 9] and own.set_aside == {}


def test_text(read):
    with pytest.warns(UserWarning, match="with text=words, the text alone is used; left out: 'n'"):
        own = read("n,words,label\n1,good film,\n2,bad film,no\n", text="words")
    assert (own.dataset.kind, own.dataset.columns) == ("text", ("bad", "film", "good"))
    assert own.dataset.x.tolist() == [[0, 1, 1], [1, 1, 0]]
    assert own.set_aside == {"n": "beside the text"}


@pytest.mark.parametrize(
    "content, options, message",
    [
        (
            "a,lable\n1,\n",
            {"target": "label"},
            "target column 'label'; did you mean 'lable'.*; name no target if no row",
        ),
        ("a,label\n1,Yes\n2,yes\n", {}, "has the labels 'Yes' and 'yes', which differ only in case"),
        ("a,b,label\n1,x,\n", {"ignore": ["c"]}, "unknown column 'c'; .*Known: a, b, label"),
        ("a,b,label\n1,x,\n", {"text": "c"}, "unknown column 'c'"),
        ("a,label\n1,x\n", {"target": "label", "ignore": ["label"]}, "column 'label' has the labels; it cannot be ign"),
        ("a,label\n1,x\n", {"size": 3}, "size=3 is not for tables; leave it out"),
        ("5.1,3.5,1.4,setosa\n4.9,3.0,1.4,setosa\n", {}, "seems to have no header line: it begins with 5.1, 3.5"),
        ("label\nx\ny\n", {}, "besides the labels there is no column to learn from"),
    ],
)
def test_mistakes(content, options, message, read):
    with pytest.raises(AlmetaError, match=message):
        read(content, **options)


def test_years_may_be_names_of_columns(read):
    assert read("2019,2020,a,b\n1,2,x,z\n3,4,y,z\n").dataset.columns == ("2019", "2020", "a", "b")


def test_labels_that_are_no_classes(read):
    rows = "".join(f"{i % 3},{i / 7}\n" for i in range(50))
    with pytest.raises(AlmetaError, match="column 'label' has 50 different values in 50 rows; these are no classes"):
        read(f"a,label\n{rows}")


@pytest.mark.parametrize("prefix", ["", "folder:"])
def test_a_folder_of_images(prefix, tmp_path, cache):
    for name, grey in (("a/2.png", 0), ("a/1.png", 51), ("b/1.png", 255), ("loose.png", 102)):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (5, 9), grey).save(tmp_path / "images" / name)
    own = read_own(f"{prefix}{tmp_path / 'images'}", size=4)
    assert own.frame["file"].tolist() == ["a/1.png", "a/2.png", "b/1.png", "loose.png"]
    assert own.labels == ["a", "a", "b", None]
    assert own.images == tuple(tmp_path / "images" / name for name in own.frame["file"])
    assert (own.dataset.kind, own.dataset.image_shape, own.target) == ("image", (4, 4), "label")
    np.testing.assert_allclose(own.dataset.x[:, 0], [0.2, 0, 1, 0.4], atol=1e-6)
    with pytest.raises(AlmetaError, match="text=words is not for folders of images; leave it out"):
        read_own(tmp_path / "images", text="words")


def test_a_text_is_not_to_be_ignored(read):
    with pytest.raises(AlmetaError, match="column 'words' is in ignore"):
        read("words,label\na b,x\nc d,y\n", text="words", ignore=["words"])


def test_long_whole_numbers_of_other_files_are_shown_as_they_are(tmp_path):
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame({"id": [1234567890123456791, 977, 5], "size": [1.5, 2.0, 3.0], "label": ["a", None, "b"]})
    frame.to_parquet(tmp_path / "my.parquet")
    shown = read_own(tmp_path / "my.parquet").frame
    assert [str(cell) for cell in shown["id"]] == ["1234567890123456791", "977", "5"]
