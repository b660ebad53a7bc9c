"""Learners of almeta where classifiers of scikit-learn are taken."""

from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from almeta.learners import make_learner


class LearnerClassifier(ClassifierMixin, BaseEstimator):
    """A learner as a classifier of scikit-learn, fit to one set of rows at a time.

    Args:
        learner: what `make_learner` takes.
        random_state: draws for learners with chance in them: an integer, a `RandomState`, or None.

    Attributes:
        classes_: `[C]`, the classes seen, sorted.
    """

    def __init__(self, learner: Any = "logistic_regression", random_state: Any = None) -> None:
        self.learner = learner
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit to rows `[L, D]`, labels `[L]` of any kind, and weights `[L]`; None weighs all rows alike."""
        X, y = validate_data(self, X, y, dtype=np.float32)
        check_classification_targets(y)
        self.classes_, numbers = np.unique(y, return_inverse=True)
        weight = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        x, known, weights = torch.as_tensor(X), torch.as_tensor(numbers), torch.as_tensor(weight, dtype=torch.float32)
        generator = torch.Generator().manual_seed(seed)
        self.model_ = make_learner(self.learner).fit(
            x[None], known[None], weights[None], max(2, len(self.classes_)), generator=generator
        )
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return class probabilities `[M, C]` float32 of rows `[M, D]`."""
        check_is_fitted(self)
        rows = torch.as_tensor(validate_data(self, X, dtype=np.float32, reset=False))
        return self.model_.probabilities(rows[None])[0, :, : len(self.classes_)].numpy()

    def predict(self, X: Any) -> np.ndarray:
        """Return the likeliest class of each row, `[M]`."""
        return self.classes_[self.predict_proba(X).argmax(1)]
