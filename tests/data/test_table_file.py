import gzip
import math
import warnings

import numpy as np
import pytest

from almeta.data import canonical_name, load_dataset
from almeta.data.suites import folds
from almeta.errors import AlmetaError

nan = math.nan

MIXED = """\
age,colour,member,label
31,red,True,yes
45.5,blue,False,no
,red,True,yes
27, ? ,False,no
60,green,True,no
"""


@pytest.fixture
def load(tmp_path):
    """`load_dataset` of a text in a file."""

    def write_and_load(text, name="my.csv", encoding="utf-8", **options):
        path = tmp_path / name
        content = text if isinstance(text, bytes) else text.encode(encoding)
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return load_dataset(f"csv:{path}", **options)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield write_and_load


def test_decimal_commas(load):
    data = load("a;b;c;label\n0,5;-1,25;x,1;1\n1,5;;y;0\n7;3,0;x,1;1\n")
    assert data.columns == ("a", "b", "c") and set(data.categories) == {2}
    np.testing.assert_array_equal(data.x[:, :2], np.array([[0.5, -1.25], [1.5, nan], [7, 3]], np.float32))


def test_two_spellings_of_a_number_are_no_two_classes(load):
    with pytest.raises(AlmetaError, match="has the labels '1' and '1.0', the same number; write it alike"):
        load("a,label\n1,1.0\n2,1\n3,2\n4,2\n")


def test_numbers_categories_and_missing_values(load, tmp_path):
    data = load(MIXED)
    assert data.name == f"csv:{tmp_path / 'my.csv'}"
    assert data.source == f"the file {tmp_path / 'my.csv'}, with the labels in column 'label'"
    assert data.columns == ("age", "colour", "member")
    assert data.categories == {1: ("blue", "green", "red")}
    assert data.missing and data.kind == "table"
    assert data.class_names == ("no", "yes")
    assert data.y.tolist() == [1, 0, 1, 0, 0]
    wanted = [[31, 2, 1], [45.5, 0, 0], [nan, 2, 1], [27, nan, 0], [60, 1, 1]]
    assert np.array_equal(data.x, np.array(wanted, np.float32), equal_nan=True)


def test_all_there_is_not_missing(load):
    data = load("a,b,target\n1,2,x\n3,4,y\n")
    assert (data.missing, data.categories) == (False, {})
    assert data.x.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("form", ["bom", "gz", "semicolons", "tabs", "spaces", "windows", "quotes", "no last newline"])
def test_forms_of_the_same_table(form, load):
    plain = load("a,b,target\n1,u v,x\n2,w,y\n")
    text, name, encoding = {
        "bom": ("a,b,target\n1,u v,x\n2,w,y\n", "a.csv", "utf-8-sig"),
        "gz": ("a,b,target\n1,u v,x\n2,w,y\n", "a.csv.gz", "utf-8-sig"),
        "semicolons": ("a;b;target\n1;u v;x\n2;w;y\n", "a.csv", "utf-8"),
        "tabs": ("a\tb\ttarget\n1\tu v\tx\n2\tw\ty\n", "a.tsv", "utf-8"),
        "spaces": (" a , b , target\n 1 , u v , x \n 2, w , y\n", "a.csv", "utf-8"),
        "windows": ("a,b,target\r\n1,u v,x\r\n2,w,y\r\n", "a.csv", "utf-8"),
        "quotes": ('"a","b","target"\n1,"u v","x"\n"2","w",y\n', "a.csv", "utf-8"),
        "no last newline": ("a,b,target\n1,u v,x\n2,w,y", "a.csv", "utf-8"),
    }[form]
    data = load(text, name, encoding)
    assert (data.x == plain.x).all() and (data.y == plain.y).all()
    assert (data.columns, data.categories, data.class_names) == (plain.columns, plain.categories, plain.class_names)


def test_separators_and_lines_within_quotes(load):
    data = load('a,b,target\n1,"u, v\nw",x\n2,"""q""",y\n')
    assert data.categories == {1: ('"q"', "u, v\nw")}


