"""Names and paths on the command line: what people type reaches the config as it was typed."""

import re
import shlex
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep
from omegaconf import OmegaConf

from almeta.data.catalogue import FILES
from almeta.errors import AlmetaError
from almeta.scripts import commands
from almeta.scripts.overrides import check_preset, check_resumed, literal, read_arguments
from tests.small_config import compose_config

ODD = [
    "plain/run_1",
    "a b",
    "a=b",
    "a,b",
    "[a]",
    "{a}",
    "a (1)",
    "a#b",
    "it's",
    'say "a"',
    "ü/ö",
    "${now}",
    "$HOME",
    "back\\slash",
    "ends\\",
    "quote'",
    "\\'",
    "\\${x}",
    "a\\\\${x}",
    "null",
    "true",
    "2024",
    "1e3",
    "a  b",
    " a",
    "~/a",
    "!a;b&c|d",
    "*?",
]


def read(override: str) -> object:
    """Return the value of an override as a config holds it."""
    value = OverridesParser.create().parse_override(override).value()
    return OmegaConf.to_container(OmegaConf.create({"value": value}), resolve=True)["value"]  # type: ignore[index,call-overload]


@pytest.mark.parametrize("text", ODD)
def test_a_literal_is_read_as_the_text(text):
    assert read(f"key={literal(text)}") == text


def test_a_literal_is_quoted_only_where_it_must_be():
    assert literal("runs/quickstart/2030-01-01_12-00-00-000000") == "runs/quickstart/2030-01-01_12-00-00-000000"
    assert literal("csv:my.csv") == "csv:my.csv"


@pytest.mark.parametrize("text", ODD)
@pytest.mark.parametrize("program", ["scripts/train.py", "/a folder/it's/train.py", "/usr/bin/almeta-train"])
def test_the_command_to_go_on_can_be_typed_as_it_is_printed(monkeypatch, text, program):
    monkeypatch.setattr("sys.argv", [program])
    line = commands.how_to_go_on(Path(text)).removeprefix("to go on: ")
    *called, override = shlex.split(line)
    assert called == (["python", program] if program.endswith(".py") else ["almeta-train"])
    assert override.startswith("resume=")
    assert read(override) == str(Path(text))


@pytest.mark.parametrize("text", [text for text in ODD if "${" not in text and text not in ("null", " a")])
@pytest.mark.parametrize("key", ["policy", "resume", "out", "hydra.run.dir"])
def test_a_path_needs_no_quotes_of_its_own(key, text):
    (argument,) = read_arguments("benchmark", [f"{key}={text}"])
    assert argument.startswith(f"{key}=")
    assert read(argument) == text


