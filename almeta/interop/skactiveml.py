"""scikit-activeml: almeta's strategies and policies as a query strategy there, and theirs as strategies of almeta."""

import functools
import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from sklearn.ensemble import BaggingClassifier
from sklearn.utils.validation import check_is_fitted

from almeta.errors import AlmetaError, did_you_mean
from almeta.interop.theirs import OnePool, TheirStrategy
from almeta.queries.classifiers import is_fitted
from almeta.queries.labelling import By, Labelling
from almeta.queries.labels import read_labels

try:
    import skactiveml.pool
    from skactiveml.base import SingleAnnotatorPoolQueryStrategy, SkactivemlClassifier
    from skactiveml.classifier import SklearnClassifier
    from skactiveml.utils import MISSING_LABEL, check_equal_missing_label, check_type, is_labeled
except ImportError as error:
    raise AlmetaError("scikit-activeml is not installed; pip install 'almeta[skactiveml]'") from error


class AlmetaQuery(SingleAnnotatorPoolQueryStrategy):
    """A strategy or a trained policy of almeta as a query strategy of scikit-activeml.

    Args:
        by: who chooses, see `almeta.query`.
        learner: the classifier whose probabilities are read, see `almeta.query`; `clf` of `query` goes before it.
        classes: the class values; None for those of `clf`, or those that occur in y.
        budget: labels that will be asked for in all, beyond the first one of each class; policies may look at it.
        missing_label: stands in y for no label.
        random_state: breaks ties, and draws for strategies and learners with chance.
    """

    def __init__(
        self,
        by: By = "transfer",
        learner: Any = None,
        classes: Sequence[Any] | None = None,
        budget: int | None = None,
        missing_label: Any = MISSING_LABEL,
        random_state: Any = None,
    ) -> None:
        super().__init__(missing_label=missing_label, random_state=random_state)
        self.by = by
        self.learner = learner
        self.classes = classes
        self.budget = budget

    def query(
        self,
        X: Any,
        y: Any,
        clf: Any = None,
        fit_clf: bool = True,
        candidates: Any = None,
        batch_size: int = 1,
        return_utilities: bool = False,
    ) -> Any:
        """Return the rows to label next, `[batch_size]` int64, the best first.

        A policy begins anew at each call: one with a memory does not remember the calls before. A batch is chosen as
        `almeta.queries.Labelling.ask` says: after each pick the classifier is refit as if the row had the label that it
        predicts, unless it stays as it is (`fit_clf=False`).

        Args:
            X: `[N, D]`, all rows, or images `[N, H, W]`.
            y: `[N]`, their labels, `missing_label` where there is none.
            clf: a classifier of scikit-activeml whose probabilities are read; None for `learner`.
            fit_clf: whether a copy of `clf` is fit to the labels; else it is fitted already, and used as it is.
            candidates: what may be picked: row numbers `[K]` of X, or further rows `[K, D]`, which then are the pool
                together with the labelled rows of X; None for all rows without a label.
            batch_size: number of rows.
            return_utilities: whether to return the utilities, too.

        Returns:
            Row numbers of X, or of `candidates` if these are rows; and, if asked for, utilities `[batch_size, N]` or
            `[batch_size, K]` float64, higher is better, NaN for rows that could not be picked, and for those of a very
            large pool at which a policy did not look. While fewer than two classes have labels, they are 1 for the pick
            and 0 for the others.

        Raises:
            ValueError: for values that do not fit, as scikit-activeml raises it.
            TypeError: likewise.
            AlmetaError: for an unknown strategy or policy, and for a learner that does not fit.
        """
        X, y, candidates, batch_size, return_utilities = self._validate_data(
            X, y, candidates, batch_size, return_utilities, reset=True
        )
        check_type(fit_clf, "fit_clf", bool)
        if clf is not None:
            check_type(clf, "clf", SkactivemlClassifier)
            check_equal_missing_label(clf.missing_label, self.missing_label_)
            if not fit_clf:
                check_is_fitted(clf)
            clf = clone(clf) if fit_clf else clf
        rows, places = self._transform_candidates(candidates, X, y, allow_only_unlabeled=True)
        if places is None:
            known = is_labeled(y, self.missing_label_)
            X, y = np.concatenate((X[known], rows)), np.concatenate((y[known], np.full(len(rows), self.missing_label)))
            first = int(known.sum())
            places = np.arange(first, len(X))
        else:
            first = 0
        picked, utilities = self._ask(X, y, places, batch_size, clf)
        return (picked - first, utilities[:, first:]) if return_utilities else picked - first

    def _ask(self, X: Any, y: Any, places: np.ndarray, n: int, clf: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return n of the rows `places`, and utilities `[n, N]`."""
        generator = torch.Generator().manual_seed(int(self.random_state_.randint(2**31 - 1)))
        known = is_labeled(y, self.missing_label_)
        labels = [label if is_known else None for label, is_known in zip(y.tolist(), known, strict=True)]
        labelling = Labelling(X, **self._problem(labels, clf), by=self.by, budget=self.budget, seed=generator)
        if n == 0:
            return np.empty(0, np.int64), np.empty((0, len(X)))
        questions = labelling.ask(n, explain=False, among=places, say=True)
        utilities = np.full((n, len(X)), np.nan)
        for pick, row in enumerate(questions.rows):
            left = np.setdiff1d(places, questions.rows[:pick])
            said = questions.said[min(pick, len(questions.said) - 1)][left] if questions.said else left == row
            utilities[pick, left] = np.where(np.isinf(said), np.nan, said)
        return questions.rows, utilities

    def _problem(self, labels: list[Any], clf: Any) -> dict[str, Any]:
        """Return the arguments of `Labelling` about labels and the learner."""
        classes = self.classes if self.classes is not None else getattr(clf, "classes", None)
        if classes is not None:
            classes = np.asarray(classes).tolist()
        if clf is None or is_fitted(clf):
            return {"y": labels, "missing": None, "classes": classes, "learner": self.learner if clf is None else clf}
        # Committees fit it to class numbers.
        numbers, values = read_labels(labels, len(labels), classes, None)
        classes = list(range(len(values))) or None
        clf = clf.set_params(classes=classes, missing_label=-1)
        return {"y": numbers, "missing": -1, "classes": classes, "learner": clf}


class SkactivemlStrategy(TheirStrategy):
    """A query strategy of scikit-activeml as a strategy of almeta.

    By name it is `skactiveml.NAME`, with the options of its class: `{name: skactiveml.UncertaintySampling, method:
    entropy}`. For a query strategy of your own, derive a class with `name` and `theirs` and register it with
    `almeta.register_strategy`.

    What its `query` needs is given: `clf` (also as `estimator` and `discriminator`) is the learner of the benchmark,
    `ensemble` is ten of them, fit to bootstrap samples.
    """

    packages = ("scikit-activeml",)
    given = frozenset({"classes", "missing_label", "random_state"})

    def ask(self, pool: OnePool) -> tuple[int, np.ndarray]:
        theirs, classes = type(self).theirs, list(range(pool.num_classes))
        takes_classes = {"classes": classes} if "classes" in inspect.signature(theirs).parameters else {}
        y = np.where(pool.labels < 0, np.nan, pool.labels)
        try:
            strategy: Any = theirs(**self.options, **takes_classes, random_state=pool.seed)
            wanted = inspect.signature(strategy.query).parameters
            classifiers = {key: self._classifier(key, pool, classes) for key in _GIVEN_TO_QUERY if key in wanted}
            picked, utilities = strategy.query(
                pool.x, y, candidates=pool.candidates, return_utilities=True, **classifiers
            )
        except (TypeError, ValueError) as error:
            raise AlmetaError(f"strategy {self.name} of scikit-activeml cannot choose: {error}") from error
        return int(picked[0]), utilities[0, pool.candidates]

    @staticmethod
    def _classifier(key: str, pool: OnePool, classes: list[int]) -> SklearnClassifier:
        learner = pool.classifier
        made = BaggingClassifier(learner, 10, random_state=pool.seed) if key == "ensemble" else learner
        return SklearnClassifier(made, classes=classes, random_state=pool.seed)


# Arguments of `query` that `SkactivemlStrategy` gives.
_GIVEN_TO_QUERY = frozenset({"clf", "estimator", "discriminator", "ensemble"})


@functools.cache
def theirs_by_name(name: str) -> type[SkactivemlStrategy]:
    """Return the strategy for the name of a class in `skactiveml.pool`.

    Raises:
        AlmetaError: if there is no such class, or its `query` needs what only its user knows, such as a regressor.
    """
    known: dict[str, Any] = {
        key: kind for key in skactiveml.pool.__all__ if _is_for_pools(kind := getattr(skactiveml.pool, key))
    }
    if name not in known:
        raise AlmetaError(did_you_mean(name, known, "strategy of scikit-activeml for classifiers"))
    members = {"name": f"skactiveml.{name}", "theirs": known[name], "__module__": __name__}
    return type(name, (SkactivemlStrategy,), members)


def _is_for_pools(kind: Any) -> bool:
    """Return whether this is a query strategy that needs nothing beside what `SkactivemlStrategy` gives."""
    query: Any = getattr(kind, "query", None)
    if not (inspect.isclass(kind) and issubclass(kind, SingleAnnotatorPoolQueryStrategy)):
        return False
    asked = inspect.signature(query).parameters.values()
    needs = {one.name for one in asked if one.default is one.empty and one.kind is not one.VAR_KEYWORD}
    wraps = "query_strategy" in inspect.signature(kind).parameters
    return needs <= {"self", "X", "y", *_GIVEN_TO_QUERY} and not wraps
