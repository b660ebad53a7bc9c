"""Classes of one's own: a command that trains takes them, a stranger's file that names them is refused."""

import json
import shutil
import sys

import pytest
import torch

import almeta
import almeta.scripts.evaluate
import almeta.scripts.train
from almeta.build import build
from almeta.errors import AlmetaError
from almeta.policies import load_policy
from almeta.policies.published import publish
from almeta.registry import Table, import_modules, is_trusted
from almeta.training.checkpoint import load_checkpoint

NAME = "my_parts_of_tests"
SOURCE = """
from pathlib import Path
Path({mark!r}).write_text("imported")
from almeta.agents import LSTMNetwork, QLearning
class MyAgent(QLearning):
    pass
class MyNetwork(LSTMNetwork):
    pass
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module of one's own that leaves a file when it is imported; returns that file."""
    folder = tmp_path / "own"
    folder.mkdir()
    mark = folder / "imported"
    (folder / f"{NAME}.py").write_text(SOURCE.format(mark=str(mark)))
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr("almeta.registry._trusted", set())
    yield mark
    sys.modules.pop(NAME, None)


@pytest.fixture
def run(module, command, tmp_path, monkeypatch, kept_runs):
    """A run whose config names the module, which nobody trusts and which is not imported; it is trained once."""
    kept = kept_runs / "run"
    if kept.exists():
        return shutil.copytree(kept, tmp_path / "run")
    parts = (f"agent._target_={NAME}.MyAgent", f"network._target_={NAME}.MyNetwork", "network.hidden_size=4")
    small = ("num_envs=4", "batches=2", "evaluate_episodes=4", "final_episodes=4", "threads=1", "hydra.run.dir=run")
    outcome = command(almeta.scripts.train, *parts, *small)
    assert outcome.status == 0, outcome.err
    assert "MyAgent with MyNetwork" in outcome.out
    forget(module, monkeypatch)
    shutil.copytree("run", kept)
    return tmp_path / "run"


def forget(mark, monkeypatch):
    mark.unlink()
    sys.modules.pop(NAME)
    monkeypatch.setattr("almeta.registry._trusted", set())


REFUSED = rf"_target_ is '{NAME}\.My\w+'; it must be a class or function that almeta.agents defines, or of a module"


@pytest.fixture(params=["run", "checkpoint", "card"])
def policy(request, run, tmp_path):
    """The run in each form in which strangers hand out policies."""
    card = tmp_path / "card.json"
    if request.param == "card":
        publish(run / "last.pt", card, {})
    return {"run": run, "checkpoint": run / "best.pt", "card": card}[request.param]


def test_a_command_that_trains_takes_a_class_of_ones_own(run):
    assert load_checkpoint(run / "last.pt")["config"]["agent"]["_target_"] == f"{NAME}.MyAgent"


def test_who_loads_it_is_told_and_nothing_of_it_runs(policy, module):
    with pytest.raises(AlmetaError, match=REFUSED) as told:
        load_policy(policy)
    assert "\n" not in str(told.value)
    assert f"modules=[{NAME}]" in str(told.value)
    assert not module.exists()
    assert NAME not in sys.modules


def test_who_judges_or_resumes_it_is_told_and_nothing_of_it_runs(run, module, command):
    for outcome in (
        command(almeta.scripts.evaluate, "policy=run", "episodes=4", "threads=1"),
        command(almeta.scripts.train, "resume=run", "batches=3"),
    ):
        assert outcome.status == 1
        assert NAME in outcome.error and "registered" in outcome.error
    assert not module.exists()
    assert load_checkpoint(run / "last.pt")["batch"] == 2


@pytest.mark.parametrize("register", ["agent", "network", "import", "the class imported alone"])
def test_who_registered_it_may_load_it(policy, module, register):
    module_ = pytest.importorskip(NAME)
    if register == "the class imported alone":  # is not enough: others' code may have imported it
        with pytest.raises(AlmetaError, match=REFUSED):
            load_policy(policy)
        return
    if register == "agent":
        almeta.register_agent(module_.MyAgent)
    elif register == "network":
        almeta.register_network(module_.MyNetwork)
    else:
        import_modules([NAME])
    agent = load_policy(policy)
    assert type(agent).__name__ == "MyAgent"
    assert type(agent.network).__name__ == "MyNetwork"
    assert all(weight.isfinite().all() for weight in agent.parameters())


def test_commands_take_it_with_modules(run, command):
    asked = (f"modules=[{NAME}]", "threads=1")
    judged = command(almeta.scripts.evaluate, "policy=run", "episodes=4", "hydra.run.dir=judged", *asked)
    assert judged.status == 0, judged.err
    resumed = command(almeta.scripts.train, "resume=run", "batches=3", *asked)
    assert resumed.status == 0, resumed.err
    assert load_checkpoint(run / "last.pt")["batch"] == 3
    # Whoever goes on may name it anew each time: what a checkpoint names is not imported of itself.
    assert load_checkpoint(run / "last.pt")["config"]["modules"] == [NAME]


def test_the_modules_that_a_checkpoint_names_are_not_imported(run, module, command, monkeypatch):
    assert command(almeta.scripts.train, "resume=run", "batches=3", f"modules=[{NAME}]", "threads=1").status == 0
    forget(module, monkeypatch)
    outcome = command(almeta.scripts.train, "resume=run", "batches=4", "threads=1")
    assert outcome.status == 1
    assert not module.exists()
    assert not is_trusted(NAME)


@pytest.mark.parametrize(
    "thing, register",
    [(3, "agent"), (object, "agent"), (torch.nn.Linear, "agent"), (torch.nn.Linear, "network"), (object, "network")],
)
def test_only_agents_and_networks_are_registered(thing, register):
    with pytest.raises(AlmetaError, match=rf"is no {register}; "):
        getattr(almeta, f"register_{register}")(thing)


def test_a_learner_of_ones_own_is_trusted_by_registering_it(finished, tmp_path, module, monkeypatch):
    """A card's learner is built when the policy is judged."""
    publish(finished["pool"] / "last.pt", tmp_path / "card.json", {})
    card = json.loads((tmp_path / "card.json").read_text())
    card["config"]["learner"] = {"_target_": f"{NAME}.my_learner"}
    (tmp_path / "card.json").write_text(json.dumps(card))
    (module.parent / f"{NAME}.py").write_text(
        SOURCE.format(mark=str(module)) + "from almeta.learners import Prototype\ndef my_learner():\n"
        "    return Prototype()\n"
    )
    assert load_policy(tmp_path / "card.json") is not None  # the policy itself needs no learner
    with pytest.raises(AlmetaError, match=rf"learner._target_ is '{NAME}.my_learner'; it must be"):
        build(card["config"]["learner"], "learner")
    assert not module.exists()
    own = pytest.importorskip(NAME)
    monkeypatch.setattr("almeta.learners.named._REGISTERED", Table("learner"))
    almeta.register_learner("my_learner_of_tests", own.my_learner)
    assert type(build(card["config"]["learner"], "learner")).__name__ == "Prototype"
