"""Any classifier of scikit-learn as a learner, fit episode by episode: slow, but what users bring."""

import pkgutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from almeta.checks import Count, Positive
from almeta.errors import AlmetaError
from almeta.learners.learner import Rng


@dataclass(frozen=True)
class ScikitModel:
    """Fitted classifiers.

    Attributes:
        fitted: one for each episode; None where a single class or none was seen.
        seen: the classes that each episode has seen.
        num_classes: C.
    """

    fitted: Sequence[Any]
    seen: Sequence[np.ndarray]
    num_classes: int

    def probabilities(self, x: Tensor) -> Tensor:
        """Return class probabilities `[E, M, C]` float32 of rows `[E, M, D]`.

        A classifier without `predict_proba` has a sigmoid (two classes) or a softmax of its decision values, which
        keeps its predictions and their order. Without decision values, the class that it predicts has probability 1.
        """
        rows = x.cpu().numpy()
        found = np.zeros((*rows.shape[:2], self.num_classes), dtype=np.float32)
        for episode, (classifier, seen) in enumerate(zip(self.fitted, self.seen, strict=True)):
            if classifier is not None:
                found[episode][:, seen] = class_probabilities(classifier, rows[episode])
            else:
                found[episode][:, seen if len(seen) else slice(None)] = 1 / (len(seen) or self.num_classes)
        return torch.as_tensor(found, device=x.device)


def class_probabilities(classifier: Any, x: Any) -> np.ndarray:
    """Return class probabilities `[M, K]` of M rows by a fitted classifier, as `ScikitModel.probabilities` does."""
    if hasattr(classifier, "predict_proba"):
        return classifier.predict_proba(x)
    if not hasattr(classifier, "decision_function"):
        return np.eye(len(classifier.classes_))[np.searchsorted(classifier.classes_, classifier.predict(x))]
    decisions = torch.as_tensor(classifier.decision_function(x))
    if decisions.ndim == 1:
        return torch.stack((-decisions, decisions), 1).mul(0.5).softmax(1).numpy()
    # One-vs-one classifiers predict the first of the classes with most votes, whose decision value may not be largest.
    said = torch.as_tensor(np.searchsorted(classifier.classes_, classifier.predict(x)))[:, None]
    top, best = decisions.max(1, keepdim=True)
    decisions = decisions.scatter(1, best, decisions.gather(1, said)).scatter(1, said, top)
    return decisions.softmax(1).numpy()


