import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import Bounds, LinearConstraint, milp

from almeta.geometry import Geometry
from almeta.strategies import core_set
from almeta.strategies.core_set import CoreSet, RobustCoreSet, cover_with_outliers
from almeta.strategies.one_pool import distances, pools_of
from tests.strategies.pools import lay_out, make_pools, utilities_of


def line(places, picks):
    """A pool of points on a line."""
    x = torch.tensor(places)[None, :, None]
    y = torch.zeros(1, len(places), dtype=torch.int64)
    return lay_out(
        x,
        y,
        torch.ones_like(y, dtype=torch.bool),
        torch.tensor([1]),
        torch.tensor([picks], dtype=torch.int64).view(1, -1),
        1,
    )


def score(pools):
    return utilities_of(CoreSet(), pools.state)


def test_by_hand():
    pools = line([0.0, 1.0, 4.0, 10.0], [1])
    assert score(pools)[0].tolist() == [1, -torch.inf, 3, 9]
    pools = pools.pick([3])  # not answered, and counted all the same
    assert score(pools)[0].tolist() == [1, -torch.inf, 3, -torch.inf]


def test_without_any_pick_all_rows_are_alike():
    assert score(make_pools(labelled=(0, 0)))[0].tolist() == [0.0] * 14


def test_picks_and_values_against_scikit_activeml():
    greedy = pytest.importorskip("skactiveml.pool").k_greedy_center
    pools = make_pools(sizes=(60,), columns=(4,), classes=(3,), labelled=(3,))
    labels = np.where(pools.state.labels[0] < 0, np.nan, pools.state.labels[0])
    picks, theirs = greedy(pools.state.x[0].numpy().copy(), labels, batch_size=25, random_state=0)
    for pick, values in zip(picks, theirs, strict=True):
        ours = score(pools)
        available = pools.state.available[0].numpy()
        assert ours[0].numpy()[available] == pytest.approx(values[available], abs=1e-5)
        assert ours.argmax() == pick
        pools = pools.pick([int(pick)])


def test_a_pick_costs_one_row_of_distances(monkeypatch):
    asked, distances_to = [], Geometry._distances_to

    def count(self, rows):
        asked.append(rows.tolist())
        return distances_to(self, rows)

    monkeypatch.setattr(Geometry, "_distances_to", count)
    pools = make_pools()
    firsts = pools.state.picks.T.tolist()
    score(pools)
    assert asked == firsts
    for _ in range(3):
        rows = score(pools).argmax(1)
        pools = pools.pick(rows).answer()
        score(pools)
        assert asked[-1] == rows.tolist()
    assert len(asked) == len(firsts) + 3


def test_a_batch_of_100_costs_100_rows_of_distances(monkeypatch):
    asked, distances_to = [], Geometry._distances_to

    def count(self, rows):
        asked.append(rows.tolist())
        return distances_to(self, rows)

    monkeypatch.setattr(Geometry, "_distances_to", count)
    pools = make_pools(sizes=(10_000,), columns=(2,), classes=(2,), labelled=(1,))
    for _ in range(100):
        pools = pools.pick(score(pools).argmax(1))
    assert asked == pools.state.picks[:, :-1].T.tolist()


# ---- with outliers


def test_an_outlier_is_left_out_by_hand():
    places = [0.0, 1.0, 2.0, 10.0, 11.0, 12.0, 100.0]
    state = line(places, []).state
    assert sorted(RobustCoreSet(outliers=0.15).select(state, 2)[0].tolist()) == [1, 4]
    assert RobustCoreSet(outliers=0).select(state, 3)[0].tolist().count(6) == 1
    assert RobustCoreSet(outliers=0.15).select(line(places, [1]).state, 1).tolist()[0] in ([3], [4], [5])
    # The first pick of k-centre greedy is the outlier.
    assert score(line(places, [1]))[0].argmax() == 6


def radius_of(distance, to_pick, chosen, num_outliers):
    """Within which all rows but the outliers have a centre."""
    nearest = np.minimum(to_pick, distance[list(chosen)].min(0, initial=np.inf))
    return np.sort(nearest)[len(nearest) - 1 - num_outliers]


