import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from almeta.errors import AlmetaError
from almeta.learners import Ridge
from almeta.seeding import make_generator
from almeta.strategies import bayesian
from almeta.strategies.bayesian import (
    Bald,
    Batch,
    BatchBald,
    DropoutVariance,
    DropoutVariationRatio,
    MaxEntropy,
    summed_std,
    summed_variance,
)
from tests.strategies.pools import make_pools, refit, utilities_of


def draw(*shape, seed=0):
    """Class probabilities, the last axis of the shape."""
    return (2 * torch.randn(*shape, generator=make_generator(seed, "test"))).softmax(-1)


def make_batch(num_pools, num_samples, limit=1000, seed=0):
    return Batch(num_pools, num_samples, limit, make_generator(seed, "batch"))


def with_generator(strategy, seed=0):
    strategy.generator = make_generator(seed, "test")
    return strategy


class Linear:
    """Networks without a hidden layer, whose weights are all drawn."""

    def __init__(self, num_classes):
        self.num_classes = num_classes

    def probabilities(self, x):
        return self.sample(x, 8).mean(1)

    def sample(self, x, num_samples, generator=None):
        weights = torch.randn(len(x), num_samples, x.shape[2], self.num_classes, generator=generator)
        return (2 * x[:, None] @ weights).softmax(-1)


def make_linear_pools(num_classes=3):
    pools = make_pools(sizes=(20, 16), labelled=(6, 6), columns=(5, 5), classes=(num_classes, num_classes))
    return replace(pools, state=replace(pools.state, model=Linear(num_classes)))


# ---- measures


def test_variance_by_hand():
    """Half of the networks are sure of one class, half of another: a variance of 1/4 in both classes."""
    p = torch.eye(3)[[0, 0, 1, 1]]
    assert summed_variance(p) == pytest.approx(0.5)
    assert summed_std(p) == pytest.approx(1.0)
    assert summed_variance(torch.full((4, 3), 1 / 3)) == pytest.approx(0, abs=1e-12)
    assert summed_variance(torch.eye(5)) == pytest.approx(1 - 1 / 5)


def test_variance_against_the_formulas_in_numpy():
    p = draw(60, 7, 4)
    theirs = p.double().numpy()
    variance = (theirs**2).mean(1) - theirs.mean(1) ** 2
    assert summed_variance(p).numpy() == pytest.approx(variance.sum(1), abs=1e-6)
    assert summed_std(p).numpy() == pytest.approx(np.sqrt(variance).sum(1), abs=1e-6)


def mutual_information(p):
    """H(mean) - mean H of `[N, S, C]`, in NumPy."""
    p = p.double().numpy()
    return -(p.mean(1) * np.log(p.mean(1))).sum(1) + (p * np.log(p)).sum(2).mean(1)


# What each strategy says of `[N, S, C]`, written once more.
MEASURES = {
    "variance": (DropoutVariance(num_samples=7), lambda p: p.double().numpy().var(1).sum(1)),
    "std": (DropoutVariance(num_samples=7, std=True), lambda p: p.double().numpy().std(1).sum(1)),
    "max_entropy": (MaxEntropy(num_samples=7), lambda p: -(p.mean(1) * p.mean(1).log()).sum(1).numpy()),
    "ratio": (
        DropoutVariationRatio(num_samples=7),
        lambda p: np.array([1 - max(map(row.count, row)) / 7 for row in p.argmax(2).tolist()]),
    ),
    "bald": (Bald(num_samples=7), mutual_information),
    "batch_bald": (BatchBald(num_samples=7), mutual_information),
}


@pytest.mark.parametrize("strategy, measure", MEASURES.values(), ids=MEASURES)
def test_scores_are_the_measures_of_the_sampled_networks(strategy, measure):
    state = make_pools(labelled=(6, 6), seed=1).state  # both pools have seen two classes at least
    said = state.model.sample(state.x, 7, make_generator(0, "test"))
    utilities = utilities_of(with_generator(strategy), state)
    for pool in range(2):
        rows, seen = state.available[pool], said[pool].amax((0, 1)) > 0
        wanted = measure(said[pool][:, rows][..., seen].transpose(0, 1))
        assert utilities[pool, rows].numpy() == pytest.approx(wanted, abs=1e-5)
        assert wanted.max() > 0.01


