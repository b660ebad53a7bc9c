import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from almeta.learners import RidgeRegression


def problem(rows, features):
    rng = np.random.default_rng(0)
    x, new = rng.normal(size=(3, rows, features)) + 1, rng.normal(size=(3, 50, features)) + 1
    return x, x[..., 0] + rng.normal(size=(3, rows)) + 5, new


def fit(alpha, x, y):
    return RidgeRegression(alpha=alpha).fit(torch.tensor(x).float(), torch.tensor(y).float(), torch.ones(y.shape))


@pytest.mark.parametrize("rows, features", [(60, 5), (12, 40)])
@pytest.mark.parametrize("alpha", [0.1, 10.0])
def test_agrees_with_scikit_learn(rows, features, alpha):
    x, y, new = problem(rows, features)
    said = fit(alpha, x, y).predict(torch.tensor(new).float()).mean
    for e in range(3):
        np.testing.assert_allclose(said[e], Ridge(alpha=alpha).fit(x[e], y[e]).predict(new[e]), atol=1e-4)


def test_the_variance_is_that_of_bayesian_linear_regression():
    """Transcribed: normal weights of variance s / alpha, the noise s of highest marginal likelihood."""
    x, y, new = problem(20, 3)
    got = fit(2.0, x, y).predict(torch.tensor(new).float()).variance
    for e in range(3):
        centred, labels = x[e] - x[e].mean(0), y[e] - y[e].mean()
        noise = labels @ np.linalg.inv(np.eye(20) + centred @ centred.T / 2.0) @ labels / 20
        precision = np.linalg.inv(centred.T @ centred + 2.0 * np.eye(3))
        rows = new[e] - x[e].mean(0)
        expected = noise * (1 + 1 / 20 + np.einsum("md,de,me->m", rows, precision, rows))
        np.testing.assert_allclose(got[e], expected, rtol=1e-4)


def test_the_gradient_is_the_row_and_1():
    x, y, new = problem(20, 3)
    got = fit(1.0, x, y).gradient_length(torch.tensor(new).float())
    np.testing.assert_allclose(got, np.sqrt(np.square(new).sum(-1) + 1), rtol=1e-5)
