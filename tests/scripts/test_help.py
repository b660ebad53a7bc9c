"""What --help says of each command."""

import importlib
import re
from pathlib import Path

import pytest
import yaml

from almeta import conf
from almeta.scripts.help import help_text


@pytest.mark.parametrize("command_name", ["train", "evaluate", "benchmark"])
def test_help_shows_each_knob_with_its_sentence_and_fits_100_columns(command, command_name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    module = importlib.import_module(f"almeta.scripts.{command_name}")
    outcome = command(module, "--help")
    assert (outcome.status, outcome.err) == (0, "")
    assert f"python scripts/{command_name}.py KEY=VALUE" in outcome.out
    purpose = (module.__doc__ or "?").strip()
    assert purpose in outcome.out
    page = outcome.out.replace(purpose, "")
    assert max(len(line) for line in page.splitlines() if "=[" not in line) <= 100
    text = Path(conf.__path__[0], f"{command_name}.yaml").read_text("utf-8")
    words = " ".join(page.split())
    for key in set(yaml.safe_load(text)) - {"defaults", "hydra"}:
        assert re.search(rf"^  {key}[=.\s]", page, re.M), key
    comments = re.findall(r"^# (.*\.)\n(?=[a-z_]+:)(?!defaults)", text, re.M)
    assert len(comments) > 8
    for comment in comments:
        assert comment in words


def test_help_offers_what_a_command_can_use_and_nothing_else():
    found = {
        name: set(re.findall(r"^  (\w+)=\S+ +", help_text(name, "p", "").partition("Keys:")[0], re.M))
        for name in ("train", "evaluate", "benchmark")
    }
    assert found["evaluate"] == {"dataset", "learner", "oracle"}
    assert found["benchmark"] == {"learner", "oracle", "protocol", "experiment"}
    assert found["train"] == {
        *("dataset", "env", "network", "agent", "logger", "inputs", "learner", "oracle", "experiment", "cluster"),
    }
    assert "exercise/digits" not in help_text("train", "p", "")
    page = " ".join(help_text("benchmark", "p", "").split())
    assert "exercise/digits" in page
    assert "env.pool_size=120 Rows of a pool, at most; null for all rows that are not test rows." in page
    assert "one_shot" not in page
