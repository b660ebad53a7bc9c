"""Tables in files of other forms than comma-separated values in UTF-8."""

import gzip
import importlib.util
import warnings

import numpy as np
import pandas as pd
import pytest

from almeta.data import canonical_name, load_dataset
from almeta.data.catalogue import EXCEL, PARQUET, known_as
from almeta.errors import AlmetaError

FRAME = pd.DataFrame(
    {
        "whole": pd.array([1, None, 3, 4], "Int64"),
        "number": [1.5, -2, np.nan, 4],
        "word": ["x", " y ", None, "?"],
        "day": pd.to_datetime(["2024-01-01", None, "2024-01-03", "1970-01-02"]),
        "truth": [True, False, True, None],
        "price": ["$1,200", "$3", None, "$1.50"],
        "label": pd.array([1, 2, 10, 1], "Int64"),
    }
)
WANTED = np.array(
    [
        [1, 1.5, 0, 19723, 1, 1200],
        [np.nan, -2, 1, np.nan, 0, 3],
        [3, np.nan, np.nan, 19725, 1, np.nan],
        [4, 4, np.nan, 1, np.nan, 1.5],
    ],
    np.float32,
)


def write(frame, path):
    """Write a table in the form that the name of the file tells; skip the test where a package is missing."""
    suffix = path.suffix
    for package, suffixes in (("pyarrow", PARQUET), ("openpyxl", EXCEL)):
        if suffix in suffixes and not importlib.util.find_spec(package):
            pytest.skip(f"{package} is not installed: pip install 'almeta[files]'")
    if suffix in PARQUET:
        frame.to_parquet(path)
    elif suffix in EXCEL:
        frame.to_excel(path, index=False, engine="openpyxl")
    else:
        frame.to_csv(path, index=False)


@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "a.pq", "a.xlsx", "A.xlsm"])
def test_a_table_is_the_same_in_any_form(name, tmp_path):
    write(FRAME, tmp_path / name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = load_dataset(f"table:{tmp_path / name}")
    assert data.columns == tuple(FRAME.columns[:-1])
    np.testing.assert_array_equal(data.x, WANTED)
    assert data.categories == {2: ("x", "y")}
    assert (data.class_names, data.y.tolist()) == (("1", "2", "10"), [0, 1, 2, 0])


def test_names_of_tables_in_any_form(tmp_path):
    folder = tmp_path.resolve()
    assert canonical_name(f"table:{folder}/a.csv") == canonical_name(f"csv:{folder}/a.csv") == f"csv:{folder}/a.csv"
    assert (
        canonical_name(f"csv:{folder}/a.XLSX") == canonical_name(f"table:{folder}/a.XLSX") == f"table:{folder}/a.XLSX"
    )
    assert known_as(f"table:{folder}/sonar.parquet") == known_as(f"folder:{folder}/Sonar") == "sonar"


@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "a.xlsx"])
def test_cells_that_are_missing_by_choice_in_any_form(name, tmp_path):
    write(pd.DataFrame({"a": [1, 2, -999, 4], "b": ["u", "-999", "v", "u"], "label": list("xyxy")}), tmp_path / name)
    data = load_dataset(f"table:{tmp_path / name}", missing=["-999"])
    np.testing.assert_array_equal(data.x, np.array([[1, 0], [2, np.nan], [np.nan, 1], [4, 0]], np.float32))


def test_an_index_of_parquet_is_a_column(tmp_path):
    frame = FRAME[["number", "label"]].assign(number=[1.0, 2, 3, 4]).set_index("number", append=False)
    write(frame, tmp_path / "a.parquet")
    assert load_dataset(f"table:{tmp_path / 'a.parquet'}").x.tolist() == [[1], [2], [3], [4]]


def test_the_first_sheet_counts(tmp_path):
    pytest.importorskip("openpyxl")
    with pd.ExcelWriter(tmp_path / "a.xlsx") as book:
        FRAME.to_excel(book, sheet_name="mine", index=False)
        FRAME.iloc[:2].to_excel(book, sheet_name="notes", index=False)
    with pytest.warns(UserWarning, match="only the first sheet, 'mine', is read, and not 'notes'; save the sheet"):
        data = load_dataset(f"table:{tmp_path / 'a.xlsx'}")
    np.testing.assert_array_equal(data.x, WANTED)


