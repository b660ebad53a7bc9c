import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression as Reference

from almeta.learners import LogisticRegression


def problem(rng):
    """A random problem: features, labels, number of classes, new rows."""
    classes, features = int(rng.integers(2, 11)), int(rng.integers(2, 201))
    rows = int(rng.integers(classes, 120))
    centres = rng.normal(size=(classes, features)) * rng.choice([0.0, 0.3, 3.0])  # separable ones too
    y = rng.permutation(np.arange(rows) % classes)
    x = centres[y] + rng.normal(size=(rows, features))
    new = centres[rng.integers(classes, size=30)] + rng.normal(size=(30, features))
    unseen = rng.choice(classes) if classes > 2 and rng.random() < 0.3 else -1
    return x[y != unseen], y[y != unseen], classes, new


def reference(x, y, classes, new, penalty=1.0):
    fitted = Reference(C=penalty, max_iter=10000, tol=1e-8).fit(x, y)
    probabilities = np.zeros((len(new), classes))
    probabilities[:, fitted.classes_] = fitted.predict_proba(new)
    return probabilities


def batch(problems):
    """Problems of different sizes, padded into one batch."""
    rows, features = max(len(p[1]) for p in problems), max(p[0].shape[1] for p in problems)
    x, new = np.zeros((len(problems), rows, features)), np.zeros((len(problems), 30, features))
    y, weight = np.zeros((len(problems), rows), dtype=np.int64), np.zeros((len(problems), rows))
    for e, (px, py, _, pn) in enumerate(problems):
        x[e, : len(py), : px.shape[1]], new[e, :, : px.shape[1]] = px, pn
        y[e, : len(py)], weight[e, : len(py)] = py, 1
    return *(torch.tensor(a, dtype=torch.float32) for a in (x, new, weight)), torch.tensor(y)


def test_200_random_problems_agree_with_scikit_learn():
    rng = np.random.default_rng(0)
    problems = [problem(rng) for _ in range(200)]
    for begin in range(0, 200, 25):
        some = problems[begin : begin + 25]
        x, new, weight, y = batch(some)
        ours = LogisticRegression().fit(x, y, weight, 10).probabilities(new).numpy()
        for e, (px, py, classes, pn) in enumerate(some):
            np.testing.assert_allclose(ours[e, :, :classes], reference(px, py, classes, pn), atol=1e-3)
            assert (ours[e, :, classes:] == 0).all()


@pytest.mark.parametrize("features, penalty", [(3, 1.0), (40, 0.1), (40, 100.0)])
def test_warm_starts_end_where_cold_ones_do(features, penalty):
    rng = np.random.default_rng(1)
    x = torch.tensor(rng.normal(size=(6, 60, features)), dtype=torch.float32)
    y = torch.tensor(rng.integers(4, size=(6, 60)))
    learner = LogisticRegression(C=penalty)
    model = learner.fit(x[:, :3], y[:, :3], torch.ones(6, 3), 4)
    for rows in (4, 5, 8, 39, 40, 41, 60):
        weight = torch.ones(6, rows)
        model = learner.fit(x[:, :rows], y[:, :rows], weight, 4, start=model)
        cold = learner.fit(x[:, :rows], y[:, :rows], weight, 4)
        torch.testing.assert_close(model.probabilities(x), cold.probabilities(x), atol=1e-3, rtol=0)
    for e in range(6):
        expected = reference(x[e].numpy(), y[e].numpy(), 4, x[e].numpy(), penalty)
        np.testing.assert_allclose(model.probabilities(x)[e].numpy(), expected, atol=1e-3)


@pytest.mark.parametrize("seed", [26, 0, 1])
def test_huge_features_and_a_contradicting_row(seed):
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randn(1, 16, 3, generator=generator) * 1e5, torch.randint(2, (1, 16), generator=generator)
    model = None
    for rows in range(5, 8):
        one = torch.ones(1, rows)
        model = LogisticRegression().fit(x[:, :rows], y[:, :rows], one, 2, start=model)
        assert model.probabilities(x).isfinite().all()


