"""What models can do beside probabilities: which can, samples by dropout, and lengths of gradients by autograd."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from almeta.errors import AlmetaError
from almeta.learners import CNN, MLP, EmbeddingAverage, LogisticRegression, Prototype, Ridge, TorchModel, svc
from almeta.learners.learner import ABILITIES, Embeds, EmbedsWords, HasGradients, HasInputGradients, Samples
from almeta.learners.mlp import MLPModel
from almeta.learners.networks import LastLayer

CLASSES = 4


def make_module(num_features, num_classes):
    layers = nn.Linear(num_features, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, num_classes)
    return nn.Sequential(*layers)


LEARNERS: dict[str, Any] = {
    "logistic_regression": LogisticRegression(),
    "mlp": MLP(hidden_size=8, steps=30, dropout=0.5),
    "cnn": CNN(maps=3, hidden_size=8, steps=30, dropout=0.5),
    "text": EmbeddingAverage(embedding_size=8, steps=30, dropout=0.5),
    "torch": TorchModel(make_module, steps=30),
    "ridge": Ridge(),
    "prototype": Prototype(),
    "svc": svc(),
}
ABLE: dict[str, set[type]] = {
    "logistic_regression": {Embeds, HasGradients, HasInputGradients},
    "mlp": {Samples, Embeds, HasGradients, HasInputGradients},
    "cnn": {Samples, Embeds, HasGradients, HasInputGradients},
    "text": {Samples, Embeds, HasGradients, EmbedsWords},
    "torch": {Samples, Embeds, HasInputGradients},
    "ridge": set(),
    "prototype": set(),
    "svc": set(),
}
SAMPLING, EMBEDDING, DERIVING, MOVED = (
    sorted(name for name, able in ABLE.items() if ability in able)
    for ability in (Samples, Embeds, HasGradients, HasInputGradients)
)


def rows(name, number, seed):
    """Two episodes of rows of 48 features: images of 4 x 4 pixels in colour, or up to 48 words of a few."""
    generator = torch.Generator().manual_seed(seed)
    if name != "text":
        return torch.randn(2, number, 48, generator=generator)
    words = torch.randint(1, 30, (2, number, 48), generator=generator)
    lengths = torch.randint(2, 49, (2, number, 1), generator=generator)
    return words.where(torch.arange(48) < lengths, 0).float()


def fitted(name, learner=None):
    """A model of classes 0, 1 and 3 of four."""
    x, y = rows(name, 15, seed=0), torch.tensor([0, 1, 3]).repeat(2, 5)
    generator = torch.Generator().manual_seed(0)
    return (learner or LEARNERS[name]).fit(x, y, torch.ones(2, 15), CLASSES, generator=generator)


@pytest.mark.parametrize("name", LEARNERS)
def test_what_models_are_able_to_do(name):
    assert {ability for ability in ABILITIES if isinstance(fitted(name), ability)} == ABLE[name]


# --- samples ---


def sample(name, model, x, count=6, seed=1):
    return model.sample(x, count, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", SAMPLING)
def test_samples_are_networks(name):
    """The same units are left out for all rows, in whatever calls they come; another generator leaves out others."""
    model, x = fitted(name), rows(name, 9, seed=1)
    before = torch.get_rng_state()
    whole = sample(name, model, x)
    assert whole.shape == (2, 6, 9, CLASSES) and whole.dtype == torch.float32
    torch.testing.assert_close(whole.sum(-1), torch.ones(2, 6, 9))
    assert (whole[..., 2] == 0).all()
    parts = [sample(name, model, x[:, part]) for part in (slice(0, 2), slice(2, 9))]
    torch.testing.assert_close(torch.cat(parts, 2), whole)
    assert torch.equal(before, torch.get_rng_state())
    assert (whole.var(1) > 1e-5).any(-1).float().mean() > 0.9  # networks differ
    assert (whole - sample(name, model, x, seed=2)).abs().max() > 0.01
    bare = model.sample(x, 6)
    assert torch.equal(bare, model.sample(x, 6))


@pytest.mark.parametrize("name", SAMPLING)
def test_the_mean_of_samples_is_about_the_network_without_dropout(name):
    model, x = fitted(name), rows(name, 9, seed=1)
    mean = sample(name, model, x, count=600).mean(1)
    alike = torch.where(mean[..., [2]] == 0, 1 / 3, 0.0)
    far = (mean - model.probabilities(x)).abs().mean()
    assert far < 0.05 and far < (alike - model.probabilities(x)).abs().mean() / 3


@pytest.mark.parametrize("name", SAMPLING)
def test_samples_without_a_label_are_alike(name):
    x = rows(name, 3, seed=0)
    model: Any = LEARNERS[name].fit(x, torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, 3), CLASSES)
    torch.testing.assert_close(model.sample(x, 4), torch.full((2, 4, 3, CLASSES), 1 / CLASSES))


@pytest.mark.parametrize("learner", [MLP(dropout=0), CNN(dropout=0), EmbeddingAverage(dropout=0)])
def test_networks_without_dropout_have_no_samples(learner):
    model = fitted("text" if isinstance(learner, EmbeddingAverage) else "mlp", learner)
    with pytest.raises(AlmetaError, match="dropout=0, and networks that leave no unit out are all alike; set its"):
        model.sample(rows("text", 3, seed=0), 2)


def test_a_sample_by_hand():
    """Hidden units (1, 2) and weights 1 to the first class: a sample that keeps the second alone has logits (4, 0)."""
    last = LastLayer(torch.tensor([[[1.0, 0.0], [1.0, 0.0]]]), torch.zeros(1, 1, 2), torch.ones(1, 2, dtype=torch.bool))
    got = last.sample(torch.tensor([[[1.0, 2.0]]]), torch.tensor([[[0.0, 2.0], [2.0, 2.0]]]))
    expected = torch.tensor([[4.0, 0.0], [6.0, 0.0]]).softmax(-1)
    torch.testing.assert_close(got[0, :, 0], expected)


# --- embeddings ---


def last_layer(name, model):
    """Weights `[E, H, C]` and bias `[E, 1, C]` of the classes that were seen."""
    if name == "logistic_regression":
        return model.weights.mT, model.bias.mT
    if name == "torch":
        layers = [module[-1] for module in model.modules]
        return torch.stack([one.weight.T for one in layers]), torch.stack([one.bias[None] for one in layers])
    return model.last.weights, model.last.bias


@pytest.mark.parametrize("name", EMBEDDING)
def test_probabilities_are_a_softmax_of_linear_functions_of_the_embedding(name):
    model, x, seen = fitted(name), rows(name, 9, seed=1), [0, 1, 3]
    weights, bias = last_layer(name, model)
    embedding = model.embed(x)
    assert embedding.shape == (2, 9, 48 if name == "logistic_regression" else 8)
    expected = (embedding @ weights + bias)[..., seen].softmax(-1)
    torch.testing.assert_close(model.probabilities(x)[..., seen], expected)


@pytest.mark.parametrize("name", MOVED)
def test_probabilities_are_a_softmax_of_the_logits_and_rows_do_not_mix(name):
    model, x = fitted(name), rows(name, 9, seed=1).requires_grad_()
    logits = model.logits(x)
    torch.testing.assert_close(logits.softmax(-1), model.probabilities(x))
    assert (logits[..., 2] == -torch.inf).all()
    (gradient,) = torch.autograd.grad(logits[:, 4, 0].sum(), x)
    assert (gradient[:, 4] != 0).any() and (gradient[:, :4] == 0).all() and (gradient[:, 5:] == 0).all()


# --- gradients ---


class Average(nn.Module):
    def __init__(self, table, last):
        super().__init__()
        self.table, self.last = nn.Parameter(table), last

    def forward(self, words):
        """Of one row, `[1, D]`, without padding."""
        return self.last(self.table[words.long()].mean(1))


def linear(weights, bias):
    """A layer `[in, out]`, `[out]`."""
    layer = nn.Linear(*weights.shape)
    layer.load_state_dict({"weight": weights.T, "bias": bias.flatten()})
    return layer


def conv(weights, bias):
    layer = nn.Conv2d(weights.shape[1], weights.shape[0], 5, stride=2, padding=2)
    layer.weight, layer.bias = nn.Parameter(weights.clone()), nn.Parameter(bias.clone())
    return layer


def reference(name, model, e):
    """The network of an episode as a plain module of rows."""
    weights, bias = (part[e] for part in last_layer(name, model))
    last = linear(weights, bias)
    if name == "logistic_regression":
        return last
    if name == "mlp":
        return nn.Sequential(linear(model.weights[e], model.bias[e]), nn.ReLU(), last)
    if name == "cnn":
        layers = model.layers
        convolutions = [conv(weights[e], bias[e]) for weights, bias in layers.convolutions]
        dense = linear(layers.dense[e], layers.dense_bias[e])
        image = nn.Unflatten(1, (4, 4, 3)), Channels()
        return nn.Sequential(
            *image, convolutions[0], nn.ReLU(), convolutions[1], nn.ReLU(), nn.Flatten(), dense, nn.ReLU(), last
        )
    table = torch.zeros(30, 8)  # by word number
    table[model.words.long()] = model.embeddings[e, 1:]
    return Average(table, last)


class Channels(nn.Module):
    def forward(self, images):
        return images.permute(0, 3, 1, 2)


def by_autograd(module, row, label, seen):
    """Gradients of the cross-entropy of a row, by parameter, among the classes seen."""
    barred = torch.full((CLASSES,), -torch.inf)
    barred[seen] = 0
    loss = cross_entropy(module(row) + barred, torch.tensor([label]))
    return torch.autograd.grad(loss, list(module.parameters()))


@pytest.mark.parametrize("name", DERIVING)
def test_gradients_are_as_long_as_by_autograd(name):
    model, x, seen = fitted(name), rows(name, 5, seed=2), [0, 1, 3]
    got = model.gradient_lengths(x)
    assert got.shape == (2, 5, CLASSES) and got.isfinite().all()
    for e in range(2):
        module = reference(name, model, e)
        for m in range(5):
            row = x[e, m][x[e, m] > 0][None] if name == "text" else x[e, m : m + 1]
            for label in seen:
                found = by_autograd(module, row, label, seen)
                length = sum(part.square().sum() for part in found).sqrt()
                torch.testing.assert_close(got[e, m, label], length, atol=1e-5, rtol=1e-4)


def test_words_with_the_longest_gradient_are_as_by_autograd():
    model, x, seen = fitted("text"), rows("text", 6, seed=2), [0, 1, 3]
    got = model.word_gradient_lengths(x)
    assert got.shape == (2, 6, CLASSES) and got.isfinite().all()
    for e in range(2):
        module = reference("text", model, e)
        for m in range(6):
            for label in seen:
                table = by_autograd(module, x[e, m][x[e, m] > 0][None], label, seen)[0]
                torch.testing.assert_close(got[e, m, label], table.norm(dim=1).max(), atol=1e-6, rtol=1e-4)


def test_a_row_without_words_has_no_gradient_by_words():
    model = fitted("text")
    empty = torch.zeros(2, 1, 48)
    assert (model.word_gradient_lengths(empty) == 0).all()
    assert (model.gradient_lengths(empty) > 0).all()  # by the bias


def test_lengths_of_gradients_by_hand():
    """Zero weights of two classes: p - e_c = (-1/2, 1/2), and [x, 1] = (2, 2, 1) is 3 long."""
    x, y = torch.tensor([[[2.0, 2.0]]]), torch.zeros(1, 1, dtype=torch.int64)
    logistic = LogisticRegression().fit(x, y, torch.zeros(1, 1), 2)
    torch.testing.assert_close(logistic.gradient_lengths(x), torch.full((1, 1, 2), 0.5**0.5 * 3))
    # One hidden unit of 1 * 2 - 1 = 1 with weights (1, -1) after it: logits (1, -1). Label 1 has the error (p, -p), p =
    # the probability of class 0; the hidden unit's error is 2 p. By weight and bias: 2 p^2 (1 + 1) + 4 p^2 (4 + 1).
    last = LastLayer(torch.tensor([[[1.0, -1.0]]]), torch.zeros(1, 1, 2), torch.ones(1, 2, dtype=torch.bool))
    model = MLPModel(torch.ones(1, 1, 1), -torch.ones(1, 1, 1), last, dropout=0.0)
    p = 1 / (1 + torch.tensor(-2.0).exp())
    expected = torch.stack((1 - p, p)) * 24**0.5
    torch.testing.assert_close(model.gradient_lengths(torch.tensor([[[2.0]]]))[0, 0], expected)


def test_a_class_not_seen_counts_like_any_other():
    """As if its probability were 0 and its weights were there."""
    model, x = fitted("logistic_regression"), rows("logistic_regression", 3, seed=2)
    p = model.probabilities(x)
    expected = ((p.square().sum(-1) + 1) * (x.square().sum(-1) + 1)).sqrt()
    torch.testing.assert_close(model.gradient_lengths(x)[..., 2], expected)


@pytest.mark.parametrize("name", DERIVING)
def test_blocks_of_rows_change_nothing(name, monkeypatch):
    model, x = fitted(name), rows(name, 9, seed=1)
    asked = [ability for ability in ("embed", "gradient_lengths", "word_gradient_lengths") if hasattr(model, ability)]
    whole = [getattr(model, ability)(x) for ability in asked]
    samples = sample(name, model, x) if name in SAMPLING else None
    monkeypatch.setattr("almeta.learners.networks._BLOCK", 2 * 48 * 2)
    for ability, expected in zip(asked, whole, strict=True):
        torch.testing.assert_close(getattr(model, ability)(x), expected)
        assert getattr(model, ability)(x[:, :0]).shape[1] == 0
    if samples is not None:
        torch.testing.assert_close(sample(name, model, x), samples)


@pytest.mark.parametrize("name", DERIVING)
def test_tensors_are_made_on_the_device_of_the_rows(name):
    """Not on the default device, which here holds no values."""
    x, y = rows(name, 15, seed=0), torch.tensor([0, 1, 3]).repeat(2, 5)
    weight, generator = torch.ones(2, 15), torch.Generator().manual_seed(0)
    with torch.device("meta"):
        model = LEARNERS[name].fit(x, y, weight, CLASSES, generator=generator)
        asked = [
            ability for ability in ("embed", "gradient_lengths", "word_gradient_lengths") if hasattr(model, ability)
        ]
        got = [getattr(model, ability)(x) for ability in asked]
        samples = sample(name, model, x) if name in SAMPLING else x
    assert all(part.device == x.device and part.isfinite().all() for part in (*got, samples))
