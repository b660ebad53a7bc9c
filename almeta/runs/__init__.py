"""Kinds of problems, one file each: what a run of the kind builds, trains, judges and reports.

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
    """Return the class of a kind's runs; an unknown kind is an AlmetaError."""
    return _kinds().find(kind)


def run_of(config: TrainConfig) -> type[Run]:
    """Return the class of a config's runs, by the kind of its environment; one without training is an AlmetaError."""
    kind = getattr(read_part(config.env, "env")[0], "kind", None)
    if not isinstance(kind, str):
        raise AlmetaError(f"env._target_ is '{config.env['_target_']}', which has no kind; give it a `kind`")
    if kind not in _kinds():
        raise AlmetaError(
            f"problems of kind '{kind}' have no training yet, only those of kind {', '.join(_kinds().names)}; choose "
            "another env, or register a training of your own with almeta.register_kind"
        )
    return find_run(kind)


def register_kind(run: type[Run]) -> type[Run]:
    """Make your own kind of problem known to the commands; also as a decorator.

    Raises:
        AlmetaError: if `run` is no subclass of `Run` with a `kind`, or the kind is taken.
    """
    if not (isinstance(run, type) and issubclass(run, Run) and isinstance(getattr(run, "kind", None), str)):
        raise AlmetaError(f"{run!r} is no kind of runs; derive a class from Run and give it a kind")
    _kinds().add(run.kind, run)
    trust(run.__module__)
    return run


@cache
def _kinds() -> Table[type[Run]]:
    """Return the table of runs by kind; it begins with those that the modules of this folder define."""
    return Table("kind of problem").add_classes(__name__, Run, "kind")
