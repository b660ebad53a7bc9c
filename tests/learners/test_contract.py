"""What every learner of classes keeps to, and that none is left out here."""

import inspect

import pytest
import torch

import almeta.learners
from almeta.learners import (
    CNN,
    MLP,
    VAT,
    Adversarial,
    Augmented,
    EmbeddingAverage,
    Learner,
    LogisticRegression,
    Prototype,
    PseudoLabels,
    Ridge,
    Scikit,
    Siamese,
    TorchModel,
    gradient_boosting,
    nearest_neighbours,
    random_forest,
    svc,
)


def make_module(num_features, num_classes):
    """A module of one's own."""
    layers = torch.nn.Linear(num_features, 16), torch.nn.ReLU(), torch.nn.Dropout(0.1), torch.nn.Linear(16, num_classes)
    return torch.nn.Sequential(*layers)


LEARNERS: dict[str, Learner] = {
    "LogisticRegression": LogisticRegression(),
    "Ridge": Ridge(),
    "Prototype": Prototype(),
    "MLP": MLP(steps=20),
    "PseudoLabels": PseudoLabels(),
    "Augmented": Augmented(CNN(maps=4, hidden_size=16, steps=30, learning_rate=0.02), copies=1),
    "Augmented, drawn": Augmented(
        CNN(maps=4, hidden_size=16, steps=30, learning_rate=0.02), rotation=0, generated=1.0, maps=2, gan_steps=40
    ),
    "VAT": VAT(MLP(steps=20), epsilon=0.3),
    "Adversarial": Adversarial(MLP(steps=20)),
    "Siamese": Siamese(MLP(steps=30), code_size=4),
    "CNN": CNN(maps=4, hidden_size=16, steps=30, learning_rate=0.02),  # images of a pixel, in colour
    "EmbeddingAverage": EmbeddingAverage(steps=30, learning_rate=0.1),
    "TorchModel": TorchModel(make_module, steps=30, learning_rate=0.02),
    "svc": svc(),
    "random_forest": random_forest(n_estimators=5),
    "gradient_boosting": gradient_boosting(n_estimators=5),
    "nearest_neighbours": nearest_neighbours(n_neighbors=3),
    "Scikit": Scikit("sklearn.naive_bayes.GaussianNB", {}),
}
# Those that draw numbers: each episode has numbers of its own, and a row more changes them all.
CHANCE = {
    "Adversarial",
    "Augmented",
    "Augmented, drawn",
    "CNN",
    "EmbeddingAverage",
    "MLP",
    "Siamese",
    "TorchModel",
    "VAT",
}
CHANCE |= {"random_forest", "gradient_boosting"}
SURE = sorted(LEARNERS.keys() - CHANCE)
CLASSES, EPISODES, ROWS = 4, 5, 12

every = pytest.mark.parametrize("name", sorted(LEARNERS))
every_sure = pytest.mark.parametrize("name", SURE)


