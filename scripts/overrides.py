"""The command line as people type it: names and paths that Hydra's grammar does not take are quoted for it."""

import contextlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString, Sweep
from hydra.errors import HydraException

from almeta import conf
from almeta.data.catalogue import find
from almeta.errors import AlmetaError
from almeta.scripts.help import is_preset_of

# Keys whose value is a name or a path, a list of them, or a list of names with options; and choices of whole presets.
_TEXTS = ("answers", "data", "labels", "out", "policy", "resume", "store", "hydra.run.dir", "hydra.sweep.dir")
_LISTS = ("datasets", "policies")
_SPECS = ("strategies", "learners")
_PRESETS = ("experiment", "protocol")
# Groups whose keys are the reader's: Hydra would take those that a preset has, and no others.
_OPEN = ("at_once", "vary")
# Groups of which a run that is resumed has its own choices.
_LEARNED = ("agent", "dataset", "env", "inputs", "learner", "network", "oracle")
_SWEEP = ("-m", "--multirun")
# One entry of a list, with the spaces around it: in quotes, or up to the next comma.
_ENTRY = re.compile(r"""(\s*(?:'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|[^,]*)\s*)(?:,|$)""")

_PREFIX = re.compile(r"^(csv|folder|table):")


def read_arguments(command: str, arguments: Iterable[str]) -> list[str]:
    """Return the arguments of a command with names and paths as Hydra's grammar takes them.

    `out=my runs/ü` needs no quotes of Hydra's beside those of the shell, nor does `datasets=[csv:a=b (1).csv]`; a comma
    belongs to a name where a file or folder of that name is there. For `evaluate` and `train`, `dataset=csv:my.csv`, or
    any other data set without a file of its own in conf/dataset, is short for `dataset=named dataset.name=csv:my.csv`.
    `+experiment=mine` is `experiment=mine`. `-m` may stand anywhere. To keys that a preset gives
    `at_once` and `vary`, others may be added.

    Raises:
        AlmetaError: for `dataset=` of a benchmark, which is `datasets=`.
    """
    given = sorted(arguments, key=lambda argument: argument not in _SWEEP)  # Hydra wants it first
    is_swept = any(argument in _SWEEP for argument in given)
    read: list[str] = []
    for argument in given:
        prefix, key, value = _cut(argument)
        if key in _PRESETS:
            read.append(f"{key}={value}")  # with a plus, too: they stand in the defaults already
        elif key == "dataset" and command == "benchmark":
            raise AlmetaError(f"unknown key 'dataset'; a benchmark is on several data sets: write datasets=[{value}]")
        elif key == "dataset" and command in ("evaluate", "train") and not prefix:
            read += _named_dataset(command, value, is_swept)
        elif key in _TEXTS:
            read.append(f"{prefix}{key}={_text(value, is_swept)}")
        elif key in _LISTS:
            read.append(f"{prefix}{key}={_list(value, is_swept)}")
        elif key in _OPEN and not prefix:
            read.append(f"++{argument}")
        elif key in _SPECS and isinstance(_parsed(value), dict):
            read.append(f"{prefix}{key}=[{value}]")
        else:
            read.append(argument)
    return read


def check_preset(command: str, arguments: Iterable[str]) -> None:
    """Raise AlmetaError for a preset of conf/experiment that is for another command."""
    for argument in arguments:
        _, key, preset = _cut(argument)
        if key != "experiment" or not (Path(str(conf.__file__)).parent / "experiment" / f"{preset}.yaml").is_file():
            continue  # one of one's own, perhaps
        if not is_preset_of(command, preset):
            other = "benchmark" if is_preset_of("benchmark", preset) else "train"
            raise AlmetaError(f"experiment={preset} is not for {command}; python scripts/{other}.py {argument}")


