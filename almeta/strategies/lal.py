"""Learning active learning from data (LAL): Konyushkova, Sznitman & Fua, NIPS 2017.

A regressor learns by how much the test error of a random forest falls when one more row gets its label, from features
of the forest and of the row. It learns on synthetic tasks alone: two Gaussian clouds in two dimensions, a class each.
This is the paper's "LALindependent-2D". `simulate` plays a task, and the file `lal.npz` beside this module holds what
`python scripts/simulate_lal.py` has made of many; no data set of a benchmark is among them.
"""

import functools
import warnings
from pathlib import Path

import numpy as np
import torch
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from torch import Tensor

from almeta.pool import PoolState
from almeta.strategies.strategy import PoolStrategy

PAIRS = Path(__file__).with_name("lal.npz")
# Tasks in this file.
NUM_TASKS = 320
# Of the paper's code: trees of a forest; rows of a synthetic pool, test rows for each, and labelled rows at most;
# candidates that are tried in a task.
NUM_TREES, POOL_SIZE, TEST_FACTOR, MOST_LABELLED, NUM_CANDIDATES = 50, 400, 10, 49, 10
# Rows of a pool that all trees predict at once.
_BLOCK = 1 << 14


def grow(x: np.ndarray, y: np.ndarray, seed: int, oob_score: bool = True) -> RandomForestClassifier:
    """Return a random forest of `NUM_TREES` trees for labelled rows `[L, D]` and their labels `[L]`."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Some inputs do not have OOB scores")  # of few rows, none is left out
        return RandomForestClassifier(NUM_TREES, oob_score=oob_score, n_jobs=1, random_state=seed).fit(x, y)


def state_features(forest: RandomForestClassifier, y: np.ndarray, rows: np.ndarray, num_classes: int) -> np.ndarray:
    """Return what the regressor reads of unlabelled rows, section 4.2 of the paper: `[M, 8]` float64.

    The features are the forest's probability of class 0 for the row, and the standard deviation of this probability
    over the trees; then, alike for all rows, the share of labels of the other class, the out-of-bag accuracy, the
    standard deviation of the columns' importances over the number of columns, the mean of the second feature over the
    rows, the mean depth of the trees, and the number of labels. The paper is for two classes. With more, the row's
    likeliest class stands for class 0, and all others for the other one.

    Args:
        forest: of `grow`.
        y: `[L]` int64, the labels that it was fit to.
        rows: `[M, D]` float32.
        num_classes: of the task.
    """
    probability, spread = np.empty(len(rows)), np.empty(len(rows))
    others = np.full(len(rows), (y > 0).mean())
    for begin in range(0, len(rows), _BLOCK):
        block = slice(begin, begin + _BLOCK)
        # `tree_.predict` is the trees' own `predict_proba` without its checks, many times as fast for few rows.
        votes = np.stack([tree.tree_.predict(rows[block]) for tree in forest.estimators_])  # [trees, B, classes seen]
        column = votes.mean(0).argmax(1) if num_classes > 2 else np.zeros(votes.shape[1], dtype=np.int64)
        votes = np.take_along_axis(votes, column[None, :, None], 2)[..., 0]
        if num_classes > 2:
            others[block] = (y != forest.classes_[column][:, None]).mean(1)
        elif forest.classes_[0] > 0:  # class 0 was not seen
            votes = np.zeros_like(votes)
        probability[block], spread[block] = votes.mean(0), votes.std(0)
    alike = (
        forest.oob_score_,
        (forest.feature_importances_ / rows.shape[1]).std(),
        spread.mean(),
        np.mean([tree.tree_.max_depth for tree in forest.estimators_]),
        len(y),
    )
    return np.column_stack((probability, spread, others, np.tile(alike, (len(rows), 1))))


def simulate(task: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Play a synthetic task: label a row of each class and others at random, then try one candidate after the other.

    Args:
        task: its number; tasks take all numbers of labels from 2 to `MOST_LABELLED` in turn.
        seed: of all tasks.

    Returns:
        The features `[NUM_CANDIDATES, 8]`, and the drop of the test error by the label of each candidate.
    """
    rng = np.random.default_rng([seed, task])
    share = rng.uniform(0.1, 0.9)
    sizes = (POOL_SIZE - int(POOL_SIZE * share), int(POOL_SIZE * share))
    means, roots = rng.uniform(size=(2, 2)), rng.uniform(-0.5, 0.5, (2, 2, 2))
    x, y = _clouds(rng, means, roots, sizes)
    test_x, test_y = _clouds(rng, means, roots, (TEST_FACTOR * sizes[0], TEST_FACTOR * sizes[1]))
    order = rng.permutation(POOL_SIZE)
    firsts = [np.flatnonzero(y[order] == label)[0] for label in (0, 1)]
    order = np.concatenate((order[firsts], np.delete(order, firsts)))
    labelled = 2 + task % (MOST_LABELLED - 1)
    seeds = rng.integers(2**31 - 1, size=NUM_CANDIDATES + 1)
    known = order[:labelled]
    forest = grow(x[known], y[known], seeds[0])
    features = state_features(forest, y[known], x[order[labelled:]], 2)[:NUM_CANDIDATES]
    before, drops = _error(forest, test_x, test_y), []
    for candidate, own in zip(order[labelled:], seeds[1:], strict=False):
        more = np.append(known, candidate)
        drops.append(before - _error(grow(x[more], y[more], own, oob_score=False), test_x, test_y))
    return features, np.array(drops)


