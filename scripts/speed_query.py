"""How fast `almeta.query` is: `python scripts/speed.py query`."""

import time
from statistics import median

import numpy as np
from sklearn.linear_model import LogisticRegression

import almeta

PICKS, LABELS, FEATURES = 20, 50, 30
ROWS = (1_000, 20_000, 100_000)


def query(repeats: int) -> None:
    """Seconds to choose rows, by strategies and the shipped policy, against a plain loop of scikit-learn."""
    print(f"{PICKS} rows to label next, {LABELS} labels, {FEATURES} features; ratio to a plain loop with margin")
    print(f"{'rows':>9}  {'plain loop':>10}  {'margin':>15}  {'core_set':>15}  {'transfer':>15}")
    for rows in ROWS:
        rng = np.random.default_rng(0)
        X = rng.normal(size=(rows, FEATURES))
        y = np.full(rows, None, dtype=object)
        y[:LABELS] = np.where(X[:LABELS, :2].sum(1) > 0, "a", "b")
        seconds: dict[str, list[float]] = {name: [] for name in ("plain", "margin", "core_set", "transfer")}
        for _ in range(repeats):
            for name, times in seconds.items():
                start = time.perf_counter()
                if name == "plain":
                    _plain(X, y)
                else:
                    almeta.query(X, y, PICKS, by=name)
                times.append(time.perf_counter() - start)
        plain, *others = (median(times) for times in seconds.values())
        print(f"{rows:9,}  {plain:8.2f} s  " + "  ".join(f"{one:6.2f} s {plain / one:5.2f}x" for one in others))


def _plain(X: np.ndarray, y: np.ndarray) -> list[int]:
    """Pick the smallest margin and refit with the predicted label, again and again."""
    X, y = (X - X.mean(0)) / X.std(0), y.copy()
    picks = []
    for _ in range(PICKS):
        known = np.array([label is not None for label in y])
        model = LogisticRegression().fit(X[known], y[known].astype(str))
        probabilities = np.sort(model.predict_proba(X), 1)
        gap = np.where(known, np.inf, probabilities[:, -1] - probabilities[:, -2])
        picks.append(int(gap.argmin()))
        y[picks[-1]] = model.predict(X[picks[-1:]])[0]
    return picks
