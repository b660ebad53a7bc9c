"""The commands of README.md and the pages can be typed as they stand: their keys and choices are there."""

import importlib
import re
import shlex
from pathlib import Path

import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = [
    block for path in PAGES for block in re.findall(r"^```bash\n(.*?)^```$", path.read_text("utf-8"), re.M | re.S)
]
COMMANDS = sorted({line for block in BLOCKS for line in block.splitlines() if line.startswith("python scripts/")})
# A module or folder of the reader's is not here; a search is run by test_optuna.py; the others take no config.
COMPOSED = [
    line
    for line in COMMANDS
    if re.match(r"python scripts/(train|evaluate|benchmark)\.py", line)
    and not re.search(r"my_module|my_conf|hydra/sweeper|resume=", line)
]


def test_commands_are_found_and_their_scripts_are_there():
    assert len(COMPOSED) > 20
    scripts = {line.split()[1] for line in COMMANDS}
    assert [script for script in scripts if not (ROOT / script).is_file()] == []


@pytest.mark.parametrize("line", COMPOSED)
def test_a_documented_command_composes(line, command):
    _, script, *overrides = shlex.split(line, comments=True)
    if overrides[0] == "-m":  # the first job of the sweep
        parsed = OverridesParser.create().parse_overrides(overrides[1:])
        overrides = list(BasicSweeper.split_arguments(parsed, max_batch_size=None)[0][0])
    outcome = command(importlib.import_module(f"almeta.scripts.{Path(script).stem}"), *overrides, "--cfg", "job")
    assert outcome.status == 0, outcome.err
    assert outcome.err == ""
