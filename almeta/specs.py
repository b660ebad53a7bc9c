"""How strategies and learners are named together with their options."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from almeta.errors import AlmetaError


@dataclass(frozen=True)
class Spec:
    """A name and options, as YAML and command lines give them: `margin`, `{name: information_density, beta: 2}`.

    Its text, `information_density(beta=2)`, is its name in tables, figures and files.
    """

    name: str
    options: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def read(cls, given: "str | Mapping[str, Any] | Spec", kind: str = "strategy") -> "Spec":
        """Return the spec of a name, a mapping or a spec.

        Raises:
            AlmetaError: if it has no name.
        """
        if isinstance(given, Spec):
            return given
        if isinstance(given, str):
            return cls(given)
        if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
            raise AlmetaError(f"{given!r} names no {kind}; write its name, or {{name: NAME, OPTION: VALUE}}")
        options = tuple((str(key), _hashable(value)) for key, value in given.items() if key != "name")
        return cls(given["name"], options)

    def __str__(self) -> str:
        options = ", ".join(f"{key}={_text(value)}" for key, value in self.options)
        return f"{self.name}({options})" if options else self.name


def _hashable(value: Any) -> Any:
    """Return lists as tuples, and what is named together with options, such as a strategy's base, as a spec."""
    if isinstance(value, Mapping) and "name" in value:
        return Spec.read(value)
    return tuple(map(_hashable, value)) if isinstance(value, list | tuple) else value


def _text(value: Any) -> str:
    """Return a value's text, the same for 2.0 and 2."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(_text, value))}]"
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
