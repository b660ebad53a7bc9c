"""Making what acts from its name and options, for every kind of problem."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch

from almeta.checks import check_call
from almeta.specs import Spec

Made = TypeVar("Made")


def make_by_spec(
    spec: Spec,
    find: Callable[[str], Callable[..., Made]],
    kind: str,
    generator: torch.Generator | None,
    options: Mapping[str, Any],
) -> Made:
    """Return what a name and options stand for, with the generator that draws for it.

    Args:
        spec: the name, and options.
        find: returns the class of a name.
        kind: what it is called in messages, such as "strategy".
        generator: None leaves its own.
        options: further options, which go before those of the spec.

    Raises:
        AlmetaError: if the name or an option is unknown, a value is out of range, or a required option is missing.
    """
    target, given = find(spec.name), {**dict(spec.options), **options}
    check_call(target, given, f"{kind} {spec.name}")
    made = target(**given)
    if generator is not None:
        made.generator = generator  # type: ignore[attr-defined]
    return made