@pytest.mark.parametrize(
    "header, target, column",
    [
        ("class,a,b", None, "class"),
        ("a,Label,b", None, "Label"),
        ("target,b,label", None, "label"),  # the last one
        ("label,a,target", "label", "label"),
        ("a,b,c", "a", "a"),
    ],
)
def test_target(header, target, column, load):
    rows = "0,1,0\n1,0,0\n1,1,1\n"
    data = load(f"{header}\n{rows}", **({"target": target} if target else {}))
    place = header.split(",").index(column)
    assert data.y.tolist() == [[0, 1, 1], [1, 0, 1], [0, 0, 1]][place]
    assert data.columns == tuple(name for name in header.split(",") if name != column)


def test_class_names_are_as_written_and_in_order(load):
    assert load("a,target\n1,10\n2,9\n3,-1\n4,2.50\n").class_names == ("-1", "2.50", "9", "10")
    assert load("a,target\n1,10\n2,9\n3,b\n").class_names == ("10", "9", "b")
    assert load("a,target\n1,True\n2,False\n").class_names == ("False", "True")


def test_a_class_of_one_row_constant_columns_and_equal_rows(load):
    data = load("a,b,target\n1,7,x\n1,7,x\n1,7,y\n")
    assert data.class_counts.tolist() == [2, 1]
    assert data.x.tolist() == [[1, 7]] * 3


def test_other_words_for_missing(load):
    data = load("a,target\n1,x\n?,y\nNA,x\nnan,x\nnull,y\n2,x\n")
    assert np.array_equal(data.x.ravel(), np.array([1, nan, nan, nan, nan, 2], np.float32), equal_nan=True)
    assert data.categories == {}
    data = load("a,b,target\n1 , <NA> ,x\n ? ,u ,y\n3,  ,x\n")
    assert np.array_equal(data.x, np.array([[1, nan], [nan, 0], [3, nan]], np.float32), equal_nan=True)
    assert data.categories == {1: ("u",)}


def test_boolean_with_missing_values(load):
    data = load("a,target\nTrue,x\n,y\nFalse,x\n")
    assert data.categories == {}
    assert np.array_equal(data.x.ravel(), np.array([1, nan, 0], np.float32), equal_nan=True)


def test_columns_that_are_left_out(load):
    rows = "\n".join(f"person {i},{'xy'[i % 2]},,{i},{i * i % 90}" for i in range(200))
    table = f"name,target,nothing,number,square\n{rows}\n"
    with pytest.warns(UserWarning) as caught:
        data = load(table)
    assert data.columns == ("square",)
    assert [str(warning.message).partition(": ")[2] for warning in caught] == [
        "left out: 'name' (200 different values in 200 rows, like an identifier: 'person 0', ...), "
        "'nothing' (no values), 'number' (counts the rows); to use a column all the same, name it in keep=[...]"
    ]
    with pytest.warns(UserWarning, match="left out: 'nothing' \\(no values\\); to use"):
        data = load(table, keep=["number", "name"])
    assert data.columns == ("name", "number", "square")
    assert data.x[:, 1].tolist() == list(range(200))
    assert len(data.categories[0]) == 200


def test_ten_thousand_categories(load):
    rows = "\n".join(f"{i % 99},c{i % 10_000},{i % 2}" for i in range(25_000))
    data = load(f"a,many,target\n{rows}\n")  # each occurs two or three times: categories indeed
    assert len(data.categories[1]) == 10_000
    assert data.x.shape == (25_000, 2)
    assert data.categories[1][int(data.x[12_345, 1])] == "c2345"


@pytest.mark.parametrize("numbers", ["01", "12", "10", "213"])
def test_row_numbers_without_a_name_are_left_out_of_any_table(numbers, load):
    rows = "".join(f"{number},5,{'xy'[place % 2]}\n" for place, number in enumerate(numbers))
    with pytest.warns(UserWarning, match="left out: 'Unnamed: 0' \\(counts the rows\\)"):
        assert load(f",a,target\n{rows}").columns == ("a",)
    assert load(f"b,a,target\n{rows}").columns == ("b", "a")
    assert load(",a,target\n3,5,x\n1,6,y\n").columns == ("Unnamed: 0", "a")
    labels = load(",a\nx,5\ny,6\n", target="Unnamed: 0")
    assert (labels.class_names, labels.columns) == (("x", "y"), ("a",))
    with pytest.raises(AlmetaError, match="unknown target column ''.*Known: Unnamed: 0, a"):
        load(",a\nx,5\ny,6\n", target="")


