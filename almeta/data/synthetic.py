"""Data sets of random numbers: shapes for figures, and small data sets with random settings for training."""

from collections.abc import Callable
from typing import Annotated, Any, get_type_hints

import numpy as np

from almeta.checks import Count, Positive, Share, Weight, Within, check_values
from almeta.data.dataset import Dataset
from almeta.errors import AlmetaError

Made = tuple[np.ndarray, np.ndarray]  # x [n, d] float64 and y [n] int64
Several = Annotated[int, Within(2)]
Rows = Annotated[int, Within(10)]
Seed = Annotated[int, Within(0)]


def load(name: str, **options: Any) -> Dataset:
    """Return a data set of one of the six families, its rows in random order.

    Args:
        name: of a family, which is a function below.
        options: `n` rows, 600 by default; `seed`, 0 by default; and the arguments of the family.

    Raises:
        AlmetaError: for unknown options, values out of range, and values that do not fit together.
    """
    check_values(options, options_of(name), f"data set {name}")
    settings = {"n": 600, "seed": 0, **options}
    return _dataset(name, np.random.default_rng(settings.pop("seed")), settings.pop("n"), settings)


def options_of(name: str) -> dict[str, Any]:
    """Return the options of a family, with the type of each."""
    hints = get_type_hints(FAMILIES[name], include_extras=True)
    return {key: hint for key, hint in hints.items() if key not in ("rng", "return")} | {"n": Rows, "seed": Seed}


def draw_synthetic(rng: np.random.Generator, n: int = 400) -> Dataset:
    """Draw a small data set of a random family with random settings.

    Half of them are "classification" with 2 to 5 classes and 2 to 30 features, from hopeless to easy, with one to three
    clusters per class, label noise and imbalance. The others are the five shapes: most have columns of noise, are
    rotated, and have another scale and origin in every column. A quarter of all data sets have many more columns of
    noise, and a quarter are coarse: each column has a few values only, as in tables of categories, so that rows repeat.

    Args:
        rng: draws everything.
        n: number of rows, at least 10.
    """
    name = str(rng.choice(list(DRAWS), p=SHARES))
    return _dataset(name, rng, n, DRAWS[name](rng), drawn=True)


def _dataset(name: str, rng: np.random.Generator, n: int, settings: dict[str, Any], drawn: bool = False) -> Dataset:
    """Make and shuffle a data set; with `drawn`, give it another name and columns of noise."""
    x, y = FAMILIES[name](rng, n, **settings)
    if drawn and name != "classification":
        x = _hidden(rng, x)
    if drawn:
        x = _coarse(rng, _wide(rng, x))
    order = rng.permutation(n)
    values = "".join(f", {key}={value:.3g}" for key, value in settings.items())
    return Dataset(
        name=f"synthetic-{name}" if drawn else name,
        x=x[order].astype(np.float32),
        y=y[order],
        class_names=tuple(str(k) for k in range(int(y.max()) + 1)),
        source=f"random numbers, made by almeta ({name}, n={n}{values})",
    )


# ---- the families, which take a generator and a number of rows; every class has rows


def blobs(rng: np.random.Generator, n: int, classes: Several = 3, features: Count = 2, spread: Weight = 1.0) -> Made:
    """Draw a round Gaussian of standard deviation `spread` for each class, around a point of the cube from -4 to 4."""
    y = _labels(n, np.ones(classes))
    centres = rng.uniform(-4, 4, (classes, features))
    return centres[y] + spread * rng.normal(size=(n, features)), y


def moons(rng: np.random.Generator, n: int, noise: Weight = 0.2) -> Made:
    """Draw two interleaved half circles of radius 1, with Gaussian noise."""
    y = _labels(n, np.ones(2))
    angle = rng.uniform(0, np.pi, n)
    x = np.stack([np.cos(angle), np.sin(angle)], 1)
    x = np.where(y[:, None] == 0, x, (1.0, 0.5) - x)
    return x + noise * rng.normal(size=x.shape), y


def circles(rng: np.random.Generator, n: int, noise: Weight = 0.1, factor: Share = 0.5) -> Made:
    """Draw a circle of radius 1 around one of radius `factor`, with Gaussian noise."""
    y = _labels(n, np.ones(2))
    angle = rng.uniform(0, 2 * np.pi, n)
    x = np.stack([np.cos(angle), np.sin(angle)], 1) * np.where(y == 0, 1.0, factor)[:, None]
    return x + noise * rng.normal(size=x.shape), y


def checkerboard(rng: np.random.Generator, n: int, cells: Several = 4, noise: Weight = 0.0) -> Made:
    """Draw a board of `cells` x `cells` fields of side 1 in two colours; noise moves the points afterwards."""
    y = _labels(n, np.ones(2))
    fields = np.array([(i, j) for i in range(cells) for j in range(cells)])
    colours = [fields[fields.sum(1) % 2 == k] for k in (0, 1)]
    chosen = np.concatenate([colours[k][rng.integers(len(colours[k]), size=(y == k).sum())] for k in (0, 1)])
    return chosen + rng.random((n, 2)) + noise * rng.normal(size=(n, 2)), y


