"""Learners by name: those of `conf/learner`, and those that `register_learner` adds."""

from collections.abc import Callable, Mapping
from typing import Any

from almeta.build import build, choose, config_names, named_config
from almeta.checks import check_call, unwrapped
from almeta.errors import AlmetaError, did_you_mean
from almeta.learners.learner import Learner
from almeta.learners.scikit import Scikit
from almeta.registry import Table, trust
from almeta.specs import Spec

_REGISTERED: Table[Callable[..., Any]] = Table("learner")


def make_learner(learner: str | Mapping[str, Any] | Spec | Any, /) -> Learner:
    """Make a learner from a name ("svc"), a name with options (`{"name": "svc", "C": 10}`), or an object.

    Args:
        learner: a name of `conf/learner` or a registered one, alone or with options; a learner; or a classifier or
            pipeline of scikit-learn, which is cloned for each episode.

    Raises:
        AlmetaError: for an unknown name or option, a missing option, and an object that is no classifier.
    """
    if isinstance(learner, str | Mapping | Spec):
        spec = Spec.read(learner, "learner")
        name, options = spec.name, dict(spec.options)
        if name in config_names("learner"):
            return build(named_config("learner", name) | options, "learner")
        if name not in _REGISTERED:
            raise AlmetaError(did_you_mean(name, [*config_names("learner"), *_REGISTERED.names], "learner"))
        check_call(_REGISTERED.find(name), options, f"learner {name}")
        return make_learner(_REGISTERED.find(name)(**options))
    if hasattr(learner, "get_params") and not isinstance(learner, type):
        return Scikit(learner, {})
    made: Learner = choose(learner, "learner", Learner)
    return made


def register_learner(name: str, make: Callable[..., Any]) -> None:
    """Let `make_learner`, environments and configs know a learner of your own.

    Args:
        name: what it is called from here on.
        make: returns a learner, or a classifier of scikit-learn; its annotated arguments are the options.

    Raises:
        AlmetaError: if the name is taken, or `make` is not callable.
    """
    if not callable(make):
        raise AlmetaError(f"learner {name!r}: make is {make!r}; it must be a function that returns a learner")
    if name in config_names("learner"):
        raise AlmetaError(f"there is another learner '{name}' already; choose another name")
    _REGISTERED.add(name, make)
    trust(unwrapped(make).__module__)
