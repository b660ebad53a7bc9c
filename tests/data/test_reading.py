"""What people put into files of comma-separated values: headers, numbers, dates, missing cells, labels."""

import gzip
import math
import warnings

import numpy as np
import pytest

from almeta.data import formats, load_dataset
from almeta.errors import AlmetaError

NAN = math.nan


@pytest.fixture
def load(tmp_path):
    """`load_dataset` of a text in a file; any warning is an error."""

    def write_and_load(text, name="my.csv", **options):
        path = tmp_path / name
        path.write_bytes(gzip.compress(text.encode()) if name.lower().endswith(".gz") else text.encode())
        return load_dataset(f"csv:{path}", **options)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield write_and_load


def table(header, *columns, separator=","):
    """A text of columns, with the labels x and y in turn in the last one."""
    rows = zip(*columns, "xy" * (len(columns[0]) // 2) + "x" * (len(columns[0]) % 2), strict=True)
    return "\n".join(separator.join(map(str, row)) for row in (header, *rows)) + "\n"


def values(data, column=0):
    return data.x[:, column].tolist()


# ---- files and headers


@pytest.mark.parametrize(
    "text, columns",
    [
        ('"a", "b", "target"\n1, 2, "x"\n3, 4, "y"\n', ("a", "b")),
        ('"a; b; c; d",e,target\n1,2,x\n3,4,y\n', ("a; b; c; d", "e")),
        ('"a, b";c;target\n1;2;x\n3;4;y\n', ("a, b", "c")),
        ('"height\nin cm",b,target\n1,2,x\n3,4,y\n', ("height\nin cm", "b")),
        ('"a ""wide"" one",b,target\n1,2,x\n3,4,y\n', ('a "wide" one', "b")),
        ("sep=;\na;b;target\n1;2;x\n3;4;y\n", ("a", "b")),
        ('"sep=|"\r\na|b,c|target\r\n1|2|x\r\n3|4|y\r\n', ("a", "b,c")),
        ("\ufeffsep=\t\na\tb\ttarget\n1\t2\tx\n3\t4\ty\n", ("a", "b")),
        ("\ufeffa,\u200bb\u00a0,target\n1,2,x\n3,4,y\n", ("a", "b")),
    ],
)
def test_headers(text, columns, load):
    data = load(text)
    assert data.columns == columns
    assert data.x.tolist() == [[1, 2], [3, 4]]
    assert data.class_names == ("x", "y")


@pytest.mark.parametrize("name", ["my.csv.gz", "my.CSV.GZ", "MY.Csv.Gz"])
def test_compressed_whatever_the_case_of_its_name(name, load):
    assert load("a,target\n1,x\n2,y\n", name).x.tolist() == [[1], [2]]


@pytest.mark.parametrize(
    "text", ["5.1,3.5,setosa\n4.9,3.0,virg\n", "5.1,5.1,setosa\n4.9,3.0,virg\n", "-1;2;a\n3;4;b\n"]
)
def test_no_header(text, load):
    with pytest.raises(AlmetaError, match=r"my.csv seems to have no header line: it begins with -?\d"):
        load(text)
    with pytest.raises(AlmetaError, match="seems to have no header line"):
        load(text, target="species")


def test_any_word_may_be_the_name_of_a_column(load):
    data = load("self,frame,other,target\nu,1,2,x\nv,3,5,y\n")
    assert data.columns == ("self", "frame", "other")


def test_numbers_may_be_names_of_columns(load):
    assert load("1990,2000,target\n1,2,x\n3,4,y\n").columns == ("1990", "2000")


def test_a_header_whose_quote_is_not_closed(load):
    with pytest.raises(AlmetaError, match="cannot be read: its first line is empty, or a quote in it is not closed"):
        load('"a,b,target\n' + "1,2,x\n" * 50_000)


def test_a_wide_file_says_what_it_is_doing(load, monkeypatch):
    monkeypatch.setattr(formats, "WIDE", 100)
    names = [f"f{place}" for place in range(101)]
    with pytest.warns(UserWarning, match="my.csv has 102 columns; reading it may take minutes"):
        load(table([*names, "target"], *[[place, 2, 3] for place in range(101)]))
    load(table([*names[:99], "target"], *[[place, 2, 3] for place in range(99)]))


def test_the_time_grows_as_the_number_of_columns(load):
    """Looking for a name that stands twice took a minute of 100,000 columns, and hours of a million."""
    names = [f"f{place}" for place in range(100_000)]
    with (
        pytest.raises(AlmetaError, match="has 2 columns named 'f7'"),
        pytest.warns(UserWarning, match="100,002 columns"),
    ):
        load(",".join([*names, "f7", "target"]) + "\n")


# ---- numbers


@pytest.mark.parametrize(
    "cells, wanted",
    [
        (["5%", "12.5 %", "0", "-3%"], [5, 12.5, 0, -3]),
        (['"1,000"', '"12,345,678"', "950", '"2,015.50"'], [1000, 12345678, 950, 2015.5]),
        (["$5", "$ 1200.50", "-$3", "$-4"], [5, 1200.5, -3, -4]),
        (["5 €", "7€", "€ 9", "11"], [5, 7, 9, 11]),
        (["EUR 5", "7 EUR", "9 eur", "0"], [5, 7, 9, 0]),
        (['"6,1"', '"0,5"', '"7"', '"-12,75"'], [6.1, 0.5, 7, -12.75]),
        (["1 234", "12 345 678", "7", "-1 000"], [1234, 12345678, 7, -1000]),
        (["1'234", "12'345.5", "7", "0"], [1234, 12345.5, 7, 0]),
        (["1\u202f234", "7", "8", "9"], [1234, 7, 8, 9]),
        (["1\u00a0234", "7", "\u00a08", "9"], [1234, 7, 8, 9]),
        (["\u22125 %", "7 %", "8 %", "9 %"], [-5, 7, 8, 9]),
        (["1e3", "-2.5E-1", "+.5", "5."], [1000, -0.25, 0.5, 5]),
        (["TRUE", "false", "True", ""], [1, 0, 1, NAN]),
    ],
)
def test_numbers_as_people_write_them(cells, wanted, load):
    data = load(table(["a", "b", "target"], cells, [1, 2, 1, 2]))
    assert (data.columns, data.categories) == (("a", "b"), {})
    np.testing.assert_array_equal(data.x[:, 0], np.array(wanted, np.float32))


@pytest.mark.parametrize(
    "cells", [["5%", "7", "9%", "1%"], ["$5", "€7", "$9", "$1"], ["12 kg", "7 kg", "9 kg", "1 kg"]]
)
def test_mixed_and_foreign_units_are_no_numbers(cells, load):
    assert load(table(["a", "target"], cells)).categories == {0: tuple(sorted(cells))}


@pytest.mark.parametrize(
    "cells, wanted",
    [
        (["950", "1.234", "12.500", "480"], [950, 1234, 12500, 480]),
        (["950,50", "1.234,10", "12,75", "480,00"], [950.5, 1234.1, 12.75, 480]),
        (["1.234.567", "2.000", "3", "-4.000"], [1234567, 2000, 3, -4000]),
        (["1.000 €", "12.500,00 €", "3 €", "4"], [1000, 12500, 3, 4]),
    ],
)
@pytest.mark.parametrize("separator", [";", "\t"])
def test_german_numbers(cells, wanted, separator, load):
    data = load(table(["a", "b", "target"], cells, ["0,5", "1,25", "3", "4"], separator=separator))
    np.testing.assert_array_equal(data.x[:, 0], np.array(wanted, np.float32))
    assert values(data, 1) == [0.5, 1.25, 3, 4]


def test_german_numbers_in_quotes_between_commas(load):
    data = load(table(["a", "b", "target"], ['"0,5"', '"1,25"', '"3"'], ['"1.234"', '"950"', '"12.500"']))
    assert data.x.T.tolist() == [[0.5, 1.25, 3], [1234, 950, 12500]]


def test_english_numbers_between_semicolons(load):
    data = load(table(["a", "b", "target"], ["0.5", "1.25", "3"], ["1.234", "950", "2,500"], separator=";"))
    assert values(data, 0) == [0.5, 1.25, 3]
    np.testing.assert_array_equal(data.x[:, 1], np.array([1.234, 950, 2500], np.float32))


@pytest.mark.parametrize("cells, read", [(["950", "1.234", "7"], 1.234), (["950", "1,234", "7"], 1.234)])
def test_a_sign_before_decimals_or_thousands(cells, read, load):
    with pytest.warns(
        UserWarning, match=rf"column 'a' has cells such as '{cells[1]}', whose .* read as 1.234; write numbers"
    ):
        data = load(table(["a", "target"], cells, separator=";"))
    np.testing.assert_array_equal(data.x[:, 0], np.array([950, read, 7], np.float32))


def test_an_odd_cell_among_numbers_is_missing(load):
    cells = [round(0.37 * place, 2) for place in range(199)]
    with pytest.warns(
        UserWarning, match=r"column 'dose' is numbers or dates but for 1 of 200 cells, such as 'n/k', which"
    ):
        data = load(table(["dose", "target"], [*cells, "n/k"]))
    np.testing.assert_array_equal(data.x[:, 0], np.array([*cells, NAN], np.float32))
    assert data.missing and not data.categories


@pytest.mark.parametrize("dash", ["-", "--", "–", ".", "*"])
def test_dashes_among_numbers_are_missing(dash, load):
    with pytest.warns(
        UserWarning, match=rf"column 'a' is numbers or dates but for 2 of 6 cells, such as '\{dash}', which"
    ):
        data = load(table(["a", "target"], [dash, 1, 2, dash, 3, 1]))
    np.testing.assert_array_equal(data.x[:, 0], np.array([NAN, 1, 2, NAN, 3, 1], np.float32))


def test_a_few_numbers_and_a_word_are_categories(load):
    rows = [*"0123" * 10, "3+", "3+"]
    with pytest.warns(UserWarning, match=r"numbers but for 2 cells such as '3\+', and is taken as categories"):
        assert load(table(["children", "target"], rows)).categories == {0: ("0", "1", "2", "3", "3+")}
    assert load(table(["a", "target"], ["-", "+", "-", "+"])).categories == {0: ("+", "-")}
    assert load(table(["a", "target"], ["1-8", "9-10", "11+", "1-8"])).categories == {0: ("1-8", "11+", "9-10")}


@pytest.mark.parametrize("offset, step", [(5412345, 0.2), (1_700_000_000, 1), (1_700_000_000_000, 1)])
def test_large_numbers_that_differ_little_stay_apart(offset, step, load):
    steps = [0, 1, 2, 1, 0, 3]
    data = load(table(["a", "target"], [offset + step * k for k in steps]))
    np.testing.assert_allclose(data.x[:, 0] - data.x[0, 0], step * np.array(steps), atol=1e-6)


# ---- dates


@pytest.mark.parametrize(
    "cells",
    [
        ["2024-01-31", "2024-02-01", "1969-12-31"],
        ["2024/01/31", "2024/02/01", "1969/12/31"],
        ["31.01.2024", "1.2.2024", "31.12.1969"],
        ["01/31/2024", "2/1/2024", "12/31/1969"],
        ["31/01/2024", "1/2/2024", "31/12/1969"],
        ["31-Jan-2024", "01-Feb-2024", "31-Dec-1969"],
        ["31 Jan 2024", "1 Feb 2024", "31 Dec 1969"],
        ['"Jan 31, 2024"', '"Feb 01, 2024"', '"Dec 31, 1969"'],
        ["2024-01-31T00:00:00Z", "2024-02-01T00:00:00Z", "1969-12-31T00:00:00Z"],
        ["2024-01-31 00:00:00", "2024-02-01 00:00:00", "1969-12-31 00:00:00"],
        ["31.01.2024 00:00", "01.02.2024 00:00", "31.12.1969 00:00"],
    ],
)
def test_dates_are_days(cells, load):
    data = load(table(["when", "a", "target"], cells, [1, 1, 2]))
    assert values(data) == [19753, 19754, -1]
    assert not data.categories


def test_dates_with_times_and_gaps(load):
    data = load(table(["when", "target"], ["2024-01-31 06:00", "", "2024-01-31 18:00:00"]))
    np.testing.assert_array_equal(data.x[:, 0], np.array([19753.25, NAN, 19753.75], np.float32))


def test_dates_by_the_second_stay_apart(load):
    data = load(table(["when", "target"], [f"2024-01-31 06:00:0{k}" for k in (1, 2, 3, 3)]))
    np.testing.assert_allclose(np.diff(data.x[:, 0]) * 86400, [1, 1, 0], atol=0.01)


def test_dates_beyond_those_of_nanoseconds(load):
    assert values(load(table(["when", "target"], ["9999-12-31", "1600-01-01", "1970-01-03"]))) == [2932896, -135140, 2]


def test_numbers_that_look_like_dates_far_away(load):
    data = load(table(["a", "target"], ["4265.02", "3617.11", "3100.05", "2,024.5"]).replace("2,024.5", '"2,024.5"'))
    np.testing.assert_array_equal(data.x[:, 0], np.array([4265.02, 3617.11, 3100.05, 2024.5], np.float32))


def test_powers_of_ten_have_no_separators_of_thousands(load):
    cells = ["3.008e+03", "1.250e+01", "9.999e-02"]
    assert values(load(table(["a", "target"], cells, separator=";"))) == [float(np.float32(cell)) for cell in cells]


def test_dates_that_can_be_read_in_two_ways(load):
    with pytest.warns(
        UserWarning, match=r"dates such as '1/2/2024', which may mean %m/%d/%Y or %d/%m/%Y .* read as %m/"
    ):
        assert values(load(table(["when", "target"], ["1/2/2024", "3/4/2024"]))) == [19724, 19786]


# ---- missing cells


WORDS = table(["cellar", "target"], ["None", "Full", "Half", "None", "NA", "Full"])


def test_a_word_that_may_be_missing_or_a_category(load):
    with pytest.warns(
        UserWarning, match=r"column 'cellar' has 3 cells 'None', 'NA', which are read as missing; .* missing="
    ):
        data = load(WORDS)
    assert (data.categories, data.missing) == ({0: ("Full", "Half")}, True)
    kept = load(WORDS, missing=[])
    assert (kept.categories, kept.missing) == ({0: ("Full", "Half", "NA", "None")}, False)
    assert load(WORDS, missing=["NA"]).categories == {0: ("Full", "Half", "None")}


def test_a_word_among_numbers_is_missing(load):
    data = load(table(["a", "b", "target"], ["None", 1, 2.5, "NULL"], ["True", "n/a", "False", "True"]))
    np.testing.assert_array_equal(data.x, np.array([[NAN, 1], [1, NAN], [2.5, 0], [NAN, 1]], np.float32))


def test_other_signs_for_missing(load):
    data = load(table(["a", "b", "target"], ["-9", 1, 2, ""], ["u", "v", "unknown", ""]), missing=["-9", "unknown"])
    np.testing.assert_array_equal(data.x, np.array([[NAN, 0], [1, 1], [2, NAN], [NAN, NAN]], np.float32))


def test_a_word_as_a_label(load):
    text = "a,label\n1,None\n2,Full\n3,None\n"
    with pytest.raises(AlmetaError, match=r"2 of 3 rows have no label, and all others .*None.* missing=\['\?'\]"):
        load(text)
    assert load(text, missing=["?"]).class_names == ("Full", "None")


# ---- labels and categories


@pytest.mark.parametrize(
    "one, other",
    [("yes", "\ufeffyes"), ("yes", "y\u200bes"), ("a b", "a\u00a0b"), ("caf\u00e9", "cafe\u0301"), ("x", " x\t")],
)
def test_what_nobody_sees_makes_no_class_and_no_category(one, other, load):
    data = load(f"a,target\n{one},{other}\n{other},{one}\nno,no\n")
    assert sorted(data.class_names) == sorted([one, "no"])
    assert len(data.categories[0]) == 2
    assert data.y[0] == data.y[1] and data.x[0, 0] == data.x[1, 0]


@pytest.mark.parametrize(
    "names, what",
    [
        (("spam", "Spam", "ham"), "'Spam' and 'spam', which differ only in case"),
        (("SPAM", "ham", "spam"), "'SPAM' and 'spam', which differ only in case"),
        (("New York", "new york", "x"), "'New York' and 'new york', which differ only in case"),
        (("Spam", "sPam", "ham"), "'Spam' and 'sPam', which differ only in case"),
        (("a  b", "a b", "x"), "'a  b' and 'a b', which differ only in case, spaces"),
        (("1", "True", "0"), "'1' and 'True', the same number"),
        (("false", "0", "1"), "'0' and 'false', the same number"),
        (("1", "1.0", "2"), "'1' and '1.0', the same number"),
        (("1", "01", "2"), "'01' and '1', the same number"),
        (("0,5", "0.5", "x"), "'0,5' and '0.5', the same number"),
        (("\uff11x", "1x", "2"), "'1x' and '\uff11x', which differ only in case"),
        (("x\u200dy", "xy", "z"), "'xy' and 'x.*y', which differ only in case"),
    ],
)
def test_labels_that_are_one_class(names, what, load):
    with pytest.raises(AlmetaError, match=rf"column 'label' has the labels {what}.*; write it alike, or call two"):
        load("a,label\n" + "".join(f'{place},"{name}"\n' for place, name in enumerate(names)))


def test_labels_that_are_two_classes(load):
    assert load("a,label\n1,True\n2,yes\n3,no\n").class_names == ("True", "no", "yes")
