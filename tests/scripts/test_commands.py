"""What the commands share: how quickly a wrong key is told, words that cannot be written, folders, plug-ins, sweeps."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import tomllib
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hydra.errors import MissingConfigException

from almeta.scripts import benchmark, evaluate, train
from almeta.scripts.commands import told_in_one_line
from almeta.scripts.errors import one_line
from tests.small_config import SMALL

ROOT = Path(__file__).resolve().parents[2]
TINY = ("budget=3", "repeats=2", "env.pool_size=15", "env.max_test=20", "strategies=[margin]", "out=out")


def shell(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a line of bash in a folder, `python` being this one."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    asked = ["bash", "-o", "pipefail", "-c", line]
    return subprocess.run(asked, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def write_table(path: str, label: str = "label") -> None:
    y = np.arange(60) % 2
    x = np.random.default_rng(len(path)).normal(size=(60, 2)) + y[:, None]
    pd.DataFrame({"one": x[:, 0], "two": x[:, 1], label: y}).to_csv(path, index=False)


# ---- errors


@pytest.mark.parametrize(
    ("name", "override", "says"),
    [
        ("train", "bacthes=3", "unknown key 'bacthes'; did you mean 'batches'?"),
        ("evaluate", "polcy=x", "unknown key 'polcy'; did you mean 'policy'?"),
        ("benchmark", "agent=x", "Could not override 'agent'"),
        ("train", "agent=q_lerning", "unknown agent 'q_lerning'; did you mean 'q_learning'?"),
        ("train", "--help", None),
    ],
)
def test_a_wrong_key_is_told_before_torch_is_imported(tmp_path, name, override, says):
    code = f"""
import sys
from almeta.scripts import {name}
sys.argv = ["scripts/{name}.py", "{override}"]
try:
    {name}.main()
finally:
    print(sorted({{"torch", "pandas", "sklearn", "matplotlib"}} & set(sys.modules)))
