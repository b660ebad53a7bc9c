"""Kinds of problems, each with what is built, trained, judged and reported for it: one file a kind.

A kind is a subclass of `Run` with a `kind`, in a module of this folder, or registered by `almeta.register_kind`.
"""

from functools import cache

from almeta.build import read_part
from almeta.errors import AlmetaError
from almeta.registry import Table, trust
from almeta.runs.config import TrainConfig
from almeta.runs.run import Run

__all__ = ["Run", "find_run", "register_kind", "run_of"]


def find_run(kind: str) -> type[Run]:
    """Return the class of a kind's runs.

    Raises:
        AlmetaError: if the kind is unknown.
    """
    return _kinds().find(kind)


def run_of(config: TrainConfig) -> type[Run]:
    """Return the class of runs that a config asks for, by the kind of its environment.

    Raises:
        AlmetaError: if the kind is unknown.
    """
    kind = getattr(read_part(config.env, "env")[0], "kind", None)
    if not isinstance(kind, str):
        raise AlmetaError(f"env._target_ is '{config.env['_target_']}', which does not say its kind; give it a `kind`")
    return find_run(kind)


def register_kind(run: type[Run]) -> type[Run]:
    """Let commands know a kind of problem of your own by the `kind` of its runs; also as a decorator.

    Raises:
        AlmetaError: if it is no subclass of `Run` with a kind, or the kind is taken.
    """
    if not (isinstance(run, type) and issubclass(run, Run) and isinstance(getattr(run, "kind", None), str)):
        raise AlmetaError(f"{run!r} is no kind of runs; derive a class from Run and give it a kind")
    _kinds().add(run.kind, run)
    trust(run.__module__)
    return run


@cache
def _kinds() -> Table[type[Run]]:
    """The table from kinds to their runs, begun with those of all modules of this folder."""
    return Table("kind of problem").add_classes(__name__, Run, "kind")