def test_a_few_cells_that_are_no_numbers(load):
    rows = "\n".join(f"{i % 10},{i % 2}" for i in range(30))
    with pytest.warns(UserWarning, match="column 'a' is numbers but for 1 cells such as 'n/k', and is taken as categ"):
        data = load(f"a,target\n{rows}\nn/k,0\n")
    assert data.categories == {0: (*"0123456789", "n/k")}


@pytest.mark.parametrize(
    "text, options, message",
    [
        ("a,b\n1,2\n", {}, r"no column named target, label or class; say which .* target=COLUMN. Columns: a, b"),
        ("a,lable\n1,2\n", {"target": "label"}, "unknown target column 'label'; did you mean 'lable'. Known: a, lable"),
        (
            "a,target\n1,x\n2,\n3,NA\n",
            {},
            "2 of 3 rows have no label, and all others the label 'x' in column 'target'; .*missing=",
        ),
        ("a,target\n1,x\n2,x\n", {}, "all 2 rows have the label 'x' in column 'target'; there must be at least two"),
        ("a,target\n1,x\ninf,y\n-inf,x\n", {}, r"column 'a' has 2 values that are infinite .* row 2 \(inf\)"),
        ("a,target\n1,x\n1e300,y\n", {}, r"column 'a' has 1 values that are infinite or too large.* \(1e\+300\)"),
        ("a,target\n", {}, "has a header and no rows"),
        ("", {}, "cannot be read: its first line is empty"),
        ("a,b,a,target\n1,2,3,x\n", {}, "has 2 columns named 'a'; give each its own name"),
        ("a,target\n1,\n2,NA\n", {}, "no row has a label in column 'target'; fill some in; if a word .*missing=\\["),
        ("target\nx\ny\n", {}, "besides the labels there is no column to learn from"),
        ("a,target\n1,x\n2,y,3\n", {}, "cannot be read: .* it must be a whole file of comma-separated values"),
        ("a,target\n1,x,3\n2,y,3\n", {}, "cannot be read: .* it must be a whole file of comma-separated values"),
        ("a,target\n1,x\n", {"targets": "a"}, "unknown key of data set csv:.* 'targets'; did you mean 'target'"),
        ("a,target\n1,x\n", {"target": 3}, r"target is 3; it must be a text or null"),
        ("a,target\n1,x\n2,y\n", {"keep": ["b"]}, "unknown column to keep 'b'; Known: a"),
        ("a,target\n1,x\n2,y\n", {"missing": "?"}, r"missing is '\?'; it must be a list of texts or null"),
        (
            b"a,target\n1,\xe9t\xe9\n",
            {},
            "has the byte 0xe9 in line 2, after '1,', and is not in UTF-8; name its .*latin-1",
        ),
    ],
)
def test_mistakes(text, options, message, load):
    with pytest.raises(AlmetaError, match=message) as caught:
        load(text, **options)
    assert "my.csv" in str(caught.value)


def test_a_number_to_predict_is_no_class(load):
    rows = "\n".join(f"{i},{i / 7}" for i in range(100))
    with pytest.raises(AlmetaError, match="column 'target' has 100 different values in 100 rows; these are no classes"):
        load(f"a,target\n{rows}\n")


def table_of(labels):
    return "a,target\n" + "\n".join(f"{place % 7},{label}" for place, label in enumerate(labels)) + "\n"


@pytest.mark.parametrize("amounts", [[k / 10 for k in range(101)], range(2, 103), [7 * k for k in range(500)]])
def test_many_different_numbers_are_amounts_however_many_rows_there_are(load, amounts):
    says = rf"'target' has {len(amounts)} different numbers, {amounts[0]} to {amounts[-1]}, and at most 100 may be cl"
    with pytest.raises(AlmetaError, match=says):
        load(table_of([*amounts] * 8))
    assert len(load(table_of([*amounts][:100] * 8)).class_names) == 100


@pytest.mark.parametrize("classes", [range(300), range(1, 301), [f"class {k}" for k in range(2, 302)]])
def test_classes_that_are_numbered_or_have_names_may_be_many(load, classes):
    assert len(load(table_of([*classes] * 4)).class_names) == 300


