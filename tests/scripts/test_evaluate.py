"""The command that judges trained agents."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from almeta.data import load_dataset
from almeta.scripts import evaluate

FEW = ("episodes=8", "num_envs=8", "threads=1", "hydra.run.dir=out")


@pytest.fixture
def run(small_run):
    """Trains a small agent on a data set and returns its folder."""

    def make(dataset: str = "characters", *overrides: str) -> Path:
        folder: Path = small_run(f"on-{dataset}", f"dataset={dataset}", *overrides)
        return folder

    return make


def summary() -> dict[str, Any]:
    return json.loads(Path("out/summary.json").read_text())


def test_the_measures_are_printed_and_written(command, run):
    result = command(evaluate, f"policy={run()}", *FEW)
    assert result.status == 0
    found = summary()
    assert {"prediction_accuracy", "request_rate", "accuracy", "mean_return", "by_instance"} <= set(found)
    assert (found["dataset"], found["classes"], found["episodes"]) == ("characters", "test", 8)
    assert [line["instance"] for line in found["by_instance"]] == list(range(1, 11))
    assert len(found["baselines"]) == 5
    text = " ".join(result.out.split())
    assert "q_learning, trained on characters; judged on 308 classes of characters" in text
    assert "in streams of 3 classes and 30 steps, -1 for a mistake" in text
    assert "q_learning, by k-th image of a class" in result.out
    assert {path.name for path in Path("out").iterdir() if path.is_file()} == {
        "summary.json",
        "table.csv",
        "table.md",
        "table.tex",
        "instances.csv",
        "novelty.csv",
        "report.html",
        "accuracy_against_requests.png",
        "requests_along_script.png",
    }


@pytest.mark.parametrize(("own", "other"), [("characters", "omniglot"), ("omniglot", "characters")])
def test_a_policy_is_judged_on_another_data_set(command, run, own, other):
    for classes, number in (("all", "1,230"), ("test", "30" if other == "omniglot" else "308")):
        result = command(evaluate, f"policy={run(own)}", *FEW, f"dataset={other}", f"classes={classes}")
        assert result.status == 0
        text = " ".join(result.out.split())
        assert f"trained on {own}; judged on {number} classes of {other}, never trained on" in text
        assert ("published" in text) == (other == "omniglot")
        assert summary()["dataset"] == other


def test_unseen_classes_are_the_held_out_ones_of_its_own_data_and_all_of_any_other(command, run):
    for dataset, number in (("characters", "308"), ("omniglot", "1,230")):
        result = command(evaluate, f"policy={run()}", *FEW, f"dataset={dataset}", "classes=unseen")
        assert f"judged on {number} classes of {dataset}, never trained on" in " ".join(result.out.split())


def test_another_data_set_without_a_preset_is_split_in_halves(command, run):
    folder = run("omniglot")  # of which 1,200 classes are for training
    result = command(evaluate, f"policy={folder}", *FEW, "dataset=usps")
    assert "judged on 615 classes of usps, never trained on" in " ".join(result.out.split())


def test_rules_are_tuned_on_the_judged_classes_where_there_are_too_few_others(command, run, tiny_data, make_images):
    digits, load = make_images([20] * 6, name="fashion-mnist"), tiny_data
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "almeta.runs.streams.load_dataset", lambda name: digits if name == "fashion-mnist" else load(name)
        )
        folder = run("characters", "experiment=one_shot/quickstart")
        asked = [f"policy={folder}", *FEW, "dataset=fashion_mnist", "classes=all", "env.classes=6"]
        assert command(evaluate, *asked).status == 0
        says = command(evaluate, *asked[:-1], "classes=test", "env.classes=2").error
        assert "this part of data set 'fashion-mnist' has 1 classes; choose 1 to 1" in says


# ---- several settings


def test_a_sweep_ends_in_one_table_of_its_settings(command, run):
    asked = ("-m", f"policy={run()}", *FEW[:-1], "classes=unseen", "hydra.sweep.dir=sweep")
    result = command(evaluate, *asked, "dataset=characters,omniglot", "env.length=20,30", "seed=0,1")
    assert result.status == 0, result.err
    table = pd.read_csv("sweep/settings.csv")
    found = table[["policy", "data set", "classes", "steps"]].to_numpy().tolist()
    assert found == [["q_learning", name, 3, steps] for name in ("characters", "omniglot") for steps in (20, 30)]
    assert set(table["interval_over"]) == {"2 seeds"}
    summaries = [json.loads(path.read_text()) for path in Path("sweep").glob("*/summary.json")]
    own = [one for one in summaries if (one["dataset"], one["env"]["length"]) == ("omniglot", 20)]
    assert table["mean_return"][2] == pytest.approx(sum(one["mean_return"] for one in own) / 2)
    assert table["gain"][2] == pytest.approx(sum(one["gain"]["mean"] for one in own) / 2)
    text = result.out[result.out.index("All evaluations of sweep") :]
    assert (
        "q_learning on streams of characters, omniglot, -1 for a mistake" in text
        and "over the best" in text
        and "3 x 20" in text
    )
    assert "wrote settings.csv, table.md, table.tex, report.html to sweep" in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_sweep_tells_policies_and_further_options_apart(command, run):
    first, second = run(), run("omniglot")
    asked = ("-m", f"policy={first},{second}", *FEW[:-1], "env.max_requests=1,2", "hydra.sweep.dir=sweep")
    assert command(evaluate, *asked).status == 0
    table = pd.read_csv("sweep/settings.csv")
    assert list(table["policy"]) == [str(first)] * 2 + [str(second)] * 2  # both are called q_learning
    assert list(table["options"]) == ["env.max_requests=1", "env.max_requests=2"] * 2
    assert set(table["interval_over"]) == {"8 episodes"} and table["gain_interval"].notna().all()


def test_a_sweep_on_pools_has_a_table_too(command):
    asked = ("repeats=2", "strategies=[margin]", "env.budget=2", "hydra.sweep.dir=sweep")
    result = command(evaluate, "-m", "policy=transfer", "dataset=sonar,glass", *asked)
    assert result.status == 0, result.err
    table = pd.read_csv("sweep/settings.csv")
    assert list(table["setting"]) == ["name=sonar"] * 3 + ["name=glass"] * 3
    assert set(table["strategy"]) == {"transfer", "margin", "random"} and table["aulc"].between(0, 1).all()


def test_a_key_of_a_data_set_that_is_not_chosen_is_told(command, run):
    says = command(evaluate, f"policy={run()}", "dataset.name=omniglot").error
    assert says == "error: dataset is not chosen, so that it has no key 'name'; choose one first: dataset=NAME"


def test_training_classes_are_called_so(command, run):
    result = command(evaluate, f"policy={run()}", *FEW, "classes=train")
    assert "judged on 922 classes of characters, those it was trained on" in " ".join(result.out.split())


@pytest.mark.parametrize("checkpoint", ["last.pt", "best.pt"])
def test_a_checkpoint_can_be_judged(command, run, checkpoint):
    assert command(evaluate, f"policy={run() / checkpoint}", *FEW).status == 0


def test_the_summary_of_a_policy_of_streams_in_runs_says_that_it_is_judged_in_random_order(command, run):
    folder = run("characters", "env.stickiness=[0.9,0.97]", "env.sticky_share=0.5")
    assert command(evaluate, f"policy={folder}", *FEW).status == 0
    assert (summary()["env"]["stickiness"], summary()["env"]["sticky_share"]) == (0, 1)


def test_streams_may_be_changed(command, run):
    folder = run()
    changes = ["env.classes=2", "env.length=12", "env.max_requests=1", "env.rotations=false"]
    assert command(evaluate, f"policy={folder}", *FEW, *changes).status == 0
    assert summary()["steps"] == 8 * 12
    assert summary()["request_rate"] <= 1 / 12
    assert summary()["baselines"]["never request: guess"]["accuracy"] == pytest.approx(1 / 3, abs=0.15)  # of 3 slots


def test_a_network_that_treats_all_slots_alike_plays_with_more_classes_and_longer_streams(command, run):
    """An episodic network; its memory grows, but not where the streams are as long as in training."""
    folder = run("characters", "experiment=one_shot/quickstart", "network.capacity=5")
    for changes, steps, slots, grows in (
        (["env.classes=5"], 30, 5, False),
        (["env.classes=20", "env.length=100"], 100, 20, True),
        (["env.classes=2", "env.length=20"], 20, 3, False),
    ):
        outcome = command(evaluate, f"policy={folder}", *FEW, *changes)
        assert outcome.status == 0, outcome.err
        found = summary()
        assert (found["steps"], found["num_slots"]) == (8 * steps, slots)
        said = f"streams of {steps} steps are longer than in training: network.capacity=5 is {steps - 1} here"
        assert (said in outcome.out) == grows


def test_a_policy_may_be_made_to_ask_for_classes_that_nobody_has_named(command, run):
    folder = run("characters", "experiment=one_shot/quickstart")
    for ask in ("false", "true"):
        asked = [f"policy={folder}", *FEW, "env.classes=6", f"ask_unnamed={ask}"]
        outcome = command(evaluate, *asked)
        assert outcome.status == 0
        assert ("note: streams of 6 classes, where the training had 3: with ask_unnamed" in outcome.out) == (
            ask == "false"
        )
        first = summary()["by_instance"][0]
        assert ask == "false" or (first["request_rate"] > 5 / 6 - 0.01 and summary()["request_rate"] < 1)


def test_equal_seeds_give_equal_scores(command, run):
    folder, found = run(), []
    for seed in (1, 1, 2):
        command(evaluate, f"policy={folder}", *FEW, f"seed={seed}")
        found.append({key: value for key, value in summary().items() if key != "policy"})
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize(
    ("override", "says"),
    [
        (["classes=all"], "the policy was trained on classes of 'characters'"),
        (["dataset=characters", "classes=all"], "the policy was trained on classes of 'characters'"),
        (["dataset=characters", "dataset.split_seed=1"], "choose classes=test (or train) of that split"),
        (["dataset=characters", "dataset.train_classes=0.5"], "choose classes=test (or train) of that split"),
        (["classes=tset"], "classes is 'tset'; it must be 'test' or 'train' or 'all' or 'unseen'"),
        (["env.classes=4"], "the policy distinguishes 3 classes; choose 3 or fewer, or a policy whose network treats"),
        (["env.length=37"], "env.length=37, but 3 classes of data set 'characters' may hold as few as 36 images"),
        (["env.clases=2"], "unknown key of env 'clases'; did you mean 'classes'?"),
        (["dataset=omniglt"], "unknown data set 'omniglt'; did you mean 'omniglot'?"),
        (["dataset=omniglot", "dataset.split_seed=x"], "dataset.split_seed is 'x'; it must be a whole number"),
        (["episodes=0"], "episodes is 0; it must be a whole number of at least 1"),
        (["num_envs=many"], "num_envs is 'many'; it must be a whole number of at least 1"),
        (["seed=1.5"], "seed is 1.5; it must be a whole number"),
        (["device=cuda:9"], "device=cuda:9 cannot be used here"),
        (["matmul_precision=low"], "matmul_precision is 'low'; it must be 'highest' or 'medium' or null"),
        (["policy=nowhere"], "no checkpoint at nowhere; name a run's folder"),
    ],
)
def test_bad_input_is_told_in_one_line_and_leaves_nothing(command, run, override, says):
    result = command(evaluate, f"policy={run()}", *FEW, *override)
    assert result.status == 1
    assert result.error.startswith("error: ")
    assert says in result.error
    assert not Path("out").exists()


def test_a_table_is_no_stream_of_images(command, run, tiny_data, monkeypatch):
    folder = run()
    monkeypatch.setattr(
        "almeta.runs.streams.load_dataset", lambda name: load_dataset(name) if name == "iris" else tiny_data(name)
    )
    error = command(evaluate, f"policy={folder}", *FEW, "dataset=iris").error
    says = "the policy reads images of 16 pixels, and the rows of 'iris' are of 4 numbers; judge it on images"
    assert error == f"error: {says}"


def test_images_of_another_size_are_brought_to_that_of_the_policy(command, run):
    result = command(evaluate, f"policy={run()}", *FEW, "dataset=mnist")
    assert result.status == 0, result.err
    assert "images of mnist are brought from (5, 5) to (4, 4) pixels, which the policy reads" in result.out


def test_a_policy_must_be_named(command):
    assert command(evaluate).error == "error: policy is missing; say what it is: policy=..."


@pytest.mark.parametrize(
    "knob", ["repeats=64", "jobs=2", "strategies=[margin]", "learner=svc", "oracle=noisy", "env.budget=3"]
)
def test_a_knob_of_pools_means_nothing_on_streams(command, run, knob):
    result = command(evaluate, f"policy={run()}", *FEW, knob)
    key = knob.partition("=")[0]
    assert result.status == 1
    assert result.err == f"error: the policy is of kind 'stream', where {key}=... means nothing; leave it out\n"


@pytest.mark.parametrize(
    "knob", ["episodes=64", "num_envs=2", "classes=all", "ask_unnamed=true", "env.classes=2", "env.reward.incorrect=-5"]
)
def test_a_knob_of_streams_means_nothing_on_pools(command, knob):
    result = command(evaluate, "policy=transfer", "dataset=iris", "hydra.run.dir=out", knob)
    key = knob.partition("=")[0]
    assert result.status == 1
    assert result.err == f"error: the policy is of kind 'pool', where {key}=... means nothing; leave it out\n"
