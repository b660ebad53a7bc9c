"""Workers of a benchmark: they end with it, and what they warn of is said once."""

import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest

from almeta import registry
from almeta.errors import AlmetaError
from almeta.evaluation.workers import in_workers, make_workers

ROOT = Path(__file__).resolve().parents[2]


def warn(number: int) -> int:
    warnings.warn("the same words", stacklevel=2)
    warnings.warn(f"of {number % 2}", RuntimeWarning, stacklevel=2)
    return number


@pytest.mark.parametrize("jobs", [1, 2])
def test_all_results_come(jobs):
    found = list(in_workers(make_workers(jobs, None, {}), divmod, [(7, 2), (9, 4), (8, 3)]))
    assert sorted(found) == [(2, 1), (2, 2), (3, 1)]
    assert list(in_workers(make_workers(jobs, None, {}), divmod, [])) == []


def test_what_workers_warn_of_is_said_once(recwarn):
    assert sorted(in_workers(make_workers(2, None, {}), warn, [(number,) for number in range(6)])) == list(range(6))
    told = sorted((warning.category.__name__, str(warning.message)) for warning in recwarn)
    assert told == [("RuntimeWarning", "of 0"), ("RuntimeWarning", "of 1"), ("UserWarning", "the same words")]


def test_a_backend_that_is_not_installed_is_named_with_what_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray.util.joblib", None)
    with pytest.raises(
        AlmetaError, match=r"backend 'ray' cannot be used here .*; choose loky, or pip install 'almeta\[ray"
    ):
        make_workers(2, "ray", {})


@pytest.mark.parametrize(
    ("backend", "says"),
    [
        ("rya", "unknown backend 'rya'; did you mean 'ray'. Known: dask, "),
        ("dask", "backend=dask needs its scheduler: backend_options={scheduler_host:"),
    ],
)
def test_a_backend_that_cannot_be_used_is_told_with_the_way_out(backend, says):
    with pytest.raises(AlmetaError, match=says):
        make_workers(2, backend, {})


def children(parent: int) -> set[int]:
    """The processes that a process has started."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(path.read_text().rpartition(")")[2].split()[1]) == parent:
                found.add(int(path.parent.name))
        except (OSError, IndexError):  # it has ended
            continue
    return found


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks Linux for processes")
@pytest.mark.parametrize(
    ("line", "begun", "files"),
    [
        (
            "benchmark.py datasets=[digits,breast_cancer] strategies=[margin] repeats=9999 budget=99 out=out jobs=2",
            "out/cells.sqlite",
            1,
        ),
        (
            "train.py -m seed=0,1 experiment=pool/quickstart batches=999 hydra/launcher=joblib hydra.launcher.n_jobs=2",
            "runs/pool_quickstart/sweep/*/last.pt",
            2,
        ),
    ],
)
def test_workers_end_when_the_command_is_killed(tmp_path, line, begun, files):
    script, *overrides = line.split()
    asked = [sys.executable, str(ROOT / "scripts" / script), *overrides]
    process = subprocess.Popen(asked, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=-3, stderr=-3)
    try:
        deadline = time.monotonic() + 120
        # Two of the processes only watch over shared memory.
        while len(workers := children(process.pid)) < 4 or len(list(tmp_path.glob(begun))) < files:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        time.sleep(1)
        process.send_signal(signal.SIGKILL)
        process.wait()
        deadline = time.monotonic() + 5
        while any(map(is_running, workers)):
            assert time.monotonic() < deadline, [worker for worker in workers if is_running(worker)]
            time.sleep(0.1)
    finally:
        process.kill()
        for worker in filter(is_running, workers):
            os.kill(worker, signal.SIGKILL)


OF_ONES_OWN = """
from almeta.data import load_dataset, register_dataset
from almeta.strategies import PoolStrategy, register_strategy

@register_strategy
class FirstFeature(PoolStrategy):
    name = "first_feature"

    def score(self, state):
        return state.x[..., 0]

def my_rows():
    return load_dataset("iris")

register_dataset("my_rows", my_rows)
"""


@pytest.mark.slow
def test_workers_know_what_modules_of_ones_own_register(tmp_path):
    (tmp_path / "of_ones_own.py").write_text(OF_ONES_OWN, "utf-8")
    line = (
        "benchmark.py modules=[of_ones_own] datasets=[my_rows,iris] strategies=[random,first_feature] "
        "repeats=2 budget=2 out=out jobs=2"
    )
    script, *overrides = line.split()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(tmp_path)))}
    asked = [sys.executable, str(ROOT / "scripts" / script), *overrides]
    result = subprocess.run(asked, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert "first_feature" in (tmp_path / "out" / "summary.csv").read_text("utf-8")


def test_workers_trust_what_is_trusted_here(monkeypatch):
    monkeypatch.setattr(registry, "_trusted", set())
    registry.import_modules(["colorsys"])
    registry.trust("not.loaded")
    asked = [("colorsys",), ("not.loaded",)]
    assert sorted(in_workers(make_workers(2, "loky", {}), registry.is_trusted, asked)) == [False, True]
