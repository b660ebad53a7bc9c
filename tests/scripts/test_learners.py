"""Commands with networks: of texts as tokens, of images, and of one's own."""

import gzip
import sys

import pandas as pd
import pytest

import almeta.scripts.benchmark
import almeta.scripts.evaluate
import almeta.scripts.query
from almeta import registry
from almeta.registry import is_trusted

NAME = "my_networks_of_tests"
SOURCE = """
from torch import nn
def make(num_features, num_classes):
    return nn.Sequential(nn.Linear(num_features, 8), nn.Tanh(), nn.Linear(8, num_classes))
"""
SMALL = ("strategies=[random,margin]", "budget=2", "repeats=2", "out=made", "threads=1")


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / f"{NAME}.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(registry, "_trusted", set())
    yield ("learner=torch", f"learner.module={NAME}.make", "learner.steps=5")
    sys.modules.pop(NAME, None)


def test_a_benchmark_takes_a_module_of_ones_own(own, command):
    others = f"learners=[{{name: torch, module: {NAME}.make, steps: 2}}]"
    outcome = command(almeta.scripts.benchmark, "datasets=[iris]", *SMALL, *own, others)
    assert outcome.status == 0, outcome.err
    played = set(pd.read_csv("made/curves.csv")["strategy"])
    assert f"margin with torch(module={NAME}.make, steps=2)" in played


def test_a_query_takes_a_module_of_ones_own(own, command, tmp_path):
    rows = [f"{number},{number % 3},{'ab'[number % 2] if number < 6 else ''}" for number in range(20)]
    (tmp_path / "my.csv").write_text("\n".join(["one,two,label", *rows]))
    outcome = command(almeta.scripts.query, "data=my.csv", "target=label", "n=2", "by=margin", "threads=1", *own)
    assert outcome.status == 0, outcome.err
    assert is_trusted(NAME)


def test_judging_takes_a_module_of_ones_own(own, command):
    few = ("policy=transfer", "dataset=iris", "repeats=2", "strategies=[]", "env.budget=2", "threads=1")
    outcome = command(almeta.scripts.evaluate, *few, *own)
    assert outcome.status == 0, outcome.err


def test_a_benchmark_needs_the_module(command):
    outcome = command(almeta.scripts.benchmark, "datasets=[iris]", *SMALL, "learner=torch")
    assert outcome.status == 1
    assert "learner torch: module is None; give a function" in outcome.error


def test_a_benchmark_of_texts_as_tokens(command, tmp_path, monkeypatch):
    (tmp_path / "text").mkdir()
    lines = [
        f"{'good' if n % 2 else 'bad'}\tthe film {n % 7} was {'fine' if n % 2 else 'dull'}\ttrain" for n in range(60)
    ]
    (tmp_path / "text/trec.tsv.gz").write_bytes(gzip.compress("\n".join(["label\ttext\tsplit", *lines]).encode()))
    monkeypatch.setenv("ALMETA_DATA", str(tmp_path))
    asked = ("datasets=[trec]", *SMALL, "learner=text", "learner.steps=20")
    outcome = command(almeta.scripts.benchmark, *asked, "options.form=tokens", "options.length=8")
    assert outcome.status == 0, outcome.err
    outcome = command(almeta.scripts.benchmark, *asked, "out=other")
    assert outcome.status == 1 and "learner text reads texts as word numbers" in outcome.error


def test_a_benchmark_of_images(command):
    small = ("learner.steps=3", "learner.maps=2", "learner.hidden_size=4")
    outcome = command(almeta.scripts.benchmark, "datasets=[digits]", *SMALL, "learner=cnn", *small)
    assert outcome.status == 0, outcome.err
    outcome = command(almeta.scripts.benchmark, "datasets=[wine]", *SMALL, "learner=cnn", "out=other")
    assert outcome.status == 1 and "learner cnn: 13 features are no square image of 1 or 3 channels" in outcome.error


def test_a_benchmark_of_learners_that_read_the_pool(command):
    small = "{name: cnn, steps: 3, maps: 2, hidden_size: 4}"
    learners = {
        "pseudo": "{name: pseudo_labels, base: prototype, threshold: 2}",
        "vat": f"{{name: vat, base: {small}, pool_batch: 4}}",
        "siamese": f"{{name: siamese, base: {small}}}",
        "drawn": f"{{name: augmented, base: {small}, generated: 1, gan_steps: 2}}",
    }
    settings = ", ".join(f"{name}: {{learner: {learner}}}" for name, learner in learners.items())
    measures = "scores=[accuracy,pseudo_labels,wrong_pseudo_labels]"
    outcome = command(almeta.scripts.benchmark, "datasets=[digits]", *SMALL, measures, f"settings={{{settings}}}")
    assert outcome.status == 0, outcome.err
    means = pd.read_csv("made/curves.csv").groupby("setting")[["pseudo_labels", "wrong_pseudo_labels"]].mean()
    others = means.drop("pseudo")
    assert (means.loc["pseudo"] > 0).all() and (others["pseudo_labels"] == 0).all()
    assert others["wrong_pseudo_labels"].isna().all()


def test_a_query_takes_a_learner_that_reads_the_pool(command, tmp_path):
    rows = [f"{number % 3 + 0.1 * number / 20},{'ab'[number % 3 > 0] if number < 6 else ''}" for number in range(20)]
    (tmp_path / "my.csv").write_text("\n".join(["one,label", *rows]))
    asked = ("data=my.csv", "target=label", "n=2", "by=margin", "threads=1", "learner=pseudo_labels")
    outcome = command(almeta.scripts.query, *asked)
    assert outcome.status == 0, outcome.err
