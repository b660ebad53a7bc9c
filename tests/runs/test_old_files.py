"""Checkpoints and cards of version 0.1 load, act as they did, and can be gone on with."""

import json
import shutil

import pytest
import torch
import yaml
from safetensors.torch import save_file

from almeta.data import load_dataset
from almeta.envs import PoolOptions, PoolSimulation, StreamOptions, StreamSimulation
from almeta.inputs import Candidates
from almeta.policies import find_policy, kind_of, load_policy
from almeta.policies.published import publish
from almeta.runs.training import train
from almeta.seeding import make_generator
from almeta.training.checkpoint import load_checkpoint
from almeta.training.rollout import greedy, play
from tests.runs.conftest import RUNS, run_config

pytestmark = pytest.mark.usefixtures("same_images", "quick_figures")
MADE = {"stream": "almeta.envs.make_simulation", "pool": "almeta.envs.make_pool_simulation"}


def old_config(config: dict) -> dict:
    """A config as version 0.1 wrote it: networks were said to be made later, and some options were not there."""
    kind = "pool" if "suite" in config["dataset"] else "stream"
    kept = {key: value for key, value in config.items() if key not in ("inputs", "modules")}
    for part, key in (("env", "group"), ("agent", "returns")):
        if kind == "stream" or part == "agent":
            kept[part] = {name: value for name, value in config[part].items() if name != key}
    kept["env"] = kept["env"] | {"_target_": MADE[kind]}
    kept["network"] = config["network"] | {"_partial_": True}
    return kept


def old_checkpoint(content: dict) -> dict:
    """A checkpoint as version 0.1 wrote it."""
    new = ("format", "kind", "datasets", "digest", "inputs", "names", "judged", "rows", "learning", "config")
    kept = {key: value for key, value in content.items() if key not in new}
    if content["kind"] == "stream":
        inputs = content["inputs"]
        shape = {"num_pixels": inputs["num_pixels"], "num_slots": inputs["num_slots"]}
        data = {"dataset": content["datasets"][0], "classes": content["digest"], **shape}
    else:
        names = list(content["names"])
        data = {"dataset": "pools", "classes": content["digest"], "datasets": content["datasets"], "inputs": names}
    return {"format": "almeta-checkpoint-1", **kept, **data, "config": old_config(content["config"])}


def make_old(folder):
    """Turn a run's folder into one of version 0.1."""
    for path in folder.glob("*.pt"):
        torch.save(old_checkpoint(torch.load(path, weights_only=True)), path)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump(old_config(config)))
    return folder


@pytest.fixture(params=sorted(RUNS))
def kind(request):
    return request.param


@pytest.fixture
def old(finished, kind, tmp_path):
    return make_old(shutil.copytree(finished[kind], tmp_path / "old"))


def simulation_of(kind, make_images):
    generator = make_generator(5, "test")
    if kind == "stream":
        return StreamSimulation(make_images(), StreamOptions(length=9), 6, generator)
    return PoolSimulation(
        [load_dataset("zoo"), load_dataset("iris")], PoolOptions(pool_size=15, budget=4), 6, generator
    )


def outputs_of(agent, kind, make_images):
    steps = list(play(simulation_of(kind, make_images), agent, greedy(make_generator(0, "ties"))))
    return torch.stack([step.outputs.utilities for step in steps]).detach(), torch.stack([s.actions for s in steps])


def test_the_old_form_is_that_of_version_0_1(old, kind):
    """As its commit wrote it: git show v0.1:almeta/training/trainer.py."""
    content = torch.load(old / "last.pt", weights_only=True)
    data = {"stream": {"num_pixels", "num_slots"}, "pool": {"datasets", "inputs"}}[kind]
    general = {"format", "batch", "best", "agent", "optimizer", "generators", "sums", "metrics_size", "config"}
    assert content.keys() == general | {"dataset", "classes"} | data
    assert content["config"]["env"]["_target_"] == MADE[kind]
    assert not {"inputs", "modules"} & content["config"].keys()


def test_an_old_checkpoint_acts_as_the_agent_it_was_made_from(old, finished, kind, make_images):
    assert kind_of(old) == kind
    agent, before = load_policy(old), load_policy(finished[kind])
    assert f"{type(agent).__module__}.{type(agent).__name__}".startswith("almeta.agents.")
    for one, other in zip(outputs_of(agent, kind, make_images), outputs_of(before, kind, make_images), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    fresh = outputs_of(load_policy(finished[kind] / "last.pt"), kind, make_images)[0]
    assert fresh[fresh.isfinite()].std() > 0


def test_an_old_checkpoint_says_today_what_it_was_made_for(old, finished, kind):
    content, today = load_checkpoint(old / "last.pt"), load_checkpoint(finished[kind] / "last.pt")
    for key in ("kind", "datasets", "digest", "inputs", "names", "config", "batch", "best"):
        assert content[key] == today[key], key


def test_an_old_run_goes_on_as_a_new_one(old, finished, kind, tmp_path):
    new = shutil.copytree(finished[kind], tmp_path / "new")
    for folder in (old, new):
        train(run_config(kind, "batches=6"), folder)
    assert load_checkpoint(old / "last.pt")["batch"] == 6
    one, other = (load_checkpoint(folder / "last.pt") for folder in (old, new))
    for part in ("agent", "generators", "optimizer"):
        torch.testing.assert_close(one[part], other[part], rtol=0, atol=0)
    assert (old / "metrics.jsonl").read_bytes() == (new / "metrics.jsonl").read_bytes()
    assert json.loads((old / "summary.json").read_text()) == json.loads((new / "summary.json").read_text())


def test_an_old_card_acts_as_the_agent_it_was_made_from(finished, tmp_path, make_images):
    card = tmp_path / "mine.json"
    publish(finished["pool"] / "last.pt", card, {"scores": {}})
    today = json.loads(card.read_text())
    kept = {key: value for key, value in today.items() if key not in ("kind", "names")}
    names = today["names"]
    assert names == list(Candidates().names)
    card.write_text(
        json.dumps(kept | {"format": "almeta-policy-1", "inputs": names, "config": old_config(today["config"])})
    )
    assert kind_of(card) == "pool"
    assert find_policy(card).members[0].trained_on == frozenset(today["trained_on"])
    agent, before = load_policy(card), load_policy(finished["pool"])
    for one, other in zip(outputs_of(agent, "pool", make_images), outputs_of(before, "pool", make_images), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    # Those weights, and no others: with one of them changed, it acts otherwise.
    weights = load_checkpoint(finished["pool"] / "last.pt")["agent"]
    save_file({name: value + 0.5 for name, value in weights.items()}, card.with_suffix(".safetensors"))
    with pytest.raises(Exception, match="its sha256 is not the one on the card"):
        load_policy(card)
