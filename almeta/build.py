"""Building what a part of a config describes."""

import dataclasses
import functools
import inspect
import pkgutil
import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from almeta.checks import check_arguments, check_call
from almeta.errors import AlmetaError, did_you_mean
from almeta.registry import is_trusted, trust
from almeta.specs import Spec

Config = dict[str, Any]

# Where the parts of a config are defined. Nothing else is called unless its module is trusted: configs also come from
# checkpoints, and loading a stranger's checkpoint must not run everything that it names.
_ROOMS = {
    "env": "almeta.envs",
    "inputs": "almeta.inputs",
    "agent": "almeta.agents",
    "network": "almeta.agents",
    "learner": "almeta.learners",
    "oracle": "almeta.oracles",
    "logger": "almeta.training.loggers",
}
# The calls that trust the module of such a part; `modules` trusts any.
_REGISTER = {
    "env": "register_kind", "agent": "register_agent", "network": "register_network", "learner": "register_learner"
}  # fmt: skip
_CONF = Path(__file__).parent / "conf"


def build(config: Mapping[str, Any], name: str, /, **kwargs: Any) -> Any:
    """Call what a config's `_target_` names, with its other keys and `kwargs` as arguments.

    `name` is the part of the config, such as "env".

    Raises:
        AlmetaError: if the target does not exist, is not of the part's package, or does not take the arguments.
    """
    return prepare(config, name, kwargs)(**kwargs)


def prepare(config: Mapping[str, Any], name: str, given: Iterable[str] = ()) -> Callable[..., Any]:
    """Return what `build` calls, with the config's arguments, and still to be given the arguments `given` by name."""
    target, options = read_part(config, name, given)
    check_call(target, options, f"{name} ({config['_target_']})", given)
    return functools.partial(target, **options)


def read_part(config: Mapping[str, Any], name: str, given: Iterable[str] = ()) -> tuple[Any, Config]:
    """Return what a config's `_target_` names, and its arguments, checked as in `build` without calling anything."""
    if not isinstance(config, Mapping) or not isinstance(config.get("_target_"), str):
        raise AlmetaError(f"{name} is {reprlib.repr(config)}; it must be a group of keys with a '_target_'")
    target = find_target(config["_target_"], name)
    options = {key: value for key, value in config.items() if key != "_target_"}
    check_arguments(target, options, name, given)
    return target, options


def find_target(target: str, name: str) -> Any:
    """Return the class or function that a `_target_` names.

    Raises:
        AlmetaError: if it does not exist, or neither the part's package nor a trusted module defines it.
    """
    room = _ROOMS[name]
    if not (target.startswith("almeta.") or is_trusted(target.rpartition(".")[0])):
        if "." not in target:
            raise AlmetaError(f"{name}._target_ is '{target}'; write its module before it, as {room}.{target}")
        call = f", or almeta.{_REGISTER[name]}" if name in _REGISTER else ""
        raise AlmetaError(
            f"{name}._target_ is '{target}'; it must be a class or function that {room} defines, or of a module of "
            f"your own that you have registered: modules=[{target.rpartition('.')[0]}]{call}"
        )
    try:
        found = pkgutil.resolve_name(target)
    except (ImportError, AttributeError, ValueError) as error:
        raise AlmetaError(f"{name}._target_ is '{target}', which is not there: {error}") from error
    defined = getattr(found, "__module__", None) or ""
    if not callable(found) or not (defined == room or defined.startswith(f"{room}.") or is_trusted(defined)):
        raise AlmetaError(f"{name}._target_ is '{target}'; it must be a class or function that {room} defines")
    return found


def as_config(thing: Any) -> Config:
    """Return the config from which `build` makes an equal thing: its class, and its fields if it is a dataclass."""
    kind = type(thing)
    fields = dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ()
    values = {field.name: getattr(thing, field.name) for field in fields}
    return {"_target_": f"{kind.__module__}.{kind.__qualname__}", **values}


def trust_targets(config: Mapping[str, Any]) -> None:
    """Trust the modules that a config names at any depth, because the person who runs the command wrote the config."""
    for target in _targets(config):
        if isinstance(target, str) and not target.startswith("almeta."):
            trust(target.rpartition(".")[0])


def _targets(part: Any) -> Iterator[Any]:
    """Yield the targets of a config, and the modules of learners: of TorchModel, a function of one's own."""
    if isinstance(part, Mapping):
        yield from (part.get(key) for key in ("_target_", "module"))
    below = part.values() if isinstance(part, Mapping) else part if isinstance(part, list | tuple) else ()
    for one in below:
        yield from _targets(one)


def config_names(group: str) -> list[str]:
    """Return the choices in `conf/GROUP`, sorted."""
    return sorted(path.stem for path in (_CONF / group).glob("*.yaml"))


def named_config(group: str, name: str) -> Config:
    """Return `conf/GROUP/NAME.yaml` as plain values, on top of those that its defaults name.

    Raises:
        AlmetaError: if there is no such choice.
    """
    if name not in config_names(group):
        raise AlmetaError(did_you_mean(str(name), config_names(group), group))
    content = yaml.safe_load((_CONF / group / f"{name}.yaml").read_text("utf-8"))
    bases = [base for base in content.pop("defaults", []) if base != "_self_"]
    merged: Config = {}
    for base in bases:
        merged |= named_config(group, base)
    return merged | content


def choose(choice: Any, group: str, expected: type | None = None) -> Any:
    """Return the part that a choice stands for.

    Args:
        choice: the name of a YAML of the group ("svc"), a mapping with `name` and options, or the part itself.
        group: "learner", "oracle" or "inputs".
        expected: the part's class, or a Protocol that can be checked at run time.

    Raises:
        AlmetaError: for an unknown name or option, and for a thing of another class.
    """
    if isinstance(choice, str | Mapping | Spec):
        spec = Spec.read(choice, group)
        made = build(named_config(group, spec.name) | dict(spec.options), group)
        if expected is not None and not isinstance(made, expected):
            raise AlmetaError(f"{group}={spec.name} is no {expected.__name__}; choose {group} of that kind")
        return made
    if (expected is not None and not isinstance(choice, expected)) or inspect.isclass(choice):
        raise AlmetaError(f"{group} is {choice!r}; give a name of conf/{group}, or an object of the kind")
    return choice
