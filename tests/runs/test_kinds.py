"""The kind of a problem is one word, and a new kind is one file and its YAML."""

import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import almeta.scripts.evaluate
import almeta.scripts.train
from almeta import register_kind
from almeta.errors import AlmetaError
from almeta.policies import kind_of, load_policy
from almeta.policies.published import publish, read_card
from almeta.runs import Run, find_run, run_of
from almeta.runs.config import TrainConfig
from almeta.runs.pools import PoolRun
from almeta.runs.streams import StreamRun
from almeta.runs.training import train
from almeta.scripts.help import choices
from almeta.training.checkpoint import load_checkpoint
from almeta.training.loggers import read_json_lines
from tests.runs.conftest import run_config
from tests.small_config import compose_config, small_config

CONF = Path(__file__).parent / "conf"
TRAIN: ModuleType = almeta.scripts.train


# ---- the word


@pytest.mark.parametrize("kind, run", [("stream", StreamRun), ("pool", PoolRun)])
def test_a_word_leads_to_the_run(kind, run, finished):
    assert find_run(kind) is run_of(run_config(kind)) is run
    assert run.kind == kind
    assert load_checkpoint(finished[kind] / "best.pt")["kind"] == kind
    assert kind_of(finished[kind]) == kind
    assert json.loads((finished[kind] / "summary.json").read_text())["kind"] == kind


def test_a_card_carries_it(finished, tmp_path):
    for kind in ("stream", "pool"):
        publish(finished[kind] / "last.pt", tmp_path / f"{kind}.json", {})
        assert read_card(tmp_path / f"{kind}.json")["kind"] == kind_of(tmp_path / f"{kind}.json") == kind
        agent = load_policy(tmp_path / f"{kind}.json")
        assert agent.inputs.kind == kind


def test_an_unknown_kind_is_told_in_a_sentence():
    with pytest.raises(AlmetaError, match="unknown kind of problem 'pol'; did you mean 'pool'"):
        find_run("pol")


def test_an_environment_without_training_is_told_and_not_offered():
    with pytest.raises(AlmetaError, match="of kind 'table_stream' have no training yet, only those of kind .*stream"):
        run_of(TrainConfig.read(compose_config("env=table_stream")))
    assert choices("env", "train") == ["classes", "features", "one_shot", "pool"]


def test_an_environment_without_a_kind_is_told():
    config = small_config("env=pool") | {"env": {"_target_": "almeta.envs.StreamRewards"}}
    with pytest.raises(AlmetaError, match=r"env\._target_ is 'almeta\.envs\.StreamRewards', which has no kind"):
        run_of(TrainConfig.read(config))


def test_only_runs_with_a_kind_are_registered():
    for thing in (object, 3, Run, type("Nameless", (Run,), {})):
        with pytest.raises(AlmetaError, match="is no kind of runs; derive a class from Run and give it a kind"):
            register_kind(thing)  # type: ignore[arg-type]
    with pytest.raises(AlmetaError, match="there is another kind of problem 'pool' already"):
        register_kind(type("Other", (PoolRun,), {"kind": "pool"}))
    assert find_run("pool") is PoolRun


WRONG = {
    ("network=scorer",): "network._target_ is 'almeta.agents.PoolScorer', which is for problems of kind pool, but env",
    ("network=recurrent_scorer",): "network._target_ is 'almeta.agents.RecurrentPoolScorer', which is for problems of",
    ("env=pool", "dataset=embedded"): "network._target_ is 'almeta.agents.LSTMNetwork', which is for problems of kind",
    ("experiment=pool/quickstart", "network=lstm"): "network._target_ is 'almeta.agents.LSTMNetwork', which is for",
    ("experiment=pool/quickstart", "network=episodic"): "network._target_ is 'almeta.agents.EpisodicNetwork', which",
    ("experiment=pool/quickstart", "agent=supervised"): "agent._target_ is 'almeta.agents.Supervised', which is for",
}


@pytest.mark.parametrize("overrides, says", WRONG.items())
def test_what_cannot_act_in_an_environment_is_told_before_anything_is_loaded(overrides, says, command, monkeypatch):
    def load(name, **options):
        raise AssertionError(f"{name} is loaded")

    for module in ("streams", "suites"):
        monkeypatch.setattr(f"almeta.runs.{module}.load_dataset", load)
    outcome = command(TRAIN, *overrides)
    assert outcome.status == 1
    assert outcome.error.startswith(f"error: {says}")
    assert outcome.error.endswith("or choose env, network and agent of one kind")


# ---- a kind of one's own


def test_a_kind_of_ones_own_is_trained_resumed_and_judged_by_the_same_commands(command, monkeypatch, tmp_path):
    asked = ("--config-dir", str(CONF), "experiment=toy", "threads=1")
    outcome = command(TRAIN, *asked, "hydra.run.dir=whole")
    assert outcome.status == 0, outcome.err
    assert "training toy: Reinforce with ToyNetwork" in outcome.out
    whole = tmp_path / "whole"
    summary = json.loads((whole / "summary.json").read_text())
    assert (summary["kind"], summary["policy"]) == ("toy", "toy")
    returns = [line["mean_return"] for line in read_json_lines(whole / "metrics.jsonl") if line["kind"] == "train"]
    assert len(returns) == 40
    assert returns[0] < 2.0  # by chance one digit of four is right, in five steps
    assert sum(returns[-5:]) / 5 > 4.0
    assert summary["train"]["mean_return"] > 4.5
    assert kind_of(whole) == "toy"

    assert command(TRAIN, *asked, "batches=25", "hydra.run.dir=parted").status == 0
    outcome = command(TRAIN, "resume=parted", "batches=40", "modules=[tests.runs.toy]")
    assert outcome.status == 0, outcome.err
    assert "going on after batch 25" in outcome.out
    one, other = (load_checkpoint(folder / "last.pt") for folder in (whole, tmp_path / "parted"))
    torch.testing.assert_close(one["agent"], other["agent"], rtol=0, atol=0)

    judged = command(almeta.scripts.evaluate, "policy=whole", "modules=[tests.runs.toy]", "hydra.run.dir=judged")
    assert judged.status == 0, judged.err
    assert json.loads((tmp_path / "judged" / "summary.json").read_text())["test"]["mean_return"] > 4.5


def test_a_kind_of_ones_own_learns_in_several_epochs_too(command, tmp_path):
    """PPO runs the network over the batch again, which needs nothing of the kind."""
    asked = ("--config-dir", str(CONF), "experiment=toy", "agent=ppo", "threads=1", "hydra.run.dir=ppo")
    assert command(TRAIN, *asked).status == 0
    assert json.loads((tmp_path / "ppo" / "summary.json").read_text())["train"]["mean_return"] > 4.5


def test_a_sweep_of_a_kind_of_ones_own_has_a_table(command, tmp_path):
    outcome = command(TRAIN, "-m", "--config-dir", str(CONF), "experiment=toy", "threads=1", "batches=2", "seed=0,1")
    assert outcome.status == 0, outcome.err
    assert len(list((tmp_path / "runs/toy/sweep").glob("*/summary.json"))) == 2
    assert "Traceback" not in outcome.err + outcome.out


# ---- a finished run


def test_a_finished_run_has_nothing_to_do(finished, tmp_path, capsys, same_images):
    for kind in ("stream", "pool"):
        folder = shutil.copytree(finished[kind], tmp_path / kind)
        before: dict[str, Any] = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        summary = train(run_config(kind), folder)
        assert summary == json.loads(before["summary.json"])
        assert "is finished already: nothing to do" in capsys.readouterr().out
        assert before == {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
