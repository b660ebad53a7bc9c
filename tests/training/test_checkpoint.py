"""Checkpoints: whole or not at all, and no file of another kind does harm."""

import errno
import io
import os
import pickle
import random
import zipfile
from pathlib import Path

import pytest
import safetensors.torch
import torch

from almeta import files
from almeta.errors import AlmetaError
from almeta.files import write_atomically
from almeta.training.checkpoint import CONFIG_KEYS, load_checkpoint, save_checkpoint

# torch says, beside refusing it, which pickle protocol a foreign file has
pytestmark = pytest.mark.filterwarnings("ignore:Detected pickle protocol")


@pytest.fixture
def content():
    parts = {"network": {}, "agent": {}, "env": {}, "rates": [1e-3, True, None], "nested": {"a": {"b": "c"}}}
    return {
        "batch": 7,
        "best": None,
        "kind": "stream",
        "datasets": ["iris"],
        "digest": "0a",
        "inputs": {"_target_": "almeta.inputs.Images", "num_pixels": 4, "num_slots": 2},
        "names": ["2 label slots", "4 pixels"],
        "agent": {"weight": torch.arange(6.0).view(2, 3)},
        "optimizer": {"state": {}, "param_groups": []},
        "generators": {"env": torch.Generator().manual_seed(3).get_state()},
        "sums": {},
        "metrics_size": 0,
        "config": {**dict.fromkeys(CONFIG_KEYS), **parts},
    }


@pytest.fixture
def good(tmp_path, content):
    save_checkpoint(tmp_path / "last.pt", content)
    return tmp_path / "last.pt"


