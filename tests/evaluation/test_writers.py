import errno
import io
import json
import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
import yaml
from matplotlib.figure import Figure
from rich.console import Console

from almeta.errors import AlmetaError
from almeta.evaluation.report import Report, Table
from almeta.evaluation.style import png
from almeta.evaluation.writers import console_text, html, latex, latex_table, markdown, publish

ROOT = Path(__file__).resolve().parents[2]
WRITTEN = ["points.csv", "more.csv", "raw.csv", "summary.md", "summary.tex", "a_figure.png", "report.html"]


def small_report(**changes) -> Report:
    figure = Figure(figsize=(2, 1))
    figure.subplots().plot([0, 1])
    shown = pd.DataFrame({"name": ["a|b", "<b>bold</b> & [red]"], "gain,\npoints": ["+1.50 ± 0.20*", "–"]})
    points = Table(
        "points",
        pd.DataFrame({"name": ["a|b", "<b>bold</b> & [red]"], "gain": [0.015, None]}),
        shown,
        title="How good – and how sure",
        note="±: half of an interval.",
        groups=["one", "two"],
    )
    more = Table("more", pd.DataFrame({"k": [1]}), pd.DataFrame({"k": ["1"]}), title="Details", is_detail=True)
    raw = Table("raw", pd.DataFrame({"x": [1, 2]}))
    fields = {
        "title": "A title with <tags>",
        "name": "summary",
        "tables": [points, more, raw],
        "sentences": ["First & foremost.", "Then ± 2."],
        "figures": {"a_figure": figure},
        "summary": {"gain": 0.015},
        "config": {"out": "my folder", "list": [1, 2], "name": "ä: <x>"},
    }
    return Report(**{**fields, **changes})


# ---- folder


def test_everything_is_written_and_named(tmp_path):
    file = io.StringIO()
    console = Console(file=file, width=80)
    report = small_report()
    paths = publish(report, tmp_path / "new" / "folder", console, report.summary)
    assert [path.name for path in paths] == [*WRITTEN, "summary.json"]
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == sorted([*WRITTEN, "summary.json"])
    pd.testing.assert_frame_equal(pd.read_csv(paths[0]), report.tables[0].numbers)
    assert paths[5].read_bytes() == png(report.figures["a_figure"])
    assert json.loads(paths[-1].read_text("utf-8")) == {"gain": 0.015}
    last = file.getvalue().splitlines()[-1]
    assert last == f"wrote {', '.join([*WRITTEN, 'summary.json'])} to {tmp_path / 'new' / 'folder'}"


def test_a_summary_is_written_only_when_asked(tmp_path):
    paths = publish(small_report(), tmp_path, Console(quiet=True))
    assert [path.name for path in paths] == WRITTEN


def test_files_come_before_words(tmp_path):
    class Watching(io.StringIO):
        def write(self, text):
            assert (tmp_path / "report.html").exists() and (tmp_path / "summary.json").exists()
            return super().write(text)

    file = Watching()
    console = Console(file=file, width=80)
    publish(small_report(), tmp_path, console, {})
    assert "A title with <tags>" in file.getvalue()


def test_words_come_although_files_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    file = io.StringIO()
    console = Console(file=file, width=80)
    with pytest.raises(AlmetaError, match="could not make the folder .*file/folder.* choose another one"):
        publish(small_report(), tmp_path / "file" / "folder", console)
    text = file.getvalue()
    assert "First & foremost." in text and "wrote" not in text


# ---- console


def test_console_shows_tables_then_the_verdict():
    text = console_text(small_report(), Console(width=80), "the last line")
    places = [text.index(part) for part in ("A title", "How good", "+1.50 ± 0.20*", "half of", "- First", "the last")]
    assert places == sorted(places)
    assert "<b>bold</b> & [red]" in text
    assert "Details" not in text
    assert "\033" not in text  # no colours where there is no terminal


def test_a_narrow_table_stands_on_the_console_alone():
    whole = pd.DataFrame({"name": ["a"], "wide": ["1"]})
    table = Table("t", whole, whole, narrow=whole[["name"]])
    report = small_report(tables=[table])
    assert "wide" not in console_text(report, Console(width=80))
    assert "wide" in markdown(report) and ">wide<" in html(report, {})


@pytest.mark.parametrize("width", [40, 61, 80, 200])
def test_a_table_that_is_too_wide_stands_in_parts_and_nothing_is_cut(width):
    numbers = {f"measure\nno. {k}": [f"{k}1.25 ± 0.4{k}", f"{k}"] for k in range(9)}
    shown = pd.DataFrame({"policy": ["a long name in many words", "b"], **numbers})
    text = console_text(small_report(tables=[Table("t", shown, shown, title="Nine measures")]), Console(width=width))
    assert "…" not in text and max(map(len, text.splitlines())) <= width
    assert all(text.count(column[0]) == 1 for column in numbers.values())
    parts = {40: 5, 61: 3, 80: 2, 200: 1}[width]
    assert (text.count("policy"), text.count("Nine measures")) == (parts, 1)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_any_encoding_is_served(encoding, tmp_path):
    raw = io.BytesIO()
    console = Console(file=io.TextIOWrapper(raw, encoding=encoding, newline="\n"), width=80)
    publish(small_report(sentences=["Größe ± 2 – 語."]), tmp_path, console)
    text = raw.getvalue().decode(encoding)
    if encoding == "utf-8":
        assert "- Größe ± 2 – 語." in text and "─" in text
    else:
        assert "+1.50 +- 0.20*" in text and "--------" in text
        assert ("- Gr??e +- 2 - ?." if encoding == "ascii" else "- Größe +- 2 - ?.") in text


