"""Stand-in until the room is furnished."""

from almeta.learners.learner import Learner, Model
from almeta.learners.logistic_regression import LogisticRegression

__all__ = ["Learner", "LogisticRegression", "Model"]
