import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import almeta
import almeta.policies
from almeta.policies import policy_names
from almeta.policies.published import read_card
from almeta.scripts import evaluate, publish
from tests.runs.conftest import finished, same_images  # noqa: F401


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Makes a folder of runs of one kind, one for each fold; what would be published is written down."""
    contents: dict = {}
    written: list = []

    def make(*folds, kind="pool", ended=True, weights=1):
        for number, fold in enumerate(folds):
            folder = tmp_path / "runs" / f"run{number}"
            folder.mkdir(parents=True)
            (folder / "last.pt").touch()
            if ended:
                (folder / "summary.json").write_text("{}")
            agent = {"weight": torch.zeros(weights)}
            contents[folder / "last.pt"] = {"kind": kind, "config": {"dataset": {"fold": fold}}, "agent": agent}
        return tmp_path / "runs", written

    monkeypatch.setattr(publish, "load_checkpoint", contents.__getitem__)
    monkeypatch.setattr(publish, "publish", lambda checkpoint, card, facts: written.append(card))
    monkeypatch.setattr(almeta.policies, "__file__", str(tmp_path / "policies" / "__init__.py"))
    (tmp_path / "policies").mkdir()
    return make


def publish_as(name, folder, monkeypatch, *options):
    monkeypatch.setattr(
        sys, "argv", ["publish.py", str(folder), name, "--command", "how", "--commit", "which", *options]
    )
    publish.main()


def test_each_fold_has_a_card(runs, monkeypatch, tmp_path):
    folder, written = runs(0, 3, None)
    publish_as("mine", folder, monkeypatch)
    assert written == [tmp_path / "policies" / "mine" / f"{name}.json" for name in ("fold0", "fold3", "full")]


@pytest.mark.parametrize("name", ["../evil", "Mine", "", "margin", "a b"])
def test_names_that_cannot_be(name, runs, monkeypatch, tmp_path):
    folder, written = runs(0)
    with pytest.raises(SystemExit, match=r"error: the name is .* name no strategy"):
        publish_as(name, folder, monkeypatch)
    assert not written and not list((tmp_path / "policies").iterdir())


def test_a_policy_is_written_over_by_force_alone(runs, monkeypatch):
    folder, written = runs(0)
    with pytest.raises(SystemExit, match="error: there is a policy 'transfer'; choose another name, or --force"):
        publish_as("transfer", folder, monkeypatch)
    assert not written
    publish_as("transfer", folder, monkeypatch, "--force")
    assert len(written) == 1


def test_a_policy_that_is_written_over_leaves_no_member(runs, monkeypatch, tmp_path):
    folder, _ = runs(0)
    (tmp_path / "policies" / "transfer").mkdir()
    for name in ("fold0.json", "fold1.json", "fold1.safetensors"):
        (tmp_path / "policies" / "transfer" / name).touch()
    publish_as("transfer", folder, monkeypatch, "--force")
    assert [path.name for path in (tmp_path / "policies" / "transfer").iterdir()] == ["fold0.json"]


def test_a_folder_of_one_run_is_named_as_such(runs, monkeypatch, tmp_path):
    folder, written = runs(2)
    publish_as("mine", folder / "run0", monkeypatch)
    assert written == [tmp_path / "policies" / "mine" / "fold2.json"]


@pytest.mark.parametrize(
    "folds, options, message",
    [
        (
            (),
            {},
            "there is no finished run in .*; name the folder of a run, or one that holds a run's folder for each fold",
        ),
        ((0,), {"ended": False}, "there is no finished run in "),
        ((0, 0), {}, "run0 and .*run1 have one fold; keep one of them there"),
        (
            (0, 0),
            {"kind": "stream"},
            "run0 and .*run1 were both trained on streams, and a policy of streams is one run",
        ),
        ((0,), {"kind": "toy"}, "run0 was trained on problems of kind toy, not on pools or streams"),
        ((0,), {"weights": 1_500_000}, "the weights of .*run0 have 6.0 MB, and those of a policy that ships at most 5"),
    ],
)
def test_runs_that_cannot_be_published(folds, options, message, runs, monkeypatch, tmp_path):
    folder, written = runs(*folds, **options)
    with pytest.raises(SystemExit, match=f"error: .*{message}"):
        publish_as("mine", folder, monkeypatch)
    assert not written and not list((tmp_path / "policies").iterdir())


# ---- streams


@pytest.fixture
def shipped(finished, same_images, tmp_path, monkeypatch):  # noqa: F811
    """Publishes a small run on streams as "one-shot-tiny", from its own folder or one with that run alone."""
    policies = tmp_path / "policies"
    policies.mkdir()
    monkeypatch.setattr(almeta.policies, "__file__", str(policies / "__init__.py"))
    monkeypatch.setattr(almeta.policies, "_SHIPPED", policies)

    def make(alone=False):
        folder = finished["stream"]
        if alone:
            folder = tmp_path / "runs"
            shutil.copytree(finished["stream"], folder / "one")
        publish_as("one-shot-tiny", folder, monkeypatch)
        return policies / "one-shot-tiny" / "stream.json"

    return make


@pytest.mark.parametrize("alone", [False, True])
def test_a_run_on_streams_is_published_with_its_scores(shipped, finished, alone):  # noqa: F811
    path = shipped(alone)
    card, summary = read_card(path), json.loads((finished["stream"] / "summary.json").read_text())
    assert (card["kind"], card["trained_on"], card["command"], card["commit"]) == (
        "stream", ["characters"], "how", "which"
    )  # fmt: skip
    assert card["config"]["dataset"] == {"name": "characters", "train_classes": 0.75, "split_seed": 0}
    scores = card["scores"]
    for measure in ("prediction_accuracy", "request_rate", "accuracy", "mean_return"):
        assert scores[measure] == summary["test"][measure]
        assert scores["intervals"][measure] == summary["test"]["intervals"][measure]
        assert scores["baselines"]["request always"][measure] == summary["baselines"]["request always"][measure]
    assert scores["rewards"] == {"request": -0.05, "correct": 1.0, "incorrect": -1.0}
    assert scores["gain"] == summary["gain"] and scores["episodes"] == summary["test"]["episodes"]
    table = [line.split(",") for line in (finished["stream"] / "few_shot.csv").read_text().splitlines()[1:]]
    assert [one["accuracy"] for one in scores["few_shot"]] == [pytest.approx(float(line[2])) for line in table] != []


def test_it_acts_by_its_name_as_the_run_does(shipped, finished):  # noqa: F811
    path = shipped()
    assert policy_names() == ["one-shot-tiny"]
    agent, own = almeta.load_policy("one-shot-tiny"), almeta.load_policy(finished["stream"])
    assert load_file(path.with_suffix(".safetensors")).keys() == own.state_dict().keys()
    image = torch.rand(16, generator=torch.Generator().manual_seed(0)).view(4, 4)
    for _ in range(3):
        assert agent.observe(image) == own.observe(image)
        for one in (agent, own):
            one.tell("cat")


def test_evaluate_judges_it_as_the_run(shipped, finished, command):  # noqa: F811
    shipped()
    found: list[dict[str, Any]] = []
    for policy in ("one-shot-tiny", finished["stream"]):
        outcome = command(evaluate, f"policy={policy}", "episodes=20", "threads=1", "hydra.run.dir=out")
        assert outcome.status == 0, outcome.err
        summary = json.loads(Path("out/summary.json").read_text())
        assert (summary.pop("policy"), summary["dataset"], summary["classes"]) == (str(policy), "characters", "test")
        assert summary.pop("name") == ("quickstart" if found else "one-shot-tiny")  # as it was named
        found.append(summary)
    assert found[0] == found[1]


def test_classes_of_its_training_are_refused_by_name(shipped, command):
    shipped()
    outcome = command(evaluate, "policy=one-shot-tiny", "episodes=20", "threads=1", "classes=all")
    assert "the policy was trained on classes of 'characters'" in outcome.error
    outcome = command(evaluate, "policy=one-shot-tiny", "episodes=20", "threads=1", "dataset=omniglot")
    assert outcome.status == 0


def test_the_card_has_the_scores_at_each_price_that_was_told(finished):  # noqa: F811
    summary = json.loads((finished["stream"] / "summary.json").read_text())
    assert "prices" not in publish.stream_scores(finished["stream"], summary)
    scores = publish.stream_scores(finished["stream"], summary | {"prices": {"-5": summary["test"]}})
    assert list(scores["prices"]) == ["-5"]
    assert scores["prices"]["-5"]["request_rate"] == summary["test"]["request_rate"]


def test_a_policy_is_judged_at_another_price(finished, same_images, command):  # noqa: F811
    means = {}
    for price in (-1, -9):
        asked = (f"policy={finished['stream']}", "episodes=20", "threads=1", f"env.reward.incorrect={price}")
        assert command(evaluate, *asked, "hydra.run.dir=out").status == 0
        summary = json.loads(Path("out/summary.json").read_text())
        assert summary["env"]["reward"] == {"request": -0.05, "correct": 1.0, "incorrect": price}
        means[price] = summary["mean_return"]
    assert means[-1] > means[-9]