def three_cluster(
    rng: np.random.Generator,
    n: int,
    share: Annotated[float, Within(0, 0.45)] = 0.25,
    distance: Positive = 6.5,
    angle: float = -78.0,
    spread: Weight = 0.4,
    far_spread: Weight = 0.4,
) -> Made:
    """Draw three clusters, of which uncertainty sampling never finds one.

    Half of the rows are class 1, a cluster around (1, 0). Class 0 has two clusters, one around (-1, 0) and one far
    away. The vertical line between the two near clusters gives the far cluster to class 1 with high confidence.
    Queries near that line never reach the far cluster. If the first label of class 0 is in the far cluster, queries
    miss the other one. A straight line that separates the classes exists. This is the sampling bias of S. Dasgupta and
    D. Hsu, Hierarchical sampling for active learning, ICML 2008, section 1, in the plane and with one cluster less.

    Args:
        rng: draws the points.
        n: number of rows.
        share: of the rows in the far cluster.
        distance: of the far cluster from (1, 0).
        angle: of the direction to the far cluster, in degrees; at -90 and below the first line is nearly right.
        spread: standard deviation of the two near clusters.
        far_spread: standard deviation of the far cluster.
    """
    cluster = _labels(n, np.array([0.5 - share, share, 0.5]))
    way = np.deg2rad(angle)
    centres = np.array([(-1, 0), (1 + distance * np.cos(way), distance * np.sin(way)), (1, 0)])
    spreads = np.array([spread, far_spread, spread])
    x = centres[cluster] + spreads[cluster, None] * rng.normal(size=(n, 2))
    return x, (cluster == 2).astype(np.int64)


def classification(
    rng: np.random.Generator,
    n: int,
    classes: Several = 2,
    features: Count = 20,
    informative: Count = 5,
    redundant: Annotated[int, Within(0)] = 0,
    clusters: Count = 1,
    separation: Positive = 1.0,
    label_noise: Share = 0.01,
    imbalance: Annotated[float, Within(0, 0.9)] = 0.0,
) -> Made:
    """Draw skewed Gaussian clusters on corners of a cube, with redundant columns and columns of noise.

    The design of I. Guyon, Design of experiments for the NIPS 2003 variable selection benchmark, 2003, as in
    scikit-learn's `make_classification`.

    Args:
        rng: draws everything.
        n: number of rows.
        classes: C.
        features: D; those that are neither informative nor redundant are noise.
        informative: number of columns of the cube.
        redundant: number of columns that are random combinations of the informative ones.
        clusters: of each class; each cluster of each class needs one of the `2 ** informative` corners.
        separation: half the side of the cube; it does not change the clusters' size.
        label_noise: share of the rows whose label is drawn anew.
        imbalance: share of rows that each class has less than the one before.

    Raises:
        AlmetaError: for more informative and redundant columns than features, or fewer corners than clusters.
    """
    if informative + redundant > features:
        raise AlmetaError(f"informative={informative} and redundant={redundant} are more than features={features}")
    if classes * clusters > 2**informative:
        raise AlmetaError(
            f"classes={classes} times clusters={clusters} is more than the {2**informative} corners of a cube in "
            f"informative={informative} columns; use more of those"
        )
    y = _labels(n, (1 - imbalance) ** np.arange(classes))
    cluster = y * clusters + rng.integers(clusters, size=n)
    corners = _corners(rng, classes * clusters, informative)
    shapes = rng.uniform(-1, 1, (classes * clusters, informative, informative))
    signal = np.einsum("ni,nij->nj", rng.normal(size=(n, informative)), shapes[cluster]) + separation * corners[cluster]
    repeats = signal @ rng.uniform(-1, 1, (informative, redundant))
    noise = rng.normal(size=(n, features - informative - redundant))
    x = np.concatenate([signal, repeats, noise], 1)
    _add_noise(rng, y, classes, label_noise)
    return x[:, rng.permutation(features)], y


def _add_noise(rng: np.random.Generator, y: np.ndarray, classes: int, share: float) -> None:
    """Draw the labels of a share of the rows anew, in place; one row of each class keeps its label."""
    noisy = rng.random(len(y)) < share
    noisy[np.unique(y, return_index=True)[1]] = False
    y[noisy] = rng.integers(classes, size=noisy.sum())


