"""Classifiers that are refit, for E episodes at once, as labels arrive."""

from almeta.learners.learner import Learner, Model
from almeta.learners.logistic_regression import LogisticRegression
from almeta.learners.mlp import MLP
from almeta.learners.prototype import Prototype
from almeta.learners.ridge import Ridge
from almeta.learners.scikit import Scikit, gradient_boosting, nearest_neighbours, random_forest, svc

__all__ = [
    "MLP",
    "Learner",
    "LogisticRegression",
    "Model",
    "Prototype",
    "Ridge",
    "Scikit",
    "gradient_boosting",
    "nearest_neighbours",
    "random_forest",
    "svc",
]
