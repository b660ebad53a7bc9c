"""Moves against a model: each against a loop over rows, and by hand where the model is linear."""

import math
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

import almeta.learners.attacks
from almeta.errors import AlmetaError
from almeta.learners import CNN, MLP, Adversarial, LogisticRegression
from almeta.learners.attacks import deepfool, fgsm, pgd, range_of
from almeta.learners.logistic_regression import LogisticModel

CLASSES = 4


def fitted(learner, features=48, rows=24):
    """A model of classes 0, 1 and 3 of four, rows and labels; rows of the CNN are 4 x 4 pixels in colour."""
    generator = torch.Generator().manual_seed(0)
    y = torch.tensor([0, 1, 3]).repeat(2, rows // 3)
    x = torch.randn(2, rows, features, generator=generator)
    x[..., 0] += y
    return learner.fit(x, y, torch.ones(2, rows), CLASSES, generator=generator), x, y


LEARNERS = {
    "cnn": CNN(maps=3, hidden_size=8, steps=30),
    "mlp": MLP(hidden_size=8, steps=30),
    "logistic_regression": LogisticRegression(),
}


def logits_of_row(model, e):
    """A function of a row `[D]` of one episode."""

    def logits(row):
        return model.logits(row.expand(2, 1, -1))[e, 0]

    return logits


def gradient(logits, row, label):
    row = row.clone().requires_grad_()
    cross_entropy(logits(row)[None], torch.tensor([label])).backward()
    return row.grad


@pytest.mark.parametrize("name", LEARNERS)
def test_fgsm_is_a_step_along_the_sign_of_the_gradient(name, monkeypatch):
    model, x, y = fitted(LEARNERS[name])
    monkeypatch.setattr(almeta.learners.attacks, "_BLOCK", 7 * 48 * 2)  # several blocks of rows
    got = fgsm(model.logits, x, y, 0.2)
    for e in range(2):
        for m in range(0, 24, 5):
            expected = x[e, m] + 0.2 * gradient(logits_of_row(model, e), x[e, m], int(y[e, m])).sign()
            torch.testing.assert_close(got[e, m], expected)


def test_pgd_is_a_loop_of_steps_and_projections():
    model, x, y = fitted(LEARNERS["mlp"])
    bounds = range_of(0.8 * x, torch.ones(2, 24, dtype=torch.bool))
    got = pgd(model.logits, x, y, 0.3, 4, torch.Generator().manual_seed(5), bounds)
    start = x + 0.3 * (2 * torch.rand(x.shape, generator=torch.Generator().manual_seed(5)) - 1)
    for e in range(2):
        low, high = float(0.8 * x[e].min()), float(0.8 * x[e].max())
        for m in range(0, 24, 5):
            moved = start[e, m]
            for _ in range(4):
                moved = moved + 2.5 * 0.3 / 4 * gradient(logits_of_row(model, e), moved, int(y[e, m])).sign()
                moved = torch.maximum(torch.minimum(moved, x[e, m] + 0.3), x[e, m] - 0.3).clamp(low, high)
            torch.testing.assert_close(got[e, m], moved)
    assert torch.equal(pgd(model.logits, x, y, 0.3, 2), pgd(model.logits, x, y, 0.3, 2))


@pytest.mark.parametrize("name", LEARNERS)
def test_attacks_raise_the_loss_and_more_steps_raise_it_more(name):
    model, x, y = fitted(LEARNERS[name])

    def loss(rows):
        return float(cross_entropy(model.logits(rows).flatten(0, 1), y.flatten()))

    losses = loss(x), loss(fgsm(model.logits, x, y, 0.3)), loss(pgd(model.logits, x, y, 0.3, 20))
    assert losses[0] + 0.02 < losses[1] < 1.001 * losses[2]


def test_a_class_that_was_not_seen_leaves_gradients_finite():
    for learner in LEARNERS.values():
        model, x, y = fitted(learner)
        assert fgsm(model.logits, x, torch.full_like(y, 2), 0.1).isfinite().all()


def test_the_range_is_that_of_the_rows_that_count():
    x = torch.tensor([[[1.0, 5.0], [-9.0, 9.0]], [[2.0, 3.0], [4.0, 0.0]], [[1.0, 1.0], [2.0, 2.0]]])
    low, high = range_of(x, torch.tensor([[True, False], [True, True], [False, False]]))
    assert low.flatten().tolist() == [1, 0, -math.inf] and high.flatten().tolist() == [5, 4, math.inf]
    model = fitted(LogisticRegression(), 3)[0]
    rows = torch.zeros(2, 1, 3)
    moved = fgsm(model.logits, rows, torch.zeros(2, 1, dtype=torch.int64), 0.5, (low[:2], high[:2]))
    assert (moved[0] == 1).all() and (moved[1] >= 0).all()  # the range goes before the size


# --- DeepFool ---


def test_deepfool_is_exact_for_two_linear_classes():
    model, x, _ = fitted(LogisticRegression())
    weights, bias = model.weights[:, :2], model.bias[:, :2]
    two = LogisticModel(weights, bias, model.state)
    crossing = deepfool(two.logits, x, 10)
    lead = x @ (weights[:, 0] - weights[:, 1])[..., None] + (bias[:, 0] - bias[:, 1])[:, None]
    expected = lead.abs().squeeze(2) / (weights[:, 0] - weights[:, 1]).norm(dim=-1, keepdim=True)
    torch.testing.assert_close(crossing.moves.norm(dim=-1), expected, rtol=1e-4, atol=1e-6)
    assert crossing.crossed.all()


def test_deepfool_is_the_nearest_of_several_linear_boundaries():
    model, x, _ = fitted(LogisticRegression())
    got = deepfool(model.logits, x, 10).moves.norm(dim=-1)
    for e in range(2):
        for m in range(24):
            f = model.logits(x)[e, m]
            label = int(f.argmax())
            rivals = [k for k in (0, 1, 3) if k != label]
            distances = [(f[label] - f[k]) / (model.weights[e, label] - model.weights[e, k]).norm() for k in rivals]
            torch.testing.assert_close(got[e, m], min(distances), rtol=1e-4, atol=1e-6)


def deepfool_of_row(logits, row, steps):
    """Algorithm 2 of Moosavi-Dezfooli et al. 2016, with the overshoot in the loop."""
    first, total = int(logits(row).argmax()), torch.zeros_like(row)
    for _ in range(steps):
        at = (row + 1.02 * total).requires_grad_()
        f = logits(at)
        if int(f.argmax()) != first:
            return total, True
        gradients = [torch.autograd.grad(f[k], at, retain_graph=True)[0] for k in range(CLASSES)]
        steps_to = []
        for k in range(CLASSES):
            if k != first and f[k].isfinite():
                w, lead = gradients[k] - gradients[first], (f[k] - f[first]).detach()
                steps_to.append((float(lead.abs() / w.norm()), lead.abs() / w.norm() ** 2 * w))
        total = total + min(steps_to, key=lambda step: step[0])[1]
    return total, int(logits(row + 1.02 * total).argmax()) != first


@pytest.mark.parametrize("steps", [1, 8])
@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_deepfool_is_its_algorithm(name, steps, monkeypatch):
    model, x, _ = fitted(LEARNERS[name])
    monkeypatch.setattr(almeta.learners.attacks, "_BLOCK", 7 * 48 * 2)
    got = deepfool(model.logits, x, steps)
    for e in range(2):
        for m in range(0, 24, 5):
            move, crossed = deepfool_of_row(logits_of_row(model, e), x[e, m], steps)
            torch.testing.assert_close(got.moves[e, m], move, rtol=1e-3, atol=1e-4)
            assert bool(got.crossed[e, m]) == crossed
    share = got.crossed.float().mean()
    assert share < 0.9 if steps == 1 else share > 0.9


def test_deepfool_finds_no_way_where_there_is_none():
    """Without a label, and with a single class."""
    x, y = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0)), torch.zeros(2, 5, dtype=torch.int64)
    for learner in (LogisticRegression(), MLP(steps=5)):
        for weight in (torch.zeros(2, 5), torch.ones(2, 5)):
            crossing = deepfool(learner.fit(x, y, weight, 3).logits, x, 5)
            assert not crossing.crossed.any() and (crossing.moves == 0).all()