def test_a_column_of_text_that_is_left_out_comes_with_the_option_that_reads_it(load):
    rows = "\n".join(f"the {i} th film is good,n{i},{'xy'[i % 2]},{i % 9}" for i in range(60))
    with pytest.warns(UserWarning) as caught:
        load(f"review,name,target,a\n{rows}\n")
    assert str(caught[0].message).partition(": ")[2] == (
        "left out: 'review' (60 different values in 60 rows, like free text: 'the 0 th film is good', ...), 'name' (60 "
        "different values in 60 rows, like an identifier: 'n0', ...); to use a column all the same, name it in "
        "keep=[...]; to learn from text alone, give text=review"
    )


def test_only_columns_that_are_left_out(load):
    with pytest.raises(AlmetaError, match=r"no column to learn from; left out: 'a' \(no values\); to use a column all"):
        load("a,target\n,x\n,y\n")


@pytest.mark.parametrize("damage", ["cut", "flipped", "not gzip"])
def test_damaged_compressed_file(damage, tmp_path):
    rows = "\n".join(f"{i * 37 % 1009},{i % 2}" for i in range(5000))
    content = gzip.compress(f"a,target\n{rows}\n".encode())
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 255
    path = tmp_path / "my.csv.gz"
    path.write_bytes({"cut": content[:-2000], "flipped": bytes(flipped), "not gzip": b"a,target\n1,2\n"}[damage])
    with pytest.raises(AlmetaError, match=r"my.csv.gz cannot be read: .*; it must be a whole file"):
        load_dataset(f"csv:{path}")


def test_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AlmetaError, match=rf"there is no file my.csv \(looked for in {tmp_path}\)"):
        load_dataset("csv:my.csv")
    with pytest.raises(AlmetaError, match=rf"there is no file {tmp_path}"):
        load_dataset(f"csv:{tmp_path}")  # a folder


def test_one_file_is_one_data_set_however_its_path_is_spelled(tmp_path, monkeypatch):
    folder = tmp_path.resolve()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(folder))
    (folder / "my.csv").write_text("a,class\n1,x\n2,y\n")
    (folder / "link.csv").symlink_to("my.csv")
    (folder / "below").mkdir()
    for path in ("my.csv", "./my.csv", "below/../my.csv", f"{folder}/my.csv", "~/my.csv", "link.csv"):
        assert canonical_name(f"csv:{path}") == f"csv:{folder}/my.csv"
        data = load_dataset(f"csv:{path}")
        assert data.name == f"csv:{folder}/my.csv"
        assert data.source == f"the file {path}, with the labels in column 'class'"
    with pytest.raises(AlmetaError, match="is in the list more than once"):
        folds(["csv:my.csv", "csv:./my.csv"], 1)
    (folder / "copy.csv").write_text("a,class\n1,x\n2,y\n")
    assert canonical_name("csv:copy.csv") == f"csv:{folder}/copy.csv"
    assert load_dataset("csv:copy.csv").content == data.content


# ---- rows without a label, columns to ignore, fixed test sets


def test_rows_without_a_label_are_set_aside(load):
    rows = "".join(f"{i},{'' if i % 3 else 'xy'[i % 2]}\n" for i in (5, 1, 3, 9, 6, 0, 8))
    with pytest.warns(UserWarning) as caught:
        data = load(f"a,label\n{rows}")
    assert (data.x.ravel().tolist(), data.y.tolist()) == ([3, 9, 6, 0], [1, 1, 0, 0])
    assert [str(warning.message).partition(": ")[2] for warning in caught] == [
        "3 of 7 rows have no label in column 'label' (the first is row 1), and are set aside; if a word such as NA or "
        "None is a class, list the cells that are missing, as in missing=['?'] or missing=[]"
    ]


def test_columns_to_ignore(load):
    data = load("id,a,label\n100001,5,x\n100002,6,y\n", ignore=["id"])
    assert data.columns == ("a",)
    assert load("label,a,class\nx,5,1\ny,6,2\n", ignore=["class"]).class_names == ("x", "y")
    with pytest.raises(AlmetaError, match="unknown column 'ID'; did you mean 'id'"):
        load("id,a,label\n1,5,x\n", ignore=["ID"])


