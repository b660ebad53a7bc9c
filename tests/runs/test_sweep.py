import json
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from omegaconf import OmegaConf

from almeta.evaluation.jobs import find_jobs, read_jobs
from almeta.evaluation.stream_tables import table_of_jobs, tradeoffs_of_jobs
from almeta.runs.sweep import FailedJobs, SweepTable, sweep_report
from tests.evaluation.conftest import make_summary  # noqa: F401
from tests.evaluation.drawn import x_of, y_of


def sweep_table(folder: Path, published: bool = False) -> tuple[pd.DataFrame, list[str]]:
    """The table of all jobs on streams below a folder, and what is said of the missing ones."""
    table = table_of_jobs([job for job in read_jobs(folder) if job.results is not None], published)
    return table, [sentence.removeprefix("missing: ") for sentence in sweep_report(folder).sentences]


@pytest.fixture
def add_job(tmp_path, make_summary):  # noqa: F811
    """Writes a job folder: `add_job(0, reward=-5, seed=1, mean_return=3.0)`; no return means unfinished."""

    def add(number: int, reward: int, seed: int, mean_return: float | None = None, baseline=-10.0) -> Path:
        folder = tmp_path / str(number)
        (folder / ".hydra").mkdir(parents=True)
        config = {"env": {"reward": {"incorrect": reward}}, "seed": seed, "name": "run-${seed}"}
        overrides = ["experiment=tiny", f"seed={seed}", f"env.reward.incorrect={reward}"]
        OmegaConf.save(OmegaConf.create(config), folder / ".hydra" / "config.yaml")
        OmegaConf.save(OmegaConf.create(overrides), folder / ".hydra" / "overrides.yaml")
        if mean_return is not None:
            results: dict[str, Any] = {
                "kind": "stream",
                "policy": "LSTM",
                "seed": seed,
                "test": make_summary(mean_return=mean_return),
            }
            results["baselines"] = {
                "always": make_summary(mean_return=-1.5, prediction_accuracy=None),
                "never": make_summary(mean_return=baseline),
            }
            (folder / "summary.json").write_text(json.dumps(results))
        return folder

    return add


def test_jobs_that_differ_in_the_seed_share_a_row(add_job, tmp_path):
    for number, (reward, seed, mean) in enumerate([(-1, 0, 1.0), (-1, 1, 3.0), (-5, 0, 7.0), (-5, 1, 9.0)]):
        add_job(number, reward, seed, mean)
    table, missing = sweep_table(tmp_path)
    policies = table[table["kind"] == "policy"]
    assert list(policies["policy"]) == ["LSTM (incorrect=-1)", "LSTM (incorrect=-5)"]
    assert list(policies["mean_return"]) == [2.0, 8.0]
    assert set(policies["interval_over"]) == {"2 seeds"}
    assert missing == []


def test_one_setting_needs_no_name(add_job, tmp_path):
    add_job(0, -1, 0, 1.0)
    add_job(1, -1, 1, 3.0)
    table, _ = sweep_table(tmp_path, published=True)
    assert table.iloc[0].to_dict()["policy"] == "LSTM"
    assert list(table["kind"][-5:]) == ["published"] * 5


def test_baselines_have_one_row_unless_they_score_differently(add_job, tmp_path):
    add_job(0, -1, 0, 1.0, baseline=-10.0)
    add_job(1, -1, 1, 3.0)
    add_job(2, -5, 0, 7.0, baseline=-90.0)
    table, _ = sweep_table(tmp_path)
    baselines = table[table["kind"] == "baseline"].set_index("policy")["mean_return"].to_dict()
    assert baselines == {
        "always": -1.5,
        "never (incorrect=-1)": -10.0,
        "never (incorrect=-5)": -90.0,
    }


def test_gaps_are_listed(add_job, tmp_path):
    cut = add_job(2, -5, 0)
    (cut / "summary.json").write_text('{"policy": "LS')
    add_job(0, -1, 0, 1.0)
    add_job(1, -1, 1)
    table, missing = sweep_table(tmp_path)
    assert list(table[table["kind"] == "policy"]["interval_over"]) == ["1,000 episodes"]
    assert missing == [
        f"incorrect=-1, seed=1 has no finished summary.json in {tmp_path / '1'}",
        f"incorrect=-5, seed=0 has no finished summary.json in {tmp_path / '2'}",
    ]


