import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from almeta.seeding import make_generator
from almeta.strategies import committee
from almeta.strategies.committee import MeanKL, VoteEntropy, bootstrap_weights, mean_kl, vote_entropy
from tests.strategies.pools import Prototypes, make_pools


def scores(strategy, state, seed=0):
    strategy.generator = make_generator(seed, "test")
    return strategy.score(state)


# ---- disagreement


def test_vote_entropy_by_hand():
    votes = torch.tensor([[2, 2, 2, 2], [0, 0, 1, 1], [0, 1, 2, 3], [1, 0, 0, 0]])
    quarter = 0.75 * math.log(4 / 3) + 0.25 * math.log(4)
    assert vote_entropy(votes).tolist() == pytest.approx([0, math.log(2), math.log(4), quarter])


def test_mean_kl_by_hand():
    sure = torch.eye(3)[[0, 1]]
    assert mean_kl(sure) == pytest.approx(math.log(2))
    assert mean_kl(torch.tensor([[0.2, 0.8], [0.2, 0.8]])) == pytest.approx(0, abs=1e-7)
    p, q = torch.tensor([0.1, 0.9]), torch.tensor([0.7, 0.3])
    mean = (p + q) / 2
    wanted = ((p * (p / mean).log()).sum() + (q * (q / mean).log()).sum()) / 2
    assert mean_kl(torch.stack((p, q))) == pytest.approx(float(wanted))


def test_mean_kl_is_not_negative_for_members_that_agree():
    p = torch.rand(1000, 1, 4, generator=make_generator(0, "test")).softmax(-1).expand(-1, 5, -1)
    assert (mean_kl(p) >= 0).all()
    assert mean_kl(p).amax() < 1e-6


def test_vote_entropy_against_scikit_activeml():
    other = pytest.importorskip("skactiveml.pool").vote_entropy
    votes = torch.randint(4, (60, 7), generator=make_generator(0, "test"))
    assert vote_entropy(votes).numpy() == pytest.approx(other(votes.numpy().copy(), np.arange(4)), abs=1e-6)


def test_mean_kl_against_scikit_activeml():
    other = pytest.importorskip("skactiveml.pool").average_kl_divergence
    p = (3 * torch.randn(60, 7, 4, generator=make_generator(0, "test"))).softmax(-1)
    theirs = other(p.transpose(0, 1).double().numpy().copy(), eps=1e-12)
    assert mean_kl(p).numpy() == pytest.approx(theirs, abs=1e-6)


# ---- samples


def test_a_sample_has_as_many_rows_as_have_labels():
    labels = torch.zeros(2, 9, dtype=torch.int64)
    weight = torch.tensor([[1.0] * 9, [1, 0, 1, 1, 0, 0, 1, 0, 0]])
    counts = bootstrap_weights(labels, weight, 4000, 1, make_generator(0, "test"))
    assert counts.shape == (2, 4000, 9)
    assert torch.equal(counts, counts.round())
    assert counts.sum(-1).unique(dim=1).squeeze().tolist() == [9, 4]
    assert (counts[1, :, weight[1] == 0] == 0).all()
    # Each row's count is binomial: n draws of probability 1/n.
    for pool, n in ((0, 9), (1, 4)):
        drawn = counts[pool][:, weight[pool] > 0]
        assert drawn.mean(0).tolist() == pytest.approx([1.0] * n, abs=0.07)
        assert drawn.var(0).tolist() == pytest.approx([1 - 1 / n] * n, abs=0.1)


def test_members_draw_different_samples():
    counts = bootstrap_weights(
        torch.zeros(1, 20, dtype=torch.int64), torch.ones(1, 20), 5, 1, make_generator(0, "test")
    )
    assert len(counts[0].unique(dim=0)) == 5


def test_no_class_is_left_out():
    labels = torch.tensor([[0, 1, 2, 2, 0, 1]])
    weight = torch.tensor([[1.0, 1, 1, 1, 0, 0]])
    counts = bootstrap_weights(labels, weight, 500, 4, make_generator(0, "test"))[0]
    assert (counts[:, 0] >= 1).all()
    assert (counts[:, 1] >= 1).all()
    assert (counts[:, 2] + counts[:, 3] >= 1).all()
    both = ((counts[:, 2] == 1) & (counts[:, 3] == 1)).float().mean()
    once_each = 6 / 16 * 1 / 2  # two of the four draws fall in this half of the rows, and on different ones
    left_out = 1 / 16
    assert both == pytest.approx(once_each + left_out, abs=0.08)
    assert (counts[:, 4:] == 0).all()


