"""The settings of a benchmark: each has a name and the parts of the config that it changes."""

from collections.abc import Mapping
from typing import Any

from almeta.build import named_config
from almeta.errors import AlmetaError, did_you_mean
from almeta.evaluation.verdict import BETWEEN
from almeta.specs import Spec

PARTS = ("env", "learner", "judge", "oracle", "options")


def read_settings(given: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the changes of each setting.

    Raises:
        AlmetaError: for a name that cannot stand before a strategy's, or a part that settings do not change.
    """
    settings: dict[str, dict[str, Any]] = {}
    for name, changes in given.items():
        if not str(name).strip() or BETWEEN in f"{name} ":
            raise AlmetaError(f"settings has a setting {str(name)!r}; its name must be a text without '{BETWEEN}'")
        if not isinstance(changes or {}, Mapping):
            raise AlmetaError(f"settings.{name} is {changes!r}; it must be a group of keys, of {', '.join(PARTS)}")
        for part in changes or {}:
            if part not in PARTS:
                raise AlmetaError(did_you_mean(str(part), PARTS, f"key of settings.{name}"))
        settings[str(name)] = dict(changes or {})
    return settings


def changed_part(plain: Any, change: Any, part: str) -> Any:
    """Return a part of the config with what a setting makes of it.

    A name, or a mapping with one, is another choice of the part's group; other mappings change keys of what is there.
    """
    if change is None:
        return plain
    if part == "judge":
        return change
    if isinstance(change, str) or (isinstance(change, Mapping) and "name" in change):
        spec = Spec.read(change, part)
        return named_config(part, spec.name) | dict(spec.options)
    if not isinstance(change, Mapping):
        raise AlmetaError(f"settings has {part}={change!r}; it must be a name or a group of keys")
    return {**plain, **change}
