import numpy as np
import pytest
import torch

from almeta.errors import AlmetaError
from almeta.learners import CNN, MLP


def strokes(seed, rows=120, side=10):
    """Two episodes of noisy images of a short stroke somewhere, upright or level: no pixel tells which it is."""
    random = np.random.default_rng(seed)
    y = random.integers(2, size=(2, rows))
    x = random.normal(0, 0.3, (2, rows, side, side))
    for place in np.ndindex(y.shape):
        top, left = random.integers(side - 4, size=2)
        height, width = (5, 1) if y[place] else (1, 5)
        x[place][top : top + height, left : left + width] += 1.5
    return torch.tensor(x).float().flatten(2), torch.tensor(y)


def accuracy(learner, x, y, rows):
    model = learner.fit(x[:, :rows], y[:, :rows], torch.ones(len(x), rows), 2)
    return (model.probabilities(x[:, rows:]).argmax(-1) == y[:, rows:]).float().mean(1)


def test_learns_what_lies_anywhere():
    x, y = strokes(0, rows=300)
    assert (accuracy(CNN(maps=8, hidden_size=32), x, y, 100) > 0.9).all()
    assert (accuracy(MLP(), x, y, 100) < 0.85).all()


def test_several_at_once_are_as_one_by_one(monkeypatch):
    """From equal initial weights, and without dropout, whose draws would differ."""
    x, y = strokes(1, rows=30)
    weight = torch.ones(y.shape)
    weight[1, 20:] = 0
    learner = CNN(maps=3, hidden_size=8, dropout=0.0, steps=30)
    initial = learner.initial(x, 2, torch.Generator().manual_seed(0))

    def fit(part):
        given = [p.detach()[part].clone().requires_grad_() for p in initial]
        monkeypatch.setattr(CNN, "initial", lambda *_: given)
        return learner.fit(x[part], y[part], weight[part], 2).probabilities(x[part])

    whole = fit(slice(None))
    for e in range(2):
        torch.testing.assert_close(fit(slice(e, e + 1))[0], whole[e], atol=1e-4, rtol=0)
    assert (whole[0] - whole[1]).abs().max() > 0.01


def test_steps_draw_rows_by_their_weights():
    """Of two labels for the same image, the one with nine tenths of the weight is learnt in small batches too."""
    x = torch.ones(2, 40, 16)
    y = (torch.arange(40) % 2).repeat(2, 1)
    weight = torch.where(y == 1, 9.0, 1.0)
    weight[1] = 0
    p = CNN(maps=2, hidden_size=4, dropout=0, steps=200, batch_size=8, weight_decay=0.0).fit(x, y, weight, 2)
    got = p.probabilities(x[:, :1])
    torch.testing.assert_close(got[0, 0, 1], torch.tensor(0.9), atol=0.05, rtol=0)
    assert (got[1] == 0.5).all()


@pytest.mark.parametrize(
    "features, given, shape",
    [
        (784, None, (28, 28, 1)),
        (256, None, (16, 16, 1)),
        (3072, None, (32, 32, 3)),
        (12, None, (2, 2, 3)),
        (30, [5, 3, 2], (5, 3, 2)),
        (16, (2, 8, 1), (2, 8, 1)),
    ],
)
def test_shapes(features, given, shape):
    x, y = torch.rand(1, 4, features), torch.tensor([[0, 1, 0, 1]])
    model = CNN(maps=2, hidden_size=3, steps=1, shape=given).fit(x, y, torch.ones(1, 4), 2)
    assert model.layers.shape == shape
    height, width, channels = shape
    image = model.layers.images(x)[2]  # of one episode: [channels, height, width]
    assert image.shape == (channels, height, width)
    row, column, colour = height - 1, width // 2, channels - 1
    assert image[colour, row, column] == x[0, 2, (row * width + column) * channels + colour]


@pytest.mark.parametrize(
    "features, given, message",
    [
        (
            13,
            None,
            r"13 features are no square image of 1 or 3 channels; give shape=\[height, width, channels\], leave",
        ),
        (12, [3, 2, 1], r"shape=\[3, 2, 1\] does not fit the 12 features of a row; give \[height, width, channels\]"),
        (12, [4, 3], r"shape=\[4, 3\] does not fit the 12 features"),
        (12, [-4, -3, 1], r"shape=\[-4, -3, 1\] does not fit the 12 features"),
    ],
)
def test_what_is_no_image_is_told(features, given, message):
    with pytest.raises(AlmetaError, match="learner cnn: " + message):
        CNN(shape=given).fit(torch.rand(1, 2, features), torch.tensor([[0, 1]]), torch.ones(1, 2), 2)