@pytest.mark.parametrize(
    "name", ["a b.csv", "a=b.csv", "a,b.csv", "[a](1).csv", "ü.csv", "it's.csv", "${now}.csv", "a#b.csv"]
)
def test_the_name_of_a_file_that_is_there_needs_no_quotes(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    Path(name).touch()
    for argument in (f"datasets=[iris,csv:{name},wine]", f"policies=[iris,csv:{name},wine]"):
        assert read(read_arguments("benchmark", [argument])[0]) == ["iris", f"csv:{name}", "wine"]
    assert read(read_arguments("benchmark", [f"datasets=csv:{name}"])[0]) == f"csv:{name}"
    assert read_arguments("evaluate", [f"dataset=csv:{name}"])[0] == "dataset=named"
    assert read(read_arguments("evaluate", [f"dataset=csv:{name}"])[1]) == f"csv:{name}"


def test_a_comma_in_the_name_of_a_folder_or_table_that_is_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a,b").mkdir()
    for prefix in FILES:
        assert read(read_arguments("benchmark", [f"datasets=[{prefix}:a,b,wine]"])[0]) == [f"{prefix}:a,b", "wine"]


@pytest.mark.parametrize("there", [["x, y.csv"], ["x, y.csv", "x,y.csv"], ["x , y.csv", "x,y.csv", "x, y.csv"]])
def test_spaces_beside_a_comma_belong_to_the_name_of_a_file_that_is_there(tmp_path, monkeypatch, there):
    monkeypatch.chdir(tmp_path)
    for name in there:
        Path(name).touch()
    asked = ", ".join(f"csv:{name}" for name in there)
    (argument,) = read_arguments("benchmark", [f"datasets=[iris, {asked} , wine]"])
    assert read(argument) == ["iris", *(f"csv:{name}" for name in there), "wine"]


@pytest.mark.parametrize(
    "argument",
    [
        "policy='a b'",
        "policy=null",
        "out=runs/${now:%Y}",
        "datasets=null",
        "datasets=[iris,'csv:a,b.csv']",
        "datasets=[]",
        "policies=[transfer]",
        "seed=1,2",
        "strategies=[margin,{name: information_density, beta: 2}]",
        "--cfg",
        "~seed",
        "hydra/launcher=joblib",
    ],
)
def test_what_hydra_reads_well_stays_as_it_is(argument):
    assert read_arguments("benchmark", [argument]) == [argument]


def test_a_sweep_stays_a_sweep():
    parse = OverridesParser.create().parse_override
    for given, values in (
        ("policy=a,b", ["a", "b"]),
        ("policy=ä,b c", ["ä", "b c"]),
        ("datasets=[iris],[wine]", [["iris"], ["wine"]]),
        ("dataset=csv:a b.csv,csv:ö.csv", ["csv:a b.csv", "csv:ö.csv"]),
    ):
        found = parse(read_arguments("evaluate", ["-m", given])[-1]).value()
        assert isinstance(found, ChoiceSweep)
        assert [getattr(value, "text", value) for value in found.list] == values
    assert read_arguments("evaluate", ["-m", "dataset=omniglot,characters"]) == ["-m", "dataset=omniglot,characters"]


@pytest.mark.parametrize(
    ("given", "becomes"),
    [
        ("dataset=csv:my.csv", ["dataset=named", "dataset.name=csv:my.csv"]),
        ("dataset=iris", ["dataset=named", "dataset.name=iris"]),
        ("dataset=heart", ["dataset=named", "dataset.name=heart"]),
        ("dataset=openml:61", ["dataset=named", "dataset.name=openml:61"]),
        ("dataset=csv:it's.csv", ["dataset=named", r"dataset.name='csv:it\'s.csv'"]),
        ("dataset=csv:a=b.csv", ["dataset=named", "dataset.name='csv:a=b.csv'"]),
        ("dataset=omniglot", ["dataset=omniglot"]),
        ("dataset=tables", ["dataset=tables"]),
        ("dataset=null", ["dataset=null"]),
        ("dataset.name=iris", ["dataset.name=iris"]),
        ("policy=iris", ["policy=iris"]),
    ],
)
def test_any_name_may_stand_for_a_data_set(given, becomes):
    assert read_arguments("train", [given]) == becomes
    found = read_arguments("evaluate", ["policy=x", given, "seed=1"])
    assert found == ["policy=x", *becomes, "seed=1"]
    if "named" in becomes[0]:
        name = compose_config(*found, command="evaluate")["dataset"]["name"]
        assert name == given.removeprefix("dataset=")


def test_a_sweep_may_be_asked_for_anywhere():
    assert read_arguments("train", ["threads=1", "-m", "seed=0,1"]) == ["-m", "threads=1", "seed=0,1"]


def test_other_keys_may_be_added_to_those_that_a_preset_trains_at_once():
    given = read_arguments("train", ["experiment=one_shot/table", "at_once={env.reward.request: [-0.05, -0.1]}"])
    assert set(compose_config(*given)["at_once"]) == {"seed", "env.reward.incorrect", "env.reward.request"}
    assert compose_config(*read_arguments("train", ["experiment=one_shot/table", "at_once=null"]))["at_once"] is None
    assert commands._job_folder("a=1,++vary={x:[1]}") == commands._job_folder("a=1,vary={x:[1]}")  # as it was asked for
    swapped = read_arguments("train", ["experiment=one_shot/episodic", "at_once={seed: [0, 1]}"])
    assert compose_config(*swapped)["at_once"] == {"seed": [0, 1]}


def test_a_preset_may_be_given_with_a_plus():
    assert read_arguments("train", ["+experiment=mine"]) == ["experiment=mine"]


@pytest.mark.parametrize(
    "command, preset, other", [("train", "exercise/digits", "benchmark"), ("benchmark", "pool/quickstart", "train")]
)
def test_a_preset_of_another_command_is_told(command, preset, other):
    wanted = f"experiment={preset} is not for {command}; python scripts/{other}.py experiment={preset}"
    with pytest.raises(AlmetaError, match=re.escape(wanted)):
        check_preset(command, ["seed=1", f"experiment={preset}"])
    check_preset(other, [f"experiment={preset}"])
    check_preset(command, ["experiment=mine"])  # one of one's own
    check_preset(command, [f"strategies=[{','.join(['margin'] * 60)}]"])  # longer than the name of a file may be


@pytest.mark.parametrize(
    "arguments",
    [
        ["env.length=5"],
        ["resume=null", "env.length=5"],
        ["resume=NULL", "env.length=5"],
        ["~resume", "env.length=5"],
        ["resume=run", "batches=5", "hydra.verbose=true", "--config-dir", "network"],
        ["resume=run", "bathces=5"],  # which Hydra does not know
        ["resume=nowhere", "env.length=5"],  # of which `read_run` tells
    ],
)
def test_what_a_resumed_run_may_change_or_others_tell_of(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("run").mkdir()
    check_resumed("train", arguments)


def test_a_resumed_run_keeps_its_choices(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("my run").mkdir()
    for argument in ("env.length=5", "+env.length=5", "~env.length"):
        with pytest.raises(
            AlmetaError, match=r"^~?env\.length(=5)? cannot change when a run is resumed; start a new run"
        ):
            check_resumed("train", read_arguments("train", ["resume=my run", argument]))
    check_resumed("evaluate", ["policy=x", "resume=my run", "env.length=5"])  # whose keys Hydra knows
