"""The examples of CONTRIBUTING.md can be pasted: they pass the checks, and do what the page says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import almeta
from almeta.data import catalogue, load_dataset
from almeta.strategies import PoolStrategy
from tests.strategies import test_contract as contract
from tests.strategies.conftest import fresh_table  # noqa: F401

ROOT = Path(__file__).resolve().parents[2]
CODE = dict(
    zip(
        ("almeta/strategies/priced_margin.py", "my_module.py"),
        re.findall(r"^```python\n(.*?)^```$", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.M | re.S),
        strict=True,
    )
)


def run(path: str) -> dict:
    names = {"__name__": "pasted"}
    exec(compile(CODE[path], path, "exec"), names)
    return names


@pytest.mark.parametrize("path", CODE)
@pytest.mark.parametrize("asked", [["check"], ["format", "--check"]], ids=" ".join)
def test_ruff_finds_nothing(path, asked):
    line = [sys.executable, "-m", "ruff", *asked, "--stdin-filename", str(ROOT / path), "-"]
    done = subprocess.run(line, input=CODE[path], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.usefixtures("fresh_table")
def test_the_strategy_keeps_the_contract():
    strategy = run("almeta/strategies/priced_margin.py")["PricedMargin"]
    assert issubclass(strategy, PoolStrategy)
    almeta.register_strategy(strategy)
    name = strategy.name
    contract.test_one_class_is_no_trouble(name)
    contract.test_the_state_is_left_as_it_was(name)
    contract.test_several_picks_without_an_answer_are_different_rows(name)
    contract.test_new_tensors_lie_on_the_device_of_the_state(name)
    contract.test_the_pool_can_be_exhausted(name)
    contract.test_pools_of_a_batch_do_not_meet(name)
    contract.test_the_order_of_the_rows_does_not_matter(name)
    for labelled in contract.LABELLED.values():
        contract.test_finite_for_rows_that_may_be_picked_and_minus_infinity_for_others(name, labelled)


def test_the_data_set_loads_by_its_name(monkeypatch):
    monkeypatch.setattr(catalogue, "_ENTRIES", dict(catalogue._ENTRIES))
    run("my_module.py")
    data = load_dataset("mine")
    assert data.x.shape == (200, 3) and data.num_classes == 2
