"""Runs that are trained at once: each leaves what it leaves alone."""

import json

import pytest
import torch

import almeta
from almeta.errors import AlmetaError
from almeta.evaluation.report import Report
from almeta.runs.config import TrainConfig
from almeta.runs.streams import StreamRun
from almeta.runs.together import Together, settings_of, with_settings
from almeta.runs.training import train
from almeta.training.checkpoint import load_checkpoint
from almeta.training.loggers import read_json_lines
from tests.small_config import small_config

ASKED = {"seed": [0, 1], "env.reward.incorrect": [-1, [-20, -1]]}
NAMES = ["00__seed_0__env.reward.incorrect_-1", "01__seed_0__env.reward.incorrect__-20_-1_"]


def config_of(*overrides, at_once=None, **changes):
    config = small_config(
        "experiment=one_shot/quickstart", "seed=3", "anneal_lr=false", "env.tells_price=true", *overrides
    )
    return TrainConfig.read(config | {"at_once": at_once or ASKED} | changes)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, make_images):
    """The folder of four runs that were trained at once."""
    folder = tmp_path_factory.mktemp("together")
    images = make_images([12] * 1230, name="characters")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("matplotlib.figure.Figure.savefig", lambda self, file, **options: file.write(b"\x89PNG"))
        patch.setattr("almeta.runs.streams.load_dataset", lambda name: images)
        summary = train(config_of(), folder)
    return folder, summary


def test_each_run_has_a_folder_like_one_alone(finished):
    folder, summary = finished
    jobs = sorted((folder / "jobs").iterdir())
    assert [job.name for job in jobs[:2]] == NAMES
    assert len(jobs) == 4
    returns = []
    for job in jobs:
        own = json.loads((job / "summary.json").read_text())
        returns.append(own["train"]["mean_return"])
        assert own["kind"] == "stream"
        assert {"config.yaml", "last.pt", "metrics.jsonl", "report.html", "table.csv"} <= {
            p.name for p in job.iterdir()
        }
        assert [one["batch"] for one in read_json_lines(job / "metrics.jsonl") if one["kind"] == "train"] == [
            1,
            2,
            3,
            4,
        ]
        assert "reward of an incorrect prediction" in almeta.load_policy(job).inputs.names
    assert summary["train"]["mean_return"] == pytest.approx(sum(returns) / 4)
    assert {"table.csv", "accuracy_against_requests.png", "report.html"} <= {path.name for path in folder.iterdir()}


def test_the_record_of_all_has_the_mean_and_the_runs(finished):
    folder, _ = finished
    records = read_json_lines(folder / "metrics.jsonl")
    for name in ("loss", "mean_return"):
        assert records[0][name] == pytest.approx(sum(run[name] for run in records[0]["runs"]) / 4)
    own = read_json_lines(folder / "jobs" / NAMES[1] / "metrics.jsonl")
    assert own[0]["loss"] == records[0]["runs"][1]["loss"]


def test_an_agent_that_is_told_the_price_is_judged_at_several(finished):
    folder, _ = finished
    told = json.loads((folder / "jobs" / NAMES[1] / "summary.json").read_text())
    assert list(told["prices"]) == ["-1", "-5", "-10", "-20"]
    assert "prices" not in json.loads((folder / "jobs" / NAMES[0] / "summary.json").read_text())
    table = (folder / "table.csv").read_text()
    assert "incorrect=[-20,-1]), told -5" in table
    assert "incorrect=[-20,-1])," not in table.replace("), told", "")  # the mean over prices has no row


def test_a_run_goes_on_alone(finished, same_images, tmp_path):
    job = finished[0] / "jobs" / NAMES[0]
    content = load_checkpoint(job / "last.pt")
    config = TrainConfig.read(content["config"] | {"batches": 5})
    summary = train(config, tmp_path, job / "last.pt")
    assert summary["batches"] == 5
    moments = content["optimizer"]["state"]
    assert moments
    assert all(state["exp_avg"].dim() <= 2 for state in moments.values())