"""
    asked = [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(asked, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert result.stdout.splitlines()[-1] == "[]"
    assert result.returncode == (0 if says is None else 1)
    if says is not None:
        assert result.stderr.startswith(f"error: {says}")
    assert list(tmp_path.iterdir()) == []


def test_a_plug_in_that_is_missing_is_named_with_its_extra():
    for missing, extra in (("hydra/launcher=joblib", "almeta[sweep]"), ("hydra/sweeper=optuna", "almeta[optuna]")):
        told = one_line(MissingConfigException("", missing.replace("=", "/"), ["basic"]))
        assert told == f"{missing} is a plug-in that is not installed; pip install '{extra}'"
    told = one_line(MissingConfigException("", "hydra/launcher/jblib", ["basic", "joblib"]))
    assert told == "unknown hydra/launcher 'jblib'; did you mean 'joblib'? Known: basic, joblib"


def test_the_extras_that_bring_plug_ins_are_there():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert {"sweep", "optuna"} <= set(project["optional-dependencies"])


def test_a_plug_in_that_is_not_here_is_told_by_the_command(command):
    result = command(train, "-m", *SMALL, "hydra/launcher=ray")
    assert (result.status, list(Path().iterdir())) == (1, [])
    assert result.error == (
        "error: hydra/launcher=ray is a plug-in that is not installed; pip install 'hydra-ray-launcher'"
    )


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["num_envs=10000000000"], "num_envs=10000000000 episodes need more than "),
        (["device=mps"], "device=mps cannot be used here ("),
        (["vary={budget:[1,2]}"], "vary is set, but problems of kind stream have none; leave it out, or vary=null"),
        (["network=scorer"], "network._target_ is 'almeta.agents.PoolScorer', which is for problems of kind pool, but"),
        (
            ["experiment=pool/quickstart", "network=lstm"],
            "network._target_ is 'almeta.agents.LSTMNetwork', which is for problems of kind stream, but env is of kind",
        ),
        (
            ["experiment=one_shot/episodic", "network=lstm"],
            "the preset sets network.guesses=true, network.order=true, which network=lstm does not take; add "
            '"~network.guesses" "~network.order"',
        ),
        (
            ["name=${nowhere}", "hydra.run.dir=x"],
            r"Interpolation key 'nowhere' not found; where the text itself is meant, write \${ for",
        ),
    ],
)
def test_what_cannot_be_is_told_in_one_line(command, overrides, says):
    result = command(train, *(one for one in SMALL if "num_envs" not in one), *overrides)
    assert result.status == 1
    assert result.error.startswith(f"error: {says}")
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    "folder",
    ["hydra.run.dir=od d/x ${now}", r"hydra.run.dir=x\${now}", r"hydra.run.dir='x \${now}'", r"name=x\${now}"],
)
def test_a_folder_with_an_interpolation_is_refused_with_a_way_out(command, folder):
    result = command(train, *SMALL, folder)
    assert result.status == 1
    assert result.error.endswith(
        "; a folder, and a name that is part of one, cannot hold a literal ${: choose one without ${"
    )


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: not enough memory: you tried to allocate"
        ),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        MemoryError("Unable to allocate 7 TiB for an array"),
    ],
)
def test_too_little_memory_is_told_with_what_to_do(command, monkeypatch, error):
    def run_out(*args, **kwargs):
        raise error

    monkeypatch.setattr("almeta.runs.streams.load_dataset", run_out)
    told = command(train, *SMALL).error
    assert told.startswith(
        "error: there is not enough memory; choose fewer episodes at once (num_envs, evaluate_episodes"
    )
    assert str(error) in told
    assert list(Path().iterdir()) == []


def test_a_warning_is_one_line_and_said_once(capsys):
    with warnings.catch_warnings(), told_in_one_line():
        warnings.simplefilter("always")
        for number in (1, 1, 2, 1):
            warnings.warn(f"a column\n is set aside {number}", stacklevel=1)
    assert capsys.readouterr().err == "warning: a column is set aside 1\nwarning: a column is set aside 2\n"


# ---- words that cannot be written


@pytest.mark.slow
def test_a_closed_pipe_loses_nothing_and_ends_quietly(tmp_path):
    overrides = " ".join(map(shlex.quote, TINY))
    result = shell(f"python {ROOT}/scripts/benchmark.py datasets=[iris] {overrides} | head -1", tmp_path)
    assert (result.returncode, [line for line in result.stderr.splitlines() if "benchmark: " not in line]) == (0, [])
    assert (tmp_path / "out" / "summary.json").exists() and (tmp_path / "out" / "report.html").exists()
    result = shell(f"python {ROOT}/scripts/train.py --help | head -1", tmp_path)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a file that is always full")
def test_words_that_do_not_fit_do_not_blame_the_disk_of_the_run(tmp_path):
    overrides = " ".join(map(shlex.quote, TINY))
    result = shell(f"python {ROOT}/scripts/benchmark.py datasets=[iris] {overrides} > /dev/full", tmp_path)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == (
        "error: could not print all (No space left on device); the files of the run are whole"
    )
    assert "Traceback" not in result.stderr and "make room" not in result.stderr
    assert (tmp_path / "out" / "summary.json").exists()


@pytest.mark.slow
def test_signs_that_the_terminal_does_not_have_are_no_error(tmp_path):
    write_table(str(tmp_path / "tö.csv"))
    overrides = " ".join(map(shlex.quote, TINY))
    line = f"PYTHONIOENCODING=ascii python {ROOT}/scripts/benchmark.py datasets=[iris,csv:tö.csv] {overrides}"
    result = shell(line, tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out" / "summary.json").exists()


# ---- folders and files


@pytest.mark.parametrize("name", ["a b", "a=b", "a,b", "[a]", "a#b", "it's", "ü"])
def test_the_printed_command_goes_on(command, monkeypatch, name):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    folder = f"my runs/{name}"
    with monkeypatch.context() as patch:
        patch.setattr("almeta.runs.streams.compare", stop)
        stopped = command(train, *SMALL, f"hydra.run.dir={folder}")
    assert stopped.status == 130
    assert Path(folder, "last.pt").exists()
    line = stopped.err.splitlines()[-1].partition("to go on: ")[2]
    program, script, *overrides = shlex.split(line)
    assert (program, script) == ("python", "scripts/train.py")
    assert command(train, *overrides).status == 0
    assert Path(folder, "summary.json").exists()


def test_a_job_in_a_folder_of_its_own_finds_relative_files(command):
    write_table("my.csv")
    assert command(train, *SMALL, "hydra.run.dir=run").status == 0
    change = "hydra.job.chdir=true"
    result = command(train, "resume=run", "batches=6", change)
    assert result.status == 0, result.err
    assert json.loads(Path("run/summary.json").read_text())["batches"] == 6
    few = ("episodes=8", "num_envs=8", "hydra.run.dir=judged")
    assert command(evaluate, "policy=run", *few, change).status == 0
    assert Path("judged/summary.json").exists()
    assert command(benchmark, *TINY, "datasets=[csv:my.csv]", change).status == 0
    assert Path("out/summary.json").exists()


NAMES = ["a b.csv", "a=b.csv", "a,b.csv", "[a].csv", "ü.csv", "${now}.csv", "it's.csv"]


def test_files_of_any_name_are_compared_on(command):
    for name in NAMES:
        write_table(name)
    folder = Path("out", "a=b, [ü] it's")
    named = ",".join(f"csv:{name}" for name in NAMES)
    result = command(benchmark, *TINY[:-1], f"datasets=[iris,{named}]", f"out={folder}")
    assert result.status == 0, result.err
    assert set(pd.read_csv(folder / "curves.csv")["dataset"]) == {"iris", *(f"csv:{Path(n).resolve()}" for n in NAMES)}


@pytest.mark.parametrize("name", NAMES)
def test_files_of_any_name_are_judged_on(command, name):
    write_table(name)
    few = ("repeats=2", "strategies=[]", "env.budget=1", "env.pool_size=15")
    result = command(evaluate, "policy=transfer", f"dataset=csv:{name}", *few, "hydra.run.dir=judged")
    assert result.status == 0, result.err
    assert json.loads(Path("judged/summary.json").read_text())["datasets"] == [f"csv:{Path(name).resolve()}"]


def test_a_single_name_is_a_list_of_one(command):
    shutil.copytree(ROOT / "almeta" / "policies" / "transfer", "my policy")
    asked = (*TINY[:-2], "out=out", "datasets=iris", "strategies=margin", "policies=my policy")
    result = command(benchmark, *asked)
    assert result.status == 0, result.err
    assert set(pd.read_csv("out/curves.csv")["strategy"]) == {"random", "margin", "my policy"}
    specs = (*TINY[:-2], "out=with_options", "datasets=moons", "strategies={name: information_density, beta: 2}")
    assert command(benchmark, *specs).status == 0
    assert "information_density(beta=2)" in set(pd.read_csv("with_options/curves.csv")["strategy"])


# ---- options of loaders, and what is worth knowing


def test_an_option_goes_to_the_loaders_that_take_it(command):
    write_table("d.csv", label="kind")
    result = command(benchmark, *TINY, "datasets=[iris,csv:d.csv,moons]", "options.target=kind")
    assert result.status == 0, result.err
    assert set(pd.read_csv("out/curves.csv")["dataset"]) == {"iris", f"csv:{Path('d.csv').resolve()}", "moons"}
    asked = (*TINY[:-1], "out=b", "datasets=[iris,csv:d.csv]", "options.target=kind")
    result = command(benchmark, *asked, "+options.n=100")
    assert result.error == "error: unknown key of data set iris 'n'; Known: none"
    assert not Path("b").exists()
    result = command(benchmark, *TINY[:-1], "out=b", "datasets=[moons,iris]", "options.target=kind")
    assert result.error.startswith("error: unknown key of data set moons 'target'")


def test_pools_that_leave_rows_out_are_told(command):
    result = command(benchmark, *TINY, "datasets=[iris,digits]")
    line = "pools of 15 rows (env.pool_size) are drawn from iris (150 rows), digits (1,797 rows)"
    assert result.out.splitlines()[0] == line
    whole = ("budget=3", "repeats=2", "strategies=[margin]", "out=whole", "env.pool_size=null", "env.max_test=null")
    assert "are drawn from" not in command(benchmark, *whole, "datasets=[iris]").out
    few = ("repeats=2", "strategies=[]", "env.budget=3", "hydra.run.dir=judged")
    result = command(evaluate, "policy=transfer", "dataset=digits", *few)
    assert result.out.splitlines()[0] == "pools of 120 rows (env.pool_size) are drawn from digits (1,797 rows)"


# ---- sweeps and presets


def test_a_policy_is_judged_on_two_files_in_two_jobs(command):
    write_table("a b.csv")
    write_table("ö.csv")
    few = ("repeats=2", "strategies=[]", "env.budget=3", "env.pool_size=15", "hydra.sweep.dir=sweep")
    result = command(evaluate, "-m", "policy=transfer", "dataset=csv:a b.csv,csv:ö.csv", *few)
    assert result.status == 0, result.err
    found = [json.loads(path.read_text())["datasets"] for path in sorted(Path("sweep").glob("*/summary.json"))]
    assert found == [[f"csv:{Path(name).resolve()}"] for name in ("a b.csv", "ö.csv")]


@pytest.mark.parametrize("module", [benchmark, evaluate])
def test_a_sweep_with_a_job_that_failed_names_it(command, module):
    few = (*TINY[:4], "strategies=[]") if module is benchmark else ("policy=transfer", "repeats=2", "strategies=[]")
    key = "datasets=[iris],[irsi]" if module is benchmark else "dataset=digits,irsi"
    result = command(module, "-m", *few, key, "hydra.sweep.dir=sweep")
    assert result.status == 1
    assert "error: unknown data set 'irsi'" in result.err
    last = result.err.splitlines()[-1]
    assert last.startswith("error: 1 of 2 jobs failed: ") and "irsi" in last and "sweep/1" in last


@pytest.mark.parametrize("chosen", ["experiment=mine", "+experiment=mine"])
def test_a_preset_of_ones_own_chooses_launcher_and_logger(command, chosen):
    Path("my_conf/experiment").mkdir(parents=True)
    Path("my_conf/experiment/mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /logger: wandb\n  - override /hydra/launcher: joblib\n"
        "name: mine\nlogger:\n  mode: disabled\n"
    )
    found = command(train, "--config-dir", "my_conf", chosen, "--cfg", "all").out
    assert "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher" in found
    result = command(train, "--config-dir", "my_conf", chosen, *SMALL, "hydra.run.dir=run")
    assert result.status == 0, result.err
    assert "WandbLogger" in Path("run/config.yaml").read_text()
    Path("my_conf/experiment/mine.yaml").write_text("defaults:\n  - override hydra/launcher: joblib\n")
    told = command(train, "--config-dir", "my_conf", chosen).error
    assert told.endswith("A preset names groups from the root, with a slash: override /hydra/launcher")
    assert "did you mean 'mine'" in command(train, "--config-dir", "my_conf", "experiment=mien").error