@dataclass(frozen=True)
class Scikit:
    """A classifier of scikit-learn, by name or as it is.

    Args:
        estimator: its dotted name, such as "sklearn.naive_bayes.GaussianNB"; or a classifier or pipeline, which is
            cloned for each episode.
        options: its parameters, or those of a given classifier that are changed.

    Raises:
        AlmetaError: if there is no such classifier, or it does not take the options.
    """

    estimator: Any
    options: dict[str, Any]

    def __post_init__(self) -> None:
        self.make(0, 1)

    def fit(
        self, x: Tensor, y: Tensor, weight: Tensor, num_classes: int, start: Any = None, generator: Rng = None
    ) -> ScikitModel:
        """Fit E classifiers, as `Learner.fit` says; `start` has no effect, and the default generator has seed 0.

        The generator draws each classifier's `random_state`. A whole weight repeats its row; for other weights the
        classifier must take `sample_weight`.

        Raises:
            AlmetaError: if the classifier cannot be fit to the rows, or does not take the weights.
        """
        generator = generator or torch.Generator().manual_seed(0)
        seeds = torch.randint(2**31 - 1, (len(x),), generator=generator, device=generator.device).tolist()
        rows, labels, weights = (part.cpu().numpy() for part in (x, y, weight))
        fitted, seen = [], []
        for episode, seed in enumerate(seeds):
            counted = weights[episode] > 0
            x_known, y_known, weight_known = (part[episode][counted] for part in (rows, labels, weights))
            seen.append(np.unique(y_known))
            fitted.append(self._fit_one(x_known, y_known, weight_known, seed) if len(seen[-1]) > 1 else None)
        return ScikitModel(fitted, seen, num_classes)

    def _fit_one(self, x: np.ndarray, y: np.ndarray, weight: np.ndarray, seed: int) -> Any:
        given = {}
        if (weight == np.round(weight)).all():
            repeats = weight.astype(np.int64)
            x, y = x.repeat(repeats, 0), y.repeat(repeats)
        else:
            given["sample_weight"] = weight
        try:
            return self.make(seed, len(x)).fit(x, y, **given)
        except (TypeError, ValueError) as error:
            raise AlmetaError(f"learner {self.estimator} cannot be fit to {len(x)} rows: {error}") from error

    def make(self, seed: int, rows: int) -> Any:
        """Return a classifier that is not fitted, for at least `rows` rows, with its own random state.

        Raises:
            AlmetaError: if it does not take its options.
        """
        try:
            classifier = _find(self.estimator)(**self.options) if isinstance(self.estimator, str) else self._clone()
        except (TypeError, ValueError) as error:
            raise AlmetaError(f"learner {self.estimator} does not take its options: {error}") from error
        for key, value in classifier.get_params().items():
            name = key.rpartition("__")[2]  # in a pipeline, of any of its steps
            if name == "random_state":
                classifier.set_params(**{key: seed})
            elif name == "n_neighbors" and value is not None:
                # At the start there may be fewer rows than neighbours wanted.
                classifier.set_params(**{key: min(value, max(rows, 1))})
        try:
            if hasattr(classifier, "_parameter_constraints"):  # other people's classifiers may have none
                classifier._validate_params()  # what fit would say of the options' values, but before work is lost
        except ValueError as error:
            raise AlmetaError(f"learner {self.estimator}: {error}") from error
        return classifier

    def _clone(self) -> Any:
        is_classifier, clone = (pkgutil.resolve_name(f"sklearn.base.{name}") for name in ("is_classifier", "clone"))
        if not is_classifier(self.estimator):
            raise AlmetaError(f"learner is {self.estimator!r}; it must be a classifier, or a pipeline that ends in one")
        return clone(self.estimator).set_params(**self.options)


def _find(estimator: str) -> Any:
    """Return the class that a dotted name stands for."""
    try:
        kind = pkgutil.resolve_name(estimator) if estimator.startswith("sklearn.") else None
    except (ImportError, AttributeError, ValueError) as error:
        raise AlmetaError(f"learner.estimator is '{estimator}', which is not there: {error}") from error
    if not (isinstance(kind, type) and issubclass(kind, pkgutil.resolve_name("sklearn.base.ClassifierMixin"))):
        raise AlmetaError(f"learner.estimator is '{estimator}'; it must be a classifier that scikit-learn defines")
    return kind


def svc(C: Positive = 1.0, gamma: Literal["auto", "scale"] | Positive = "auto", kernel: str = "rbf") -> Scikit:
    """Return a support vector machine; its probabilities follow from its decision values, without calibration.

    Args:
        C: inverse of the penalty.
        gamma: of the kernel; "auto" is one over the number of features, padded ones included.
        kernel: "rbf", "linear", "poly" or "sigmoid".
    """
    return Scikit("sklearn.svm.SVC", {"C": C, "gamma": gamma, "kernel": kernel})


def random_forest(n_estimators: Count = 100, max_depth: Count | None = None) -> Scikit:
    """Return a random forest.

    Args:
        n_estimators: number of trees.
        max_depth: of a tree; None for no limit.
    """
    return Scikit("sklearn.ensemble.RandomForestClassifier", {"n_estimators": n_estimators, "max_depth": max_depth})


def gradient_boosting(n_estimators: Count = 50, learning_rate: Positive = 0.1, max_depth: Count = 3) -> Scikit:
    """Return gradient boosted trees.

    Args:
        n_estimators: number of rounds.
        learning_rate: weight of the trees of a round.
        max_depth: of a tree.
    """
    options = {"n_estimators": n_estimators, "learning_rate": learning_rate, "max_depth": max_depth}
    return Scikit("sklearn.ensemble.GradientBoostingClassifier", options)


def nearest_neighbours(n_neighbors: Count = 5, weights: Literal["uniform", "distance"] = "uniform") -> Scikit:
    """Return a vote of the nearest labelled rows.

    Args:
        n_neighbors: number of rows; all rows where there are fewer.
        weights: "uniform" or by "distance".
    """
    return Scikit("sklearn.neighbors.KNeighborsClassifier", {"n_neighbors": n_neighbors, "weights": weights})