def test_a_stop_changes_nothing(same_images, tmp_path, finished, monkeypatch):
    judged = ({"train": {"mean_return": 0.0}}, Report("not judged"))
    monkeypatch.setattr(Together, "conclude", lambda self, folder: judged)
    train(config_of("batches=2"), tmp_path)
    train(config_of(), tmp_path)
    whole = load_checkpoint(finished[0] / "last.pt")["agent"]
    for name, weight in load_checkpoint(tmp_path / "last.pt")["agent"].items():
        assert torch.equal(weight, whole[name]), name


def test_runs_that_go_on_are_judged_again(same_images, tmp_path, monkeypatch):
    judged: list[str] = []
    monkeypatch.setattr(StreamRun, "finish", fake_finish(judged, StreamRun.finish))
    monkeypatch.setattr("almeta.runs.together.sweep_report", lambda *given: Report("not drawn"))
    train(config_of("batches=1"), tmp_path)
    assert len(judged) == 4
    (tmp_path / "summary.json").unlink()  # as if a stop had cut the judging short
    train(config_of("batches=1"), tmp_path)
    assert len(judged) == 4
    train(config_of("batches=2"), tmp_path)
    assert len(judged) == 8
    for name in NAMES:
        assert load_checkpoint(tmp_path / "jobs" / name / "last.pt")["batch"] == 2


def fake_finish(judged, real):
    """Notes which of the runs is judged, and writes a summary; all of them together are finished as ever."""

    def finish(self, folder, console):
        if isinstance(self, Together):
            return real(self, folder, console)
        judged.append(folder.name)
        summary = {"train": {"mean_return": 0.0}}
        (folder / "summary.json").write_text(json.dumps(summary))
        return summary

    return finish


def test_what_at_once_sets_is_told(same_images):
    notes = Together(config_of("env.reward.incorrect=-5", "env.reward.request=-0.1")).notes()
    assert notes == [
        "seed=3 draws the streams to train on; the runs' seeds are those of at_once",
        "env.reward.incorrect=-5 has no effect: at_once sets it",
    ]


def test_settings_are_all_combinations():
    config = config_of()
    assert settings_of(config) == [
        {"seed": 0, "env.reward.incorrect": -1},
        {"seed": 0, "env.reward.incorrect": [-20, -1]},
        {"seed": 1, "env.reward.incorrect": -1},
        {"seed": 1, "env.reward.incorrect": [-20, -1]},
    ]
    one = with_settings(config, {"seed": 7, "env.reward.incorrect": -9})
    assert (one.seed, one.env["reward"]["incorrect"], one.env["reward"]["correct"]) == (7, -9, 1.0)
    assert one.at_once is None
    assert config.env["reward"]["incorrect"] == -1.0


@pytest.mark.parametrize(
    ("at_once", "said"),
    [
        (
            {"learning_rate": [1, 2]},
            "at_once has the key 'learning_rate'; runs that are trained at once may differ in seed",
        ),
        ({"seed": 3}, "at_once.seed is 3; give a list of values"),
        ({"seed": []}, r"at_once.seed is \[\]; give a list"),
        ({"seed": [0, 1, 0]}, r"at_once.seed is \[0, 1, 0\]; equal values would train the same run twice"),
        ({"env.reward.incorrect": [[-1]]}, r"env.reward.incorrect=\[-1.0\]; a range has two numbers|incorrect=\[-1\]"),
    ],
)
def test_wrong_settings_are_told_before_any_work(same_images, tmp_path, at_once, said):
    with pytest.raises(AlmetaError, match=said):
        train(config_of(at_once=at_once), tmp_path)


def test_pools_are_not_trained_at_once(tmp_path):
    config = TrainConfig.read(small_config("experiment=pool/quickstart") | {"at_once": {"seed": [0, 1]}})
    with pytest.raises(AlmetaError, match="at_once is for streams, and env is of kind pool"):
        train(config, tmp_path)