@pytest.mark.parametrize("rows", [0, 3])
def test_without_labels_nothing_is_drawn(rows):
    labels = torch.zeros(2, rows, dtype=torch.int64)
    counts = bootstrap_weights(labels, torch.zeros(2, rows), 5, 2, make_generator(0, "test"))
    assert counts.shape == (2, 5, rows)
    assert counts.sum() == 0


# ---- committees


class Watched(Prototypes):
    """A learner that remembers what it was asked to fit, and how many rows were predicted at once."""

    def __init__(self):
        self.fits, self.predicted = [], []

    def fit(self, x, y, weight, num_classes, start=None, generator=None):
        self.fits.append((x, y, weight))
        model = super().fit(x, y, weight, num_classes)
        probabilities = model.probabilities

        def watched(rows):
            self.predicted.append(tuple(rows.shape))
            return probabilities(rows)

        model.probabilities = watched
        return model


def test_all_members_of_all_pools_are_fit_at_once():
    learner = Watched()
    state = replace(make_pools().state, learner=learner)
    scores(MeanKL(num_members=3), state)
    ((x, y, weight),) = learner.fits
    assert x.shape == (6, 4, 3)
    assert y.shape == weight.shape == (6, 4)
    rows, labels, known = state.labelled_rows()
    for pool in range(2):
        for member in range(3):
            assert torch.equal(x[3 * pool + member], rows[pool])
            assert torch.equal(y[3 * pool + member], labels[pool])
            assert (weight[3 * pool + member][known[pool] == 0] == 0).all()
    assert learner.predicted == [(6, 14, 3)]


@pytest.mark.parametrize("strategy, disagreement", [(VoteEntropy, "votes"), (MeanKL, "probabilities")])
def test_scores_are_those_of_members_fit_one_by_one(strategy, disagreement):
    state = make_pools(sizes=(50, 40), labelled=(9, 6)).state
    x, labels, known = state.labelled_rows()
    samples = bootstrap_weights(labels, known, 8, 3, make_generator(5, "test"))
    for pool in range(2):
        members = torch.cat(
            [
                Prototypes().fit(x[[pool]], labels[[pool]], samples[pool, [m]], 3).probabilities(state.x[[pool]])
                for m in range(8)
            ]
        ).transpose(0, 1)  # [N, M, C]
        wanted = vote_entropy(members.argmax(-1)) if disagreement == "votes" else mean_kl(members)
        result = scores(strategy(num_members=8), state, 5)[pool]
        torch.testing.assert_close(result, wanted, atol=1e-6, rtol=1e-5)
        assert wanted.amax() > 0.01


@pytest.mark.parametrize("strategy", [VoteEntropy(), MeanKL()])
def test_the_pool_is_predicted_in_blocks(strategy, monkeypatch):
    whole = scores(strategy, make_pools().state)
    monkeypatch.setattr(committee, "_BLOCK", 200)  # 10 members with 5 votes for each row
    learner = Watched()
    blocked = scores(strategy, replace(make_pools().state, learner=learner))
    assert learner.predicted == [(10, 4, 3)] * 3 + [(10, 2, 3)]
    torch.testing.assert_close(blocked, whole, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("strategy", [VoteEntropy(), MeanKL()])
def test_without_labels_nobody_disagrees(strategy):
    assert scores(strategy, make_pools(labelled=(0, 0)).state).abs().amax() < 1e-6


@pytest.mark.parametrize("strategy", [VoteEntropy(num_members=25), MeanKL(num_members=25)])
def test_committees_disagree_between_the_classes_most(strategy):
    """Two clusters on a line, and a row half way."""
    pools = make_pools(sizes=(21,), columns=(1,), classes=(2,), labelled=(8,))
    state = pools.state
    state.x[0, :, 0] = torch.where(pools.y[0] == 0, -3.0, 3.0) + torch.linspace(-1, 1, 21)
    half_way = int(state.available[0].nonzero()[0])
    state.x[0, half_way] = 0.0
    assert scores(strategy, state)[0].argmax() == half_way
