"""modAL: almeta's strategies and policies as query functions, and theirs as strategies of almeta."""

import contextlib
import functools
import importlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse

from almeta.errors import AlmetaError, did_you_mean
from almeta.interop.theirs import OnePool, TheirStrategy
from almeta.queries.labelling import By, Labelling
from almeta.seeding import make_generator

try:
    from modAL.models import ActiveLearner
except ImportError as error:
    raise AlmetaError("modAL is not installed; pip install 'almeta[modal]'") from error

QueryFunction = Callable[..., tuple[np.ndarray, np.ndarray]]


def query_by(
    by: By = "transfer", *, classes: Sequence[Any] | None = None, budget: int | None = None, seed: int = 0
) -> QueryFunction:
    """Return a query function for modAL: `ActiveLearner(classifier, query_strategy=query_by("transfer"))`.

    It is called as `f(learner, X_pool, n_instances=1)` and returns row numbers of `X_pool`, the best first, and their
    utilities, `[n_instances]` each. The learner's classifier is used as it is fitted; where several rows are asked for,
    they are the best ones of clusters of rows of high utility. A policy begins anew at each call: one with a memory
    does not remember the calls before.

    Args:
        by: who chooses, see `almeta.query`.
        classes: the class values; None for those that the learner has seen.
        budget: labels that will be asked for in all, beyond the first one of each class; policies may look at it.
        seed: breaks ties, and draws for strategies with chance.
    """
    generator = make_generator(seed, "query")

    def query_strategy(classifier: Any, X_pool: Any, n_instances: int = 1) -> tuple[np.ndarray, np.ndarray]:
        if not hasattr(classifier, "X_training") or not hasattr(classifier, "estimator"):
            raise AlmetaError(
                f"{type(classifier).__name__} of modAL has no classifier of its own; almeta's query functions need an "
                "ActiveLearner"
            )
        size = X_pool.shape[0] if hasattr(X_pool, "shape") else len(X_pool)
        X, y, known = X_pool, [None] * size, 0
        if classifier.X_training is not None:
            X = _stacked(classifier.X_training, X_pool)
            known = len(classifier.y_training)
            y = [*np.asarray(classifier.y_training).tolist(), *y]
        labelling = Labelling(
            X, y, by=by, learner=classifier.estimator, classes=classes, budget=budget, missing=None, seed=generator
        )
        questions = labelling.ask(n_instances, explain=False)
        return questions.rows - known, questions.utilities

    return query_strategy


def _stacked(known: Any, pool: Any) -> Any:
    """Return labelled rows and those of a pool as one; modAL's own function for it fails on today's data frames."""
    if scipy.sparse.issparse(pool):
        return scipy.sparse.vstack((known, pool)).tocsr()
    if isinstance(pool, pd.DataFrame):
        return pd.concat((known, pool), ignore_index=True)
    return [*known, *pool] if isinstance(pool, list) else np.concatenate((known, pool))


# The query functions of modAL for a single classifier that run with today's numpy, and their modules.
_FUNCTIONS = {
    "entropy_sampling": "modAL.uncertainty",
    "margin_sampling": "modAL.uncertainty",
    "uncertainty_batch_sampling": "modAL.batch",
    "uncertainty_sampling": "modAL.uncertainty",
}


class ModalStrategy(TheirStrategy):
    """A query function of modAL as a strategy of almeta.

    By name it is `modAL.NAME`, with the options of the function. For a query function of your own, derive a class with
    `name` and `theirs` (a `staticmethod`) and register it with `almeta.register_strategy`.

    Query functions tell which row they pick, and no utilities of others: here the pick has 1, all other rows have 0.
    """

    packages = ("modAL-python",)
    given = frozenset({"classifier", "learner", "X", "X_pool", "unlabeled", "n_instances"})

    def ask(self, pool: OnePool) -> tuple[int, np.ndarray]:
        known = np.flatnonzero(pool.labels >= 0)
        told = (pool.x[known], pool.labels[known]) if len(known) else (None, None)
        with _numpy_seeded(pool.seed):
            learner = ActiveLearner(pool.classifier, X_training=told[0], y_training=told[1])
            try:
                found = type(self).theirs(learner, pool.x[pool.candidates], n_instances=1, **self.options)
            except (TypeError, ValueError) as error:
                raise AlmetaError(f"strategy {self.name} of modAL cannot choose: {error}") from error
        place = int(np.ravel(found[0] if isinstance(found, tuple) else found)[0])
        return int(pool.candidates[place]), (np.arange(len(pool.candidates)) == place).astype(np.float64)


@contextlib.contextmanager
def _numpy_seeded(seed: int) -> Iterator[None]:
    """Seed numpy's global random numbers, which modAL draws from, within the block, and restore them after it."""
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(state)


@functools.cache
def theirs_by_name(name: str) -> type[ModalStrategy]:
    """Return the strategy for the name of a query function of modAL.

    Raises:
        AlmetaError: if there is no such function for a single classifier, or it does not run with today's numpy.
    """
    if name not in _FUNCTIONS:
        raise AlmetaError(did_you_mean(name, _FUNCTIONS, "query function of modAL for a single classifier"))
    function = getattr(importlib.import_module(_FUNCTIONS[name]), name)
    members = {"name": f"modAL.{name}", "theirs": staticmethod(function), "__module__": __name__}
    return type(name, (ModalStrategy,), members)
