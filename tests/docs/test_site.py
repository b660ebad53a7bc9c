"""The site is built strictly from the pages, and its Python examples run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from almeta.policies import policy_names

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
STREAMS = "one-shot-omniglot"
# Examples that need a run or a module of the reader's are left out.
EXAMPLES = [
    pytest.param(
        code,
        id=f"{path.stem}-{number}",
        marks=pytest.mark.skipif(STREAMS in code and STREAMS not in policy_names(), reason=f"no {STREAMS} ships yet"),
    )
    for path in PAGES
    for number, code in enumerate(re.findall(r"^```python\n(.*?)^```$", path.read_text("utf-8"), re.M | re.S))
    if not re.search(r"DATE|my_module", code)
]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    # Not --quiet: what is not logged does not count as a warning.
    line = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert built.returncode == 0, built.stderr
    return folder


def test_the_readme_is_the_first_page_and_each_page_is_there(site):
    assert "<h1" in (site / "index.html").read_text("utf-8")
    assert {f"{path.stem}.html" for path in (ROOT / "docs").glob("*.md")} < {path.name for path in site.glob("*.html")}
    assert "almeta learns <em>what to label next</em>" in (site / "index.html").read_text("utf-8")
    assert (site / "contributing.html").exists() and (site / "changelog.html").exists()


def test_the_reference_finds_rooms_behind_links(site):
    text = (site / "reference" / "almeta.envs.html").read_text("utf-8")
    assert 'id="almeta.envs.pool.PoolSelectionEnv"' in text
    rooms = {path.parent.name for path in (ROOT / "almeta").glob("*/__init__.py")} - {"conf"}
    assert {"agents", "data", "scripts"} < rooms
    assert {f"almeta.{room}.html" for room in rooms} | {"almeta.html"} == {
        path.name for path in (site / "reference").glob("*.html")
    }


def test_links_lead_to_pages_and_to_the_reference(site):
    text = (site / "contributing.html").read_text("utf-8")
    assert 'href="reference/almeta.strategies.html#almeta.strategies.core_set"' in text
    assert 'href="changelog.html"' in text
    assert 'href="contributing.html"' in (site / "index.html").read_text("utf-8")


def test_reading_the_site_needs_no_network(site):
    asked = re.compile(r"<(?:script|link|img|iframe)\b[^>]*?(?:src|href)=[\"']?(?:https?:)?//[^\"'>]*")
    assert [found for page in site.rglob("*.html") for found in asked.findall(page.read_text("utf-8"))] == []


@pytest.mark.parametrize("code", EXAMPLES)
def test_examples_run(code, tmp_path, monkeypatch):
    for library in re.findall(r"^from (skactiveml|modAL|sb3_contrib)\b", code, re.M):
        pytest.importorskip(library)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "example", "exec"), {"__name__": "example"})
