"""Classifiers of scikit-learn that read rows as their user has them: a pipeline for texts, a model that is fitted."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from almeta.errors import AlmetaError
from almeta.learners.scikit import Scikit, class_probabilities
from almeta.pool import Pool


class ClassifierPool(Pool):
    """A pool whose classifier reads the rows as they were given, and not as features.

    Args:
        X: N rows as the classifier reads them.
        classifier: of scikit-learn, a pipeline included. One that is fitted is used as it is; another one is cloned and
            fitted to the labels whenever they change.
        classes: C class values.
        *parts: of a single pool, as for `Pool`, without the learner.
        **options: likewise.
    """

    def __init__(self, X: Any, classifier: Any, classes: Sequence[Any], *parts: Any, **options: Any) -> None:
        self._X, self._classifier, self._values = X, classifier, classes
        self._fixed = self._predicted(classifier) if is_fitted(classifier) else None
        super().__init__(*parts, **options | {"learner": Scikit(classifier, {})})

    def _refit(self) -> Tensor:
        if self._fixed is not None:
            return self._fixed
        told = self._picks[0, : self._answered]
        rows = told[self._labels[0, told] >= 0]
        labels = self._labels[0, rows]
        seen = labels.unique()
        if len(seen) < 2:
            found = torch.zeros(*self.exists.shape, self._classes)
            found[..., seen if len(seen) else slice(None)] = 1 / (len(seen) or self._classes)
            return found
        seed = int(torch.randint(2**31 - 1, (1,), generator=self.generator))
        classifier = Scikit(self._classifier, {}).make(seed, len(rows))
        try:
            classifier.fit(take(self._X, rows.numpy()), [self._values[k] for k in labels])
        except (TypeError, ValueError) as error:
            raise AlmetaError(
                f"learner {self._classifier} cannot be fit to {len(rows)} rows of X as they are: {error}; give it "
                "more labels, or a pipeline that reads X, or name a learner of almeta"
            ) from error
        return self._predicted(classifier)

    def _predicted(self, classifier: Any) -> Tensor:
        """Return class probabilities `[1, N, C]` of all rows."""
        numbers = {value: number for number, value in enumerate(self._values)}
        known = classifier.classes_.tolist()
        if unknown := [value for value in known if value not in numbers]:
            raise AlmetaError(f"learner {classifier} knows the class {unknown[0]!r}, which is not in classes; add it")
        columns = [numbers[value] for value in known]
        try:
            probabilities = class_probabilities(classifier, self._X)
        except (TypeError, ValueError) as error:
            raise AlmetaError(f"learner {classifier} cannot predict the rows of X: {error}") from error
        found = np.zeros((len(probabilities), max(2, len(self._values))), np.float32)
        found[:, columns] = probabilities
        return torch.as_tensor(found)[None]


def is_fitted(classifier: Any) -> bool:
    """Return whether a classifier of scikit-learn is fitted."""
    try:
        check_is_fitted(classifier)
    except NotFittedError:
        return False
    return hasattr(classifier, "classes_")


def is_scikit(learner: Any) -> bool:
    """Return whether a learner is an object of scikit-learn."""
    return hasattr(learner, "get_params") and not isinstance(learner, type)


def take(X: Any, rows: np.ndarray) -> Any:
    """Return some rows of a data frame, an array, a matrix or a list."""
    if hasattr(X, "iloc"):
        return X.iloc[rows]
    return [X[row] for row in rows] if isinstance(X, list | tuple) else X[rows]
