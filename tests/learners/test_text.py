import pytest
import torch

from almeta.errors import AlmetaError
from almeta.learners import EmbeddingAverage
from almeta.learners.text import EmbeddingAverageModel, _distinct_shares


def texts(rows):
    """Two episodes of rows of eight words, the fifth of which tells the class, and two zeros."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(1, 40, (2, rows, 10), generator=generator).float()
    y = torch.randint(0, 3, (2, rows), generator=generator)
    x[..., 4] = 40 + 3 * torch.randint(0, 5, (2, rows), generator=generator) + y
    x[..., 8:] = 0
    return x, y


def test_learns_from_the_words_that_tell():
    x, y = texts(250)
    model = EmbeddingAverage().fit(x[:, :150], y[:, :150], torch.ones(2, 150), 3)
    assert (model.probabilities(x[:, 150:]).argmax(-1) == y[:, 150:]).float().mean() > 0.95


def test_the_order_of_words_and_padding_change_nothing():
    x, y = texts(30)
    model = EmbeddingAverage(steps=30).fit(x, y, torch.ones(2, 30), 3)
    shuffled = torch.cat((torch.zeros(2, 30, 2), x.flip(-1)), -1)
    torch.testing.assert_close(model.probabilities(shuffled), model.probabilities(x))


def test_words_that_no_labelled_row_of_the_episode_has_count_as_nothing():
    x = torch.tensor([[[5.0, 0.0], [7.0, 0.0]], [[9.0, 0.0], [7.0, 0.0]]])
    model = EmbeddingAverage(steps=20).fit(x, torch.tensor([[0, 1], [0, 1]]), torch.ones(2, 2), 2)
    assert model.words.tolist() == [5, 7, 9]
    new = torch.tensor([[9.0, 9.0], [5.0, 9.0], [1.0, 1e6], [0.0, 0.0]]).expand(2, -1, -1)
    embedded = model.embed(new)
    assert (embedded[:, 2:] == 0).all() and (embedded[0, 0] == 0).all()
    assert embedded[1, 0].norm() > 0.1
    torch.testing.assert_close(embedded[0, 1], model.embed(x)[0, 0] / 2)
    torch.testing.assert_close(embedded[1, 1], model.embed(x)[1, 0] / 2)


def test_several_at_once_are_as_one_by_one(monkeypatch):
    """From equal initial weights, and without dropout, whose draws would differ; other episodes have other words."""
    x, y = texts(20)
    x[1] = torch.where(x[1] > 0, x[1] + 7, 0)
    learner = EmbeddingAverage(dropout=0.0, steps=40)
    initial = [torch.randn(2, rows, 3, generator=torch.Generator().manual_seed(0)) for rows in (32, 1)]

    def fit(part):
        given = iter(p[part].clone().requires_grad_() for p in initial)
        monkeypatch.setattr("almeta.learners.text.uniform", lambda *_: next(given))
        return learner.fit(x[part], y[part], torch.ones(2, 20)[part], 3).probabilities(x[part])

    whole = fit(slice(None))
    for e in range(2):
        torch.testing.assert_close(fit(slice(e, e + 1))[0], whole[e], atol=1e-4, rtol=0)


def test_lengths_of_gradients_by_words_by_hand():
    """A row of the words 3, 3, 8, 5: two of four are word 3. Embeddings of 0 make both classes alike: p - e_0 is
    (-1/2, 1/2), and weights (2, 0) and (0, 1) after the average send back (-1, 1/2)."""
    x, y = torch.tensor([[[3.0, 8.0, 3.0, 5.0, 0.0]]]), torch.zeros(1, 1, dtype=torch.int64)
    model = EmbeddingAverage(embedding_size=2, steps=1).fit(x, y, torch.zeros(1, 1), 2)
    assert isinstance(model, EmbeddingAverageModel)
    model.last.weights.copy_(torch.tensor([[[2.0, 0.0], [0.0, 1.0]]]))
    assert sorted(_distinct_shares(x)[0, 0].tolist()) == [0, 0, 0.25, 0.25, 0.5]
    torch.testing.assert_close(model.word_gradient_lengths(x)[0, 0], torch.full((2,), 1.25**0.5 / 2))
    # All parameters: the error times (average, 1), and the words' shares (1/2, 1/4, 1/4) times what is sent back.
    torch.testing.assert_close(model.gradient_lengths(x)[0, 0], torch.full((2,), (0.5 + 0.375 * 1.25) ** 0.5))


@pytest.mark.parametrize("wrong", [[[[0.5, 1.0]]], [[[-1.0, 1.0]]]])
def test_what_is_no_word_number_is_told(wrong):
    x, y = torch.tensor(wrong), torch.zeros(1, 1, dtype=torch.int64)
    with pytest.raises(
        AlmetaError, match="learner text reads texts as word numbers, .*; give it text sets alone, with form=tok"
    ):
        EmbeddingAverage().fit(x, y, torch.ones(1, 1), 2)
