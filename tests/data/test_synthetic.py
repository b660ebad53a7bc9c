import timeit
from collections import Counter
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from almeta.data import load_dataset
from almeta.data.preparation import prepare
from almeta.data.synthetic import DRAWS, FAMILIES, MOST_CLASSES, SHARES, classification, draw_synthetic, three_cluster
from almeta.errors import AlmetaError


def accuracy(learner, x, y):
    """On the second half of the rows, after fitting on the first."""
    half = len(y) // 2
    return learner.fit(x[:half], y[:half]).score(x[half:], y[half:])


@pytest.mark.parametrize("name", FAMILIES)
def test_form(name):
    data = load_dataset(name)
    assert data.name == name
    assert len(data) == 600 and data.kind == "table"
    assert data.class_names == tuple(str(k) for k in range(data.num_classes))
    assert data.class_counts.max() - data.class_counts.min() <= 12  # but for label noise they are equally large
    assert data.source == f"random numbers, made by almeta ({name}, n=600)"
    assert 0.2 < data.y[:300].mean() / data.y[300:].mean() < 5  # shuffled


@pytest.mark.parametrize("name", FAMILIES)
def test_seed_and_rows(name):
    first, again, other = (load_dataset(name, seed=seed, n=101) for seed in (3, 3, 4))
    assert first.x.shape[0] == 101
    assert (first.x == again.x).all() and (first.y == again.y).all()
    assert (first.x != other.x).any()


def test_every_family_has_its_names():
    assert FAMILIES.keys() == DRAWS.keys()
    assert len(SHARES) == len(DRAWS) and sum(SHARES) == pytest.approx(1)


def test_blobs():
    data = load_dataset("blobs", classes=4, features=7, spread=0.5, n=4000)
    centres = np.stack([data.x[data.y == k].mean(0) for k in range(4)])
    assert data.x.shape == (4000, 7)
    assert np.abs(centres).max() < 4.1
    assert (data.x - centres[data.y]).std() == pytest.approx(0.5, rel=0.02)


def test_moons_and_circles():
    moons, rings = load_dataset("moons", noise=0.0), load_dataset("circles", noise=0.0, factor=0.3)
    upper, lower = moons.x[moons.y == 0], (1, 0.5) - moons.x[moons.y == 1]
    for half in (upper, lower):
        assert np.allclose(np.linalg.norm(half, axis=1), 1, atol=1e-5) and half[:, 1].min() > -1e-5
    assert np.allclose(np.linalg.norm(rings.x, axis=1), np.where(rings.y == 0, 1, 0.3), atol=1e-5)
    assert load_dataset("moons", noise=0.5).source.endswith("(moons, n=600, noise=0.5)")
    for data in (load_dataset("moons"), load_dataset("circles")):
        assert accuracy(KNeighborsClassifier(), data.x, data.y) > 0.93
        assert accuracy(LogisticRegression(), data.x, data.y) < 0.9


def test_checkerboard():
    data = load_dataset("checkerboard", cells=5, n=2000)
    assert data.x.min() >= 0 and data.x.max() <= 5
    assert (np.floor(data.x).sum(1) % 2 == data.y).all()
    assert len(np.unique(np.floor(data.x), axis=0)) == 25
    assert accuracy(LogisticRegression(), data.x, data.y) < 0.6


def test_classification_is_as_hard_as_that_of_scikit_learn():
    settings: list[dict[str, Any]] = [
        {},
        {"classes": 4, "clusters": 2},
        {"separation": 2.0, "redundant": 5},
        {"label_noise": 0.3},
    ]
    names = {"classes": "n_classes", "clusters": "n_clusters_per_class", "separation": "class_sep"}
    names |= {"redundant": "n_redundant", "label_noise": "flip_y"}
    for options in settings:
        default = {"n_informative": 5, "n_redundant": 0, "n_clusters_per_class": 1}
        theirs = default | {names[key]: value for key, value in options.items()}
        found, wanted = [], []
        for seed in range(15):
            data = load_dataset("classification", seed=seed, **options)
            found.append(accuracy(LogisticRegression(), data.x, data.y))
            wanted.append(accuracy(LogisticRegression(), *make_classification(600, random_state=seed, **theirs)))
        assert np.mean(found) == pytest.approx(np.mean(wanted), abs=0.05), options


def test_classification_options():
    rng = np.random.default_rng(0)
    x, y = classification(rng, 1000, classes=3, features=9, informative=3, redundant=4, imbalance=0.5, label_noise=0.0)
    assert x.shape == (1000, 9)
    assert np.bincount(y).tolist() == [571, 286, 143]  # 4 : 2 : 1
    assert np.linalg.matrix_rank(x) == 5  # three that count and two of noise
    _, y = classification(rng, 1000, label_noise=1.0)
    assert abs(y[:500].mean() - y[500:].mean()) < 0.1