def test_a_column_that_says_which_rows_are_for_testing(load):
    text = "a,part,label\n1,train,x\n2,TEST,y\n3,Train,y\n4,test,\n5,test,x\n"
    with pytest.warns(UserWarning, match="1 of 5 rows have no label"):
        data = load(text, split="part")
    assert data.columns == ("a",)
    assert (data.x.ravel().tolist(), data.y.tolist(), data.test_rows.tolist()) == ([1, 2, 3, 5], [0, 1, 1, 0], [1, 3])
    with pytest.warns(UserWarning, match="2 of 6 rows have neither train nor test in column 'part', and are set aside"):
        data = load("a,part,label\n1,train,x\n2,valid,y\n3,,y\n4,test,x\n5,train,y\n6,test,y\n", split="part")
    assert (data.x.ravel().tolist(), data.test_rows.tolist()) == ([1, 4, 5, 6], [1, 3])


@pytest.fixture
def other(tmp_path):
    """The path of a file with the rows of a test set."""

    def write(text):
        (tmp_path / "other.csv").write_text(text)
        return str(tmp_path / "other.csv")

    return write


def test_a_file_of_test_rows(load, other):
    data = load("a,b,label\n1,u,x\n2,v,y\n", test=other("label;b;a\nx;w;3,5\ny;u;4\n"))
    assert (data.columns, data.categories) == (("a", "b"), {1: ("u", "v", "w")})
    assert data.x.tolist() == [[1, 0], [2, 1], [3.5, 2], [4, 0]]
    assert (data.y.tolist(), data.test_rows.tolist()) == ([0, 1, 0, 1], [2, 3])
    alone = load("a,b,label\n1,u,x\n2,v,y\n")
    assert alone.test_rows is None and alone.content != data.content


def test_test_rows_that_are_also_in_the_pool_are_told(load, other):
    text = "a,b,label\n1,u,x\n2,v,y\n3,u,x\n"
    with pytest.warns(UserWarning, match="2 of 3 rows of .*other.csv are also in .*my.csv: scores on them flatter"):
        load(text, test=other("a,b,label\n2,v,y\n1,u,x\n9,v,y\n"))


def test_a_column_to_read_is_not_to_be_ignored(load):
    with pytest.raises(AlmetaError, match=r"column 'b' is in ignore=\[\.\.\.\], and is to be read; take it out"):
        load("a,b,label\n1,train,x\n2,test,y\n", ignore=["b"], split="b")


def test_a_column_of_numbers_in_one_file_and_words_in_the_other(load, other):
    data = load("a,b,label\n1,10,x\n2,,y\n", test=other("a,b,label\nu,20,x\n1,30,y\n"))
    assert data.categories == {0: ("1", "2", "u")}  # 1 and not 1.0
    np.testing.assert_array_equal(data.x, np.array([[0, 10], [1, nan], [2, 20], [0, 30]], np.float32))


def test_columns_of_a_test_file(load, other):
    with pytest.warns(UserWarning, match="other.csv: the columns 'c' are not in .*my.csv, and are left out"):
        data = load("a,d,label\n1,7,x\n2,7,y\n", test=other("c,a,label\n1,3,x\n1,4,y\n"), ignore=["d"])
    assert data.x.ravel().tolist() == [1, 2, 3, 4]
    with pytest.warns(UserWarning, match="only the test set has rows of 'z', which nobody can learn"):
        load("a,label\n1,x\n2,y\n", test=other("a,label\n3,z\n"))


@pytest.mark.parametrize(
    "text, options, message",
    [
        ("a,label\n3,x\n", {"split": "a"}, "name a test set of .*my.csv; name one"),
        ("a,c\n3,x\n", {}, r"other.csv has no column 'label', which .*my.csv has; add it, or .* ignore=\[label\]"),
        ("a,label,a\n3,x,1\n", {}, "other.csv has 2 columns named 'a'"),
        ("a,label\n", {}, "other.csv has a header and no rows"),
        ("a,label\n3,\n", {}, "the test set has no row with a label; fill some in"),
    ],
)
def test_mistakes_of_test_files(text, options, message, load, other):
    warnings.simplefilter("ignore")  # until the fixture ends
    with pytest.raises(AlmetaError, match=message):
        load("a,label\n1,x\n2,y\n", test=other(text), **options)


