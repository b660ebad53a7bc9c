"""Every choice of conf/ composes, says what its knobs do, fits what it configures, and trains."""

import inspect
import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

import almeta.agents
import almeta.envs
from almeta import conf
from almeta.agents import Supervised
from almeta.build import named_config, read_part
from almeta.data import dataset_names, folder, sentences, table_file
from almeta.data.suites import SUITES
from almeta.envs.scores import NUMBER_SCORES, SCORES
from almeta.errors import AlmetaError, Interrupted
from almeta.policies import kind_of
from almeta.runs import find_run
from almeta.runs.config import EvaluateConfig, TrainConfig
from almeta.runs.training import train
from almeta.training import trainer
from almeta.training.agents import check_agent
from tests.small_config import SMALL_POOLS, compose_config, small_config

CONF = Path(str(conf.__file__)).resolve().parent
PRESETS = [
    path.relative_to(CONF / "experiment").with_suffix("").as_posix() for path in CONF.rglob("experiment/*/*.yaml")
]


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


# A small run of each kind.
KINDS = {
    "stream": ("env.group=2",),
    "pool": ("experiment=pool/quickstart", *SMALL_POOLS, "dataset.fold=null"),
    "classes": ("experiment=study/classes", *SMALL_POOLS, "env.query_size=2", "dataset.fold=null"),
}


PAIRED = ("agent", "network")


def fitting(kind: str) -> list[tuple[str, ...]]:
    """All agents with all networks that can act in problems of a kind."""
    targets = {group: {name: named_config(group, name)["_target_"] for name in choices(group)} for group in PAIRED}
    pairs = []
    for pair in itertools.product(*map(choices, PAIRED)):
        if pair in {("double_q_learning", "recurrent_scorer"), ("double_q_learning", "meta_scorer")}:  # told when built
            continue
        try:
            parts = zip(PAIRED, pair, strict=True)
            check_agent({group: {"_target_": targets[group][name]} for group, name in parts}, kind)
        except AlmetaError:
            continue
        pairs.append(pair)
    return pairs


def judge(*overrides: str, folder: Path) -> dict[str, Any]:
    """Judge a policy as `evaluate` does."""
    config = EvaluateConfig.read(compose_config(*overrides, command="evaluate"))
    return find_run(kind_of(config.policy)).judge(config, folder)


# ---- the files


@pytest.mark.parametrize("path", [path.relative_to(CONF).as_posix() for path in sorted(CONF.rglob("*.yaml"))])
def test_every_file_and_every_knob_has_a_sentence(path):
    lines = (CONF / path).read_text("utf-8").splitlines()
    assert re.match(r"# (@package _global_|[A-Z].*)", lines[0])
    if path.startswith(("cluster/", "experiment/", "protocol/")):
        assert re.match(r"# [A-Z].*", lines[1])
        return  # what its knobs do stands where they are defined
    inside = ""
    for above, line in itertools.pairwise(["", *lines]):
        if re.match(r"\w", line):
            inside = line.partition(":")[0]
        knob = re.match(r"(\s*)(\w+): +\S", line)  # a key with a value; one without opens a group
        if knob and inside not in ("defaults", "hydra") and not knob[2].startswith("_"):
            assert re.match(rf"{knob[1]}# \S", above), f"{path}: no sentence above {line!r}"


@pytest.mark.parametrize(
    "env, scores",
    [("classes", SCORES), ("features", SCORES), ("pool", {*SCORES, *NUMBER_SCORES}), ("table_stream", SCORES)],
)
def test_all_measures_are_named_where_one_is_chosen(env, scores):
    above = (CONF / "env" / f"{env}.yaml").read_text("utf-8").partition("\nscore:")[0].rpartition("\n# The score")[2]
    assert set(re.findall(r'"(\w+)"', above)) == set(scores)


def test_presets_are_found():
    assert {"one_shot/quickstart", "one_shot/supervised", "one_shot/woodward_finn"} <= set(PRESETS)


