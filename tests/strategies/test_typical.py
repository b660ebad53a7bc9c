import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from almeta.strategies import typical
from almeta.strategies.one_pool import cluster, pools_of
from almeta.strategies.typical import ProbCover, TypiClust, by_turns, purity_radius, typicality
from tests.strategies.pools import lay_out, make_pools


def line(places, picks=(), classes=1):
    """A pool of points on a line, of which some are picked and have a label."""
    x = torch.tensor(places, dtype=torch.float32)[None, :, None]
    y = torch.arange(len(places))[None] % classes
    given = torch.tensor([picks], dtype=torch.int64).view(1, -1)
    return lay_out(x, y, torch.ones_like(y, dtype=torch.bool), torch.tensor([classes]), given, classes).state


# ---- typical rows


def test_typicality_by_hand():
    x = np.array([[0.0], [1.0], [3.0]], np.float32)
    assert typicality(x, 1).tolist() == pytest.approx([1, 1, 1 / 2])
    assert typicality(x, 20).tolist() == pytest.approx([2 / 4, 2 / 3, 2 / 5])  # two others are all there are
    assert typicality(x[:1]).tolist() == [0]
    assert typicality(np.zeros((3, 1), np.float32)).tolist() == [np.inf] * 3


def test_typicality_against_scikit_learn():
    x = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    distance, _ = NearestNeighbors(n_neighbors=7).fit(x).kneighbors()
    assert typicality(x, 7) == pytest.approx(1 / distance.mean(1), rel=1e-5)


def test_turns_by_hand():
    number = np.array([0, 0, 0, 1, 1, 2])
    score = np.array([1.0, 3.0, 2.0, 5.0, 6.0, 0.0])
    everything, nothing = np.ones(6, bool), np.zeros(6, bool)
    assert by_turns(number, score, everything, nothing).tolist() == [1, 4, 5, 2, 3, 0]
    picked = np.arange(6) == 1  # the large cluster has had its first turn
    assert by_turns(number, score, ~picked, picked).tolist() == [4, 5, 2, 3, 0]
    assert by_turns(number, score, everything & (number != 1), nothing).tolist() == [1, 5, 2, 0]


def test_typiclust_by_hand():
    """Two clusters, and the middle row of the larger one first; then that of the one without a label."""
    places = [0.0, 1.0, 2.0, 2.5, 4.0, 20.0, 21.0, 22.5]
    assert TypiClust().select(line(places), 2).tolist() == [[2, 6]]
    assert TypiClust().select(line(places, [3]), 1).tolist() == [[6]]
    # In the first cluster the two nearest others are at a mean of 1.5, 1, .75, 1 and 1.75.
    assert TypiClust(num_neighbours=2).select(line(places, [5]), 1).tolist() == [[2]]


def literal_typiclust(pool, size, num_neighbours, max_clusters):
    """The paper's algorithm, step by step, with the clusters of `cluster`."""
    number, _ = cluster(pool.x, min(max_clusters, pool.picked.sum() + size))
    picked, chosen = pool.picked.copy(), []
    for _ in range(size):
        open_to = [one for one in set(number) if (pool.available & ~picked & (number == one)).any()]
        one = min(open_to, key=lambda c: (picked[number == c].sum(), -(number == c).sum(), c))
        members = np.flatnonzero(number == one)
        means = []
        for row in members:
            others = np.sort([np.linalg.norm(pool.x[row] - pool.x[other]) for other in members if other != row])
            means.append(others[:num_neighbours].mean() if len(others) else np.inf)
        order = members[np.argsort(means, kind="stable")]
        chosen.append(next(row for row in order if pool.available[row] and not picked[row]))
        picked[chosen[-1]] = True
    return chosen


@pytest.mark.parametrize("size, max_clusters", [(1, 500), (4, 500), (12, 5)])
def test_typiclust_against_the_algorithm_step_by_step(size, max_clusters):
    state = make_pools(sizes=(70, 50), labelled=(9, 4), seed=3).state
    ours = TypiClust(num_neighbours=3, max_clusters=max_clusters).select(state, size)
    for number, pool in enumerate(pools_of(state, torch.zeros(2, 70))):
        # Clusters of one size are taken in the order of their numbers, and pairs are alike typical.
        assert pool.rows[literal_typiclust(pool, size, 3, max_clusters)].tolist() == ours[number].tolist()


# ---- covering balls


def test_the_radius_by_hand():
    distance = np.abs(np.subtract.outer(*[np.array([0.0, 1.0, 4.0, 6.0, 9.0])] * 2))
    number = np.array([0, 0, 1, 1, 1])
    # The rows are 4, 3, 3, 5 and 8 away from the other cluster.
    assert purity_radius(distance, number, 1.0) == pytest.approx(3, rel=1e-4)
    assert purity_radius(distance, number, 0.8) == pytest.approx(3, rel=1e-4)
    assert purity_radius(distance, number, 0.6) == pytest.approx(4, rel=1e-4)
    assert purity_radius(distance, np.zeros(5)) == np.inf


@pytest.mark.parametrize("purity", [0.5, 0.8, 0.95])
def test_the_radius_is_the_largest_that_is_pure_enough(purity):
    random = np.random.default_rng(0)
    x, number = random.normal(size=(40, 2)), random.integers(0, 3, 40)
    x[:, 0] += 2 * number
    distance = np.linalg.norm(x[:, None] - x, axis=-1)

    def share(radius):
        return np.mean([len(set(number[row <= radius])) == 1 for row in distance])

    radius = purity_radius(distance, number, purity)
    assert share(radius) >= purity > share(radius * (1 + 1e-4))


def test_prob_cover_by_hand():
    places = [0.0, 1.0, 2.0, 5.0, 6.0, 10.0]
    assert ProbCover(delta=1.0).select(line(places), 4).tolist()[0] in ([1, 3, 5, -1], [1, 4, 5, -1])
    assert ProbCover(delta=1.0).select(line(places, [1]), 1).tolist()[0] in ([3], [4])
    assert ProbCover(delta=5.0).select(line(places), 1).tolist()[0] in ([3], [4])  # both reach 5 rows


@pytest.mark.parametrize("purity", [0.6, 0.95])
def test_prob_cover_against_the_algorithm_step_by_step(purity):
    state = make_pools(sizes=(60, 40), labelled=(5, 2), seed=1).state
    ours = ProbCover(purity=purity).select(state, 4)
    for number, pool in enumerate(pools_of(state, torch.zeros(2, 60))):
        distance = np.linalg.norm(pool.x[:, None] - pool.x, axis=-1)
        ball = distance <= purity_radius(distance, cluster(pool.x, pool.num_classes)[0], purity)
        covered = ball[pool.picked].any(0)
        for row in ours[number]:
            gains = [(ball[one] & ~covered).sum() if pool.available[one] else 0 for one in range(len(ball))]
            if row < 0:
                assert max(gains) == 0
                break
            place = pool.rows.tolist().index(row)
            assert gains[place] == max(gains) > 0
            covered |= ball[place]


def test_the_radius_is_found_once_an_episode(monkeypatch):
    pools, asked = make_pools(), []

    def count(x, num_clusters):
        asked.append(len(x))
        return cluster(x, num_clusters)

    monkeypatch.setattr(typical, "cluster", count)
    strategy = ProbCover(purity=0.6)
    for _ in range(3):
        strategy.select(pools.state, 1)
        pools = pools.pick(pools.state.available.byte().argmax(1)).answer()
    assert asked == [14, 11]
    ProbCover(purity=0.9).select(pools.state, 1)
    assert asked == [14, 11] * 2
