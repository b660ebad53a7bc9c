import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from almeta.errors import AlmetaError
from almeta.learners import make_learner
from almeta.seeding import make_generator
from almeta.strategies import committee, make_strategy
from almeta.strategies.committee import (
    MeanKL,
    SoftVoteEntropy,
    VariationRatio,
    VoteEntropy,
    block_size,
    bootstrap_weights,
    dropout_members,
    mean_kl,
    measure_members,
    soft_vote_entropy,
    variation_ratio,
    vote_entropy,
)
from tests.strategies.pools import Prototypes, make_pools, refit, utilities_of


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


def test_variation_ratio_by_hand():
    votes = torch.tensor([[2, 2, 2, 2], [0, 0, 1, 1], [0, 1, 2, 3], [1, 0, 0, 0]])
    assert variation_ratio(votes).tolist() == pytest.approx([0, 0.5, 0.75, 0.25])


def test_soft_vote_entropy_by_hand():
    assert soft_vote_entropy(torch.eye(3)[[0, 1]]) == pytest.approx(math.log(2))
    p = torch.tensor([[0.1, 0.9], [0.7, 0.3]])
    assert soft_vote_entropy(p) == pytest.approx(-0.4 * math.log(0.4) - 0.6 * math.log(0.6))


def test_variation_ratio_against_scikit_activeml():
    other = pytest.importorskip("skactiveml.pool").variation_ratios
    votes = torch.randint(4, (60, 7), generator=make_generator(0, "test"))
    assert variation_ratio(votes).numpy() == pytest.approx(other(votes.numpy().copy()), abs=1e-6)


def test_soft_vote_entropy_against_scikit_activeml():
    other = pytest.importorskip("skactiveml.pool").uncertainty_scores
    p = (3 * torch.randn(60, 7, 4, generator=make_generator(0, "test"))).softmax(-1)
    theirs = other(p.mean(1).numpy().copy(), method="entropy")
    assert soft_vote_entropy(p).numpy() == pytest.approx(theirs, abs=1e-6)


def test_members_that_saw_different_classes_against_scikit_activeml():
    """A class that a member has not seen has probability 0 for it."""
    other = pytest.importorskip("skactiveml.pool")
    logits = 3 * torch.randn(60, 4, 5, generator=make_generator(0, "test"))
    seen = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 0, 1, 0], [0, 0, 1, 1, 0], [0, 1, 0, 0, 0]]) > 0
    p = logits.masked_fill(~seen, -torch.inf).softmax(-1)
    votes = p.argmax(-1)
    assert mean_kl(p).isfinite().all() and soft_vote_entropy(p).isfinite().all()
    theirs = other.average_kl_divergence(p.transpose(0, 1).double().numpy().copy(), eps=1e-12)
    assert mean_kl(p).numpy() == pytest.approx(theirs, abs=1e-6)
    assert vote_entropy(votes).numpy() == pytest.approx(
        other.vote_entropy(votes.numpy().copy(), np.arange(5)), abs=1e-6
    )
    assert variation_ratio(votes).numpy() == pytest.approx(other.variation_ratios(votes.numpy().copy()), abs=1e-6)


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


# Each strategy and its measure of members' probabilities `[..., M, C]`.
MEASURES = {
    VoteEntropy: lambda p: vote_entropy(p.argmax(-1)),
    SoftVoteEntropy: soft_vote_entropy,
    VariationRatio: lambda p: variation_ratio(p.argmax(-1)),
    MeanKL: mean_kl,
}


EIGHT = [
    VoteEntropy(num_members=8), SoftVoteEntropy(num_members=8), VariationRatio(num_members=8), MeanKL(num_members=8)
]  # fmt: skip
KINDS: list[Any] = ["ridge", "prototype", {"name": "logistic_regression", "C": 0.1}]
MIXED = [
    VoteEntropy(members=KINDS), SoftVoteEntropy(members=KINDS), VariationRatio(members=KINDS), MeanKL(members=KINDS)
]  # fmt: skip


@pytest.mark.parametrize("strategy", EIGHT)
def test_scores_are_those_of_members_fit_one_by_one(strategy):
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
        wanted = MEASURES[type(strategy)](members)
        result = scores(strategy, state, 5)[pool]
        torch.testing.assert_close(result, wanted, atol=1e-6, rtol=1e-5)
        assert wanted.amax() > 0.01


@pytest.mark.parametrize("strategy", MIXED)
def test_members_of_several_kinds(strategy):
    state = make_pools(sizes=(50, 40), labelled=(9, 6)).state
    said = [refit(replace(state, learner=make_learner(kind))).probabilities for kind in KINDS]
    wanted = MEASURES[type(strategy)](torch.stack(said, 2))
    torch.testing.assert_close(scores(strategy, state), wanted, atol=1e-6, rtol=1e-5)
    assert wanted.amax(1).min() > 0.01