@pytest.mark.parametrize("group", ["agent", "env", "inputs", "network", "logger", "learner", "oracle"])
def test_what_is_built_takes_the_keys_and_every_option_has_one(group):
    for choice in choices(group):
        config = compose_config(f"{group}={choice}")
        TrainConfig.read(config)
        if not config[group]:  # logger=none
            continue
        target, options = read_part(config[group], group)
        optional = {
            name
            for name, parameter in inspect.signature(target).parameters.items()
            if parameter.default is not inspect.Parameter.empty
        }
        assert set(options) == optional - {"num_values"}, choice  # that one is for the agent to say


def test_every_data_set_is_a_choice_and_the_other_way_round():
    """For streams, whose classes are split, and for pools by suites; any other name may be given by `named`."""
    names = set()
    for choice in set(choices("dataset")) - {"named"}:
        dataset = compose_config(f"dataset={choice}")["dataset"]
        names.add(dataset["name"] if "name" in dataset else dataset["suite"])
    assert {"characters", "omniglot", "mnist", "fashion-mnist", "trec", *("tables", "embedded")} == names
    assert {name for name in names if name not in SUITES} <= set(dataset_names())


def test_evaluate_changes_options_that_streams_have():
    config = compose_config("policy=x", command="evaluate")
    assert set(config["env"]) <= {*compose_config()["env"], *compose_config("env=pool")["env"]}
    named = compose_config("policy=x", "dataset=named", "dataset.name=csv:a.csv", command="evaluate")["dataset"]
    options = set().union(*(inspect.signature(module.load).parameters for module in (folder, table_file, sentences)))
    options -= {"path", "name"}
    assert named == {"name": "csv:a.csv", **dict.fromkeys(options)}
    assert compose_config(command="benchmark")["options"] == dict.fromkeys(options)


# ---- training


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "last.pt", weights_only=True)["agent"]


