import numpy as np
import pytest
import torch
from sklearn.datasets import make_moons

from almeta.learners import MLP, LogisticRegression


def moons():
    x, y = zip(*(make_moons(200, noise=0.15, random_state=seed) for seed in range(3)), strict=True)
    return torch.tensor(np.stack(x)).float(), torch.tensor(np.stack(y))


def exclusive_or():
    x = torch.rand(3, 200, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return x, (x.prod(-1) > 0).long()


def accuracy(learner, x, y):
    """On the second half of the rows, after the first."""
    generator = torch.Generator().manual_seed(0)
    model = learner.fit(x[:, :100], y[:, :100], torch.ones(len(x), 100), 2, generator=generator)
    return (model.probabilities(x[:, 100:]).argmax(-1) == y[:, 100:]).float().mean(1)


@pytest.mark.parametrize("draw, linear", [(moons, 0.9), (exclusive_or, 0.75)])
def test_learns_what_no_line_divides(draw, linear):
    x, y = draw()
    assert (accuracy(MLP(), x, y) > 0.9).all()
    assert (accuracy(LogisticRegression(), x, y) < linear).all()


def test_several_at_once_are_as_one_by_one(monkeypatch):
    """From equal initial weights, and without dropout, whose draws would differ."""
    x, y = moons()
    weight = torch.ones(y.shape)
    weight[1, 50:] = 0
    learner = MLP(dropout=0.0, steps=50)
    initial = learner.initial(x, 2, torch.Generator().manual_seed(0))

    def fit(part):
        given = [p.detach()[part].clone().requires_grad_() for p in initial]
        monkeypatch.setattr(MLP, "initial", lambda *_: given)
        return learner.fit(x[part], y[part], weight[part], 2).probabilities(x[part])

    whole = fit(slice(None))
    for e in range(3):
        torch.testing.assert_close(fit(slice(e, e + 1))[0], whole[e], atol=1e-4, rtol=0)
    assert (whole[0] - whole[1]).abs().max() > 0.01


def test_dropout_leaves_the_expected_output():
    """Trained with half of the units left out, predictions use all of them and are about as sure."""
    x, y = moons()
    model = MLP(dropout=0.5, steps=200).fit(x, y, torch.ones(y.shape), 2)
    got = model.probabilities(x)
    assert torch.equal(got, model.probabilities(x))
    assert (got.argmax(-1) == y).float().mean() > 0.93
