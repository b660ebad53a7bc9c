"""The page in a real browser: Debian's chromium, driven by Playwright."""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from http.client import HTTPConnection
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from almeta.queries.store import Answers

sync_api = pytest.importorskip("playwright.sync_api", reason="no Playwright: pip install 'almeta[browser]'")
pytest.importorskip("nicegui", reason="no NiceGUI: pip install 'almeta[label]'")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no browser: chromium is not installed"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="the pages of these tests are forked"),
]

ROOT = Path(__file__).parents[2]
# NiceGUI serves nothing where it finds itself in a test.
ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "PYTEST_CURRENT_TEST"}
ENVIRONMENT |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
RNG = np.random.default_rng(0)
FRAME = pd.DataFrame({"size": RNG.normal(size=300).round(3), "weight": RNG.normal(size=300).round(3)})
TRUTH = np.where(FRAME["size"] > 0, "cat", "dog")


class Zygote:
    """A process that runs the command `label` again and again; see `zygote.py`."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.page.zygote"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
            env=ENVIRONMENT,
        )
        self.said: list[str] = []  # since the last call of `read` began

    def start(self, folder: Path, *arguments: str) -> tuple[int, str]:
        """Start a page in a folder; return its process id and its address."""
        assert self.process.stdin is not None
        self.process.stdin.write("\t".join((str(folder), "show=false", *arguments)) + "\n")
        self.process.stdin.flush()
        address = self.read("The page is at ").split()[4]
        pid = next(int(line.split()[1]) for line in self.said if line.startswith("child"))
        while True:
            with contextlib.suppress(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))).close()
                return pid, address
            time.sleep(0.01)

    def read(self, begin: str) -> str:
        """Read what it says up to a line that begins like this, and return that line."""
        assert self.process.stdout is not None
        self.said = []
        for line in self.process.stdout:
            self.said.append(line)
            if line.startswith(begin):
                return line
            if line.startswith("ended"):
                break
        raise AssertionError("".join(self.said))


@pytest.fixture(scope="module")
def zygote():
    zygote = Zygote()
    yield zygote
    zygote.process.kill()
    zygote.process.wait(60)


@pytest.fixture
def start(zygote, tmp_path):
    """Starts a page on a file of 300 rows, 6 of them with a label, and ends it after the test."""
    FRAME.assign(label=[*TRUTH[:6], *[None] * 294]).to_csv(tmp_path / "my.csv", index=False)
    pages = []

    def start(*arguments: str) -> tuple[int, str]:
        pages.append(zygote.start(tmp_path, "data=my.csv", *arguments))
        return pages[-1]

    yield start
    with contextlib.suppress(ProcessLookupError):
        os.kill(pages[-1][0], signal.SIGKILL)
        zygote.read("ended")


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser):
    page = browser.new_page()
    page.asked = []
    page.on("request", lambda request: page.asked.append(request.url))
    yield page
    page.close()


def open_page(page, address: str) -> None:
    page.goto(address)
    page.get_by_text("row ").first.wait_for()


def row_of(page) -> int:
    return int(page.locator(".title").inner_text().split()[1]) - 1


def status(page, text: str) -> None:
    sync_api.expect(page.locator(".status")).to_contain_text(text)


def answers(folder: Path) -> list[tuple[int | None, str | None]]:
    with Answers(folder / "my.labels.sqlite", pd.read_csv(folder / "my.csv").drop(columns="label")) as kept:
        return [(answer.row, answer.label) for answer in kept.answers()]


def test_labelling_in_a_browser(start, zygote, page, tmp_path):
    pid, address = start("by=margin", "random_share=0")
    open_page(page, address)
    sync_api.expect(page.locator(".advice")).to_have_text("Go on: too few labels to tell: 6 of at least 10.")
    given = []
    for do, label in [
        (lambda: page.keyboard.press("1"), "cat"),
        (lambda: page.get_by_role("button", name="dog (2)").click(), "dog"),
        (lambda: page.keyboard.press("0"), None),
    ]:
        given.append((row_of(page), label))
        assert page.get_by_text(str(FRAME["size"][row_of(page)]), exact=True).is_visible()
        do()
        status(page, f"{len([label for _, label in given if label])} of them given here")
        sync_api.expect(page.locator(".title")).not_to_have_text(f"row {given[-1][0] + 1}")
    page.keyboard.press("u")
    sync_api.expect(page.locator(".title")).to_have_text(f"row {given[-1][0] + 1}")
    box = page.get_by_label("a new class")
    box.fill("eel 1")  # keys in the box are no answers
    box.press("Enter")
    page.get_by_role("button", name="eel 1 (3)").wait_for()
    page.keyboard.press("3")
    status(page, "3 of them given here")
    given[-1] = (given[-1][0], "eel 1")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    table = pd.read_csv(download.value.path())
    assert list(zip(table["row"] - 1, table["label"].replace("?", None), strict=True)) == given
    assert (table["chosen_by"] == "margin").all()
    for _ in range(2):
        given.append((row_of(page), TRUTH[row_of(page)]))
        page.keyboard.press("1" if given[-1][1] == "cat" else "2")
        status(page, f"{len(given)} of them given here")
    page.locator(".curve canvas").wait_for()
    sync_api.expect(page.locator(".advice")).to_contain_text("accuracy is about .")
    assert all(url.startswith((address, "data:", "blob:")) for url in page.asked)
    os.kill(pid, signal.SIGKILL)
    zygote.read("ended")
    assert answers(tmp_path) == given


def test_two_browsers_see_the_same(start, page, browser):
    _, address = start("by=margin")
    open_page(page, address)
    other = browser.new_page()
    open_page(other, address)
    assert row_of(page) == row_of(other)
    before = row_of(page)
    page.keyboard.press("1")
    status(other, "1 of them given here")
    assert row_of(other) != before
    other.keyboard.press("u")
    status(page, "0 of them given here")
    assert row_of(page) == before
    other.close()


def test_the_second_page_on_a_file_is_told(start, zygote, tmp_path):
    pid, _ = start("by=margin")
    with pytest.raises(AssertionError) as said:  # it never says where its page is
        start("by=margin")
    told = str(said.value).splitlines()
    assert told[1].startswith(f"error: my.labels.sqlite is in use (process {pid} on ")
    assert told[2].startswith("ended ") and told[2].endswith(" 1") and len(told) == 3
    os.kill(pid, signal.SIGTERM)
    assert zygote.read("stopped") == "stopped\n"
    assert zygote.read(f"ended {pid}") == f"ended {pid} 130\n"
    assert sorted(os.listdir(tmp_path)) == ["my.csv", "my.labels.sqlite"]


@pytest.mark.slow
def test_no_answer_is_lost_or_doubled_when_the_page_is_killed_at_any_time(start, zygote, page, tmp_path):
    rng = random.Random(0)
    given: list[tuple[int | None, str | None]] = []
    for _ in range(20):
        pid, address = start("by=random")
        open_page(page, address)
        status(page, f"({len(given)} of them given here)")
        killed = threading.Event()

        def kill(pid=pid, killed=killed):
            killed.set()
            os.kill(pid, signal.SIGKILL)

        threading.Timer(rng.uniform(0, 0.5), kill).start()
        pressed: tuple[int | None, str | None] | None = None
        try:
            while not killed.is_set():
                row, number = row_of(page), rng.randrange(2)
                pressed = (row, ("cat", "dog")[number])
                page.keyboard.press(str(number + 1))
                sync_api.expect(page.locator(".title")).not_to_have_text(f"row {row + 1}", timeout=1000)
                given.append(pressed)  # the next row is shown: this answer is promised to be there
                pressed = None
        except AssertionError:  # the page that was killed shows no next row
            assert killed.is_set()
        zygote.read("ended")
        page.goto("about:blank")  # else it reloads itself when the next server is there, in the middle of a visit
        kept = answers(tmp_path)
        assert kept in (given, [*given, pressed])
        given = kept
    assert len(given) > 20


def test_a_page_of_somebody_else_is_refused(start):
    _, address = start("by=random")
    port = address.rpartition(":")[2]
    for host, status in [(f"127.0.0.1:{port}", 200), (f"evil.example:{port}", 400)]:
        connection = HTTPConnection("127.0.0.1", int(port))
        connection.request("GET", "/", headers={"Host": host})
        assert connection.getresponse().status == status
        connection.close()