@pytest.mark.parametrize("strategy, measure", MEASURES.items())
def test_members_by_dropout(strategy, measure):
    state = make_pools(sizes=(50, 40), labelled=(9, 6)).state
    wanted = measure(state.model.sample(state.x, 8, make_generator(0, "test")).transpose(1, 2))
    result = scores(strategy(members="dropout", num_members=8), state)
    torch.testing.assert_close(result, wanted, atol=1e-6, rtol=1e-5)
    assert wanted.amax(1).min() > 0.01


class Forgetful(Prototypes):
    """A learner that never learns of class 0 if it can learn of another."""

    def fit(self, x, y, weight, num_classes, start=None, generator=None):
        others = weight * (y > 0)
        return super().fit(x, y, others.where(others.any(1, keepdim=True), weight), num_classes)


@pytest.mark.parametrize("strategy, measure", MEASURES.items())
def test_members_of_a_committee_may_see_different_classes(strategy, measure):
    state = make_pools(sizes=(50, 40), labelled=(9, 6)).state
    committee = strategy(members=["ridge", "prototype"])
    committee._learners = [Prototypes(), Forgetful()]
    said = [refit(replace(state, learner=learner)).probabilities for learner in committee._learners]
    assert (said[1][..., 0] == 0).all() and (said[0][0, :, 0] > 0.5).any()
    torch.testing.assert_close(scores(committee, state), measure(torch.stack(said, 2)), atol=1e-6, rtol=1e-5)


def test_dropout_needs_a_learner_with_dropout():
    state = refit(replace(make_pools().state, learner=make_learner("ridge")))
    with pytest.raises(AlmetaError, match="strategy mean_kl needs a learner with dropout, which it can leave on"):
        utilities_of(MeanKL(members="dropout"), state)
    assert utilities_of(MeanKL(members="bagging"), state)[state.available].isfinite().all()


@pytest.mark.parametrize(
    "members, message",
    [
        (["ridge", "ridge_regression"], "strategy mean_kl: ridge_regression learns numbers; name a learner of classes"),
        (["ridge"], r"a committee needs at least 2 members; strategy mean_kl has \['ridge'\]"),
        (["ridge", "rigde"], "unknown learner 'rigde'; did you mean 'ridge'"),
        ("baging", "strategy mean_kl.members is 'baging'; it must be 'bagging' or 'dropout' or a list"),
    ],
)
def test_mistakes_in_members_are_told(members, message):
    with pytest.raises(AlmetaError, match=message):
        make_strategy("mean_kl", members=members)


def test_networks_are_the_same_in_all_calls_and_others_the_next_time():
    state, generator = make_pools().state, make_generator(0, "test")
    networks = dropout_members(state, 4, generator)
    whole = networks(state.x)
    assert whole.shape == (2, 4, 14, 3)
    torch.testing.assert_close(torch.cat([networks(state.x[:, :5]), networks(state.x[:, 5:])], 2), whole)
    assert not torch.isclose(dropout_members(state, 4, generator)(state.x), whole).all()


def test_blocks_are_as_large_as_memory_allows(monkeypatch):
    state = make_pools().state  # 2 pools, 3 features, 3 classes
    monkeypatch.setattr(committee, "_BLOCK", 200)
    assert block_size(state, 5) == 4
    assert block_size(state, 2) == 16
    assert block_size(state, 100) == 1
    sizes = []

    def members(rows):
        sizes.append(rows.shape[1])
        return rows[:, None]

    result = measure_members(state, members, 5, lambda said: said.sum((2, 3)))
    assert sizes == [4, 4, 4, 2]
    torch.testing.assert_close(result, state.x.sum(2))


@pytest.mark.parametrize("strategy", [VoteEntropy(), SoftVoteEntropy(), VariationRatio(), MeanKL()])
def test_the_pool_is_predicted_in_blocks(strategy, monkeypatch):
    whole = scores(strategy, make_pools().state)
    monkeypatch.setattr(committee, "_BLOCK", 200)  # 10 members with 5 votes for each row
    learner = Watched()
    blocked = scores(strategy, replace(make_pools().state, learner=learner))
    assert learner.predicted == [(10, 4, 3)] * 3 + [(10, 2, 3)]
    torch.testing.assert_close(blocked, whole, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("strategy", [VoteEntropy(), MeanKL(), VariationRatio(), MeanKL(members=["ridge", "svc"])])
def test_without_labels_nobody_disagrees(strategy):
    assert scores(strategy, make_pools(labelled=(0, 0)).state).abs().amax() < 1e-6


@pytest.mark.parametrize("strategy", [strategy(num_members=25) for strategy in MEASURES])
def test_committees_disagree_between_the_classes_most(strategy):
    """Two clusters on a line, and a row half way."""
    pools = make_pools(sizes=(21,), columns=(1,), classes=(2,), labelled=(8,))
    state = pools.state
    state.x[0, :, 0] = torch.where(pools.y[0] == 0, -3.0, 3.0) + torch.linspace(-1, 1, 21)
    half_way = int(state.available[0].nonzero()[0])
    state.x[0, half_way] = 0.0
    assert scores(strategy, state)[0].argmax() == half_way