def train_in_parts(config: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict:
    """Train in one go, and stopped in batch 4 and gone on with: the same to the last bit. Returns the summary."""
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    whole.mkdir()
    parted.mkdir()
    read = TrainConfig.read(config)
    summary = train(read, whole)
    calls, explore = itertools.count(1), trainer.explore

    def stop_in_batch_4(*args):
        if next(calls) == 4:
            raise KeyboardInterrupt
        return explore(*args)

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "explore", stop_in_batch_4)
        with pytest.raises(Interrupted):
            train(read, parted)
    assert torch.load(parted / "last.pt", weights_only=True)["batch"] == 3
    assert train(read, parted) == summary
    assert (parted / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    torch.testing.assert_close(weights(parted), weights(whole), rtol=0, atol=0)
    return summary


EVERY = ("batches=6", "evaluate_every=3", "checkpoint_every=3", "seed=7")


@pytest.mark.usefixtures("tiny_data", "quick_figures")
@pytest.mark.parametrize("preset", [preset for preset in PRESETS if preset.startswith("one_shot/")])
def test_a_preset_trains_resumes_and_is_judged_as_by_evaluate(preset, tmp_path, monkeypatch):
    config = small_config(f"experiment={preset}", *EVERY)
    if config["at_once"]:
        config["at_once"] |= {"seed": [7], "env.reward.incorrect": [-1, [-20, -1]]}
    summary, folder = train_in_parts(config, tmp_path, monkeypatch), tmp_path / "whole"
    if config["at_once"]:  # each of the runs is judged, not all of them
        with pytest.raises(
            AlmetaError, match="runs that were trained at once; name the folder of one, such as .*/jobs/00"
        ):
            judge(f"policy={folder}", folder=tmp_path)
        folder = sorted((folder / "jobs").iterdir())[0]
        summary = json.loads((folder / "summary.json").read_text())
    asked = [f"policy={folder}", "episodes=8", "seed=7", "threads=1"]
    for part in ("test", "train"):
        judged = judge(*asked, f"classes={part}", folder=tmp_path)
        assert {key: judged[key] for key in summary[part]} == summary[part]
    assert judged.items() <= json.loads((tmp_path / "summary.json").read_text()).items()


@pytest.mark.usefixtures("quick_figures")
@pytest.mark.parametrize("preset", [preset for preset in PRESETS if preset.startswith("pool/")])
def test_a_preset_on_pools_trains_resumes_and_is_judged_as_by_evaluate(preset, tmp_path, monkeypatch):
    config = small_config(f"experiment={preset}", *EVERY, *SMALL_POOLS)
    summary = train_in_parts(config, tmp_path, monkeypatch)
    asked = [f"policy={tmp_path / 'whole'}", "repeats=8", "seed=7", "strategies=[entropy,information_density,core_set]"]
    judged = judge(*asked, folder=tmp_path)
    assert judged["benchmark"] == summary["benchmark"]
    assert judged == json.loads((tmp_path / "summary.json").read_text())


@pytest.mark.usefixtures("quick_figures")
def test_the_preset_of_class_sampling_trains_resumes_and_is_judged_as_by_evaluate(tmp_path, monkeypatch):
    config = small_config("experiment=study/classes", *EVERY, *SMALL_POOLS, "env.query_size=2")
    summary = train_in_parts(config, tmp_path, monkeypatch)
    judged = judge(f"policy={tmp_path / 'whole'}", "repeats=8", "seed=7", folder=tmp_path)
    assert judged["benchmark"] == summary["benchmark"]
    assert judged == json.loads((tmp_path / "summary.json").read_text())


def test_what_fits_what():
    """Most agents learn in problems of any kind; networks are made for one."""
    networks = {kind: {network for _, network in fitting(kind)} for kind in KINDS}
    of_pools = {"scorer", "recurrent_scorer", "meta_scorer", "state_action"}
    of_streams = {"episodic", "gru", "lstm", "mann", "ntm", "transformer"}
    assert networks == {"stream": of_streams, "pool": of_pools, "classes": {"class_scorer"}}
    agents = {kind: {agent for agent, _ in fitting(kind)} for kind in KINDS}
    assert agents == {
        "stream": {*choices("agent")} - {"double_q_learning"},
        "pool": {*choices("agent")} - {"supervised"},
        "classes": {*choices("agent")} - {"supervised", "double_q_learning"},
    }


@pytest.mark.usefixtures("tiny_data", "quick_figures")
@pytest.mark.parametrize("kind, agent, network", [(kind, *pair) for kind in KINDS for pair in fitting(kind)])
def test_every_agent_learns_with_every_network(kind, agent, network, tmp_path):
    options = {"supervised": ["env.reveal=always"]}.get(agent, [])
    if kind in ("pool", "classes") and agent.startswith("q_learning"):
        options = ["agent.exploration=uniform"]
    options = [*options, *{"meta_scorer": ["inputs=columns"]}.get(network, [])]
    chosen = (*KINDS[kind], f"agent={agent}", f"network={network}", *options, "batches=3")
    summary = train(TrainConfig.read(small_config(*chosen)), tmp_path)
    assert summary["batches"] == 3
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["batch"] for line in lines if line["kind"] == "train"] == [1, 2, 3]


@pytest.mark.usefixtures("tiny_data", "quick_figures")
def test_a_new_agent_or_environment_is_one_file_and_one_yaml(tmp_path, monkeypatch):
    """As README says; here the files lie elsewhere, and are shown to almeta as if they were in its folders."""
    (tmp_path / "trusting.py").write_text(
        "from almeta.agents import Supervised\nclass Trusting(Supervised):\n    pass\n", "utf-8"
    )
    (tmp_path / "short.py").write_text(
        "from dataclasses import dataclass\n"
        "from almeta.envs import StreamOptions\n"
        "@dataclass(frozen=True)\n"
        "class Short(StreamOptions):\n"
        "    length: int = 5\n",
        "utf-8",
    )
    for package in (almeta.agents, almeta.envs):
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    yaml = {
        "agent/trusting": "_target_: almeta.agents.trusting.Trusting\n",
        "env/short": "_target_: almeta.envs.short.Short\nlength: 6\nreveal: always\n",
    }
    for name, text in yaml.items():
        (tmp_path / "conf" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "conf" / f"{name}.yaml").write_text(text, "utf-8")
    config = small_config("agent=trusting", "env=short", f"hydra.searchpath=[file://{tmp_path / 'conf'}]")
    folder = tmp_path / "run"
    folder.mkdir()
    summary = train(TrainConfig.read(config), folder)
    assert summary["test"]["steps"] == 8 * 6
    assert issubclass(almeta.agents.trusting.Trusting, Supervised)  # type: ignore[attr-defined]
