"""metrics.jsonl, and what Weights & Biases gets: read back from the file that its offline mode writes."""

import errno
import importlib.util
import inspect
import io
import json
import logging
import os
import struct
import sys
import time
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from almeta.errors import AlmetaError
from almeta.training.loggers import JsonLines, WandbLogger, build_loggers, read_json_lines
from tests.training.small_run import make_trainer

CONF = Path(__file__).parents[2] / "conf" / "logger"

# ---- metrics.jsonl


@pytest.fixture
def lines(tmp_path):
    lines = JsonLines(tmp_path / "metrics.jsonl")
    yield lines
    lines.close()


def test_one_record_a_line(lines, tmp_path):
    records = [
        {"kind": "train", "batch": 1, "loss": 0.1 + 0.2},
        {"kind": "evaluation", "batch": 1, "nested": [{"a": None}]},
    ]
    for record in records:
        lines.log(record)
    assert read_json_lines(tmp_path / "metrics.jsonl") == records  # readable at once, and the same to the last bit
    assert lines.size == (tmp_path / "metrics.jsonl").stat().st_size


def test_an_existing_file_is_continued(lines, tmp_path):
    lines.log({"kind": "train", "batch": 1})
    again = JsonLines(tmp_path / "metrics.jsonl")
    assert again.size == lines.size
    again.log({"kind": "train", "batch": 2})
    again.close()
    assert read_json_lines(tmp_path / "metrics.jsonl") == [{"kind": "train", "batch": 1}, {"kind": "train", "batch": 2}]


def test_truncate_drops_later_lines_and_goes_on_there(lines, tmp_path):
    lines.log({"kind": "train", "batch": 1})
    size = lines.size
    lines.log({"kind": "train", "batch": 2})
    lines.truncate(size)
    assert lines.size == size
    lines.log({"kind": "train", "batch": 3})
    assert read_json_lines(tmp_path / "metrics.jsonl") == [{"kind": "train", "batch": 1}, {"kind": "train", "batch": 3}]


LINE = b'{"kind": "train", "batch": 1}\n'


@pytest.mark.parametrize("content", [b"", LINE, LINE + b'{"bat'])
def test_truncate_of_a_shorter_file_fills_nothing_in(tmp_path, content):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(content)
    lines = JsonLines(path)
    lines.truncate(10_000)
    lines.log({"kind": "train", "batch": 2})
    lines.close()
    assert path.read_bytes() == content[: len(LINE)] + LINE.replace(b"1", b"2")


class FullAfter(io.FileIO):
    """A file on a disk with room for so many more bytes."""

    room = 0

    def write(self, data):
        part = bytes(data)[: self.room]
        self.room -= len(part)
        if not part:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(part)


@pytest.mark.parametrize("room", [0, 5])
def test_full_disk_leaves_whole_lines(lines, tmp_path, monkeypatch, room):
    lines.log({"kind": "train", "batch": 1})
    file = FullAfter(tmp_path / "metrics.jsonl", "ab")
    file.room = room
    monkeypatch.setattr(lines, "_file", file)
    with pytest.raises(AlmetaError, match=r"could not write .*metrics\.jsonl: No space .*make room, then resume"):
        lines.log({"kind": "train", "batch": 2})
    assert read_json_lines(tmp_path / "metrics.jsonl") == [{"kind": "train", "batch": 1}]
    file.room = 100
    lines.log({"kind": "train", "batch": 3})
    assert read_json_lines(tmp_path / "metrics.jsonl") == [{"kind": "train", "batch": 1}, {"kind": "train", "batch": 3}]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_truly_full_disk_ends_training_with_one_clear_error(tmp_path):
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(AlmetaError, match=r"could not write .*metrics\.jsonl: No space"):
        make_trainer("QLearning", tmp_path, 12).train()


# ---- the choice of loggers


def config(logger):
    whole = OmegaConf.create({"name": "demo", "seed": 3, "logger": OmegaConf.load(CONF / f"{logger}.yaml")})
    return OmegaConf.to_container(whole, resolve=True)


def test_none_is_none(tmp_path):
    assert build_loggers(config("none"), tmp_path) == []


def test_the_config_names_every_option():
    parameters = set(inspect.signature(WandbLogger).parameters) - {"folder", "config"}
    assert set(config("wandb")["logger"]) == {"_target_", *parameters}


def test_disabled_imports_nothing_and_takes_everything(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)  # importing it would fail
    chosen = config("wandb")
    chosen["logger"]["mode"] = "disabled"
    (logger,) = build_loggers(chosen, tmp_path)
    logger.log({"kind": "train", "batch": 1, "loss": 0.5})
    logger.close()
    assert os.listdir(tmp_path) == []


def test_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(AlmetaError, match="pip install wandb"):
        WandbLogger(tmp_path, {})


def test_unknown_mode(tmp_path):
    chosen = config("wandb")
    chosen["logger"]["mode"] = "on"
    with pytest.raises(AlmetaError, match=r"logger\.mode is 'on'; it must be 'online' or 'offline' or 'disabled'"):
        build_loggers(chosen, tmp_path)


# ---- Weights & Biases

needs_wandb = pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is not installed")


@pytest.fixture
def wandb(tmp_path, monkeypatch):
    """The module, with no settings of this machine's user, nobody logged in, and nothing to reach."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    for name in ("HOME", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(home))
    monkeypatch.setenv("NETRC", str(home / "netrc"))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(sys, "stdin", io.StringIO())  # nobody to ask
    import wandb

    wandb.teardown()
    yield wandb
    wandb.teardown()


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


def logged(folder):
    """Return the records that wandb wrote in a run's folder, once its service has written the last one."""
    give_up = time.monotonic() + 20
    while time.monotonic() < give_up:
        records = written(folder)
        if records and records[-1].HasField("exit"):
            return records
        time.sleep(0.02)
    raise AssertionError("the file has no end")


