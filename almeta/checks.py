"""Checking plain values of a config against the types that a function declares."""

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from almeta.errors import AlmetaError, did_you_mean

_UNION = (typing.Union, types.UnionType)


def check_arguments(function: Callable[..., Any], options: Mapping[str, Any], name: str) -> None:
    """Raise unless `options` are known arguments of `function` with values of the declared simple types.

    Args:
        function: annotated; arguments of other types than numbers, strings, bools and literals are not checked.
        options: the values by argument.
        name: what the options are called in messages, such as "env".

    Raises:
        AlmetaError: naming the key, the value and what may stand there.
    """
    parameters = inspect.signature(function).parameters
    owner = function.__init__ if inspect.isclass(function) else function
    hints = typing.get_type_hints(owner)
    for key, value in options.items():
        if key not in parameters:
            raise AlmetaError(did_you_mean(key, parameters, f"key of {name}"))
        check_value(f"{name}.{key}", value, hints.get(key, Any))


def check_value(key: str, value: Any, hint: Any) -> None:
    """Raise unless `value` has the type `hint`, if that is a simple one; an int will do where a float is wanted."""
    options = typing.get_args(hint) if typing.get_origin(hint) in _UNION else (hint,)
    if not any(_fits(value, option) for option in options):
        wanted = " or ".join(_describe(option) for option in options)
        raise AlmetaError(f"{key} is {value!r}; it must be {wanted}")


def _fits(value: Any, hint: Any) -> bool:
    if hint is None or hint is types.NoneType:
        return value is None
    if typing.get_origin(hint) is typing.Literal:
        return value in typing.get_args(hint)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint in (str, bool):
        return isinstance(value, hint)
    return True


def _describe(hint: Any) -> str:
    if hint is None or hint is types.NoneType:
        return "null"
    if typing.get_origin(hint) is typing.Literal:
        return " or ".join(repr(option) for option in typing.get_args(hint))
    return {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}.get(hint, str(hint))
