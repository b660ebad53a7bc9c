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
        AlmetaError: for a name that cannot stand before a strategy's, or a part that settings do not change.
    """
    settings: dict[str, dict[str, Any]] = {}
    plain = {name: changes for name, changes in given.items() if name != EACH}
    for name, changes in {**plain, **_combined(given.get(EACH))}.items():
        if not str(name).strip() or BETWEEN in f"{name} ":
            raise AlmetaError(f"settings has a setting {str(name)!r}; its name must be a text without '{BETWEEN}'")
        if not isinstance(changes or {}, Mapping):
            raise AlmetaError(f"settings.{name} is {changes!r}; it must be a group of keys, of {', '.join(PARTS)}")
        for part in changes or {}:
            if part not in PARTS:
                raise AlmetaError(did_you_mean(str(part), PARTS, f"key of settings.{name}"))
        settings[str(name)] = dict(changes or {})
    return settings


def _combined(each: Any) -> dict[str, dict[str, Any]]:
    """Return a setting for every combination of the values of some parts, or of their keys, as `oracle.noise`."""
    if each is None:
        return {}
    given = each.values() if isinstance(each, Mapping) else [None]
    if not all(isinstance(values, list | tuple) and values for values in given):
        raise AlmetaError(
            f"settings.{EACH} is {each!r}; it must name parts with a list of values each, as {{judge: [svc, ridge]}}"
        )
    settings: dict[str, dict[str, Any]] = {}
    for values in itertools.product(*each.values()):
        changes: dict[str, Any] = {}
        for path, value in zip(each, values, strict=True):
            part, dot, key = path.partition(".")
            changes[part] = {**changes.get(part, {}), key: value} if dot else value
        settings[JOINED.join(_text(value) for value in values)] = changes
    return settings


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
