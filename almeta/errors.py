"""The one error that almeta raises for mistakes of input or surroundings."""

import difflib
from collections.abc import Iterable


class AlmetaError(Exception):
    """A mistake of input or surroundings: a wrong name, a damaged file, no network.

    The message names the thing, the value and the way out; commands print it without a traceback.
    """


def did_you_mean(value: str, options: Iterable[str], kind: str) -> str:
    """Return the message for an unknown name: "unknown data set 'irsi'; did you mean 'iris'? Known: iris, wine"."""
    known = sorted(options)
    near = difflib.get_close_matches(value.lower(), known, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown {kind} {value!r}; {hint}Known: {', '.join(known) or 'none'}"


class Interrupted(AlmetaError):
    """The run was asked to stop (Ctrl-C, SIGTERM) and has left a checkpoint."""