def fits(distance, to_pick, size, num_outliers, radius):
    """Whether a mixed-integer program finds centres with that radius, as Sener & Savarese's does."""
    k, m = distance.shape
    near = np.concatenate([(distance <= radius).T, np.eye(m)], 1)  # a row is near a centre, or an outlier
    budgets = np.zeros((2, k + m))
    budgets[0, :k] = budgets[1, k:] = 1
    constraints = [
        LinearConstraint(near, np.where(to_pick <= radius, 0, 1), np.inf),
        LinearConstraint(budgets, -np.inf, [size, num_outliers]),
    ]
    solution = milp(np.zeros(k + m), constraints=constraints, integrality=np.ones(k + m), bounds=Bounds(0, 1))
    return bool(solution.success)


@pytest.mark.parametrize("seed", range(6))
def test_the_radius_is_within_three_times_the_best(seed):
    random = np.random.default_rng(seed)
    x = random.normal(size=(24, 2)) * random.choice([1, 5], (24, 1))
    whole = np.linalg.norm(x[:, None] - x, axis=-1)
    to_pick = whole[:, :2].min(1) if seed % 2 else np.full(24, np.inf)
    distance = whole[2:]
    for size, num_outliers in itertools.product((1, 3), (0, 2)):
        chosen = cover_with_outliers(distance, to_pick, size, num_outliers)
        assert 0 < len(set(chosen)) == len(chosen) <= size
        radii = np.unique(whole)
        low, high = 0, len(radii) - 1
        while low < high:
            middle = (low + high) // 2
            low, high = (
                (low, middle) if fits(distance, to_pick, size, num_outliers, radii[middle]) else (middle + 1, high)
            )
        assert radii[low] <= radius_of(distance, to_pick, chosen, num_outliers) <= 3 * radii[low]


def test_the_program_agrees_with_enumeration():
    random = np.random.default_rng(0)
    x = random.normal(size=(9, 2))
    distance, to_pick = np.linalg.norm(x[:, None] - x, axis=-1), np.full(9, np.inf)
    best = min(radius_of(distance, to_pick, two, 1) for two in itertools.combinations(range(9), 2))
    assert fits(distance, to_pick, 2, 1, best) and not fits(distance, to_pick, 2, 1, best - 1e-6)


def test_the_radii_are_sorted_once_an_episode(monkeypatch):
    pools = make_pools(sizes=(60,), columns=(4,), classes=(3,), labelled=(4,))
    unique, sizes = np.unique, []

    def count(values, *args, **kwargs):
        sizes.append(values.size)
        return unique(values, *args, **kwargs)

    monkeypatch.setattr(np, "unique", count)
    for _ in range(3):
        pools = pools.pick(RobustCoreSet().select(pools.state, 1)[:, 0]).answer()
    assert sizes.count(60 * 60) == 1 and sorted(sizes)[-2] <= 60


def test_radii_are_the_distances_from_candidates():
    """On a grid, where distances among picks are distances from candidates, too, or are not."""
    random = np.random.default_rng(0)
    for count in (0, 1, 5, 20, 30):
        places = (random.integers(0, 9, 30) ** 2).astype(np.float32)
        pool = next(pools_of(line(places.tolist(), random.permutation(30)[:count].tolist()).state, torch.zeros(1, 30)))
        candidates = pool.available[pool.reference]
        assert np.array_equal(core_set._radii(pool, candidates), np.unique(distances(pool)[candidates]))


@pytest.mark.parametrize("seed", range(4))
def test_known_radii_change_no_choice(seed):
    random = np.random.default_rng(seed)
    distance, to_pick = random.integers(0, 40, (9, 12)).astype(float), random.integers(0, 60, 12).astype(float)
    to_pick[:3] = np.inf
    chosen = cover_with_outliers(distance, to_pick, 3, 2)
    assert cover_with_outliers(distance, to_pick, 3, 2, radii=np.unique(distance)) == chosen