def _labels(n: int, weights: np.ndarray) -> np.ndarray:
    """Return sorted labels `[n]` int64 in proportion to the weights, at least two for each positive weight.

    Raises:
        AlmetaError: if there are too few rows.
    """
    wanted = weights > 0
    if n < 2 * wanted.sum():
        raise AlmetaError(f"n={n} rows cannot give two to each of {wanted.sum()} groups; make more")
    spare = n - 2 * wanted.sum()
    edges = np.rint(np.cumsum(weights) / weights.sum() * n)
    sizes = np.diff(edges, prepend=0).astype(np.int64)
    if (sizes[wanted] < 2).any():
        edges = np.rint(np.cumsum(weights) / weights.sum() * spare)
        sizes = np.diff(edges, prepend=0).astype(np.int64) + 2 * wanted
    return np.arange(len(weights)).repeat(sizes)


def _corners(rng: np.random.Generator, count: int, sides: int) -> np.ndarray:
    """Return `[count, sides]` different corners of the cube from -1 to 1."""
    if sides > 20:  # with so many corners, two of a few are hardly ever equal
        return rng.choice((-1.0, 1.0), (count, sides))
    numbers = rng.choice(2**sides, count, replace=False)
    return (numbers[:, None] >> np.arange(sides) & 1) * 2.0 - 1


FAMILIES: dict[str, Callable[..., Made]] = {
    family.__name__.replace("_", "-"): family
    for family in (blobs, checkerboard, circles, classification, moons, three_cluster)
}


# ---- random settings of each family


def _draw_classification(rng: np.random.Generator) -> dict[str, Any]:
    classes = int(rng.choice((2, 2, 2, 3, 4, 5)))
    clusters = int(rng.choice((1, 1, 2, 3)))
    fewest = int(np.ceil(np.log2(classes * clusters)))
    features = int(rng.integers(max(2, fewest), 31))
    informative = int(rng.integers(max(1, fewest), max(fewest, min(features, 10)) + 1))
    return {
        "classes": classes,
        "features": features,
        "informative": informative,
        "redundant": int(rng.integers(0, (features - informative) // 2 + 1)),
        "clusters": clusters,
        "separation": float(np.exp(rng.uniform(np.log(0.4), np.log(2.5)))),
        "label_noise": float(rng.choice((0.0, rng.uniform(0, 0.2)))),
        "imbalance": float(rng.choice((0.0, rng.uniform(0, 0.7)))),
    }


def _draw_blobs(rng: np.random.Generator) -> dict[str, Any]:
    classes, features = int(rng.integers(2, 6)), int(rng.integers(2, 11))
    return {"classes": classes, "features": features, "spread": float(rng.uniform(0.5, 3.0))}


def _draw_three_cluster(rng: np.random.Generator) -> dict[str, Any]:
    return {
        "share": float(rng.uniform(0.15, 0.35)),
        "distance": float(rng.uniform(4, 8)),
        "angle": float(rng.uniform(-82, -60)),
        "spread": float(rng.uniform(0.25, 0.7)),
        "far_spread": float(rng.uniform(0.25, 0.7)),
    }


DRAWS: dict[str, Callable[[np.random.Generator], dict[str, Any]]] = {
    "classification": _draw_classification,
    "blobs": _draw_blobs,
    "moons": lambda rng: {"noise": float(rng.uniform(0.05, 0.4))},
    "circles": lambda rng: {"noise": float(rng.uniform(0.03, 0.25)), "factor": float(rng.uniform(0.2, 0.7))},
    "checkerboard": lambda rng: {"cells": int(rng.integers(2, 5)), "noise": float(rng.uniform(0, 0.2))},
    "three-cluster": _draw_three_cluster,
}
SHARES = (0.5, 0.15, 0.1, 0.05, 0.05, 0.15)  # probabilities of DRAWS, in their order
MOST_CLASSES = 5  # of a drawn data set


def _wide(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """With probability 1/4 add columns of noise, up to 60 columns in all."""
    more = 60 - x.shape[1]
    if rng.random() >= 0.25 or more < 1:
        return x
    noise = rng.normal(size=(len(x), int(rng.integers(1, more + 1))))
    return np.concatenate([x, x.std(0).mean() * noise], 1)


def _coarse(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """With probability 1/4 reduce each column to two to four values, with equal numbers of rows."""
    if rng.random() >= 0.25:
        return x
    levels = int(rng.integers(2, 5))
    return np.argsort(np.argsort(x, 0), 0) * levels // len(x)


def _hidden(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """Add columns of noise, rotate the space, change the scale and origin of columns: each with some probability."""
    if rng.random() < 0.6:
        noise = rng.normal(size=(len(x), int(rng.integers(1, 7))))
        x = np.concatenate([x, x.std(0).mean() * noise], 1)
    if rng.random() < 0.7:
        turn, _ = np.linalg.qr(rng.normal(size=(x.shape[1], x.shape[1])))
        x = x @ turn
    if rng.random() < 0.5:
        x = x * np.exp(rng.normal(size=x.shape[1])) + rng.normal(size=x.shape[1])
    return x