def test_no_finished_job_gives_no_table(add_job, tmp_path):
    job = add_job(0, -1, 0)
    report = sweep_report(tmp_path)
    assert report.tables == []
    assert report.sentences == [f"missing: seed=0 has no finished summary.json in {job}"]


def test_a_job_that_held_nothing_back_is_named(add_job, tmp_path):
    (add_job(0, -1, 0) / "summary.json").write_text('{"kind": "stream", "train": {}}')
    assert sweep_report(tmp_path).sentences == [f"missing: seed=0 was judged on no 'test' data in {tmp_path / '0'}"]


def test_the_kind_of_an_older_job_is_that_of_its_config(add_job, tmp_path):
    job = add_job(0, -1, 0)
    (job / "summary.json").write_text('{"policy": "mine", "seed": 0}')
    for target, kind in (("almeta.envs.make_pool_simulation", "pool"), ("almeta.envs.StreamOptions", "stream")):
        OmegaConf.save(OmegaConf.create({"env": {"_target_": target}}), job / ".hydra" / "config.yaml")
        assert [job.kind for job in read_jobs(tmp_path)] == [kind]


def test_keys_are_short_unless_two_end_alike(add_job, tmp_path):
    jobs = [add_job(0, -1, 0, 1.0), add_job(1, -5, 0, 2.0)]
    for job, rate in zip(jobs, (1, 2), strict=True):
        asked = [f"env.reward.incorrect={-rate}", f"agent.rate={rate}", f"pretraining.rate={rate}"]
        OmegaConf.save(OmegaConf.create(asked), job / ".hydra" / "overrides.yaml")
    table, _ = sweep_table(tmp_path)
    assert table["policy"][0] == "LSTM (agent.rate=1, incorrect=-1, pretraining.rate=1)"


@pytest.mark.parametrize(
    ("dataset", "env", "rows"),
    [
        ("omniglot", {"classes": 3, "slots": "${.classes}", "length": 30}, 5),
        ("omniglot", {"classes": 5, "slots": "${.classes}", "length": 30}, 0),
        ("omniglot", {"classes": 3, "slots": 4, "length": 30}, 0),
        ("characters", {"classes": 3, "slots": "${.classes}", "length": 30}, 0),
        ("characters", {"slots": "${oc.env:NOT_THERE}"}, 0),
    ],
)
def test_published_rows_stand_beside_jobs_on_their_task(add_job, tmp_path, dataset, env, rows):
    job = add_job(0, -1, 0, 1.0)
    OmegaConf.save(OmegaConf.create({"dataset": {"name": dataset}, "env": env}), job / ".hydra" / "config.yaml")
    (table,) = sweep_report(tmp_path).tables
    assert (table.numbers["kind"] == "published").sum() == rows


def test_notes_of_a_resumed_job_are_no_job(add_job, tmp_path):
    (add_job(0, -1, 0, 1.0) / "resumed" / "DATE" / ".hydra").mkdir(parents=True)
    assert find_jobs(tmp_path) == [tmp_path / "0"]


def test_jobs_are_found_in_the_order_of_their_numbers(add_job, tmp_path):
    for number in (10, 2, 1):
        add_job(number, -1, number)
    (tmp_path / "figures").mkdir()
    assert [folder.name for folder in find_jobs(tmp_path)] == ["1", "2", "10"]


# ---- callbacks


@pytest.fixture
def config(tmp_path):
    return OmegaConf.create({"seed": "0,1", "hydra": {"sweep": {"dir": str(tmp_path)}}})


def test_callback_prints_and_writes_the_report(add_job, tmp_path, capsys, config):
    add_job(0, -1, 0, 1.0)
    add_job(1, -1, 1, 3.0)
    add_job(2, -1, 2)
    with pytest.raises(SystemExit) as stop:
        SweepTable().on_multirun_end(config, config_name="train")
    assert stop.value.code == 1
    out, err = capsys.readouterr()
    assert out.startswith(f"All jobs of {tmp_path}\n") and "LSTM" in out
    assert err == (
        f"error: 1 of 3 jobs failed: seed=2 in {tmp_path / '2'}; "
        "mend what is told above and start the same sweep again\n"
    )
    assert pd.read_csv(tmp_path / "table.csv").iloc[0].to_dict()["policy"] == "LSTM"
    markdown = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert f"- missing: seed=2 has no finished summary.json in {tmp_path / '2'}\n" in markdown
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<h1>All jobs of" in page and ">LSTM<" in page and "seed: 0,1" in page


