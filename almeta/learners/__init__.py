"""Classifiers and regressors that are refit, for E episodes at once, as labels arrive."""

from almeta.learners.adversarial import Adversarial
from almeta.learners.augmented import Augmented
from almeta.learners.cnn import CNN
from almeta.learners.gaussian_process import GaussianProcess
from almeta.learners.learner import Learner, Model
from almeta.learners.logistic_regression import LogisticRegression
from almeta.learners.mlp import MLP
from almeta.learners.named import make_learner, register_learner
from almeta.learners.prototype import Prototype
from almeta.learners.pseudo_labels import PseudoLabels
from almeta.learners.ridge import Ridge
from almeta.learners.ridge_regression import RidgeRegression
from almeta.learners.scikit import Scikit, gradient_boosting, nearest_neighbours, random_forest, svc
from almeta.learners.siamese import Siamese
from almeta.learners.text import EmbeddingAverage
from almeta.learners.torch_module import TorchModel
from almeta.learners.vat import VAT

__all__ = [
    "CNN",
    "MLP",
    "VAT",
    "Adversarial",
    "Augmented",
    "EmbeddingAverage",
    "GaussianProcess",
    "Learner",
    "LogisticRegression",
    "Model",
    "Prototype",
    "PseudoLabels",
    "Ridge",
    "RidgeRegression",
    "Scikit",
    "Siamese",
    "TorchModel",
    "gradient_boosting",
    "make_learner",
    "nearest_neighbours",
    "random_forest",
    "register_learner",
    "svc",
]
