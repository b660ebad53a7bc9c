"""Sweeps: many jobs of the command that trains, and one table of them all."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from omegaconf import OmegaConf

from almeta.runs import run as runs
from almeta.scripts import benchmark, evaluate, train
from almeta.scripts.commands import register_resolvers
from almeta.training.rollout import play
from tests.forked import forked_command
from tests.small_config import SMALL

ROOT = Path(__file__).resolve().parents[2]
SWEEP = ("-m", *SMALL, "dataset=omniglot", "name=tiny", "hydra.sweep.dir=sweep")


def jobs() -> list[Path]:
    return sorted(path.parent for path in Path("sweep").glob("*/.hydra"))


def table(out: str) -> str:
    return out[out.index("All jobs of sweep") :]


def test_a_sweep_ends_in_one_table_and_is_not_done_twice(command):
    asked = [*SWEEP, "env.reward.incorrect=-1,-5", "seed=0,1"]
    first = command(train, *asked)
    assert first.status == 0
    assert len(jobs()) == 4
    rows = pd.read_csv("sweep/table.csv", index_col="policy")
    assert list(rows.index[:2]) == ["tiny (incorrect=-1)", "tiny (incorrect=-5)"]
    assert rows.loc["nearest labelled image (incorrect=-5)", "interval_over"] == "2 seeds"
    assert set(rows.loc[rows["kind"] != "published", "interval_over"]) == {"2 seeds"}
    assert (rows["kind"] == "published").sum() == 5
    assert rows["mean_return_interval"].notna().sum() == rows["accuracy_interval"].notna().sum() == 11
    text = table(first.out)
    assert "tiny (incorrect=-1)" in text
    assert "published: RL (R_inc" in text
    assert "interval over 2 seeds" in text
    wrote = (
        "wrote table.csv, novelty.csv, table.md, table.tex, accuracy_against_requests.png, learning_curves.png, "
        "report.html to sweep"
    )
    novelty = pd.read_csv("sweep/novelty.csv")
    assert list(novelty["policy"]) == ["tiny (incorrect=-1)", "tiny (incorrect=-5)"]
    assert ((novelty["new_least"] <= novelty["new"]) & (novelty["known"] <= novelty["known_most"])).all()
    assert " ".join(text.split()).endswith(wrote)
    assert max(map(len, text.splitlines()[:-1])) <= 80  # the last one names the files

    again = command(train, *asked)
    assert again.out.count("is finished already: nothing to do") == 4
    assert "training tiny" not in again.out
    assert table(again.out) == text


def test_a_sweep_that_was_stopped_goes_on_where_it_was(command, monkeypatch):
    asked = [*SWEEP, "batches=6", "seed=0,1,2"]
    whole = command(train, *asked, "hydra.sweep.dir=whole")
    count = 0

    def stop_in_the_second_job(*args, **options):
        nonlocal count
        count += 1
        if count == 6 + 4:
            raise KeyboardInterrupt
        return play(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr("almeta.training.rollout.play", stop_in_the_second_job)
        stopped = command(train, *asked)
    assert stopped.status == 130
    assert stopped.err.splitlines()[-1] == "stopped; to go on, start the same sweep again"
    assert [(job / "summary.json").exists() for job in jobs()] == [True, False]
    rest = command(train, *asked)
    assert rest.out.count("nothing to do") == 1
    assert rest.out.count("going on after batch 2 of ") == 1
    assert len(jobs()) == 3
    assert table(rest.out).splitlines()[1:-1] == whole.out[whole.out.index("All jobs of whole") :].splitlines()[1:-1]


def test_a_job_that_fails_does_not_stop_the_others(command, monkeypatch):
    def faulty(config, *args):
        if config["seed"] == 1:
            raise ZeroDivisionError("a fault of almeta")
        return build(config, *args)

    build = runs.build_agent
    monkeypatch.setattr(runs, "build_agent", faulty)
    result = command(train, *SWEEP, "env.classes=3,9999,4", "seed=0,1")
    assert result.status == 1
    assert result.err.count("error: env.classes=9999, but this part of data set 'omniglot' has 1200 classes") == 2
    assert result.err.count("ZeroDivisionError: a fault of almeta") == 2  # with its traceback: it is to be mended
    rows = pd.read_csv("sweep/table.csv")
    assert list(rows["policy"][rows["kind"] == "policy"]) == ["tiny (classes=3)", "tiny (classes=4)"]
    last = result.err.splitlines()[-1]
    assert last.startswith("error: 4 of 6 jobs failed: ")
    assert sorted(re.findall(r"(classes=\d+, seed=\d) in sweep/", last)) == [
        "classes=3, seed=1",
        "classes=4, seed=1",
        "classes=9999, seed=0",
        "classes=9999, seed=1",
    ]
    page = Path("sweep/report.html").read_text("utf-8")
    assert page.count("has no finished summary.json in sweep/") == 4


def test_a_sweep_of_runs_without_a_name_is_called_by_the_agent(command):
    result = command(train, "-m", *SMALL, "batches=1", "env.classes=3,9999", "agent=reinforce")
    assert "9999" in result.err.splitlines()[-1]
    assert "HydraConfig" not in result.err
    assert Path("runs/reinforce/sweep/report.html").exists()
    assert command(train, "-m").err.startswith("error: nothing says what to train")


@pytest.mark.parametrize("module", [train, evaluate])
def test_a_sweep_of_another_command_ends_so_too(module, command, tmp_path):
    """A policy that is not there fails each of the jobs, whatever the command does."""
    asked = {train: [*SMALL, "dataset=omniglot", "name=tiny", "agent.gamma=2,3"], evaluate: ["policy=none,nobody"]}
    result = command(module, "-m", *asked[module], "hydra.sweep.dir=sweep")
    assert result.status == 1
    assert result.err.splitlines()[-1].startswith("error: 2 of 2 jobs failed: ")


def test_a_job_that_fails_after_an_earlier_sweep_has_finished_it_is_named(command):
    frame = pd.DataFrame({"a": range(40), "b": [n % 7 for n in range(40)], "label": [n % 2 for n in range(40)]})
    frame.to_csv("my.csv", index=False)
    tiny = ("repeats=2", "budget=2", "env.pool_size=15", "env.max_test=20", "strategies=[random,margin]")
    asked = ["-m", "seed=0,1", *tiny, "datasets=[csv:my.csv]", "out=sweep"]
    assert command(benchmark, *asked).status == 0
    Path("my.csv").rename("gone.csv")
    again = command(benchmark, *asked)
    assert again.status == 1
    assert again.err.splitlines()[-1].startswith("error: 2 of 2 jobs failed: seed=0 in sweep/")
    Path("gone.csv").rename("my.csv")
    assert command(benchmark, *asked).status == 0


def test_the_command_of_a_sweep_exits_with_its_status(tmp_path, command):
    """In a process of its own: Hydra turns what its callbacks raise into warnings."""
    asked = ["-m", *SMALL, "batches=1", "hydra.sweep.dir=sweep", "env.classes=3,9999"]
    process = forked_command(train, tmp_path, *asked)
    assert process.wait() == 1
    assert "Traceback" not in process.err and "warn" not in process.err
    last = process.err.splitlines()[-1]
    assert last.startswith("error: 1 of 2 jobs failed: classes=9999 in sweep/")
    rows = pd.read_csv(tmp_path / "sweep" / "table.csv")
    assert list(rows["policy"][rows["kind"] == "policy"]) == ["q_learning (classes=3)"]
    assert (tmp_path / "sweep" / "report.html").exists()


def test_presets_can_be_swept_over(command):
    result = command(
        train, *SWEEP[:-2], "hydra.sweep.dir=sweep", "experiment=one_shot/woodward_finn,one_shot/supervised"
    )
    assert result.status == 0
    assert len(jobs()) == 2
    rows = pd.read_csv("sweep/table.csv")
    names = list(rows["policy"][rows["kind"] == "policy"])
    assert names == [
        "supervised (experiment=one_shot/supervised)",
        "woodward_finn (experiment=one_shot/woodward_finn)",
    ]


@pytest.mark.parametrize("wrong", ["env.clases=3,4", "dataset=omniglot,omniglt", "agent=[1,2"])
def test_a_typo_stops_a_sweep_before_its_first_job(command, wrong):
    result = command(train, *SWEEP, wrong)
    assert result.status == 1
    assert result.err.count("\n") == 1
    assert result.err.startswith("error: ")
    assert jobs() == []


@pytest.mark.parametrize(
    "overrides",
    [
        "env.reward.incorrect_-5__seed_1",
        "experiment_one_shot/woodward_finn__seed_1",
        "env.script_[[0,5],[1,1]]",
        "name_'a=b c'",
        "__".join(f"some.rather.long.key{i}_{i}" for i in range(60)),
        "name_" + "ü" * 300,
        "",
    ],
)
def test_a_job_has_a_folder_that_can_be_made_and_named_on_a_command_line(overrides, tmp_path):
    register_resolvers()
    config = OmegaConf.create({"overrides": overrides, "folder": "${job_folder:${overrides}}"})
    name = config.folder
    assert "/" not in name
    assert len(name.encode()) <= 255
    (tmp_path / name).mkdir(exist_ok=True)
    assert not set(name) & set("=,[]{}()' \"$")


def test_long_lists_of_overrides_keep_their_jobs_apart(command):
    many = [f"pretraining.{key}={value}" for key, value in (("shots", 3), ("learning_rate", 0.123456789))]
    result = command(train, *SWEEP, *many, "env.reward.request=-0.1", "env.reward.correct=0.9", "batches=1", "seed=0,1")
    assert result.status == 0
    assert len(jobs()) == 2
    assert all(len(job.name) < 200 for job in jobs())


@pytest.mark.slow
def test_jobs_side_by_side(tmp_path, command):
    """With joblib's processes; on real data, since what a test replaces here is not replaced there."""
    asked = ["-m", *SMALL, "batches=2", "seed=0,1"]
    line = [
        sys.executable,
        str(ROOT / "scripts" / "train.py"),
        *asked,
        "hydra/launcher=joblib",
        "hydra.launcher.n_jobs=2",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [*line, "env.classes=3,9999", "hydra.sweep.dir=sweep"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 1, result.stderr
    assert "Traceback" not in result.stderr
    last = result.stderr.splitlines()[-1]
    assert sorted(re.findall(r"classes=9999, seed=\d", last)) == ["classes=9999, seed=0", "classes=9999, seed=1"]
    rows = pd.read_csv(tmp_path / "sweep" / "table.csv").set_index("policy")
    assert rows.loc["q_learning (classes=3)", "interval_over"] == "2 seeds"