def test_a_whole_sweep_ends_well(add_job, config, capsys):
    add_job(0, -1, 0, 1.0)
    SweepTable().on_multirun_end(config)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("callback", [SweepTable, FailedJobs])
def test_jobs_that_failed_in_an_earlier_sweep_are_not_this_ones_fault(callback, add_job, config, capsys):
    old = add_job(0, -1, 0)
    again = callback()
    again.on_multirun_start(config)
    add_job(1, -1, 1, 1.0)
    again.on_multirun_end(config)
    assert capsys.readouterr().err == ""
    again.on_multirun_start(config)
    notes = old / ".hydra" / "overrides.yaml"
    os.utime(notes, ns=(0, notes.stat().st_mtime_ns + 10**6))  # Hydra writes it when the job is begun again
    with pytest.raises(SystemExit):
        again.on_multirun_end(config)
    assert capsys.readouterr().err.startswith(f"error: 1 of 1 jobs failed: seed=0 in {old};")


def test_policies_of_pools_have_their_own_table(add_job, tmp_path):
    for number, gain in ((0, 0.01), (1, 0.02)):
        results = {"kind": "pool", "policy": "mine", "seed": 0, "test": {"aulc": 0.75, "gain": gain, "better": 0.5}}
        (add_job(number, -number, 0) / "summary.json").write_text(json.dumps(results))
    (table,) = sweep_report(tmp_path).tables
    assert table.name == "pools"
    assert table.numbers["gain"].tolist() == [0.01, 0.02]
    assert table.shown is not None
    assert table.shown.to_numpy().tolist()[1] == ["mine (incorrect=-1)", "0", "0.7500", "0.0200", "0.5000"]


def test_a_report_that_cannot_be_written_ends_the_sweep_in_one_line(add_job, config, tmp_path, capsys):
    add_job(0, -1, 0, 1.0)
    (tmp_path / "table.csv").mkdir()
    with pytest.raises(SystemExit):
        SweepTable().on_multirun_end(config)
    out, err = capsys.readouterr()
    assert "LSTM" in out
    assert err.startswith(f"error: could not write {tmp_path / 'table.csv'}") and err.count("\n") == 1


def test_an_agent_that_is_told_the_price_has_a_row_and_a_point_for_each(add_job, tmp_path):
    for seed, rates in enumerate([(0.1, 0.2), (0.2, 0.4)]):
        folder = add_job(seed, -1, seed, 0.0)
        results = json.loads((folder / "summary.json").read_text())
        told = {
            price: results["test"] | {"request_rate": rate, "mean_return": 10 * rate}
            for price, rate in zip(("-1", "-5"), rates, strict=True)
        }
        (folder / "summary.json").write_text(json.dumps(results | {"prices": told}))
    table, _ = sweep_table(tmp_path)
    rows = table[table["kind"] == "policy"].set_index("policy")
    assert list(rows.index) == ["LSTM, told -1", "LSTM, told -5"]
    assert list(rows["request_rate"]) == pytest.approx([0.15, 0.3])
    points = tradeoffs_of_jobs(read_jobs(tmp_path))["LSTM"]
    assert [point["request_rate"] for point in points] == pytest.approx([0.15, 0.3])
    assert points[0]["intervals"]["request_rate"] == rows["request_rate_interval"].iloc[0]


def test_the_training_of_all_jobs_is_drawn_where_it_is_known(add_job, tmp_path):
    for seed in (0, 1):
        folder = add_job(seed, -1, seed, 1.0)
        if seed == 0:
            line = {"kind": "evaluation", "batch": 3, "classes": "test", "mean_return": 4.0}
            (folder / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    figures = sweep_report(tmp_path).figures
    assert set(figures) == {"accuracy_against_requests", "learning_curves"}
    (curve,) = figures["learning_curves"].axes[0].lines
    assert (list(x_of(curve)), list(y_of(curve))) == ([3], [4.0])
