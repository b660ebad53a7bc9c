"""Checkpoints and cards that are wrong in every way: one line each, no code run, no memory spent."""

import hashlib
import io
import json
import resource
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from almeta.errors import AlmetaError
from almeta.policies import load_policy
from almeta.policies.published import publish
from almeta.training.checkpoint import load_checkpoint
from tests.forked import Forked


class File:
    """A good checkpoint or card, to be changed by hand."""

    def __init__(self, path: Path, finished: dict[str, Path], kind: str) -> None:
        self.path = path
        source = finished[kind] / "last.pt"
        if path.suffix == ".json":
            publish(source, path, {})
            self.content: dict[str, Any] = json.loads(path.read_text())
        else:
            self.content = torch.load(source, weights_only=True)
        self.weights = dict(load_checkpoint(source)["agent"])

    def write(self) -> Path:
        if self.path.suffix == ".json":
            weights = save(self.weights)
            self.path.with_suffix(".safetensors").write_bytes(weights)
            self.path.write_text(json.dumps(self.content | {"sha256": hashlib.sha256(weights).hexdigest()}))
        else:
            torch.save(self.content | {"agent": self.weights}, self.path)
        return self.path

    def refusal(self) -> str:
        """The one line in which it is refused."""
        with pytest.raises(AlmetaError) as told:
            load_policy(self.write())
        assert "\n" not in str(told.value)
        assert len(str(told.value)) < 600 + len(str(self.path))
        return str(told.value)


@pytest.fixture(params=["stream.pt", "pool.pt", "stream.json", "pool.json"])
def file(request, tmp_path, finished):
    return File(tmp_path / request.param, finished, request.param.partition(".")[0])


def test_left_alone_it_loads(file):
    agent = load_policy(file.write())
    assert {name: value.shape for name, value in agent.state_dict().items()} == {
        name: value.shape for name, value in file.weights.items()
    }
    for name, value in agent.state_dict().items():
        torch.testing.assert_close(value, file.weights[name], rtol=0, atol=0)


# ---- weights


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("place", [0, -1])
def test_weights_that_are_not_finite(file, wrong, place):
    names = [name for name, value in file.weights.items() if value.is_floating_point()]
    weight = file.weights[names[place]].clone()
    weight.view(-1)[place] = wrong
    file.weights[names[place]] = weight
    assert f"the weights '{names[place]}' are not finite" in file.refusal()


def test_weights_of_another_network(file):
    first = next(iter(file.weights))
    file.weights[first] = torch.ones(3, 3)
    assert "weights do not fit this" in file.refusal()


def test_weights_that_are_missing_or_too_many(file):
    first = next(iter(file.weights))
    weight = file.weights.pop(first)
    assert "weights do not fit this" in file.refusal()
    file.weights |= {first: weight, "more": torch.zeros(2)}
    assert "weights do not fit this" in file.refusal()


# ---- what it is said to be made of

NESTED: Any = 0
for _ in range(100):
    NESTED = {"a": NESTED}

CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "network null": ({"network": None}, "does not say what the agent is made of"),
    "network a text": ({"network": "lstm"}, "does not say what the agent is made of"),
    "agent a list": ({"agent": ["almeta.agents.PPO"]}, "does not say what the agent is made of"),
    "network empty": ({"network": {}}, "must be a group of keys with a '_target_'"),
    "target a number": ({"network": {"_target_": 3}}, "must be a group of keys with a '_target_'"),
    "target a command": ({"network": {"_target_": "os.system"}}, "network._target_ is 'os.system'; it must be"),
    "target of another room": ({"agent": {"_target_": "almeta.files.write_atomically"}}, "that almeta.agents defines"),
    "target a function": ({"agent": {"_target_": "almeta.agents.losses.normalised"}}, "is not complete"),
    "target no agent": ({"agent": {"_target_": "almeta.agents.encoders.ConvEncoder"}}, "is not complete"),
    "env of others": ({"env": {"_target_": "os.getcwd"}}, "env._target_ is 'os.getcwd'; it must be"),
    "env not there": ({"env": {"_target_": "almeta.envs.Nothing"}}, "which is not there"),
    "nested": ({"dataset": NESTED}, "is nested deeper than"),
}


@pytest.mark.parametrize("change, says", CHANGES.values(), ids=CHANGES)
def test_a_wrong_part(file, change, says):
    file.content["config"] |= change
    assert says in file.refusal()


