import numpy as np
import pytest
import torch
from sklearn import metrics

from almeta.envs.scores import NUMBER_SCORES, SCORES, neg_rmse, r2

ROWS, CLASSES = 40, 5
REFERENCES = {
    "accuracy": lambda y, p: metrics.accuracy_score(y, p.argmax(1)),
    "balanced_accuracy": lambda y, p: metrics.recall_score(
        y, p.argmax(1), labels=np.unique(y), average="macro", zero_division=0
    ),
    "macro_f1": lambda y, p: metrics.f1_score(y, p.argmax(1), average="macro"),
    "neg_log_loss": lambda y, p: -metrics.log_loss(y, p, labels=np.arange(p.shape[1])),
    "roc_auc": lambda y, p: (
        np.mean([metrics.roc_auc_score(y == k, p[:, k]) for k in np.unique(y)]) if len(np.unique(y)) > 1 else 0.5
    ),
    "weighted_f1": lambda y, p: metrics.f1_score(y, p.argmax(1), average="weighted"),
    "true_probability": lambda y, p: np.mean([row[k] for row, k in zip(p, y, strict=True)]),
}


def cases(seed, count=50):
    """Probabilities `[E, M, C]`, classes and which rows exist: of 1 to 40 rows and 2 to 5 classes, some unheard of."""
    rng = np.random.default_rng(seed)
    probabilities = torch.rand(count, ROWS, CLASSES, generator=torch.Generator().manual_seed(seed))
    y = torch.zeros(count, ROWS, dtype=torch.int64)
    exists = torch.zeros(count, ROWS, dtype=torch.bool)
    for e in range(count):
        rows, classes = rng.integers(1, ROWS + 1), rng.integers(2, CLASSES + 1)
        p = rng.dirichlet(np.full(classes, rng.choice([0.2, 1.0, 5.0])), rows) + 1e-5
        probabilities[e, :rows] = 0
        probabilities[e, :rows, :classes] = torch.tensor(p / p.sum(1, keepdims=True), dtype=torch.float32)
        y[e, :rows] = torch.from_numpy(rng.choice(rng.integers(classes, size=classes), rows))
        exists[e, :rows] = True
    return probabilities, y, exists


@pytest.mark.parametrize("name", SCORES)
def test_agrees_with_scikit_learn_whatever_pads(name):
    probabilities, y, exists = cases(seed=0)
    scores = SCORES[name](probabilities, y, exists)
    assert scores.dtype == torch.float32 and scores.shape == (50,)
    for e in range(50):
        there = exists[e].numpy()
        own = probabilities[e].numpy()[there].astype(np.float64)
        expected = REFERENCES[name](y[e].numpy()[there], own / own.sum(1, keepdims=True))
        assert scores[e].item() == pytest.approx(expected, abs=1e-5), e
    assert scores.std() > 0.05


@pytest.mark.parametrize("name", SCORES)
def test_higher_is_better(name):
    y, exists = torch.tensor([[0, 1, 1, 2]]), torch.ones(1, 4, dtype=torch.bool)
    right = torch.nn.functional.one_hot(y, 3).float()
    wrong = right.roll(1, -1)
    best, middle, worst = (SCORES[name](p, y, exists).item() for p in (right, (right + wrong * 1.1) / 2.1, wrong))
    assert best == (0 if name == "neg_log_loss" else 1)
    assert worst <= middle < best and worst < best


def test_a_probability_of_nothing_costs_no_more_than_one_of_1e_7():
    y, exists = torch.tensor([[0, 1]]), torch.ones(1, 2, dtype=torch.bool)
    score = SCORES["neg_log_loss"](torch.tensor([[[1.0, 0.0], [1.0, 0.0]]]), y, exists)
    assert score.item() == pytest.approx(np.log(1e-7) / 2, rel=1e-5)


def test_of_equal_probabilities_the_first_class_counts():
    exists = torch.ones(1, 3, dtype=torch.bool)
    score = SCORES["accuracy"](torch.full((1, 3, 4), 0.25), torch.tensor([[0, 0, 1]]), exists)
    assert score.item() == pytest.approx(2 / 3)


def test_the_area_under_the_roc_curve_is_scikit_learns_for_two_and_for_more_classes():
    rng = np.random.default_rng(0)
    for classes, how in ((2, {}), (4, {"multi_class": "ovr"})):
        p, y = rng.multinomial(8, np.full(classes, 1 / classes), 50) / 8, np.arange(50) % classes  # there are ties
        area = SCORES["roc_auc"](torch.tensor(p)[None].float(), torch.tensor(y)[None], torch.ones(1, 50).bool())
        assert area.item() == pytest.approx(metrics.roc_auc_score(y, p[:, 1] if classes == 2 else p, **how), abs=1e-6)


def test_the_area_under_the_roc_curve_by_hand():
    """Of class 1 rows .9, .4, of class 0 rows .5, .4: of the four pairs two are right, one is wrong, one is equal."""
    p = torch.tensor([0.9, 0.4, 0.5, 0.4])
    probabilities, y = torch.stack([1 - p, p], -1)[None], torch.tensor([[1, 1, 0, 0]])
    exists = torch.ones(1, 4, dtype=torch.bool)
    assert SCORES["roc_auc"](probabilities, y, exists).item() == pytest.approx((1 + 1 + 0 + 0.5) / 4)
    assert SCORES["roc_auc"](probabilities, torch.ones_like(y), exists).item() == 0.5


# ---- of numbers


def test_errors_of_numbers_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    y, said = rng.normal(size=(3, 20)).astype(np.float32), rng.normal(size=(3, 20)).astype(np.float32)
    exists = torch.ones(3, 20, dtype=torch.bool)
    exists[1, 15:] = False
    found = {name: score(torch.tensor(said), torch.tensor(y), exists) for name, score in NUMBER_SCORES.items()}
    for e, rows in enumerate((20, 15, 20)):
        known = y[e, :rows], said[e, :rows]
        assert found["neg_rmse"][e].item() == pytest.approx(-metrics.root_mean_squared_error(*known), abs=1e-6)
        assert found["r2"][e].item() == pytest.approx(metrics.r2_score(*known), abs=1e-5)


def test_a_right_answer_has_the_highest_score_and_equal_targets_tell_nothing():
    y, exists = torch.tensor([[1.0, 2.0], [3.0, 3.0]]), torch.ones(2, 2, dtype=torch.bool)
    assert neg_rmse(y, y, exists).tolist() == [0, 0] and r2(y, y, exists).tolist() == [1, 0]
    assert r2(y + 1, y, exists).tolist() == [-3, 0]