class Evil:
    """Runs code when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def saved(thing):
    buffer = io.BytesIO()
    torch.save(thing, buffer)
    return buffer.getvalue()


def zipped(**files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return buffer.getvalue()


def test_comes_back_as_it_was(good, content):
    loaded = load_checkpoint(good)
    assert loaded.pop("format") == "almeta-checkpoint-2"
    assert loaded.keys() == content.keys()
    torch.testing.assert_close(loaded["agent"], content["agent"], rtol=0, atol=0)
    generator = torch.Generator()
    generator.set_state(loaded["generators"]["env"])
    assert generator.initial_seed() == 3
    assert {key: loaded[key] for key in ("batch", "best", "config")} == {
        key: content[key] for key in ("batch", "best", "config")
    }
    assert os.listdir(good.parent) == ["last.pt"]


# ---- files that are none


def test_missing(tmp_path):
    with pytest.raises(AlmetaError, match=rf"no checkpoint at {tmp_path / 'none.pt'}"):
        load_checkpoint(tmp_path / "none.pt")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.999])
def test_cut(good, share):
    whole = good.read_bytes()
    good.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(AlmetaError, match=r"last\.pt is damaged or no checkpoint \(.+\); use another one"):
        load_checkpoint(good)


def test_a_file_that_would_take_memory_is_refused_before(good, monkeypatch):
    """A pickle of a few bytes may ask for an array of any size."""
    with zipfile.ZipFile(good) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    name = next(name for name in parts if name.endswith("data.pkl"))
    parts[name] = b"cbuiltins\nbytearray\n(I3000000000\ntR."
    with zipfile.ZipFile(good, "w") as archive:
        for key, value in parts.items():
            archive.writestr(key, value)
    monkeypatch.setattr(torch, "load", lambda *args, **options: pytest.fail("it was read"))
    with pytest.raises(AlmetaError, match=r"last\.pt is damaged or no checkpoint \(it is no archive of tensors"):
        load_checkpoint(good)


@pytest.mark.parametrize(
    "foreign",
    [
        saved({"weight": torch.zeros(3)}),
        saved([1, 2]),
        saved({"format": "almeta-checkpoint-0"}),
        saved(torch.nn.Linear(2, 2)),
        safetensors.torch.save({"weight": torch.zeros(3)}),
        pickle.dumps({"weight": [1.0, 2.0]}),
        zipped(notes="a text"),
        zipped(**{"archive/data.pkl": "a text", "archive/version": "3"}),
        b"Just a text.\n" * 20,
        b'{"mean_return": 1.0}',
        b"name: woodward_finn\n",
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        bytes(1000),
    ],
    ids=lambda value: f"{len(value)} bytes",  # not the bytes: archives hold the time
)
def test_foreign(tmp_path, foreign):
    path = tmp_path / "foreign.pt"
    path.write_bytes(foreign)
    with pytest.raises(AlmetaError, match=r"foreign\.pt is (damaged or no|not a) checkpoint .*; use another one"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    "pack", [pickle.dumps, saved, lambda thing: saved({"format": "almeta-checkpoint-1", "a": thing})]
)
def test_code_in_a_file_does_not_run(tmp_path, pack):
    victim = tmp_path / "code ran"
    path = tmp_path / "evil.pt"
    path.write_bytes(pack(Evil(victim)))
    with pytest.raises(AlmetaError, match=r"evil\.pt"):
        load_checkpoint(path)
    assert not victim.exists()
    pickle.loads(pickle.dumps(Evil(victim)))
    assert victim.exists()  # it would have


def test_a_folder(tmp_path):
    with pytest.raises(AlmetaError, match="damaged or no checkpoint"):
        load_checkpoint(tmp_path)


def test_any_bytes_at_all(good):
    """Whatever is in the file, it is loaded or refused; no other error escapes."""
    rng, whole, refused = random.Random(0), good.read_bytes(), 0
    for _ in range(300):
        noise = bytearray(whole if rng.random() < 0.5 else rng.randbytes(rng.choice((1, 5, 50, 500))))
        for _ in range(rng.choice((1, 3, 20))):
            noise[rng.randrange(len(noise))] = rng.randrange(256)
        good.write_bytes(noise)
        try:
            load_checkpoint(good)
        except AlmetaError as error:
            refused += "last.pt" in str(error)
    assert refused > 150


# ---- when it cannot be written


def test_full_disk(good, content, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = good.read_bytes()
    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(
        AlmetaError, match=r"could not write .*last\.pt: No space .*the previous one is intact.*make room"
    ):
        save_checkpoint(good, content | {"batch": 8})
    assert good.read_bytes() == before
    with pytest.raises(AlmetaError, match=r"could not write .*best\.pt: No space .*there is no earlier one"):
        save_checkpoint(good.with_name("best.pt"), content)
    assert os.listdir(good.parent) == ["last.pt"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_truly_full_disk(good, content, monkeypatch):
    """/dev/full takes no byte: the temporary file is made to lie there."""
    before = good.read_bytes()
    good.with_name(f".last.pt.{os.getpid()}.tmp").symlink_to("/dev/full")
    with pytest.raises(AlmetaError, match=r"could not write .*last\.pt: No space .*the previous one is intact"):
        save_checkpoint(good, content | {"batch": 8})
    assert good.read_bytes() == before
    assert os.listdir(good.parent) == ["last.pt"]
    assert os.path.exists("/dev/full")


def test_a_folder_that_is_not_there(tmp_path, content):
    with pytest.raises(AlmetaError, match=r"could not write .*No such file or directory"):
        save_checkpoint(tmp_path / "gone" / "last.pt", content)


def test_a_name_that_is_taken_by_a_folder(tmp_path, content):
    (tmp_path / "last.pt").mkdir()
    with pytest.raises(AlmetaError, match="could not write"):
        save_checkpoint(tmp_path / "last.pt", content)
    assert os.listdir(tmp_path) == ["last.pt"]


def test_interrupted_while_writing(good, content, monkeypatch):
    def interrupt(descriptor):
        raise KeyboardInterrupt

    before = good.read_bytes()
    monkeypatch.setattr(files.os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(good, content)
    assert good.read_bytes() == before
    assert os.listdir(good.parent) == ["last.pt"]


def test_what_a_checkpoint_cannot_hold_is_found_before_anything_is_written(good):
    before = good.read_bytes()
    with pytest.raises((AttributeError, pickle.PicklingError)):
        save_checkpoint(good, {"rule": lambda: None})
    assert good.read_bytes() == before


def test_who_reads_the_old_file_sees_all_of_it(good, content):
    before = good.read_bytes()
    with good.open("rb") as reader:
        save_checkpoint(good, content | {"batch": 8})
        assert reader.read() == before
    assert load_checkpoint(good)["batch"] == 8


def test_write_atomically_replaces(tmp_path):
    for text in (b"one", b"two, longer", b""):
        write_atomically(tmp_path / "file", text)
        assert (tmp_path / "file").read_bytes() == text
    assert os.listdir(tmp_path) == ["file"]