@pytest.mark.parametrize("parts", [("train", "train"), ("test", "test"), ("0", "1")])
def test_a_column_that_does_not_tell_test_rows(parts, load):
    with pytest.raises(
        AlmetaError, match=r"column 'part' has no row of 't\w+' but '.*; write train and test in it, or"
    ):
        load("a,part,label\n1,{},x\n2,{},y\n".format(*parts), split="part")
    with pytest.raises(AlmetaError, match="unknown column 'parts'; did you mean 'part'"):
        load("a,part,label\n1,train,x\n2,test,y\n", split="parts")


# ---- numbers to predict


def write_numbers(tmp_path, labels):
    path = tmp_path / "numbers.csv"
    rows = [f"{0.37 * row:.2f},{label}" for row, label in enumerate(labels)]
    path.write_text("\n".join(["size,target", *rows]), "utf-8")
    return f"csv:{path}"


def test_a_column_of_numbers_is_learnt_as_such(tmp_path):
    dataset = load_dataset(write_numbers(tmp_path, ["1.5", "-2", "1e3", *["7"] * 27]), numbers=True)
    assert dataset.target == "numbers" and dataset.y[:4].tolist() == [1.5, -2, 1000, 7] and dataset.columns == ("size",)


def test_rows_without_a_number_are_set_aside(tmp_path):
    name = write_numbers(tmp_path, ["1.5", "", *map(str, range(28))])
    with pytest.warns(UserWarning, match="1 of 30 rows have no label in column 'target'"):
        dataset = load_dataset(name, numbers=True)
    assert dataset.numbers is not None and dataset.numbers[:3].tolist() == [0, 2, 3]
    assert dataset.y[:3].tolist() == [1.5, 0, 1]


def test_a_number_may_have_a_test_set(tmp_path):
    path = tmp_path / "numbers.csv"
    lines = [f"{0.37 * row:.2f},{row * 7 % 30 / 3:.3f},{'test' if row % 3 == 0 else 'train'}" for row in range(30)]
    path.write_text("\n".join(["size,target,part", *lines]), "utf-8")
    dataset = load_dataset(f"csv:{path}", numbers=True, split="part")
    assert dataset.test_rows is not None and dataset.test_rows.tolist() == list(range(0, 30, 3))
    assert dataset.y[3] == 7.0


NO_NUMBERS = {
    "words": (["low", "high"] * 15, "column 'target' has 'low', which is no number; correct it"),
    "one number": (["3"] * 30, "column 'target': all 30 numbers are 3; there is nothing to predict"),
    "infinite": (["1e999", *map(str, range(29))], "column 'target' has 1 numbers that are infinite"),
    "nothing": ([""] * 30, "no row has a label in column 'target'"),
}


@pytest.mark.parametrize("labels, message", NO_NUMBERS.values(), ids=NO_NUMBERS)
def test_labels_that_are_no_numbers_are_told(labels, message, tmp_path):
    with pytest.raises(AlmetaError, match=message):
        load_dataset(write_numbers(tmp_path, labels), numbers=True)


def test_numbers_where_classes_are_needed_are_told_with_the_way_out(tmp_path):
    with pytest.raises(
        AlmetaError, match="these are no classes; .*; to predict the numbers themselves, set numbers=tr"
    ):
        load_dataset(write_numbers(tmp_path, [f"{row * 1.7:.2f}" for row in range(60)]))


def test_a_column_that_repeats_the_numbers_in_another_unit_is_left_out(tmp_path):
    path, random = tmp_path / "numbers.csv", np.random.default_rng(0)
    lines = [f"{random.normal():.4f},{-2.54 * size:.4f},{size:.4f}" for size in random.normal(size=40)]
    path.write_text("\n".join(["other,inches,target", *lines]), "utf-8")
    with pytest.warns(UserWarning, match=r"left out: 'inches' \(repeats the labels\)"):
        assert load_dataset(f"csv:{path}", numbers=True).columns == ("other",)
    assert load_dataset(f"csv:{path}", numbers=True, keep=["inches"]).columns == ("other", "inches")
