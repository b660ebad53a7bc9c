"""What a run left, damaged by hand: one line each, and nothing is lost."""

import json
import re
import shutil

import pytest
import yaml

import almeta.scripts.evaluate
import almeta.scripts.train
from almeta.errors import AlmetaError
from almeta.evaluation.jobs import read_jobs
from almeta.runs.sweep import sweep_report
from almeta.runs.training import train
from almeta.training.checkpoint import load_checkpoint
from almeta.training.loggers import read_json_lines
from tests.runs.conftest import run_config

pytestmark = pytest.mark.usefixtures("same_images", "quick_figures")

# What becomes of the file, by a name of the damage.
DAMAGES = {
    "empty": lambda content: b"",
    "cut in half": lambda content: content[: len(content) // 2],
    "binary": lambda content: b"\x89PNG\r\n\x1a\n\xff\xfe" + bytes(range(256)),
    "a list": lambda content: b"[1, 2]",
    "a number": lambda content: b"7",
    "nested": lambda content: b"[" * 100_000,
}


@pytest.fixture(params=["stream", "pool"])
def kind(request):
    return request.param


@pytest.fixture
def run(finished, kind, tmp_path):
    return shutil.copytree(finished[kind], tmp_path / "run")


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def refusal(config, folder):
    """The one line in which it is refused, after which all files are as they were."""
    before = files_of(folder)
    with pytest.raises(AlmetaError) as told:
        train(config, folder)
    assert files_of(folder) == before
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 500 + len(str(folder))
    return str(told.value)


@pytest.mark.parametrize("damage", DAMAGES)
def test_config(run, kind, damage):
    path = run / "config.yaml"
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    told = refusal(run_config(kind), run)
    if damage != "cut in half" or "holds a run with another" not in told:  # half of it may be a config of another run
        assert f"{path} is damaged (" in told and "remove it and start again" in told


@pytest.mark.parametrize("name", ["config.yaml", "summary.json"])
def test_once_it_is_removed_nothing_is_lost(run, kind, name):
    """As the lines of these tests say; whatever the damage was, the other files are as they were."""
    whole = json.loads((run / "summary.json").read_text())
    (run / name).unlink()
    assert train(run_config(kind), run) == whole


def test_config_of_wrong_types(run, kind):
    path = run / "config.yaml"
    config = yaml.safe_load(path.read_text())
    change: dict
    for change in ({"env": 3}, {"network": None}, {"seed": []}, {"dataset": "iris"}, {"agent": {"_target_": 5}}):
        path.write_text(yaml.safe_dump(config | change))
        assert f"holds a run with another {next(iter(change))}" in refusal(run_config(kind), run)


@pytest.mark.parametrize("damage", [*DAMAGES, "no score", "a text as score"])
def test_summary(run, kind, damage):
    path = run / "summary.json"
    whole = json.loads(path.read_text())
    train_part: dict = {"no score": {}, "a text as score": dict.fromkeys(whole["train"], "x")}
    wrong = {key: {**whole, "train": part} for key, part in train_part.items()}
    path.write_bytes(DAMAGES[damage](path.read_bytes()) if damage in DAMAGES else json.dumps(wrong[damage]).encode())
    told = refusal(run_config(kind), run)
    assert f"{path} is damaged (" in told and "the policy is judged anew" in told


LINES = {
    "binary": b"\x89PNG\xff\xfe",
    "half": b'{"kind": "train", "ba',
    "a list": b"[1]",
    "a number": b"7",
    "no kind": b'{"batch": 1}',
    "a kind that is no text": b'{"kind": 3, "batch": 1}',
    "no batch": b'{"kind": "train"}',
    "nested": b"[" * 100_000,
    "empty": b"",
}


@pytest.mark.parametrize("damage", LINES)
def test_a_line_of_metrics(run, kind, damage):
    path = run / "metrics.jsonl"
    lines = path.read_bytes().splitlines()
    lines[1] = LINES[damage]
    path.write_bytes(b"\n".join(lines) + b"\n")
    told = refusal(run_config(kind, "batches=6"), run)
    assert re.search(r"line 2 of .*metrics\.jsonl is damaged \(.*\); remove the line", told)


def test_once_the_line_is_removed_the_run_goes_on(run, kind):
    path = run / "metrics.jsonl"
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([lines[0], *lines[2:]]) + b"\n")
    train(run_config(kind, "batches=6"), run)
    assert [line["batch"] for line in read_json_lines(path) if line["kind"] == "train"] == [1, 3, 4, 5, 6]


@pytest.mark.parametrize("content", [b"", b'{"kind": "train", "batch": 1}\n{"kind": "tr'])
def test_metrics_that_are_shorter_cost_their_lines_alone(run, kind, content):
    (run / "metrics.jsonl").write_bytes(content)
    summary = train(run_config(kind, "batches=6"), run)
    lines = read_json_lines(run / "metrics.jsonl")
    assert [line["batch"] for line in lines if line["kind"] == "train"] == [1] * bool(content) + [5, 6]
    assert summary["batches"] == 6


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["config.yaml", "summary.json", "metrics.jsonl", "last.pt"])
def test_commands_tell_it_in_a_line_or_do_not_mind(run, kind, name, damage, command):
    (run / name).write_bytes(DAMAGES[damage]((run / name).read_bytes()))
    outcome = command(almeta.scripts.train, f"resume={run}", "batches=5")
    if outcome.status:
        assert outcome.status == 1
        assert str(run) in outcome.error
    else:  # a summary is written anew; of metrics without a whole line, only the figures until now are lost
        lines = (run / "metrics.jsonl").read_text().splitlines()
        assert name in ("summary.json", "metrics.jsonl") and all(json.loads(line) for line in lines)
        assert load_checkpoint(run / "last.pt")["batch"] == 5


@pytest.mark.parametrize("damage", DAMAGES)
def test_who_judges_it_reads_the_checkpoint_alone(finished, tmp_path, damage, command):
    run = shutil.copytree(finished["stream"], tmp_path / "run")
    for name in ("config.yaml", "summary.json", "metrics.jsonl"):
        (run / name).write_bytes(DAMAGES[damage]((run / name).read_bytes()))
    assert command(almeta.scripts.evaluate, "policy=run", "episodes=4", "threads=1", "hydra.run.dir=judged").status == 0
    (run / "last.pt").write_bytes(DAMAGES[damage]((run / "last.pt").read_bytes()))
    outcome = command(almeta.scripts.evaluate, "policy=run", "episodes=4", "threads=1", "hydra.run.dir=again")
    assert outcome.status == 1
    assert "run/last.pt is damaged or no checkpoint" in outcome.error


@pytest.mark.parametrize("name", ["summary.json", ".hydra/config.yaml", ".hydra/overrides.yaml"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_the_table_of_a_sweep_shows_the_other_jobs(finished, kind, tmp_path, name, damage):
    for seed in (0, 1):
        job = tmp_path / f"seed_{seed}"
        (job / ".hydra").mkdir(parents=True)
        shutil.copy(finished[kind] / "config.yaml", job / ".hydra" / "config.yaml")
        (job / ".hydra" / "overrides.yaml").write_text(f"- seed={seed}\n")
        shutil.copy(finished[kind] / "summary.json", job)
    path = tmp_path / "seed_1" / name
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    report = sweep_report(tmp_path)
    assert report.tables
    (whole,) = [job for job in read_jobs(tmp_path) if job.folder.name == "seed_0"]
    assert whole.seed == "seed=0" and whole.kind == kind and whole.results is not None
    missing = [line for line in report.sentences if "seed_1" in line]
    assert len(missing) == (name == "summary.json")
