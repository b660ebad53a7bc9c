"""What `--help` says: the knobs of a command, with the sentences of its YAML."""

import shutil
import textwrap
from collections.abc import Iterator
from pathlib import Path

import yaml

from almeta import conf

_CONF = Path(str(conf.__file__)).parent
_NOT_TRAINED = ("table_stream",)  # kinds of problems that are environments alone
_LEFT = 30  # columns of keys and their values
_FLAGS = {
    "-m": "Run a sweep: one job for each value of KEY=VALUE,VALUE,... and for each combination of several.",
    "--cfg job": "Print the config and run nothing.",
    "--config-dir DIR": "Look for configs in this folder, too, such as DIR/experiment/mine.yaml.",
    "--hydra-help": "Say what else Hydra takes.",
}


def help_text(command: str, program: str, purpose: str) -> str:
    """Return the page: what a command is for, the choices that it offers and its keys, each with what it means.

    Args:
        command: the name of its config, such as "train".
        program: how it is called.
        purpose: the docstring of its module.
    """
    width = min(100, shutil.get_terminal_size((100, 24)).columns)
    groups, knobs = _groups(command), list(_knobs(_CONF / f"{command}.yaml"))
    if command == "benchmark":  # it plays pools alone: what can be chosen are their options
        pool = [(f"env.{key}", sentence) for key, sentence in _knobs(_CONF / "env" / f"{groups.pop('env')}.yaml")]
        known = {key.partition("=")[0] for key, _ in knobs}
        knobs += [("", "the environment"), *(knob for knob in pool if knob[0].partition("=")[0] not in known)]
    page = [f"{program} KEY=VALUE ...", "", purpose.strip(), "", "Choices (--cfg job shows the keys of those chosen):"]
    sentences = {key.partition("=")[0]: sentence for key, sentence in knobs}
    for group, chosen in groups.items():
        sentence = f"{sentences.get(group, '')} One of {', '.join(choices(group, command))}.".strip()
        page += _columns(f"{group}={chosen}", sentence, width)
    for key, sentence in [("", "keys"), *knobs]:
        if not key:
            page += ["", f"{sentence[0].upper()}{sentence[1:]}:"]
        elif key.partition("=")[0] not in groups:
            page += _columns(key, sentence, width)
    page += ["", "Flags:"]
    for flag, sentence in _FLAGS.items():
        page += _columns(flag, sentence, width)
    return "\n".join(page)


def _groups(command: str) -> dict[str, str]:
    """The groups that a command chooses from, with what it chooses."""
    defaults = yaml.safe_load((_CONF / f"{command}.yaml").read_text("utf-8"))["defaults"]
    pairs = [next(iter(entry.items())) for entry in defaults if isinstance(entry, dict)]
    return {group: "null" if choice is None else choice for group, choice in pairs if not group.startswith("override")}


def choices(group: str, command: str) -> list[str]:
    """Return what a group of configs offers to a command, sorted, such as "one_shot/quickstart" of "experiment"."""
    folder = _CONF / group
    found = sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))
    if group == "env":
        return [choice for choice in found if choice not in _NOT_TRAINED]
    return [choice for choice in found if group != "experiment" or is_preset_of(command, choice)]


def is_preset_of(command: str, preset: str) -> bool:
    """Return whether a preset of conf/experiment is for a command: benchmarks name strategies, others do not."""
    content = (_CONF / "experiment" / f"{preset}.yaml").read_text("utf-8")
    return ("strategies" in yaml.safe_load(content)) == (command == "benchmark")


def _knobs(path: Path) -> Iterator[tuple[str, str]]:
    """Yield `key=value`, or the key of a group, and the comment above it, in order; a heading has no key."""
    comment: list[str] = []
    above: list[str] = []  # the keys that a line is indented below
    for line in path.read_text("utf-8").partition("\nhydra:")[0].splitlines():
        text = line.strip()
        if text.startswith("# ----"):
            yield "", text.strip("# -")
        elif text.startswith("#"):
            comment.append(text.lstrip("# "))
        elif not text:
            comment = []
        elif not text.startswith("- "):  # an entry of the defaults
            key, _, value = text.partition(":")
            above = [*above[: (len(line) - len(line.lstrip())) // 2], key]
            if comment and key not in ("defaults", "_target_"):
                yield ".".join(above) + (f"={value.strip()}" if value else ""), " ".join(comment)
            comment = []


def _columns(left: str, right: str, width: int) -> list[str]:
    """Return the lines of one entry: the key, and beside it, or below it where it is long, what it means."""
    lines = textwrap.wrap(right, width - _LEFT - 4, break_on_hyphens=False) or [""]
    first = f"  {left:<{_LEFT}}  "
    if len(left) > _LEFT:
        return [first.rstrip(), *(" " * (_LEFT + 4) + line for line in lines)]
    return [f"{first}{lines[0]}".rstrip(), *(" " * (_LEFT + 4) + line for line in lines[1:])]