@pytest.mark.parametrize(
    "columns, message",
    [
        ({"a": [1, 2], "b": [1, 2]}, "has no column named target, label or class; say which .* Columns: a, b"),
        ({"a": [], "label": []}, "has a header and no rows"),
        ({}, "its first line is empty"),
    ],
)
@pytest.mark.parametrize("name", ["a.parquet", "a.xlsx"])
def test_mistakes_in_any_form(columns, message, name, tmp_path):
    write(pd.DataFrame(columns), tmp_path / name)
    with pytest.raises(AlmetaError, match=f"{name} {'cannot be read: ' if not columns else ''}{message}"):
        load_dataset(f"table:{tmp_path / name}")


def test_two_columns_of_one_name_in_excel(tmp_path):
    write(pd.DataFrame([[1, 2, "x"]], columns=["a", "a", "label"]), tmp_path / "a.xlsx")
    with pytest.raises(AlmetaError, match="has 2 columns named 'a'; give each its own name"):
        load_dataset(f"table:{tmp_path / 'a.xlsx'}")


@pytest.mark.parametrize(
    "name, form", [("a.parquet", "Parquet file"), ("a.xlsx", "Excel file, with the names of the columns in its first")]
)
def test_damaged_files(name, form, tmp_path):
    write(FRAME, path := tmp_path / name)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(AlmetaError, match=f"{name} cannot be read: .*; it must be a whole {form}"):
        load_dataset(f"table:{path}")


@pytest.mark.parametrize("name, reader", [("a.parquet", "read_parquet"), ("a.xlsx", "ExcelFile")])
def test_a_package_that_is_missing_is_named_with_its_extra(name, reader, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise ImportError("no such package")

    monkeypatch.setattr(pd, reader, refuse)
    monkeypatch.setattr("almeta.data.formats.check_members", lambda path: None)
    (tmp_path / name).touch()
    with pytest.raises(
        AlmetaError, match=rf"{name} needs a package that is not installed; pip install 'almeta\[files\]'"
    ):
        load_dataset(f"table:{tmp_path / name}")


def test_a_form_that_nothing_reads(tmp_path):
    (tmp_path / "old.xls").touch()
    with pytest.raises(AlmetaError, match=r"files of \.xls are not read; save it as \.xlsx, \.parquet or \.csv"):
        load_dataset(f"table:{tmp_path / 'old.xls'}")


def test_an_excel_file_that_is_made_to_fill_the_memory(tmp_path, monkeypatch):
    write(FRAME, tmp_path / "a.xlsx")
    monkeypatch.setattr("almeta.data.files.check_members.__defaults__", (1000,))
    with pytest.raises(AlmetaError, match="like a file that is made to fill the memory"):
        load_dataset(f"table:{tmp_path / 'a.xlsx'}")


# ---- encodings

ACCENTS = "a,wörd,label\n1,été,ja\n2,x,nein\n3,été,ja\n"


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-8", "utf-8-sig", "UTF8"])
@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_other_encodings(encoding, name, tmp_path):
    content = ACCENTS.encode(encoding)
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    data = load_dataset(f"csv:{tmp_path / name}", encoding=encoding)
    assert (data.columns, data.categories) == (("a", "wörd"), {1: ("x", "été")})


@pytest.mark.parametrize(
    "content, options, message",
    [
        (
            ACCENTS.encode("latin-1"),
            {},
            r"the byte 0xf6 in line 1, after 'a,w', and is not in UTF-8; .*=latin-1 \(West",
        ),
        (b"a,label\n1,x\n2,y \xe9\n", {}, "the byte 0xe9 in line 3, after '2,y ', and is not in UTF-8"),
        (b"a,label\n" + b"1,x\n" * 300_000 + b"2,\xff\n", {}, "the byte 0xff in line 300002, after '2,', and is not"),
        (
            ACCENTS.encode("utf-16"),
            {},
            "byte 0xff in line 1, after '', and is not in UTF-8; .* such as encoding=utf-16",
        ),
        (ACCENTS.encode(), {"encoding": "ascii"}, "the byte 0xc3 in line 1, after 'a,w', and is not in ASCII"),
        (b"a,label\n1,x\n", {"encoding": "latin"}, None),
        (
            b"a,label\n1,x\n",
            {"encoding": "latim"},
            "unknown encoding 'latim'; the usual ones are utf-8, utf-16, latin-1",
        ),
        (b"a,label\n1,x\n", {"encoding": "hex"}, "unknown encoding 'hex'"),  # that is none of text
    ],
)
def test_the_byte_that_does_not_fit_is_named(content, options, message, tmp_path):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(AlmetaError, match=message or "all 1 rows have the label 'x'"):
        load_dataset(f"csv:{tmp_path / 'a.csv'}", **options)