def check_resumed(command: str, arguments: Iterable[str]) -> None:
    """Raise AlmetaError for changes of a run that is resumed in what only its own choices know, such as its network.

    Hydra would look for their keys in the usual choices. Of all other changes `read_run` tells, and of a run that is
    not there.
    """
    arguments = list(arguments)
    runs = [_parsed(value) for _, key, value in map(_cut, arguments) if key == "resume"]
    if command != "train" or not any(isinstance(run, str) and _exists(run) for run in runs):
        return
    for argument in arguments:
        if part_of(argument) in _LEARNED and ("=" in argument or argument.startswith("~")):
            raise AlmetaError(f"{argument.lstrip('+')} cannot change when a run is resumed; start a new run")


def part_of(override: str) -> str:
    """Return the part of the config that an override changes: "env" for `+env.stickiness=0.5`."""
    return re.split(r"[=@.]", override.lstrip("+~"), maxsplit=1)[0]


def literal(text: str) -> str:
    """Return how an override spells a text: as it is where that is read as this very text, else in quotes."""
    if "${" not in text and _parsed(text) == text:
        return text
    escaped = re.sub(r"(\\*)\$\{", r"\1\1\\${", text)  # no interpolation of OmegaConf
    return QuotedString(escaped, Quote.single).with_quotes()


def _cut(argument: str) -> tuple[str, str, str]:
    """Return the plus signs, the key and the value of an override; no key if it is none."""
    key, equals, value = argument.partition("=")
    bare = key.lstrip("+")
    return key[: len(key) - len(bare)], bare if equals else "", value


def _parsed(value: str) -> Any:
    """Return what Hydra reads in a value: a text, a number, a list, a sweep, ...; `HydraException` if it cannot."""
    try:
        return OverridesParser.create().parse_override(f"key={value}").value()
    except HydraException:
        return HydraException


def _text(value: str, is_swept: bool) -> str:
    """Return a value that stands for one text, or for several in a sweep."""
    if _exists(value):
        return literal(value)
    found = _parsed(value)
    if found is None or isinstance(found, str) or (is_swept and isinstance(found, Sweep)):
        return value
    if found is HydraException and is_swept:
        return ",".join(map(_entry, _entries(value)))
    return literal(value)


def _list(value: str, is_swept: bool) -> str:
    """Return a value that stands for a list of texts; one without brackets stands for one text."""
    if not (value.startswith("[") and value.endswith("]")):
        return _text(value, is_swept)
    found = _parsed(value)
    if found is not HydraException and not isinstance(found, list):  # such as a sweep over lists
        return value
    return f"[{','.join(map(_entry, _entries(value[1:-1])))}]"


def _named_dataset(command: str, value: str, is_swept: bool) -> list[str]:
    """Return the overrides that choose a data set by the name of its config or by its own."""
    choices = {path.stem for path in (Path(str(conf.__file__)).parent / "dataset").glob("*.yaml")}
    entries = _entries(value) if is_swept and not _exists(value) else [value]
    others = set(entries) - {*choices, "null"}
    if not others or (command == "train" and not any(map(_is_dataset, others))):  # a typo, or a choice of one's own
        return [f"dataset={value}"]
    return ["dataset=named", f"dataset.name={','.join(map(_entry, entries))}"]


def _is_dataset(name: str) -> bool:
    """Whether a name is one that `load_dataset` takes, as far as can be told without loading it."""
    with contextlib.suppress(AlmetaError):
        find(name)
        return True
    return False


def _entry(text: str) -> str:
    """Return one entry of a list or sweep, in quotes if Hydra does not read it well itself."""
    return literal(text) if _exists(text) or _parsed(text) is HydraException else text


def _entries(text: str) -> list[str]:
    """Return the entries that commas separate, except commas that belong to the name of something that is there."""
    parts = [match.group(1) for match in _ENTRY.finditer(text) if match.group(0)]
    entries: list[str] = []
    while parts:
        size = next((n for n in range(len(parts), 1, -1) if _exists(",".join(parts[:n]).strip())), 1)
        entries.append(",".join(parts[:size]).strip())
        del parts[:size]
    return entries


def _exists(name: str) -> bool:
    """Whether a file or folder is there that a name stands for, with a prefix such as `csv:` before it or not."""
    try:
        return bool(name) and Path(_PREFIX.sub("", name)).expanduser().exists()
    except (OSError, ValueError):  # too long for a name, or no text of a path
        return False