def problem(name):
    """Features, or words, labels of classes 0, 1 and 3, weights, new rows."""
    generator = torch.Generator().manual_seed(0)
    y = torch.tensor([0, 1, 3]).repeat(EPISODES, ROWS // 3)
    x = torch.randn(EPISODES, ROWS, 3, generator=generator)
    x[..., 0] += y
    new = torch.randn(EPISODES, 20, 3, generator=generator)
    if name == "EmbeddingAverage":
        x, new = ((2 * part).round().clamp(-9, 9) + torch.tensor([10, 30, 50]) for part in (x, new))
    return x, y, torch.ones(EPISODES, ROWS), new


def fit(name, x, y, weight, start=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return LEARNERS[name].fit(x, y, weight, CLASSES, start=start, generator=generator)


def assert_alike(first, second):
    torch.testing.assert_close(first, second, atol=1e-3, rtol=0)


def test_no_learner_is_left_out():
    public = {name: getattr(almeta.learners, name) for name in almeta.learners.__all__}
    fitting = {name for name, value in public.items() if hasattr(value, "fit") or inspect.isfunction(value)}
    of_numbers = {name for name in fitting if getattr(public[name], "target", "classes") == "numbers"}
    assert fitting - of_numbers - {"Learner", "make_learner", "register_learner"} == {
        name.split(",")[0] for name in LEARNERS
    }


@every
def test_probabilities_are_those_of_the_classes_seen(name):
    x, y, weight, new = problem(name)
    got = fit(name, x, y, weight).probabilities(new)
    assert got.shape == (EPISODES, 20, CLASSES) and got.dtype == torch.float32
    assert (got >= 0).all() and (got[..., 2] == 0).all()
    torch.testing.assert_close(got.sum(-1), torch.ones(EPISODES, 20))
    predicted = fit(name, x, y, weight).probabilities(x).argmax(-1)
    assert (predicted == y).float().mean() > 0.6  # guessing has 1/3


@every_sure
def test_rows_of_weight_0_are_not_there(name):
    x, y, weight, new = problem(name)
    padded_x, padded_y = torch.cat((x, 9 * torch.ones(EPISODES, 2, 3)), 1), torch.cat((y, y[:, :2] * 0 - 1), 1)
    padded = fit(name, padded_x, padded_y, torch.cat((weight, torch.zeros(EPISODES, 2)), 1))
    assert_alike(padded.probabilities(new), fit(name, x, y, weight).probabilities(new))


@every
def test_what_stands_in_rows_of_weight_0_does_not_matter(name):
    x, y, weight, new = problem(name)
    weight[:, 10:] = 0
    other_x, other_y = x.clone(), y.clone()
    other_x[:, 10:], other_y[:, 10:] = -7.0, 2
    assert_alike(fit(name, other_x, other_y, weight).probabilities(new), fit(name, x, y, weight).probabilities(new))


@every_sure
def test_a_weight_of_2_is_the_row_twice(name):
    x, y, weight, new = problem(name)
    twice = torch.cat((x, x[:, :1], x[:, 4:5]), 1), torch.cat((y, y[:, :1], y[:, 4:5]), 1)
    repeated = fit(name, *twice, torch.ones(EPISODES, ROWS + 2)).probabilities(new)
    weight[:, 0] = weight[:, 4] = 2
    got = fit(name, x, y, weight).probabilities(new)
    assert_alike(got, repeated)
    assert (got - fit(name, x, y, torch.ones(EPISODES, ROWS)).probabilities(new)).abs().max() > 1e-3


@every_sure
def test_episodes_do_not_see_each_other(name):
    x, y, weight, new = problem(name)
    weight[1, 5:] = 0
    whole = fit(name, x, y, weight).probabilities(new)
    order = torch.tensor([3, 1, 4, 0, 2])
    assert_alike(fit(name, x[order], y[order], weight[order]).probabilities(new[order]), whole[order])
    for e in range(EPISODES):
        one = slice(e, e + 1)
        assert_alike(fit(name, x[one], y[one], weight[one]).probabilities(new[one]), whole[one])


@every_sure
def test_a_warm_start_ends_where_a_cold_one_does(name):
    x, y, weight, new = problem(name)
    model = None
    for rows in (1, 3, 4, 7, ROWS):
        model = fit(name, x[:, :rows], y[:, :rows], weight[:, :rows], start=model)
        cold = fit(name, x[:, :rows], y[:, :rows], weight[:, :rows])
        assert_alike(model.probabilities(new), cold.probabilities(new))


@every
def test_the_same_generator_gives_the_same(name):
    x, y, weight, new = problem(name)
    before = torch.get_rng_state()
    first, again, other = (fit(name, x, y, weight, seed=seed).probabilities(new) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert name == "gradient_boosting" or torch.equal(first, other) == (name in SURE)
    bare = [LEARNERS[name].fit(x, y, weight, CLASSES).probabilities(new) for _ in range(2)]
    assert torch.equal(*bare) and torch.equal(before, torch.get_rng_state())


@every
def test_without_a_label_all_classes_are_alike_and_one_class_is_sure(name):
    x, y, weight, new = problem(name)
    weight[0], weight[1], weight[2, 1:], weight[3, y[3] != 3] = 0, 0, 0, 0
    got = fit(name, x, y, weight).probabilities(new)
    torch.testing.assert_close(got[:2], torch.full((2, 20, CLASSES), 1 / CLASSES))
    assert (got[2, :, 0] == 1).all() and (got[3, :, 3] == 1).all()
    nothing = fit(name, x[:, :0], y[:, :0], weight[:, :0]).probabilities(new)
    torch.testing.assert_close(nothing, torch.full((EPISODES, 20, CLASSES), 1 / CLASSES))
