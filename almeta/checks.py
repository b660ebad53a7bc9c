"""Checking plain values against declared types, before anything is loaded or built."""

import collections.abc
import dataclasses
import functools
import inspect
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from almeta.errors import AlmetaError, did_you_mean


@dataclass(frozen=True)
class Within:
    """The bounds of a number, as in `Annotated[float, Within(0, 1)]`; `above` itself is out of bounds."""

    low: float = -math.inf
    high: float = math.inf
    above: float = -math.inf

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high and value > self.above

    def __str__(self) -> str:
        if self.above > -math.inf:
            return f" above {self.above:g}" + (f", at most {self.high:g}" if self.high < math.inf else "")
        return f" from {self.low:g} to {self.high:g}" if self.high < math.inf else f" of at least {self.low:g}"


Count = Annotated[int, Within(1)]
Share = Annotated[float, Within(0, 1)]
Positive = Annotated[float, Within(above=0)]
Weight = Annotated[float, Within(0)]

_UNION = (typing.Union, types.UnionType)


def check_arguments(
    function: Callable[..., Any], options: Mapping[str, Any], name: str, given: Iterable[str] = ()
) -> None:
    """Raise unless `options` are known arguments of `function` with values of the declared types.

    Args:
        function: annotated.
        options: the values by argument.
        name: of the options in messages, such as "env".
        given: arguments that are not options.

    Raises:
        AlmetaError: naming the key, the value and what may stand there.
    """
    owner: Any = unwrapped(function)
    if not inspect.isroutine(owner):
        owner = owner.__init__ if inspect.isclass(owner) else owner.__call__
    hints = typing.get_type_hints(owner, include_extras=True)
    known = {key: hints.get(key, Any) for key in inspect.signature(function).parameters if key not in given}
    check_values(options, known, name)


def unwrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that a `functools.partial` calls; any other as it is."""
    while isinstance(function, functools.partial):
        function = function.func
    return function


def check_fields(made: Any, name: str, given: Iterable[str] = ()) -> None:
    """Raise AlmetaError unless the fields of a dataclass have values of the declared types, `given` ones apart."""
    hints = typing.get_type_hints(type(made), include_extras=True)
    for field in dataclasses.fields(made):
        if field.name not in given:
            check_value(f"{name}.{field.name}", getattr(made, field.name), hints[field.name])


def check_call(function: Callable[..., Any], options: Mapping[str, Any], name: str, given: Iterable[str] = ()) -> None:
    """Raise AlmetaError as `check_arguments` does, and for an argument that is neither in `options` nor `given`."""
    check_arguments(function, options, name, given)
    try:
        inspect.signature(function).bind(**options, **dict.fromkeys(given))
    except TypeError as error:
        raise AlmetaError(f"{name} is not complete: {error}") from error


def check_values(values: Mapping[str, Any], known: Mapping[str, Any], name: str = "") -> None:
    """Raise AlmetaError unless each key is known and its value has the known type."""
    prefix = f"{name}." if name else ""
    for key, value in values.items():
        if key not in known:
            raise AlmetaError(did_you_mean(str(key), known, f"key of {name}" if name else "key"))
        check_value(f"{prefix}{key}", value, known[key])


def check_value(key: str, value: Any, hint: Any) -> None:
    """Raise AlmetaError unless `value` has the type `hint`.

    Numbers (an int is a float too), texts, bools, literals, lists and the values of dictionaries are checked, also
    `Annotated` with bounds or in a union. Everything else passes.
    """
    options = typing.get_args(hint) if typing.get_origin(hint) in _UNION else (hint,)
    for option in options:
        if typing.get_origin(option) is dict and isinstance(value, Mapping):
            for below, part in value.items():
                check_value(f"{key}.{below}", part, typing.get_args(option)[1])
            return
    if not any(_fits(value, option) for option in options):
        wanted = " or ".join(_describe(option) for option in options)
        raise AlmetaError(f"{key} is {value!r}; it must be {wanted}")


def _fits(value: Any, hint: Any) -> bool:
    origin = typing.get_origin(hint)
    if hint is None or hint is types.NoneType:
        return value is None
    if origin is Annotated:
        plain, *bounds = typing.get_args(hint)
        return _fits(value, plain) and all(value in bound for bound in bounds)
    if origin is typing.Literal:
        return value in typing.get_args(hint)
    if origin in (collections.abc.Sequence, list):
        return isinstance(value, list | tuple) and all(_fits(one, typing.get_args(hint)[0]) for one in value)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint in (str, bool):
        return isinstance(value, hint)
    return origin is not dict


def _describe(hint: Any) -> str:
    origin = typing.get_origin(hint)
    if hint is None or hint is types.NoneType:
        return "null"
    if origin is Annotated:
        plain, *bounds = typing.get_args(hint)
        return _describe(plain) + "".join(str(bound) for bound in bounds)
    if origin is typing.Literal:
        return " or ".join(repr(option) for option in typing.get_args(hint))
    if origin is dict:
        return "a group of keys"
    if origin in (collections.abc.Sequence, list):
        elements = {str: " of texts", int: " of whole numbers", float: " of numbers"}
        return "a list" + elements.get(typing.get_args(hint)[0], "")
    return {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}.get(hint, str(hint))