class Failing(io.StringIO):
    """A console that takes nothing."""

    def __init__(self, number: int):
        super().__init__()
        self.number = number

    def flush(self):
        raise OSError(self.number, os.strerror(self.number))


def test_a_closed_pipe_is_nobodys_loss(tmp_path, capsys):
    paths = publish(small_report(), tmp_path, Console(file=Failing(errno.EPIPE)))
    assert all(path.exists() for path in paths)
    assert capsys.readouterr() == ("", "")


def test_a_full_console_is_told_as_that(tmp_path, capsys):
    publish(small_report(), tmp_path, Console(file=Failing(errno.ENOSPC)))
    told = capsys.readouterr().err
    assert told == f"could not print the results (No space left on device); they are in {tmp_path}\n"


@pytest.mark.parametrize("shell, status", [("| true", 0), ("> /dev/full", 0), (">&-", 0)])
def test_real_consoles_that_take_nothing(shell, status, tmp_path):
    """Python itself writes what is left in the buffer of standard output when it ends."""
    code = (
        "import sys; from pathlib import Path; from rich.console import Console\n"
        "from tests.evaluation.test_writers import small_report; from almeta.evaluation.writers import publish\n"
        "paths = publish(small_report(), Path(sys.argv[1]), Console())\n"
        "print('and some more')\n"
        "Path(sys.argv[1], 'end').touch()\n"
    )
    line = f'"$0" -c "$1" "$2" {shell}; exit ${{PIPESTATUS[0]}}'
    result = subprocess.run(
        ["bash", "-c", line, sys.executable, code, str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == status, result.stderr
    assert "Traceback" not in result.stderr and "Exception ignored" not in result.stderr
    assert {path.name for path in tmp_path.iterdir()} == {*WRITTEN, "end"}


# ---- Markdown


def test_markdown():
    assert markdown(small_report()) == (
        "# A title with <tags>\n\n"
        "- First & foremost.\n- Then ± 2.\n\n"
        "## How good – and how sure\n\n"
        "| name | gain, points |\n| --- | --- |\n| a\\|b | +1.50 ± 0.20* |\n| <b>bold</b> & [red] | – |\n\n"
        "±: half of an interval.\n"
    )


# ---- LaTeX


def test_latex_holds_the_tables_that_are_no_details():
    text = latex(small_report())
    assert text.startswith("% A title with <tags>; needs \\usepackage{booktabs}\n\n% How good – and how sure\n")
    assert text.count(r"\begin{tabular}{lr}") == text.count(r"\end{tabular}") == 1
    assert r"name & gain, points \\" in text and r"\toprule" in text and r"\bottomrule" in text
    assert r"a|b & +1.50 $\pm$ 0.20* \\" in text
    assert r"$<$b$>$bold$<$/b$>$ \& [red] & -- \\" in text


def test_signs_of_latex_are_escaped():
    names = [r"a_b", "50 % of $x$ & #1", r"{x} ~ ^ \\y", "csv:my…file"]
    text = latex_table(pd.DataFrame({"strategy": names, "p": ["< .001", "1", "2", "3"]}))
    for wanted in (r"a\_b", r"50 \% of \$x\$ \& \#1", r"\{x\} \textasciitilde", r"csv:my\ldots{}file", "$<$ .001"):
        assert wanted in text


# ---- HTML


class Reader(HTMLParser):
    """Collects the texts of a page by tag, and every address in it."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.addresses: list[str] = []
        self.classes: list[tuple[str, str]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.addresses += [values[key] for key in ("src", "href") if key in values]
        self.classes.append((tag, values.get("class") or ""))
        if tag not in ("meta", "img"):
            self.open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        for tag in set(self.open):
            self.texts[tag][-1] += data


@pytest.fixture
def page():
    report = small_report()
    return Reader(html(report, {stem: png(figure) for stem, figure in report.figures.items()}))


def test_html_holds_the_whole_report(page):
    assert page.texts["h1"] == ["A title with <tags>"]
    assert page.texts["li"] == ["First & foremost.", "Then ± 2."]
    cells = [text.strip() for text in page.texts["td"]]
    assert cells == ["a|b", "+1.50 ± 0.20*", "<b>bold</b> & [red]", "–", "1"]
    assert [text.strip() for text in page.texts["th"]] == ["name", "gain,\npoints", "k"]
    assert page.texts["summary"] == ["Details", "Config"]
    assert yaml.safe_load(page.texts["pre"][0]) == small_report().config
    footer = page.texts["footer"][0]
    assert all(f"{name} {version}" in footer for name, version in small_report().versions.items())


def test_the_verdict_is_on_top(page):
    order = [tag for tag, _ in page.classes if tag in ("h1", "li", "table", "img", "details")]
    assert order == ["h1", "li", "li", "table", "img", "details", "table", "details"]


def test_columns_of_numbers_are_told_from_text(page):
    assert [name for tag, name in page.classes if tag == "td"] == ["", "number", "", "number", "number"]
    assert [name for tag, name in page.classes if tag == "tr"] == ["", "", "next", "", ""]


def test_html_needs_no_network(page):
    assert [address.partition(",")[0] for address in page.addresses] == ["data:image/png;base64"]
    assert "http" not in "".join(page.texts["style"] + page.texts["script"])
    assert "url(" not in page.texts["style"][0] and "@import" not in page.texts["style"][0]


def test_an_empty_report_can_be_published(tmp_path):
    paths = publish(Report("Nothing"), tmp_path, Console(quiet=True))
    assert [path.name for path in paths] == ["report.md", "report.tex", "report.html"]
    page = Reader(paths[1].read_text("utf-8"))
    assert "details" not in page.texts and "ul" not in page.texts
