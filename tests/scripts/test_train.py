"""The command that trains: runs, and runs that go on. Bad input has a file of its own, and so have sweeps."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from almeta.scripts import train
from almeta.training.trainer import Trainer
from tests.small_config import SMALL

LEFT = {
    "config.yaml",
    "metrics.jsonl",
    "last.pt",
    "best.pt",
    "summary.json",
    "table.csv",
    "table.md",
    "table.tex",
    "instances.csv",
    "novelty.csv",
    "report.html",
    "accuracy_against_requests.png",
    "requests_along_script.png",
    "instances_over_training.png",
    "learning_curve.png",
}


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_file()}


def same_run(one: Path, two: Path) -> None:
    """Assert that two folders hold the same run, bit for bit."""
    assert (one / "metrics.jsonl").read_bytes() == (two / "metrics.jsonl").read_bytes()
    assert (one / "summary.json").read_bytes() == (two / "summary.json").read_bytes()
    for name in ("last.pt", "best.pt"):
        ours, theirs = (torch.load(folder / name, weights_only=True) for folder in (one, two))
        ours["config"]["batches"] = theirs["config"]["batches"]  # best.pt may be older than the decision to go on
        assert equal(ours, theirs)


def equal(one: Any, two: Any) -> bool:
    """Whether two nested values are equal, tensors bit for bit."""
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(equal(one[key], two[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(two) and all(map(equal, one, two))
    return torch.equal(one, two) if isinstance(one, torch.Tensor) else one == two


def test_a_run_leaves_its_files_and_says_what_it_did(command):
    result = command(train, "experiment=one_shot/woodward_finn", *SMALL, "hydra.run.dir=run")
    assert result.status == 0
    assert files(Path("run")) == LEFT
    assert "training woodward_finn: QLearning with LSTMNetwork (" in result.out
    assert "for 4 batches of 4 episodes, on 1,200 classes of omniglot; judged on 30 classes it never sees" in result.out
    assert "woodward_finn after 4 batches, on classes of omniglot never trained on" in result.out
    for name in ("request always", "never request: guess", "nearest labelled image", "published: Supervised"):
        assert name in result.out
    assert "learning_curve.png, report.html, summary.json to run\n" in result.out
    assert "batch 4 of 4" in result.err  # progress does not mix with the tables
    summary = json.loads(Path("run/summary.json").read_text())
    assert {"policy", "seed", "batches", "test", "train", "baselines", "scripted"} <= set(summary)
    config = OmegaConf.to_container(OmegaConf.load("run/config.yaml"))
    assert config == torch.load("run/last.pt", weights_only=True)["config"]
    assert "${" not in Path("run/config.yaml").read_text()


def test_published_rows_are_for_the_published_task(command):
    assert "published" not in command(train, *SMALL, "dataset=characters").out
    assert "published" not in command(train, *SMALL, "dataset=omniglot", "env.classes=2").out


@pytest.mark.parametrize("arguments", [[], ["--config-dir", "my_conf"]])
def test_without_a_word_on_what_to_train_the_presets_are_named(command, arguments):
    Path("my_conf").mkdir()
    result = command(train, *arguments)
    assert (result.status, result.out) == (1, "")
    assert result.error == (
        "error: nothing says what to train; name a preset, such as experiment=one_shot/quickstart, which takes "
        "minutes; there are one_shot/encoder, one_shot/episodic, one_shot/exploration, one_shot/quickstart, "
        "one_shot/santoro, one_shot/supervised, one_shot/table, one_shot/text, one_shot/transfer, "
        "one_shot/woodward_finn, pool/lal_rl, pool/pang, pool/quickstart, pool/transfer, study/classes, study/features"
    )
    assert not Path("runs").exists()


def test_runs_have_folders_of_their_own(command):
    for _ in range(2):
        assert command(train, *SMALL, "batches=1", "name=mine").status == 0
    folders = list(Path("runs/mine").iterdir())
    assert len(folders) == 2
    assert all(files(folder) == LEFT for folder in folders)


def test_the_same_seed_is_the_same_run_and_another_is_not(command):
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert command(train, *SMALL, f"seed={seed}", f"hydra.run.dir={folder}").status == 0
    same_run(Path("a"), Path("b"))
    assert Path("a/metrics.jsonl").read_bytes() != Path("c/metrics.jsonl").read_bytes()


def test_main_returns_the_mean_return_on_training_classes(small_run):
    small_run("run")
    config = OmegaConf.create({"resume": "run", "modules": []})
    hydra = OmegaConf.create(
        {"hydra": {"mode": "RUN", "overrides": {"task": []}, "runtime": {"output_dir": "run"}, "job": {"chdir": None}}}
    )
    HydraConfig.instance().cfg = hydra  # type: ignore[assignment]
    try:
        score = train.main(config)
    finally:
        HydraConfig.instance().cfg = None
    assert isinstance(score, float)
    assert score == json.loads(Path("run/summary.json").read_text())["train"]["mean_return"]


# ---- going on


@pytest.mark.parametrize("resume", ["run", "run/last.pt"])
@pytest.mark.parametrize("network", ["lstm", "episodic"])
def test_a_run_that_is_resumed_for_longer_is_a_longer_run(command, resume, network, small_run):
    small_run("whole", f"network={network}", "batches=8")
    small_run("run", f"network={network}")
    result = command(train, f"resume={resume}", "batches=8")
    assert result.status == 0
    assert f"going on after batch 4 of {Path('run', 'last.pt')}" in result.out
    same_run(Path("run"), Path("whole"))
    assert len(list(Path("run/resumed").iterdir())) == 1  # what Hydra notes of the second command


def test_a_run_can_be_taken_up_at_its_best_checkpoint(command, small_run):
    small_run("whole", "batches=8")
    small_run("run", "batches=8")
    best = torch.load("run/best.pt", weights_only=True)["batch"]
    result = command(train, "resume=run/best.pt")
    assert f"going on after batch {best} of run/best.pt" in result.out
    same_run(Path("run"), Path("whole"))


def test_what_is_finished_is_not_done_again(command, small_run):
    small_run("run")
    before = {path: path.stat().st_mtime_ns for path in Path("run").iterdir() if path.is_file()}
    for again in (["resume=run"], [*SMALL, "hydra.run.dir=run"]):
        result = command(train, *again)
        assert (result.status, result.out) == (0, "run is finished already: nothing to do\n")
    assert before == {path: path.stat().st_mtime_ns for path in Path("run").iterdir() if path.is_file()}


def test_a_longer_run_that_is_stopped_again_is_not_taken_for_finished(command, monkeypatch, small_run):
    small_run("whole", "batches=8")
    small_run("run")
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train", interrupt)
        assert command(train, "resume=run", "batches=8").status == 130
    assert not Path("run/summary.json").exists()
    assert command(train, "resume=run").status == 0
    same_run(Path("run"), Path("whole"))


def interrupt(*args, **kwargs):
    raise KeyboardInterrupt


def test_more_episodes_at_the_end_judge_again_without_training(command, small_run):
    small_run("run")
    weights = Path("run/best.pt").read_bytes()
    assert command(train, "resume=run", "final_episodes=12").status == 0
    assert json.loads(Path("run/summary.json").read_text())["test"]["episodes"] == 12
    assert Path("run/best.pt").read_bytes() == weights


@pytest.mark.parametrize(
    "override, told",
    [
        ("seed=1", "only batches, "),
        ("name=other", "only batches, "),
        ("num_envs=8", "only batches, "),
        ("anneal_lr=true", "only batches, "),
        ("pretraining.shots=3", "only batches, "),
        ("agent=ppo", "start a new run"),
        ("+agent.x=1", "start a new run"),
        ("agent@agent=ppo", "start a new run"),
        ("env.reward.incorrect=-5", "start a new run"),
        ("~env.stickiness", "start a new run"),
        ("network.rows=5", "start a new run"),  # an option of another network than the usual one
    ],
)
def test_what_is_learned_does_not_change_on_the_way(command, override, told, small_run):
    small_run("run")
    result = command(train, "resume=run", override)
    assert result.status == 1
    assert result.error.startswith(f"error: {override.lstrip('+')} cannot change when a run is resumed; {told}")
    assert not Path("run/resumed").exists()


def test_a_falling_learning_rate_fixes_the_number_of_batches(command, small_run):
    small_run("run", "anneal_lr=true")
    result = command(train, "resume=run", "batches=8")
    assert result.error == (
        "error: batches=8 cannot change when a run with anneal_lr=true is resumed: its learning rate falls to zero "
        "over batches=4; start a new run"
    )
    result = command(train, *SMALL, "anneal_lr=true", "batches=8", "hydra.run.dir=run")
    assert "error: run holds a run with another batches; choose another folder" in result.error


def test_a_run_cannot_be_resumed_to_fewer_batches(command, small_run):
    small_run("run")
    result = command(train, "resume=run", "batches=3")
    assert result.error == "error: run/last.pt is of batch 4 already; choose batches=4 or more"
    assert Path("run/summary.json").exists()


def test_another_run_does_not_get_into_the_same_folder(command, small_run):
    small_run("run")
    before = files(Path("run"))
    result = command(train, *SMALL, "seed=1", "agent=ppo", "hydra.run.dir=run")
    assert "error: run holds a run with another agent, name, seed; choose another folder with hydra.run." in result.err
    assert files(Path("run")) == before


def test_the_logger_may_change_on_the_way(command, small_run):
    small_run("run")
    assert command(train, "resume=run", "batches=6", "logger=wandb", "logger.mode=disabled").status == 0
    logger = OmegaConf.load("run/config.yaml").logger
    assert (logger.mode, logger.name) == ("disabled", "q_learning-0")
    assert command(train, "resume=run", "batches=8", "logger=none").status == 0
    assert OmegaConf.load("run/config.yaml").logger == {}


@pytest.mark.parametrize("moment", ["almeta.runs.streams.pretrain_encoder", "almeta.runs.streams.compare"])
def test_ctrl_c_outside_the_training_loop_says_how_to_go_on(command, monkeypatch, moment, small_run):
    base = (*SMALL, "network=episodic")
    small_run("whole", "network=episodic")
    with monkeypatch.context() as patch:
        patch.setattr(moment, interrupt)
        result = command(train, *base, "hydra.run.dir=run")
    assert result.status == 130
    assert result.err.splitlines()[-1] == "stopped; to go on: python scripts/train.py resume=run"
    assert not Path("run/summary.json").exists()
    assert command(train, "resume=run").status == 0
    same_run(Path("run"), Path("whole"))


def test_ctrl_c_before_anything_is_trained_leaves_nothing(command, monkeypatch):
    monkeypatch.setattr("almeta.runs.streams.load_dataset", interrupt)
    result = command(train, *SMALL)
    assert (result.status, result.error) == (130, "stopped")
    assert not Path("runs").exists()