def test_rows_that_do_not_count_bear_any_label():
    rng = np.random.default_rng(4)
    x, y = torch.tensor(rng.normal(size=(3, 12, 4)) * 20).float(), torch.tensor(rng.integers(1, 3, size=(3, 12)))
    padded = torch.cat((x, 1e3 * torch.ones(3, 5, 4)), 1), torch.cat((y, torch.zeros(3, 5, dtype=torch.int64)), 1)
    weight = torch.cat((torch.ones(3, 12), torch.zeros(3, 5)), 1)
    got = LogisticRegression().fit(*padded, weight, 3).probabilities(x)
    torch.testing.assert_close(
        got, LogisticRegression().fit(x, y, weight[:, :12], 3).probabilities(x), atol=1e-3, rtol=0
    )


def test_unscaled_features_and_many_rows():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(400, 5)) * [1, 10, 100, 1000, 1]
    y = (x[:, 1] + 5 * rng.normal(size=400) > 0).astype(np.int64)
    ours = LogisticRegression().fit(torch.tensor(x[None]).float(), torch.tensor(y)[None], torch.ones(1, 400), 2)
    got = ours.probabilities(torch.tensor(x[None]).float())[0].numpy()
    np.testing.assert_allclose(got, reference(x, y, 2, x), atol=1e-3)


def test_a_weight_is_a_repetition():
    rng = np.random.default_rng(3)
    x, y = torch.tensor(rng.normal(size=(1, 9, 4))).float(), torch.tensor(rng.integers(3, size=(1, 9)))
    weight = torch.tensor([[1.0, 2, 0, 1, 3, 1, 1, 0, 1]])
    rows = weight[0].long().repeat_interleave(weight[0].long()) * 0 + torch.arange(9).repeat_interleave(
        weight[0].long()
    )
    weighted = LogisticRegression().fit(x, y, weight, 3)
    repeated = LogisticRegression().fit(x[:, rows], y[:, rows], torch.ones(1, len(rows)), 3)
    torch.testing.assert_close(weighted.probabilities(x), repeated.probabilities(x), atol=1e-3, rtol=0)


def test_one_class_and_no_label():
    x = torch.randn(2, 3, 2, generator=torch.Generator().manual_seed(0))
    weight = torch.tensor([[1.0, 1, 0], [0, 0, 0]])
    got = LogisticRegression().fit(x, torch.ones(2, 3, dtype=torch.int64), weight, 3).probabilities(x)
    assert got[0].tolist() == [[0, 1, 0]] * 3
    torch.testing.assert_close(got[1], torch.full((3, 3), 1 / 3))
    nothing = LogisticRegression().fit(x[:, :0], torch.ones(2, 0, dtype=torch.int64), weight[:, :0], 3)
    torch.testing.assert_close(nothing.probabilities(x), torch.full((2, 3, 3), 1 / 3))


def test_systems_that_are_solved_in_one_step():
    """Two rows, one a class: what is left after the first step of conjugate gradients is rounding alone."""
    x = torch.randn(2000, 2, 3, generator=torch.Generator().manual_seed(0))
    y = torch.tensor([[0, 1]]).expand(2000, -1)
    got = LogisticRegression().fit(x, y, torch.ones(2000, 2), 10).probabilities(x)
    expected = [reference(rows, [0, 1], 10, rows) for rows in x[:50].numpy()]
    np.testing.assert_allclose(got[:50].numpy(), expected, atol=1e-3)
    assert got.isfinite().all()


def test_rows_that_are_all_alike():
    x, y = torch.ones(1, 3, 4), torch.tensor([[0, 1, 1]])
    for rows in (2, 3):
        model = LogisticRegression().fit(x[:, :rows], y[:, :rows], torch.ones(1, rows), 2)
        expected = torch.tensor([1 / rows, 1 - 1 / rows]).expand(1, 3, 2)
        torch.testing.assert_close(model.probabilities(x), expected, atol=1e-3, rtol=0)
