import numpy as np
import pytest
import torch
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF

from almeta.learners import GaussianProcess
from almeta.learners.gaussian_process import LENGTHS, NOISES


def problem(rows=30, seed=0):
    rng = np.random.default_rng(seed)
    x, new = rng.normal(size=(3, rows, 4)), rng.normal(size=(3, 20, 4))
    y = 3 + 10 * np.sin(x[..., 0]) + 2 * rng.normal(size=(3, rows))
    return x, y, new


def fit(learner, x, y):
    return learner.fit(torch.tensor(x).float(), torch.tensor(y).float(), torch.ones(y.shape))


@pytest.mark.parametrize("length_scale, noise", [(1.5, 0.1), (0.4, 0.01), (5.0, 1.0)])
def test_agrees_with_scikit_learn(length_scale, noise):
    x, y, new = problem()
    said = fit(GaussianProcess(length_scale=length_scale, noise=noise), x, y).predict(torch.tensor(new).float())
    for e in range(3):
        theirs = GaussianProcessRegressor(RBF(length_scale), alpha=noise, optimizer=None, normalize_y=True)
        mean, deviation = theirs.fit(x[e], y[e]).predict(new[e], return_std=True)
        np.testing.assert_allclose(said.mean[e], mean, rtol=1e-4, atol=1e-4)
        # theirs is the variance of the mean, ours of a label
        np.testing.assert_allclose(said.variance[e], deviation**2 + noise * y[e].var(), rtol=1e-4, atol=1e-4)


def test_what_is_learnt_has_the_highest_marginal_likelihood_by_scikit_learn():
    x, y, _ = problem()
    model = fit(GaussianProcess(), x, y)
    for e in range(3):
        labels = (y[e] - y[e].mean()) / y[e].std()
        unit = np.sqrt(x[e].var(0).sum())
        pairs = [(length * unit, noise) for length in LENGTHS for noise in NOISES]
        known = [
            GaussianProcessRegressor(RBF(length), alpha=noise, optimizer=None)
            .fit(x[e], labels)
            .log_marginal_likelihood_value_
            for length, noise in pairs
        ]
        best = pairs[int(np.argmax(known))]
        np.testing.assert_allclose((float(model.length[e]), float(model.noise[e])), best, rtol=1e-4)


def test_noise_by_row_is_the_smoothed_square_of_what_is_left_out():
    """One process at a time, in loops: each label is predicted by the others."""
    x, y, new = problem(rows=12)
    length, noise = 1.5, 0.3
    model = fit(GaussianProcess(length_scale=length, noise=noise, noise_by_row=True), x, y)
    got = model.predict(torch.tensor(new).float())

    def kernel(one, other):
        return np.exp(-0.5 * np.square(one[:, None] - other[None]).sum(-1) / length**2)

    for e in range(3):
        labels = (y[e] - y[e].mean()) / y[e].std()
        squares = []
        for row in range(12):
            rest = np.delete(np.arange(12), row)
            solve = np.linalg.inv(kernel(x[e, rest], x[e, rest]) + noise * np.eye(11))
            near = kernel(x[e, [row]], x[e, rest])[0]
            error, variance = labels[row] - near @ solve @ labels[rest], 1 + noise - near @ solve @ near
            squares.append(error**2 * noise / variance)

        def smoothed(rows, e=e, squares=squares):
            width = 0.5 * np.sqrt(x[e].var(0).sum())
            near = np.exp(-0.5 * np.square(rows[:, None] - x[e][None]).sum(-1) / width**2)
            return (near @ squares + noise) / (near.sum(1) + 1)

        solve = np.linalg.inv(kernel(x[e], x[e]) + np.diag(smoothed(x[e])))
        near = kernel(new[e], x[e])
        mean = near @ solve @ labels
        variance = 1 - np.einsum("ml,lk,mk->m", near, solve, near) + smoothed(new[e])
        np.testing.assert_allclose(got.mean[e], y[e].mean() + y[e].std() * mean, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(got.variance[e], y[e].var() * variance, rtol=1e-3)


def test_with_noise_by_row_a_noisy_region_is_found():
    """Half of the rows have much noise: there the variance is higher, which one noise for all does not tell."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(8, 80, 1, generator=generator) * 2 - 1
    noise = torch.randn(8, 80, generator=generator) * torch.where(x[..., 0] > 0, 2.0, 0.1)
    y, new = x[..., 0] + noise, torch.tensor([-0.5, 0.5]).expand(8, 2)[..., None]
    by_row, alike = (
        GaussianProcess(noise_by_row=by).fit(x, y, torch.ones(8, 80)).predict(new).variance for by in (True, False)
    )
    assert (by_row[:, 1] > 1.5 * by_row[:, 0]).all()
    assert (alike[:, 1] < 1.2 * alike[:, 0]).all()


def test_the_gradient_of_a_function_has_length_1():
    x, y, new = problem()
    assert (fit(GaussianProcess(), x, y).gradient_length(torch.tensor(new).float()) == 1).all()