def test_three_cluster_has_a_line_that_is_right_and_a_first_line_that_misses_a_cluster():
    x, y = three_cluster(np.random.default_rng(0), 2000)
    far = np.linalg.norm(x - (1, 0), axis=1) > 3
    assert far.mean() == pytest.approx(0.25, abs=0.02)
    assert (y[far] == 0).all() and y.mean() == 0.5
    assert LogisticRegression(C=100).fit(x, y).score(x, y) > 0.97
    first = LogisticRegression().fit(x[~far], y[~far])
    assert first.score(x[~far], y[~far]) > 0.97
    certain = first.predict_proba(x[far])[:, 1]
    assert (certain > 0.9).mean() > 0.9  # wrong, and sure of it


def test_margin_sampling_fails_on_three_clusters():
    """A first label of each of the two near clusters, 20 queries: margin stays between them."""
    gains, found = [], {"margin": 0, "random": 0}
    for seed in range(8):
        data = load_dataset("three-cluster", n=320, seed=seed)
        order = np.random.default_rng(seed).permutation(320)
        x, test = prepare(data, order[:120], order[120:])
        y, test_y = data.y[order[:120]], data.y[order[120:]]
        far = np.linalg.norm(data.x[order[:120]] - (1, 0), axis=1) > 3
        scores = {}
        for strategy in found:
            rng = np.random.default_rng(seed)
            picked = [rng.choice(np.flatnonzero((y == k) & ~far)) for k in (0, 1)]
            curve = []
            for _ in range(20):
                learner = LogisticRegression().fit(x[picked], y[picked])
                curve.append(learner.score(test, test_y))
                margin = np.abs(learner.predict_proba(x)[:, 0] - 0.5)
                utility = -margin if strategy == "margin" else rng.random(120)
                utility[picked] = -np.inf
                picked.append(int(utility.argmax()))
            scores[strategy] = np.mean(curve)
            found[strategy] += int(far[picked].any())
        gains.append(scores["random"] - scores["margin"])
    assert found["random"] == 8 and found["margin"] <= 4
    assert np.mean(gains) > 0.07
    assert sum(gain > 0 for gain in gains) >= 7


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("moons", {"noisy": 1}, "unknown key of data set moons 'noisy'; did you mean 'noise'. Known: n, noise, seed"),
        ("moons", {"noise": -0.1}, "data set moons.noise is -0.1; it must be a number of at least 0"),
        ("moons", {"noise": "high"}, "data set moons.noise is 'high'; it must be a number"),
        ("blobs", {"n": 5}, "data set blobs.n is 5; it must be a whole number of at least 10"),
        ("blobs", {"seed": -1}, "data set blobs.seed is -1"),
        ("blobs", {"n": 10, "classes": 6}, "n=10 rows cannot give two to each of 6 groups"),
        ("blobs", {"classes": 1}, "data set blobs.classes is 1; it must be a whole number of at least 2"),
        ("classification", {"informative": 30}, "informative=30 and redundant=0 are more than features=20"),
        ("classification", {"classes": 9, "informative": 3}, "classes=9 times clusters=1 is more than the 8 corners"),
        ("three_cluster", {"share": 0.6}, "data set three-cluster.share is 0.6; it must be a number from 0 to 0.45"),
    ],
)
def test_mistakes(name, options, message):
    with pytest.raises(AlmetaError, match=message):
        load_dataset(name, **options)


def test_draws_are_varied_and_sound():
    rng = np.random.default_rng(0)
    drawn = [draw_synthetic(rng) for _ in range(300)]
    families = Counter(data.name.removeprefix("synthetic-") for data in drawn)
    assert families.keys() == FAMILIES.keys()
    assert 120 < families["classification"] < 180
    assert {data.num_classes for data in drawn} == {2, 3, 4, 5} == set(range(2, MOST_CLASSES + 1))
    widths = {data.x.shape[1] for data in drawn}
    assert min(widths) == 2 and max(widths) >= 28 and len(widths) > 20
    assert all(len(data) == 400 and data.class_counts.min() >= 2 for data in drawn)
    assert len({data.source for data in drawn}) > 290  # it tells the settings
    shares = [data.class_counts.min() / data.class_counts.max() for data in drawn]
    assert min(shares) < 0.3 and np.median(shares) > 0.6


def test_draws_go_from_hopeless_to_easy():
    rng = np.random.default_rng(1)
    gains = []
    for _ in range(60):
        data = draw_synthetic(rng)
        x, _ = prepare(data, np.arange(400), np.arange(1))
        gains.append(accuracy(LogisticRegression(), x, data.y) - data.class_counts.max() / 400)
    assert np.mean(np.array(gains) > 0.1) > 0.5  # most can be learnt
    assert min(gains) < 0.05 and max(gains) > 0.4


@pytest.mark.parametrize("n", [10, 40])
def test_few_rows(n):
    rng = np.random.default_rng(0)
    for _ in range(200):
        data = draw_synthetic(rng, n)
        assert len(data) == n and data.class_counts.min() >= 1


def test_same_generator_same_draws():
    first, second = ([draw_synthetic(np.random.default_rng(5)) for _ in range(3)] for _ in range(2))
    assert all((a.x == b.x).all() and a.source == b.source for a, b in zip(first, second, strict=True))
    assert (first[0].x == first[1].x).all()  # nothing but the generator counts


def test_draws_are_quick():
    rng = np.random.default_rng(0)
    assert min(timeit.repeat(lambda: draw_synthetic(rng), number=50, repeat=3)) / 50 < 5e-3
