"""What every learner of numbers keeps to; test_contract.py has those of classes."""

from typing import Any

import pytest
import torch

import almeta.learners
from almeta.learners import GaussianProcess, RidgeRegression, make_learner
from almeta.learners.learner import Predicts, target_of

LEARNERS: dict[str, Any] = {
    "GaussianProcess": GaussianProcess(),
    "GaussianProcess of fixed options": GaussianProcess(length_scale=1.5, noise=0.1),
    "GaussianProcess with noise by row": GaussianProcess(noise_by_row=True),
    "RidgeRegression": RidgeRegression(),
}
EPISODES, ROWS = 5, 12

every = pytest.mark.parametrize("name", LEARNERS)


def problem():
    """Features, numbers that are far from 0, weights, new rows."""
    generator = torch.Generator().manual_seed(0)
    x, new = (torch.randn(EPISODES, rows, 3, generator=generator) for rows in (ROWS, 20))
    y = 100 + 7 * (x[..., 0] + x[..., 1].sin() + 0.3 * torch.randn(EPISODES, ROWS, generator=generator))
    return x, y, torch.ones(EPISODES, ROWS), new


def predict(name, x, y, weight, new):
    return LEARNERS[name].fit(x, y, weight).predict(new)


def assert_alike(first, second):
    for one, other in zip(first, second, strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)


def test_no_learner_is_left_out():
    public = [getattr(almeta.learners, name) for name in almeta.learners.__all__]
    of_numbers = {kind.__name__ for kind in public if getattr(kind, "target", "classes") == "numbers"}
    assert of_numbers == {name.partition(" ")[0] for name in LEARNERS}


@every
def test_what_they_return(name):
    x, y, weight, new = problem()
    model = LEARNERS[name].fit(x, y, weight)
    assert target_of(LEARNERS[name]) == "numbers" and isinstance(model, Predicts)
    for part in (*model.predict(new), model.gradient_length(new)):
        assert part.shape == (EPISODES, 20) and part.dtype == torch.float32
    assert (model.predict(new).variance > 0).all()
    spread = (y - y.mean(1, keepdim=True)).square().mean()
    assert (model.predict(x).mean - y).square().mean() < spread / 3


@every
def test_rows_of_weight_0_are_not_there(name):
    x, y, weight, new = problem()
    padded = torch.cat((x, 9 * torch.ones(EPISODES, 2, 3)), 1), torch.cat((y, torch.full((EPISODES, 2), torch.nan)), 1)
    got = predict(name, *padded, torch.cat((weight, torch.zeros(EPISODES, 2)), 1), new)
    assert_alike(got, predict(name, x, y, weight, new))


@every
def test_columns_that_pad_are_not_there(name):
    x, y, weight, new = problem()
    wider = [torch.nn.functional.pad(part, (0, 2)) for part in (x, new)]
    assert_alike(predict(name, wider[0], y, weight, wider[1]), predict(name, x, y, weight, new))


@pytest.mark.parametrize("name", [name for name in LEARNERS if "by row" not in name])
def test_a_weight_of_2_is_the_row_twice(name):
    x, y, weight, new = problem()
    twice = torch.cat((x, x[:, :1], x[:, 4:5]), 1), torch.cat((y, y[:, :1], y[:, 4:5]), 1)
    repeated = predict(name, *twice, torch.ones(EPISODES, ROWS + 2), new)
    once = predict(name, x, y, weight, new)
    weight[:, 0] = weight[:, 4] = 2
    got = predict(name, x, y, weight, new)
    assert_alike(got, repeated)
    assert (got.mean - once.mean).abs().max() > 1e-2


@every
def test_episodes_do_not_see_each_other(name):
    x, y, weight, new = problem()
    weight[1, 5:] = 0
    whole = predict(name, x, y, weight, new)
    for e in range(EPISODES):
        one = slice(e, e + 1)
        assert_alike(predict(name, x[one], y[one], weight[one], new[one]), [part[one] for part in whole])


@every
def test_the_unit_of_the_numbers_does_not_matter(name):
    x, y, weight, new = problem()
    plain, other = predict(name, x, y, weight, new), predict(name, x, 1000 * y - 5, weight, new)
    torch.testing.assert_close(other.mean, 1000 * plain.mean - 5, rtol=1e-4, atol=1)
    torch.testing.assert_close(other.variance, 1e6 * plain.variance, rtol=1e-3, atol=1)


@every
def test_without_a_label_nothing_is_known_and_one_label_is_the_mean(name):
    x, y, weight, new = problem()
    nothing = LEARNERS[name].fit(x[:, :0], y[:, :0], weight[:, :0]).predict(new)
    assert (nothing.mean == 0).all() and (nothing.variance > 0).all()
    weight[0], weight[1, 1:] = 0, 0
    got = predict(name, x, y, weight, new)
    assert (got.mean[0] == 0).all() and got.variance[0].isfinite().all()
    assert got.mean[1].isfinite().all() and got.variance[1].isfinite().all()
    torch.testing.assert_close(predict(name, x[1:2], y[1:2], weight[1:2], x[1:2, :1]).mean, y[1:2, :1])


def test_by_name():
    assert make_learner("gaussian_process") == GaussianProcess()
    assert make_learner({"name": "ridge_regression", "alpha": 3}) == RidgeRegression(alpha=3)
