"""What strategies share that choose in one pool after the other."""

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans

from almeta.strategies import one_pool
from almeta.strategies.one_pool import PoolByPool, cluster, distances, greedy_cover, pools_of
from tests.strategies.pools import make_pools


def test_a_pool_is_seen_without_padding_and_in_an_order_of_its_own():
    state = make_pools(more=(3, 2, 1)).state
    order = torch.randperm(17, generator=torch.Generator().manual_seed(0))
    weight = torch.rand(2, 17, generator=torch.Generator().manual_seed(1))
    other = make_pools(more=(3, 2, 1)).rearranged(order).state
    pools, others = list(pools_of(state, weight)), list(pools_of(other, weight[:, order]))
    for number, (pool, moved, size, columns) in enumerate(zip(pools, others, (14, 11), (3, 2), strict=True)):
        assert pool.x.shape == (size, columns)
        assert sorted(pool.rows) == list(range(size))
        assert np.array_equal(pool.x, state.x[number, pool.rows, :columns].numpy())
        assert np.array_equal(pool.available, state.available[number, pool.rows].numpy())
        assert sorted(pool.rows[pool.picked]) == sorted(row for row in state.picks[number].tolist() if row >= 0)
        assert np.array_equal(pool.to_pick, state.geometry.nearest_pick(state.picks)[number, pool.rows].numpy())
        assert pool.reference.tolist() == list(range(size))
        assert pool.num_classes == int(state.num_classes[number])
        assert np.array_equal(order.numpy()[moved.rows], pool.rows)
        for name in ("x", "available", "picked", "to_pick", "informativeness"):
            assert np.array_equal(getattr(pool, name), getattr(moved, name)), name


class LastTwo(PoolByPool):
    def choose(self, pool, size):
        return np.flatnonzero(pool.available)[-2:]


def test_choices_are_row_numbers_and_minus_1_where_there_are_fewer():
    state = make_pools().state
    chosen = LastTwo().select(state, 3)
    for number, pool in enumerate(pools_of(state, torch.zeros(2, 14))):
        assert chosen[number].tolist() == [*pool.rows[pool.available][-2:], -1]


def test_clusters_are_those_of_weighted_k_means():
    random = np.random.default_rng(0)
    x, weight = random.normal(size=(60, 3)).astype(np.float32), random.random(60).astype(np.float32)
    number, distance = cluster(x, 4, weight)
    theirs = KMeans(4, n_init=20, random_state=1).fit(x, sample_weight=weight)
    centres = np.stack([np.average(x[number == one], 0, weight[number == one]) for one in range(4)])
    assert distance == pytest.approx(np.linalg.norm(x - centres[number], axis=1), abs=1e-4)
    assert (weight * distance**2).sum() < 1.15 * theirs.inertia_  # theirs is the best of 20 beginnings
    nearest = np.linalg.norm(x[:, None] - centres, axis=-1).argmin(1)
    assert np.array_equal(number, nearest)


def test_fewer_different_rows_than_clusters(recwarn):
    number, distance = cluster(np.repeat(np.eye(2, dtype=np.float32), 5, 0), 4)
    assert len(set(number[:5])) == len(set(number[5:])) == 1 and number[0] != number[5]
    assert distance == pytest.approx(np.zeros(10), abs=1e-6)
    assert not recwarn.list


def test_distances_are_between_the_reference_rows():
    state = make_pools().state
    pool = next(pools_of(state, torch.zeros(2, 14)))
    expected = np.linalg.norm(pool.x[:, None] - pool.x, axis=-1)
    assert distances(pool) == pytest.approx(expected, abs=1e-5)


def test_distances_are_kept_for_the_episode_where_they_fit_the_memory(monkeypatch):
    pools = make_pools()

    def of_all():
        return [distances(pool) for pool in pools_of(pools.state, torch.zeros(2, 14))]

    first, second = of_all()
    pools = pools.pick(pools.state.available.byte().argmax(1)).answer()
    assert of_all()[0] is first and of_all()[1] is second
    monkeypatch.setattr(one_pool, "_MATRIX", 2 * 14 * 14 - 1)
    assert of_all()[0] is not first and np.array_equal(of_all()[0], first)


def test_greedy_cover_by_hand():
    near = np.array([[1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 0], [0, 0, 0, 0, 0, 1], [1, 1, 0, 0, 0, 0]], bool)
    nothing = np.zeros(6, bool)
    chosen, covered = greedy_cover(near, nothing, 2)
    assert chosen == [0, 1] and covered.tolist() == [True] * 5 + [False]
    assert greedy_cover(near, nothing, 9)[0] == [0, 1, 2]  # the last covers nothing more
    begun = np.array([1, 0, 0, 0, 0, 0], bool)
    assert greedy_cover(near, begun, 1)[0] == [1]
    wide = near | np.array([[0, 0, 0, 1, 1, 0]] * 4, bool)
    assert greedy_cover(near, nothing, 9, wide)[0] == [0, 2]
