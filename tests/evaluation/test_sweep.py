import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from omegaconf import OmegaConf

from almeta.evaluation.sweep import SweepTable, find_jobs, sweep_table


@pytest.fixture
def add_job(tmp_path, make_summary):
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


def test_jobs_that_differ_in_the_seed_share_a_row(add_job):
    jobs = [add_job(0, -1, 0, 1.0), add_job(1, -1, 1, 3.0), add_job(2, -5, 0, 7.0), add_job(3, -5, 1, 9.0)]
    table, missing = sweep_table(jobs, published=False)
    policies = table[table["kind"] == "policy"]
    assert list(policies["policy"]) == ["LSTM (env.reward.incorrect=-1)", "LSTM (env.reward.incorrect=-5)"]
    assert list(policies["mean_return"]) == [2.0, 8.0]
    assert set(policies["interval_over"]) == {"2 seeds"}
    assert missing == []


def test_one_setting_needs_no_name(add_job):
    table, _ = sweep_table([add_job(0, -1, 0, 1.0), add_job(1, -1, 1, 3.0)])
    assert table.iloc[0].to_dict()["policy"] == "LSTM"
    assert list(table["kind"][-5:]) == ["published"] * 5


def test_baselines_have_one_row_unless_they_score_differently(add_job):
    jobs = [
        add_job(0, -1, 0, 1.0, baseline=-10.0),
        add_job(1, -1, 1, 3.0),
        add_job(2, -5, 0, 7.0, baseline=-90.0),
    ]
    table, _ = sweep_table(jobs, published=False)
    baselines = table[table["kind"] == "baseline"].set_index("policy")["mean_return"].to_dict()
    assert baselines == {
        "always": -1.5,
        "never (env.reward.incorrect=-1)": -10.0,
        "never (env.reward.incorrect=-5)": -90.0,
    }


def test_gaps_are_listed(add_job, tmp_path):
    cut = add_job(2, -5, 0)
    (cut / "summary.json").write_text('{"policy": "LS')
    jobs = [add_job(0, -1, 0, 1.0), add_job(1, -1, 1), cut, tmp_path / "never started"]
    table, missing = sweep_table(jobs, published=False)
    assert list(table[table["kind"] == "policy"]["interval_over"]) == ["1,000 episodes"]
    assert [line.split()[0] for line in missing] == ["1", "2", "never"]
    assert "env.reward.incorrect=-5" in missing[1]


def test_no_finished_job_still_gives_a_table(add_job):
    table, missing = sweep_table([add_job(0, -1, 0)])
    assert list(table["kind"]) == ["published"] * 5
    assert len(missing) == 1


def test_other_split(add_job):
    assert sweep_table([add_job(0, -1, 0, 1.0)], split="train")[1] == [
        "0 (env.reward.incorrect=-1, experiment=tiny): no finished summary.json"
    ]


def test_jobs_are_found_in_the_order_of_their_numbers(add_job, tmp_path):
    for number in (10, 2, 1):
        add_job(number, -1, number)
    (tmp_path / "figures").mkdir()
    assert [folder.name for folder in find_jobs(tmp_path)] == ["1", "2", "10"]


def test_callback_prints_and_writes_the_table(add_job, tmp_path, capsys):
    add_job(0, -1, 0, 1.0)
    add_job(1, -1, 1)
    config = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}})
    SweepTable().on_multirun_end(config, config_name="train")
    text = capsys.readouterr().out
    assert "LSTM" in text
    assert "missing: 1 (" in text
    assert pd.read_csv(tmp_path / "table.csv").iloc[0].to_dict()["policy"] == "LSTM"
    assert (tmp_path / "table.md").read_text(encoding="utf-8").startswith("| policy |")