def test_a_key_that_the_network_does_not_know(file):
    known = file.content["config"]["network"]
    for key in ("hiden_size", "_partial_", "self", "__class__"):
        file.content["config"]["network"] = known | {key: True}
        assert f"unknown key of network '{key}'" in file.refusal()


def test_a_network_that_cannot_act_there(file):
    others = {"stream": "almeta.agents.PoolScorer", "pool": "almeta.agents.LSTMNetwork"}
    kind = file.content["kind"]
    file.content["config"]["network"] = {"_target_": others[kind]}
    assert "which is for problems of kind" in file.refusal()


def test_a_kind_that_is_another_one(file):
    for kind in {"pool", "stream", "nothing"} - {file.content["kind"]}:
        file.content["kind"] = kind
        assert f"said to be of kind {kind}, but" in file.refusal()


def test_inputs_that_are_others(file):
    names = file.content["names"]
    for changed in (names[1:], [*names, "more"], names[::-1], []):
        file.content["names"] = changed
        assert "was trained on other inputs than those of this version" in file.refusal()
    file.content["names"] = names
    for inputs, says in (
        ({"_target_": "almeta.inputs.Images"}, "is not complete"),
        ({"_target_": "almeta.inputs.inputs.read_mask"}, "is not complete"),
        ({"_target_": "os.getcwd"}, "inputs._target_ is 'os.getcwd'; it must be"),
        ({}, "must be a group of keys with a '_target_'"),
    ):
        file.content["inputs"] = inputs
        assert says in file.refusal()


@pytest.mark.parametrize("entry", ["kind", "inputs", "names", "config"])
@pytest.mark.parametrize("change", ["missing", None, 7, True])
def test_an_entry_that_is_missing_or_of_another_type(file, entry, change):
    if change == "missing":
        del file.content[entry]
    else:
        file.content[entry] = change
    assert f"it has no '{entry}' of the right kind" in file.refusal()


def test_names_that_are_no_texts(file):
    key = "datasets" if file.path.suffix == ".pt" else "trained_on"
    for entry in (key, "names"):
        before = file.content[entry]
        changes: list = [[[1]], [{}], [None]]
        for change in changes:
            file.content[entry] = change
            assert f"it has no '{entry}' of the right kind" in file.refusal()
        file.content[entry] = before


def test_rows_that_are_none(file):
    changes: list = [None, [], "rows", {"iris": 3}, {"iris": ["a"]}]
    for change in changes:
        file.content["rows"] = change
        assert "it has no 'rows' of the right kind" in file.refusal()


def test_every_entry_of_a_checkpoint_is_needed(tmp_path, finished):
    whole = File(tmp_path / "stream.pt", finished, "stream")
    # Old checkpoints have no "learning": agents that need it tell what it lacks.
    for entry in set(whole.content) - {"format", "judged", "rows", "agent", "learning"}:
        file = File(tmp_path / "stream.pt", finished, "stream")
        del file.content[entry]
        assert f"it has no '{entry}' of the right kind" in file.refusal()


def test_every_key_of_the_config_that_rebuilds_it_is_needed(file):
    for key in ("name", "seed", "env", "network", "agent", "learner", "oracle", "dataset", "batches", "num_envs"):
        value = file.content["config"].pop(key)
        assert f"its config has no '{key}'" in file.refusal()
        file.content["config"][key] = value


# ---- sizes

# 10**19 fits no whole number of the machine, 10**10 squared no size of memory.
SIZES = [10**5, 10**9, 10**10, 10**19, 10**40]


def load_and_tell(path):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        load_policy(path)
    except AlmetaError as error:
        print(error)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)


def peak_of(path):
    """What loading says, and the MiB by which it makes the process grow."""
    process = Forked(load_and_tell, path)
    assert process.wait(60) == 0, process.err
    *said, grown = process.out.splitlines()
    return said, int(grown)


@pytest.mark.parametrize("size", SIZES)
def test_monstrous_sizes(file, size):
    file.content["config"]["network"]["hidden_size"] = size
    told = file.refusal()
    assert "weights do not fit this" in told or "network cannot be built" in told


def test_monstrous_sizes_take_no_memory(tmp_path, finished):
    for name in ("stream.pt", "pool.json"):
        file = File(tmp_path / name, finished, name.partition(".")[0])
        file.content["config"]["network"]["hidden_size"] = 10**9
        said, grown = peak_of(file.write())
        assert (len(said) == 1 and "do not fit" in said[0]) or "cannot be built" in said[0]
        assert grown < 100, grown