def written(folder):
    """Return the records that are in the file already: LevelDB's log format, 7 bytes in front."""
    from wandb.proto import wandb_internal_pb2 as messages

    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    content, position, parts, records = path.read_bytes(), 7, b"", []
    while position + 7 <= len(content):
        if 32768 - position % 32768 < 7:  # no header fits: the rest of the block is empty
            position += 32768 - position % 32768
            continue
        length, kind = struct.unpack_from("<HB", content, position + 4)
        part = content[position + 7 : position + 7 + length]
        if len(part) < length:
            break
        parts, position = parts + part, position + 7 + length
        if kind in (1, 4):  # whole, or the last part
            records.append(messages.Record.FromString(parts))  # type: ignore[attr-defined]
            parts = b""
    return records


def histories(folder):
    """Return each logged step as a dictionary, without wandb's own entries."""
    steps = []
    for record in logged(folder):
        if record.HasField("history"):
            items = {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
            steps.append({key: value for key, value in items.items() if not key.startswith("_")})
    return steps


@needs_wandb
def test_what_a_training_run_logs(wandb, folder):
    chosen = config("wandb") | {"env": {"reward": {"incorrect": -5.0}}}
    chosen["logger"] |= {"mode": "offline", "project": "tests", "entity": "us", "group": "g", "tags": ["a", "b"]}
    (logger,) = build_loggers(chosen, folder)
    try:
        make_trainer("QLearning", folder, 12, loggers=[logger]).train()
    finally:
        logger.close()

    steps, records = histories(folder), read_json_lines(folder / "metrics.jsonl")
    assert (
        [step["batch"] for step in steps] == [record["batch"] for record in records] == [3, 4, 4, 6, 8, 8, 9] + 3 * [12]
    )
    assert steps[0] == {
        "batch": 3,
        "train/loss": records[0]["loss"],
        "train/mean_return": records[0]["mean_return"],
        "train/accuracy": records[0]["accuracy"],
        "train/request_rate": records[0]["request_rate"],
    }
    assert records[2]["classes"] == "test"
    assert steps[2]["test/request_rate"] == records[2]["request_rate"]
    assert steps[2]["test/intervals/mean_return"] == records[2]["intervals"]["mean_return"]
    second = records[2]["by_instance"][1]
    assert second["instance"] == 2
    assert steps[2]["test/by_instance/2/accuracy"] == second["accuracy"]
    assert steps[1]["train_classes/accuracy"] == records[1]["accuracy"]
    assert "train/accuracy" not in steps[1]
    assert not any("kind" in key or "classes" in key.split("/")[1:] for step in steps for key in step)

    (run,) = [record.run for record in logged(folder) if record.HasField("run")]
    assert (run.display_name, run.project, run.entity, run.run_group) == ("demo-3", "tests", "us", "g")
    assert set(run.tags) == {"a", "b"}
    kept = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert kept["env"] == {"reward": {"incorrect": -5.0}}
    assert kept["seed"] == 3
    metrics = [record.metric for record in logged(folder) if record.HasField("metric")]
    assert any(metric.glob_name == "*" and metric.step_metric == "batch" for metric in metrics)


@needs_wandb
def test_a_resumed_run_keeps_its_id(wandb, folder, tmp_path):
    def run_id(place):
        logger = WandbLogger(place, {}, mode="offline")
        name = logger._run.id
        logger.log({"kind": "train", "batch": 1, "loss": 1.0})
        logger.close()
        return name

    (tmp_path / "other").mkdir()
    first = run_id(folder)
    time.sleep(1.1)  # wandb's folders are named by the second
    assert run_id(folder) == first
    assert run_id(tmp_path / "other") != first
    assert len(list(folder.glob(f"wandb/offline-run-*/run-{first}.wandb"))) == 2


@needs_wandb
def test_nobody_logged_in(wandb, folder):
    with pytest.raises(AlmetaError, match=r"could not start \(.*API key.*\); log in .*logger\.mode=offline"):
        WandbLogger(folder, {}, mode="online")


@needs_wandb
@pytest.mark.parametrize("error", ["CommError", "UsageError"])
def test_no_network(wandb, folder, monkeypatch, error):
    def fail(**settings):
        assert settings["resume"] == "allow"
        raise getattr(wandb.errors, error)("connection refused\nand a long explanation")

    monkeypatch.setattr(wandb, "init", fail)
    with pytest.raises(AlmetaError, match=r"could not start \(connection refused\); .*logger\.mode=offline") as caught:
        WandbLogger(folder, {}, mode="online")
    assert "\n" not in str(caught.value)


@needs_wandb
def test_failing_later_is_one_warning_and_nothing_is_lost(wandb, folder, monkeypatch, caplog):
    logger = WandbLogger(folder, {}, mode="offline")
    run = logger._run

    def fail(*_, **__):
        raise BrokenPipeError("the service is gone\nwith details")

    finish = run.finish
    monkeypatch.setattr(run, "log", fail)
    monkeypatch.setattr(run, "finish", fail)
    with caplog.at_level(logging.WARNING):
        make_trainer("QLearning", folder, 12, loggers=[logger]).train()
        logger.close()
    finish()
    (warning,) = [record.getMessage() for record in caplog.records if record.name.startswith("almeta")]
    assert "(the service is gone)" in warning and "\n" not in warning
    assert len(read_json_lines(folder / "metrics.jsonl")) == 10


@needs_wandb
def test_closed_twice(wandb, folder):
    logger = WandbLogger(folder, {}, mode="offline")
    logger.close()
    logger.close()
    logger.log({"kind": "train", "batch": 1, "loss": 1.0})
