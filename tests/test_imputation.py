"""What missing cells may hold: held to the formulas of a Gaussian's conditional, row by row."""

import numpy as np
import pytest
import torch

from almeta.imputation import GaussianBelief
from almeta.seeding import make_generator

NOISE = 0.1


def tables(num_envs=3, rows=12, columns=4, share=0.5):
    generator = make_generator(0, "tables")
    base = torch.randn(num_envs, rows, 1, generator=generator)
    values = base + 0.7 * torch.randn(num_envs, rows, columns, generator=generator) + torch.arange(columns)
    known = torch.rand(values.shape, generator=generator) < share
    known[:, :2] = True
    return values, known


def plain_fit(values, known):
    rows, columns = values.shape
    mean = np.array([values[known[:, j], j].mean() for j in range(columns)])
    covariance = np.zeros((columns, columns))
    for i in range(columns):
        for j in range(columns):
            both = [
                (values[r, i] - mean[i]) * (values[r, j] - mean[j]) for r in range(rows) if known[r, i] and known[r, j]
            ]
            covariance[i, j] = sum(both) / np.sqrt(known[:, i].sum() * known[:, j].sum())
    return mean, covariance


def plain_fill(row, there, mean, covariance):
    expected, deviation = row.copy(), np.zeros(len(row))
    has = np.flatnonzero(there)
    own = covariance[np.ix_(has, has)] + NOISE * np.diag(covariance.diagonal()[has])
    for j in np.flatnonzero(~there):
        weights = np.linalg.solve(own, covariance[has, j])
        expected[j] = mean[j] + weights @ (row[has] - mean[has])
        deviation[j] = np.sqrt(covariance[j, j] - weights @ covariance[has, j])
    return expected, deviation


def test_it_is_the_conditional_of_a_gaussian_row_by_row():
    values, known = tables()
    belief = GaussianBelief.fit(values, known)
    filled, deviation = belief.fill(values, known)
    for e in range(3):
        x, there = values[e].double().numpy(), known[e].numpy()
        mean, covariance = plain_fit(x, there)
        np.testing.assert_allclose(belief.mean[e, 0], mean, atol=1e-5)
        np.testing.assert_allclose(belief.covariance[e], covariance, atol=1e-5)
        for row in range(len(x)):
            expected, apart = plain_fill(x[row], there[row], mean, covariance)
            np.testing.assert_allclose(filled[e, row], expected, atol=1e-4)
            np.testing.assert_allclose(deviation[e, row], apart, atol=1e-4)
    assert (deviation[~known] > 0.05).all()


def test_known_cells_stay_and_hidden_ones_have_no_say():
    values, known = tables()
    filled, deviation = GaussianBelief.fit(values, known).fill(values, known)
    assert torch.equal(filled[known], values[known]) and (deviation[known] == 0).all()
    other = values.where(known, 99.0)
    again = GaussianBelief.fit(other, known).fill(other, known)
    torch.testing.assert_close(again, (filled, deviation), rtol=0, atol=0)


def test_what_is_known_of_a_row_narrows_the_rest():
    values, known = tables(share=0.9)
    belief = GaussianBelief.fit(values, known)
    nothing = torch.zeros_like(known)
    filled, deviation = belief.fill(values, nothing)
    torch.testing.assert_close(filled, belief.mean.expand_as(filled))
    one = nothing.clone()
    one[..., 0] = True
    narrower = belief.fill(values, one)[1]
    assert (narrower[..., 1:] < deviation[..., 1:]).all()


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_columns_without_known_or_missing_cells(share):
    values, known = tables()
    known[..., 2] = share == 1.0
    filled, deviation = GaussianBelief.fit(values, known).fill(values, known)
    assert filled.isfinite().all() and (deviation[..., 2] == 0).all()
    torch.testing.assert_close(filled[..., 2], values[..., 2] if share else torch.zeros_like(values[..., 2]))