def test_a_tensor_of_one_number_that_is_shown_as_billions_takes_no_memory(tmp_path, finished):
    file = File(tmp_path / "stream.pt", finished, "stream")
    size = 10**9
    file.content["config"]["network"]["hidden_size"] = size
    for name, value in file.weights.items():
        shape = [size if n == 4 else n for n in value.shape]
        file.weights[name] = torch.ones(()).expand(shape)
    said, grown = peak_of(file.write())
    assert said == [f"{file.path} is damaged: it holds more than tensors and plain values; use another one"]
    assert grown < 100, grown


def test_a_zip_bomb_takes_no_memory(tmp_path, finished):
    file = File(tmp_path / "stream.pt", finished, "stream")
    file.weights["bomb"] = torch.zeros(100_000_000)
    whole = file.write()
    bomb = tmp_path / "bomb.pt"
    with zipfile.ZipFile(whole) as archive, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as packed:
        for part in archive.infolist():
            packed.writestr(part.filename, archive.read(part))
    assert bomb.stat().st_size < 2_000_000
    said, grown = peak_of(bomb)
    assert len(said) == 1 and "bomb.pt is damaged or no checkpoint (its parts are larger than the file)" in said[0]
    assert grown < 100, grown


def test_a_capacity_beyond_all_streams(tmp_path, finished):
    file = File(tmp_path / "stream.pt", finished, "stream")
    file.content["config"]["network"]["capacity"] = 10**9
    assert "network.capacity is 1000000000; it must be a whole number from 1 to" in file.refusal()


# ---- depth


@pytest.mark.parametrize("levels", [500, 10_000, 200_000])
@pytest.mark.parametrize("opened, closed", [("[", "]"), ('{"a":', "}")])
def test_a_card_nested_deep(tmp_path, finished, levels, opened, closed):
    card = File(tmp_path / "pool.json", finished, "pool").write()
    content = json.dumps(json.loads(card.read_text()) | {"facts": "HERE"})
    card.write_text(content.replace('"HERE"', opened * levels + "0" + closed * levels))
    with pytest.raises(AlmetaError, match=r"(is no readable card|is nested deeper than)") as told:
        load_policy(card)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("levels", [100, 10_000, 200_000])
def test_a_checkpoint_nested_deep(tmp_path, finished, levels):
    """The pickle inside is written by hand: n dictionaries in each other, {"a": {"a": ...}}."""
    whole = File(tmp_path / "stream.pt", finished, "stream").write()
    pickled = b"\x80\x02" + b"}X\x01\x00\x00\x00a" * levels + b"}" + b"s" * levels
    begin = b"}X\x06\x00\x00\x00formatX\x13\x00\x00\x00almeta-checkpoint-2sX\x01\x00\x00\x00a"
    pickled = b"\x80\x02" + begin + pickled[2:] + b"s."
    buffer = io.BytesIO()
    with zipfile.ZipFile(whole) as archive, zipfile.ZipFile(buffer, "w") as changed:
        for part in archive.infolist():
            changed.writestr(part.filename, pickled if part.filename.endswith("data.pkl") else archive.read(part))
    whole.write_bytes(buffer.getvalue())
    with pytest.raises(AlmetaError, match=r"(is nested deeper than|is damaged or no checkpoint)") as told:
        load_policy(whole)
    assert "\n" not in str(told.value)


def test_a_checkpoint_that_holds_itself(tmp_path, finished):
    file = File(tmp_path / "stream.pt", finished, "stream")
    loop: list[Any] = []
    loop.extend([loop] * 100)
    file.content["config"]["dataset"] = loop
    assert "is nested deeper than" in file.refusal()


def test_a_checkpoint_of_billions_of_parts(tmp_path, finished):
    """Each level holds the one below ten times; written, it is a few hundred bytes."""
    file = File(tmp_path / "stream.pt", finished, "stream")
    part: list[Any] = []
    for _ in range(12):
        part = [part] * 10
    file.content["config"]["dataset"] = part
    assert "it has more than 1,000,000 parts" in file.refusal()


@pytest.mark.parametrize(
    "thing",
    [{1, 2}, 1j, b"bytes", torch.float32, torch.zeros(3, device="meta"), torch.zeros(3).to_sparse()],
    ids=lambda thing: str(thing)[:20],
)
def test_a_checkpoint_of_other_things(tmp_path, finished, thing):
    file = File(tmp_path / "stream.pt", finished, "stream")
    file.content["config"]["name"] = thing
    assert "tensors and plain values" in file.refusal()