@pytest.mark.parametrize("strategy, measure", MEASURES.values(), ids=MEASURES)
def test_blocks_change_nothing(strategy, measure, monkeypatch):
    state = make_pools().state
    whole = utilities_of(with_generator(strategy), state)
    monkeypatch.setattr("almeta.strategies.committee._BLOCK", 200)
    monkeypatch.setattr(bayesian, "_BLOCK", 1)
    monkeypatch.setattr(bayesian, "_KEPT", 0)
    torch.testing.assert_close(utilities_of(with_generator(strategy), state), whole, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("strategy, measure", MEASURES.values(), ids=MEASURES)
def test_each_query_draws_its_own_networks(strategy, measure):
    state = make_pools().state
    first = utilities_of(with_generator(strategy), state)
    assert not torch.equal(utilities_of(strategy, state), first)


@pytest.mark.parametrize("strategy, measure", MEASURES.values(), ids=MEASURES)
def test_a_learner_without_dropout_is_refused(strategy, measure):
    state = refit(replace(make_pools().state, learner=Ridge()))
    with pytest.raises(AlmetaError, match=f"strategy {strategy.name} needs a learner with dropout"):
        utilities_of(strategy, state)


# ---- batches


def test_gain_by_hand():
    """Four networks are the pairs of two bits. Each row tells one bit, or the same bit once more, or nothing."""
    first, second = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1])
    rows = torch.nn.functional.one_hot(torch.stack((first, second, first, torch.zeros_like(first)), 1), 2).float()[None]
    batch = make_batch(1, 4)
    assert batch.gain(rows)[0].tolist() == pytest.approx([math.log(2), math.log(2), math.log(2), 0])
    batch.add(rows[:, :, 0])
    assert batch.gain(rows)[0].tolist() == pytest.approx([0, math.log(2), 0, 0], abs=1e-6)
    batch.add(rows[:, :, 1])
    assert batch.gain(rows)[0].tolist() == pytest.approx([0, 0, 0, 0], abs=1e-6)


def joint_information(p):
    """The mutual information of the labels of all rows of `[S, K, C]` and the network, by enumeration in NumPy."""
    p = p.double().numpy()
    networks, rows, classes = p.shape
    joint = np.array(
        [
            [
                math.prod(p[s, k, c] for k, c in enumerate(labels))
                for labels in itertools.product(range(classes), repeat=rows)
            ]
            for s in range(networks)
        ]
    )
    return -(joint.mean(0) * np.log(joint.mean(0))).sum() + (joint * np.log(joint)).sum(1).mean()


def test_gains_add_up_to_the_joint_information_by_enumeration():
    p = draw(2, 5, 8, 3)  # two pools, five networks, eight rows
    batch, total = make_batch(2, 5), torch.zeros(2)
    for row in range(4):
        gain = batch.gain(p)
        for pool, other in itertools.product(range(2), range(row + 1, 8)):
            wanted = joint_information(p[pool][:, [*range(row), other]])
            assert float(total[pool] + gain[pool, other]) == pytest.approx(wanted, abs=1e-5)
        total += gain[:, row]
        batch.add(p[:, :, row])
    assert not batch.drawn and batch.num_rows == 4


def test_scores_against_scikit_activeml():
    other = pytest.importorskip("skactiveml.pool").batch_bald
    p = draw(1, 6, 30, 3)
    theirs = other(p[0].double().numpy().copy(), batch_size=4, n_MC_samples=10**5, random_state=0)
    batch, total = make_batch(1, 6), 0.0
    for scores in theirs:
        gain = batch.gain(p)[0].numpy()
        free = ~np.isnan(scores)
        assert total + gain[free] == pytest.approx(scores[free], abs=1e-5)
        row = int(np.nanargmax(scores))
        total += gain[row]
        batch.add(p[:, :, row])


def test_drawn_configurations_are_right_on_average_and_more_of_them_are_nearer():
    """5 rows of 3 classes: all 243 configurations, or some that are drawn at the fourth or fifth row."""
    p = draw(1, 4, 40, 3)

    def gain(limit, seed=0):
        batch = make_batch(1, 4, limit, seed)
        for row in range(5):
            batch.add(p[:, :, row])
        assert batch.drawn == (limit < 3**5) and batch.log_joint.shape[2] == min(limit, 3**5)
        return batch.gain(p)[0]

    exact = gain(3**5)
    errors = {limit: torch.stack([gain(limit, seed) for seed in range(200)]) - exact for limit in (32, 128)}
    spread = {limit: error.std(0) for limit, error in errors.items()}
    for limit, error in errors.items():
        assert (error.mean(0).abs() < 4.5 * spread[limit] / math.sqrt(200)).all()
    ratio = spread[32] / spread[128]
    assert ratio.mean() == pytest.approx(2, rel=0.1)  # 1 / square root