def _clouds(
    rng: np.random.Generator, means: np.ndarray, roots: np.ndarray, sizes: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return float32 rows of two Gaussian clouds, and their classes; a covariance is root times its transpose."""
    x = [mean + rng.normal(size=(size, 2)) @ root.T for mean, root, size in zip(means, roots, sizes, strict=True)]
    return np.concatenate(x).astype(np.float32), np.repeat([0, 1], sizes)


def _error(forest: RandomForestClassifier, x: np.ndarray, y: np.ndarray) -> float:
    """Return the share of rows that a forest of two classes gets wrong."""
    probability = np.mean([tree.tree_.predict(x) for tree in forest.estimators_], 0)
    return float((probability.argmax(1) != y).mean())


@functools.cache
def regressor() -> RandomForestRegressor:
    """Return what predicts drops from features. It is fit to the shipped pairs at the first call, in a second or two.

    A forest as in the paper. Leaves of 20 pairs keep it from learning the states of single tasks by heart.
    """
    with np.load(PAIRS) as pairs:
        features, drops = pairs["features"], pairs["drops"]
    forest = RandomForestRegressor(100, max_depth=10, max_features=3, min_samples_leaf=20, n_jobs=1, random_state=0)
    return forest.fit(features, drops)


class Lal(PoolStrategy):
    """Ask for the row whose label is predicted to lower a forest's error most: LAL, Konyushkova et al., NIPS 2017.

    It grows a random forest of its own for each pool and query, whatever the learner is, and goes by that alone: see
    `state_features`. This is scikit-learn's, one pool after the other, and takes some hundredths of a second each.
    Columns that are alike in all rows of a pool are left out. A pool without any label has the same score everywhere.
    """

    name = "lal"
    packages = ("scikit-learn",)

    @property
    def depends_on(self) -> tuple[Path]:
        return (PAIRS,)

    def score(self, state: PoolState) -> Tensor:
        seeds = torch.randint(2**31 - 1, (len(state.x),), generator=self.generator, device=state.x.device).tolist()
        known_x, labels, weight = (part.cpu().numpy() for part in state.labelled_rows())
        x, exists, available = (part.cpu().numpy() for part in (state.x, state.exists, state.available))
        judged = available & (weight > 0).any(1, keepdims=True)
        features = [np.empty((0, 8))]
        for pool in np.flatnonzero(judged.any(1)):
            rows, known = x[pool][exists[pool]], weight[pool] > 0
            varies = (rows != rows[0]).any(0)
            varies[:1] |= not varies.any()
            y = labels[pool][known]
            forest = grow(known_x[pool][known][:, varies], y, seeds[pool])
            rows = x[pool][available[pool]][:, varies]
            features.append(state_features(forest, y, rows, int(state.num_classes[pool])))
        scores = np.zeros(judged.shape, dtype=np.float32)
        if judged.any():
            scores[judged] = regressor().predict(np.concatenate(features))
        return torch.as_tensor(scores, device=state.x.device)
