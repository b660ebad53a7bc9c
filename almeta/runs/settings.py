"""The settings of a benchmark: each has a name and the parts of the config that it changes."""

import itertools
from collections.abc import Mapping
from typing import Any

from almeta.build import named_config
from almeta.errors import AlmetaError, did_you_mean
from almeta.evaluation.verdict import BETWEEN
from almeta.specs import Spec

PARTS = ("datasets", "env", "learner", "judge", "oracle", "options")
EACH = "each"  # the key of combinations, in place of a setting
JOINED = ", "


def read_settings(given: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the changes of each setting.

    Combinations have names of their values: `{each: {judge: [svc, ridge]}}` stands for
    `{svc: {judge: svc}, ridge: {judge: ridge}}`.

    Raises:
        AlmetaError: for a name that cannot stand before a strategy's or that two settings have, for a part that
            settings do not change, and if there is no setting.
    """
    settings: dict[str, dict[str, Any]] = {}
    plain = [(name, changes) for name, changes in given.items() if name != EACH]
    for name, changes in [*plain, *_combined(given.get(EACH))]:
        if not str(name).strip() or BETWEEN in f"{name} ":
            raise AlmetaError(f"settings has a setting {str(name)!r}; its name must be a text without '{BETWEEN}'")
        if not isinstance(changes or {}, Mapping):
            raise AlmetaError(f"settings.{name} is {changes!r}; it must be a group of keys, of {', '.join(PARTS)}")
        for part in changes or {}:
            if part not in PARTS:
                raise AlmetaError(did_you_mean(str(part), PARTS, f"key of settings.{name}"))
        if str(name) in settings:
            raise AlmetaError(f"settings has two settings '{name}'; name each once, and each value of {EACH} once")
        settings[str(name)] = dict(changes or {})
    if not settings:
        raise AlmetaError(f"settings is {dict(given)}, which names no setting; write {{NAME: {{PART: CHANGE}}}}")
    return settings


def _combined(each: Any) -> list[tuple[str, dict[str, Any]]]:
    """Return a setting for every combination of the values of some parts, or of their keys, as `oracle.noise`."""
    if each is None:
        return []
    given = list(each.values()) if isinstance(each, Mapping) else []
    if not given or not all(isinstance(values, list | tuple) and values for values in given):
        raise AlmetaError(
            f"settings.{EACH} is {each!r}; it must name parts with a list of values each, as {{judge: [svc, ridge]}}"
        )
    paths = [str(path) for path in each]
    return [
        (JOINED.join(map(_text, values)), _changes(dict(zip(paths, values, strict=True))))
        for values in itertools.product(*given)
    ]


def _changes(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the changes of parts that values of parts and of their keys make.

    `{learner: svc, learner.C: 10}` is `{learner: {name: svc, C: 10}}`, in any order.
    """
    changes = {part: value for part, value in values.items() if "." not in part}
    for path, value in values.items():
        part, dot, key = path.partition(".")
        if not dot:
            continue
        whole = changes.get(part) or {}
        whole = {"name": whole} if isinstance(whole, str) else whole
        if not isinstance(whole, Mapping) or key in whole:
            raise AlmetaError(f"settings.{EACH} has {path}, and {part}={whole!r} beside it; leave one of them out")
        changes[part] = {**whole, key: value}
    return changes


def _text(value: Any) -> str:
    return str(Spec.read(value)) if isinstance(value, Mapping) and "name" in value else str(value)


def changed_part(plain: Any, change: Any, part: str) -> Any:
    """Return a part of the config with what a setting makes of it.

    A name, or a mapping with one, is another choice of the part's group; other mappings change keys of what is there.
    """
    if change is None:
        return plain
    if part in ("datasets", "judge"):
        return change
    if isinstance(change, str) or (isinstance(change, Mapping) and "name" in change):
        spec = Spec.read(change, part)
        return named_config(part, spec.name) | dict(spec.options)
    if not isinstance(change, Mapping):
        raise AlmetaError(f"settings has {part}={change!r}; it must be a name or a group of keys")
    return {**plain, **change}