def test_each_network_draws_from_its_own_probabilities():
    """Two networks that are sure of different labels know their own configurations, in all rows."""
    p = torch.eye(3)[[0, 2]][None]  # [1, 2, 3]
    batch = make_batch(1, 2, 4)
    for _ in range(4):
        batch.add(p)
    assert batch.drawn
    assert torch.equal(batch.log_joint[0].exp().round(), torch.tensor([[1.0, 1, 0, 0], [0, 0, 1, 1]]))
    frequent = make_batch(1, 1, 2)
    frequent.add(torch.tensor([[[0.2, 0.5, 0.3]]]))
    frequent.limit = 20000
    frequent.log_joint = torch.zeros(1, 1, 20000)
    frequent.add(torch.tensor([[[0.2, 0.5, 0.3]]]))
    said = frequent.log_joint.exp()[0, 0]
    assert [float((said - p).abs().lt(1e-3).float().mean()) for p in (0.2, 0.5, 0.3)] == pytest.approx(
        [0.2, 0.5, 0.3], abs=0.02
    )


def test_many_rows_and_classes_stay_finite():
    """The probability of a configuration of a thousand rows is below what a float holds."""
    p = draw(2, 5, 20, 10)
    p[1, ..., 4:] = 0
    p /= p.sum(-1, keepdim=True)
    batch = make_batch(2, 5, 100)
    for row in range(1000):
        batch.add(p[:, :, row % 20])
    assert batch.log_joint.amax() < -500
    gain = batch.gain(p)
    assert gain.isfinite().all() and gain.abs().amax() < 1e-5  # a thousand labels give the network away


def pick_all(strategy, pools, size):
    """The picks of a query `[E, size]`, and the utilities of each."""
    pools = replace(pools, state=replace(pools.state, query_size=size))
    memory, said = strategy.initial(len(pools.state.x)), []
    for _ in range(size):
        outputs, memory = strategy.step(pools.state, memory)
        said.append(outputs.utilities)
        pools = pools.pick(outputs.utilities.argmax(1))
    return pools.state.pending, said, memory, pools


@pytest.mark.parametrize("kept", [0, 1 << 26])
def test_a_query_is_greedy_by_the_same_networks(kept, monkeypatch):
    monkeypatch.setattr(bayesian, "_KEPT", kept)
    pools = make_linear_pools()
    state = pools.state
    picks, said, _, _ = pick_all(with_generator(BatchBald(num_samples=6, num_configurations=81)), pools, 4)
    p = state.model.sample(state.x, 6, make_generator(0, "test"))
    for pool, before in itertools.product(range(2), range(4)):
        chosen = picks[pool, :before].tolist()
        free = [row for row in state.available[pool].nonzero().flatten().tolist() if row not in chosen]
        base = joint_information(p[pool][:, chosen]) if chosen else 0
        wanted = [joint_information(p[pool][:, [*chosen, row]]) - base for row in free]
        assert said[before][pool, free].tolist() == pytest.approx(wanted, abs=1e-5)
        assert max(wanted) > 0.05


def test_pending_rows_count_without_memory_too():
    """As when a query goes on in another process; where a pool has no pending row, nothing is known."""
    pools = make_linear_pools()
    plain = utilities_of(with_generator(BatchBald()), pools.state)
    row = plain.argmax(1)
    state = pools.pick(row).state
    state = replace(state, picks=state.picks.where(torch.tensor([[True], [False]]) | (state.picks != row[:, None]), -1))
    assert (state.pending >= 0).tolist() == [[True], [False]]
    after = utilities_of(with_generator(BatchBald()), state)
    torch.testing.assert_close(after[1, state.available[1]], plain[1, state.available[1]], atol=1e-6, rtol=1e-5)
    assert (after[0] <= plain[0] + 1e-6).all()  # the information of a label falls as others are known
    assert (after[0, state.available[0]] < plain[0, state.available[0]] - 0.01).any()


def test_a_new_query_begins_anew():
    pools = make_pools(sizes=(20, 16), labelled=(6, 6), seed=1)
    strategy = with_generator(BatchBald())
    _, _, memory, pools = pick_all(strategy, pools, 3)
    pools = pools.answer()
    generator = strategy.generator.clone_state()
    later = strategy.step(pools.state, memory)[0].utilities
    bald = Bald(num_samples=20)
    bald.generator = generator
    torch.testing.assert_close(later, utilities_of(bald, pools.state), atol=1e-6, rtol=1e-5)


def test_a_copy_of_a_picked_row_is_worth_less():
    """BALD picks both; the second of a batch is another row."""
    pools = make_linear_pools()
    state = replace(pools.state, available=pools.state.available.index_fill(1, torch.tensor([19]), False))
    first = int(utilities_of(with_generator(Bald()), state)[0].argmax())
    state.x[0, 19] = state.x[0, first]
    state.available[0, 19] = True
    assert set(utilities_of(with_generator(Bald()), state)[0].topk(2).indices.tolist()) == {first, 19}
    picks, *_ = pick_all(with_generator(BatchBald()), replace(pools, state=state), 2)
    assert len({first, 19} & set(picks[0].tolist())) == 1
