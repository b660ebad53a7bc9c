"""A learner of almeta is a classifier of scikit-learn."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.preprocessing import scale

from almeta.errors import AlmetaError
from almeta.interop.classifier import LearnerClassifier

X, Y = load_iris(return_X_y=True)
X = scale(X)


def test_probabilities_are_those_of_scikit_learn():
    names = np.array(["setosa", "versicolor", "virginica"])[Y]
    ours, theirs = LearnerClassifier().fit(X, names), LogisticRegression().fit(X, names)
    assert ours.classes_.tolist() == theirs.classes_.tolist()
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-3)
    assert (ours.predict(X) == theirs.predict(X)).all() and ours.predict(X).dtype == names.dtype


def test_a_weight_of_two_counts_twice():
    weight = np.where(Y == 1, 2, 1)
    weighted = LearnerClassifier().fit(X, Y, sample_weight=weight)
    twice = LearnerClassifier().fit(X.repeat(weight, 0), Y.repeat(weight))
    np.testing.assert_allclose(weighted.predict_proba(X), twice.predict_proba(X), atol=1e-4)
    assert abs(weighted.predict_proba(X) - LearnerClassifier().fit(X, Y).predict_proba(X)).max() > 0.01


def test_any_learner_serves_and_the_random_state_is_all_chance():
    assert cross_val_score(LearnerClassifier({"name": "ridge"}), X, Y, cv=3).mean() > 0.75
    forests = [LearnerClassifier("random_forest", seed).fit(X, Y).predict_proba(X) for seed in (0, 0, 1)]
    assert (forests[0] == forests[1]).all() and (forests[0] != forests[2]).any()
    copy = clone(LearnerClassifier("svc", 3))
    assert copy.get_params() == {"learner": "svc", "random_state": 3}


def test_a_single_class_is_certain():
    alone = LearnerClassifier().fit(X[:5], ["only"] * 5)
    assert alone.predict_proba(X).tolist() == [[1.0]] * 150
    assert set(alone.predict(X)) == {"only"}


def test_mistakes_are_told():
    with pytest.raises(NotFittedError):
        LearnerClassifier().predict_proba(X)
    with pytest.raises(ValueError, match="expecting 4 features"):
        LearnerClassifier().fit(X, Y).predict(X[:, :3])
    with pytest.raises(ValueError, match="continuous"):
        LearnerClassifier().fit(X, X[:, 0])
    with pytest.raises(AlmetaError, match="unknown learner 'svd'"):
        LearnerClassifier("svd").fit(X, Y)