# --- adversarial training ---


@pytest.mark.parametrize("options", [{}, {"attack_steps": 3}, {"attack_batch": 10}], ids=str)
def test_adversarial_training_withstands_attacks_better(options):
    """The first column tells the class safely, and the other 47 a little each: those are what an attack moves."""
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(0, 2, (3, 120), generator=generator)
    x = 0.3 * torch.randn(3, 120, 48, generator=generator) + 0.15 * (2 * y[..., None] - 1)
    x[..., 0] = 2.0 * (2 * y - 1)
    base, accuracy = MLP(hidden_size=8, steps=60), []
    for learner in (base, Adversarial(base, epsilon=0.3, alpha=2.0, **options)):
        model: Any = learner.fit(x[:, :40], y[:, :40], torch.ones(3, 40), 2)
        moved = pgd(model.logits, x[:, 40:], y[:, 40:], 0.3, 5)
        accuracy.append(float((model.probabilities(moved).argmax(-1) == y[:, 40:]).float().mean()))
    assert accuracy[1] > accuracy[0] + 0.05


def test_adversarial_training_without_weight_is_plain_training():
    x, y = torch.randn(2, 9, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2]).repeat(2, 3)
    base = MLP(steps=10, dropout=0.0)
    got = Adversarial(base, alpha=0.0).fit(x, y, torch.ones(2, 9), 3)
    torch.testing.assert_close(got.probabilities(x), base.fit(x, y, torch.ones(2, 9), 3).probabilities(x))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"base": "ridge"}, "learner adversarial: base=ridge is no network that it can train; choose mlp, cnn"),
        ({"epsilon": 0}, "learner.epsilon is 0; it must be a number above 0"),
        ({"attack_steps": 0}, "learner.attack_steps is 0; it must be a whole number of at least 1"),
    ],
)
def test_mistakes_are_told(options, message):
    with pytest.raises(AlmetaError, match=message):
        Adversarial(**options)
