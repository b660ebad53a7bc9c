"""When to stop labelling: how good the predictions are, whether they still change, what more labels would bring.

Rows that a strategy chose are harder than the others, so that the accuracy on them is too low an estimate. How sure the
learner is of a row explains most of that: `estimate_accuracy` learns from held-out predictions how often predictions of
each confidence are right, and applies it to the rows without a label.

The constants were chosen on half of the tables and judged on the other half: see `docs/stopping.md`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import betabinom
from sklearn.metrics import cohen_kappa_score
from torch import Tensor

from almeta.errors import AlmetaError
from almeta.learners import Learner
from almeta.learners.learner import Rng
from almeta.seeding import make_generator

FOLDS = 10
MIN_LABELS = 10
HORIZON = 20  # labels: what more of them bring, and the stretch over which predictions must be stable
ROUND = 5  # labels between two predictions that are compared
STOP_SET = 2000  # rows without a label that are looked at; of more, as many drawn at random

# Normal priors of the calibration: intercept and slope of the learner's own odds (0 and 1 trust it), and how much less
# often rows that were chosen are predicted right than rows drawn at random.
_PRIOR_MEAN = np.array([0.0, 1.0, 0.0])
_PRIOR_SD = np.array([1.0, 0.5, 0.5])
# Held-out predictions share training rows, so that they tell less than as many independent ones: variances double.
_DISPERSION = 2.0
_SMALLEST = 1e-4  # probability
# Predictions change in blocks of rows, for better or worse: of about 1 / (3 L) of the pool.
_BLOCKS_PER_LABEL = 3.0


@dataclass(frozen=True)
class LabelledPool:
    """One pool and its labels in the order in which they came; everything is computed on the CPU.

    Rows whose label is -1 (no answer) count as rows without a label.

    Args:
        x: `[N, D]` float32, prepared features of all rows.
        rows: `[L]` int64, the labelled rows in the order in which they were labelled.
        labels: `[L]` int64, their class numbers in 0 .. C-1; -1 for no answer.
        was_random: `[L]` bool, which of these rows were drawn at random among those without a label.
        num_classes: C.
        learner: how the classifier is fit.

    Raises:
        AlmetaError: if shapes do not fit, a row or a label is out of range, or a row is given twice.
    """

    x: Tensor
    rows: Tensor
    labels: Tensor
    was_random: Tensor
    num_classes: int
    learner: Learner

    def __post_init__(self) -> None:
        dtypes = {"x": torch.float32, "rows": torch.int64, "labels": torch.int64, "was_random": torch.bool}
        for name, dtype in dtypes.items():
            object.__setattr__(self, name, torch.as_tensor(getattr(self, name), dtype=dtype, device="cpu"))
        shapes = {name: list(getattr(self, name).shape) for name in dtypes}
        if len(shapes["x"]) != 2 or not shapes["rows"] == shapes["labels"] == shapes["was_random"] == [len(self.rows)]:
            raise AlmetaError(f"x must be [N, D], and rows, labels and was_random [L]; they are {shapes}")
        for name, least, limit in (("rows", 0, len(self.x)), ("labels", -1, self.num_classes)):
            for value in getattr(self, name).tolist():
                if not least <= value < limit:
                    raise AlmetaError(f"{value} is among {name}; they must be from {least} to {limit - 1}")
        if len(self.rows.unique()) < len(self.rows):
            raise AlmetaError("a row is given twice; name each labelled row once")
        answered = self.labels >= 0
        for name in ("rows", "labels", "was_random"):
            object.__setattr__(self, name, getattr(self, name)[answered])

    def __len__(self) -> int:
        """The number of labels L."""
        return len(self.rows)

    @property
    def unlabelled(self) -> Tensor:
        """`[U]` int64, the rows without a label, in their order."""
        free = torch.ones(len(self.x), dtype=torch.bool)
        free[self.rows] = False
        return free.nonzero()[:, 0]

    def stop_set(self, generator: torch.Generator) -> Tensor:
        """Return `[M]` int64, the rows without a label, or `STOP_SET` of them drawn at random."""
        rows = self.unlabelled
        return rows[torch.randperm(len(rows), generator=generator)[:STOP_SET]] if len(rows) > STOP_SET else rows

    def predict(self, weight: Tensor, rows: Tensor, generator: Rng) -> Tensor:
        """Fit a classifier for each row of the labels' weights `[E, L]`, and return the probabilities `[E, M, C]`."""
        x, labels = (part.expand(len(weight), *part.shape) for part in (self.x[self.rows], self.labels))
        model = self.learner.fit(x, labels, weight, self.num_classes, generator=generator)
        return model.probabilities(self.x[rows].expand(len(weight), -1, -1))

    def predict_after(self, sizes: list[int], generator: torch.Generator) -> Tensor:
        """Return the probabilities `[S, M, C]` of the stop set after the first `sizes` labels, in one fit."""
        weight = (torch.arange(len(self)) < torch.tensor(sizes)[:, None]).float()
        return self.predict(weight, self.stop_set(generator), generator)


@dataclass(frozen=True)
class Estimate:
    """The accuracy on the rows without a label.

    Attributes:
        accuracy: in [0, 1]; None if there are too few labels to tell.
        low: lower end of the 95 % interval; 0 if there are too few labels.
        high: its upper end; 1 if there are too few labels.
        method: in words, how it was estimated, or why it was not.
    """

    accuracy: float | None
    low: float
    high: float
    method: str


@dataclass(frozen=True)
class Gain:
    """What the next labels are expected to bring.

    Attributes:
        labels: how many of them.
        accuracy: expected change of the accuracy on the rows without a label; None if it is too early to tell.
        low: lower end of the 95 % interval of the change; -1 if it is too early.
        high: its upper end; 1 if it is too early.
    """

    labels: int
    accuracy: float | None
    low: float = -1.0
    high: float = 1.0


@dataclass(frozen=True)
class Advice:
    """Whether to stop labelling.

    Attributes:
        stop: the advice.
        sentence: the same with its reasons, for people.
        estimate: of the accuracy so far.
        stability: mean kappa between predictions `ROUND` labels apart, over the last `HORIZON` labels; None if it is
            too early to tell.
        gain: what the next labels are expected to bring.
    """

    stop: bool
    sentence: str
    estimate: Estimate
    stability: float | None
    gain: Gain


def held_out(pool: LabelledPool, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Predict each labelled row by a classifier that has not seen its label, and other rows by one that has seen all.

    The folds are stratified by class. A row whose class has no other label cannot be predicted right.

    Args:
        pool: with L labels, at least one.
        rows: `[M]` int64.
        generator: draws the folds.

    Returns:
        Probabilities `[L, C]` of the labelled rows and `[M, C]` of the others, float32.
    """
    order = torch.randperm(len(pool), generator=generator)
    order = order[pool.labels[order].argsort(stable=True)]
    place = torch.arange(len(pool))
    fold = torch.empty_like(order).scatter_(0, order, place % FOLDS)
    weight = (fold != torch.arange(FOLDS + 1)[:, None]).float()  # [FOLDS + 1, L]; the last one leaves no row out
    found = pool.predict(weight, torch.cat((pool.rows, rows)), generator)
    return found[fold, place], found[-1, len(pool) :]


def estimate_accuracy(pool: LabelledPool, generator: Rng = None) -> Estimate:
    """Estimate the accuracy of a learner with all labels on the rows without a label.

    A logistic regression predicts whether a held-out prediction is right, from the log-odds of its two likeliest
    classes and from whether a strategy chose the row. It is applied to the rows without a label, which nobody chose.
    With few labels its priors make it the learner's own confidence. Rows drawn at random tell how much the choice
    matters; without any, the interval is wider.

    Args:
        pool: with its labels.
        generator: draws folds, and whatever the learner draws; None for one of seed 0.
    """
    generator = generator or make_generator(0, "stopping")
    if why := _too_few(pool):
        return Estimate(None, 0.0, 1.0, why)
    known, others = held_out(pool, pool.stop_set(generator), generator)
    right = (known.argmax(-1) == pool.labels).double().numpy()
    weights, covariance = _calibrate(_design(known, ~pool.was_random), right)
    design = _design(others, torch.zeros(len(others)))
    chance = expit(design @ weights)
    slope = (chance * (1 - chance)) @ design / len(chance)  # of the mean, by the weights
    accuracy = float(chance.mean())
    low, high = _interval(accuracy, _DISPERSION * float(slope @ covariance @ slope), len(chance))
    random = int(pool.was_random.sum())
    return Estimate(
        accuracy,
        low,
        high,
        f"held-out predictions of {len(pool)} labelled rows ({random} of them drawn at random), calibrated by their "
        "confidence, applied to the rows without a label",
    )


def _too_few(pool: LabelledPool) -> str | None:
    """Say why the accuracy cannot be estimated, if so."""
    if not len(pool.unlabelled):
        return "no row is left without a label"
    if len(pool) < MIN_LABELS:
        return f"too few labels to tell: {len(pool)} of at least {MIN_LABELS}"
    if (pool.labels.bincount() > 1).sum() < 2:
        return "too few labels to tell: at least 2 classes need 2 labels each"
    return None


def _design(probabilities: Tensor, chosen: Tensor) -> np.ndarray:
    """Return `[M, 3]` float64: 1, the log-odds of the two likeliest classes, and whether the row was chosen."""
    first, second = probabilities.double().clamp_min(_SMALLEST).log().topk(2, -1).values.unbind(-1)
    return torch.stack((torch.ones_like(first), first - second, chosen.double()), 1).numpy()


def _calibrate(design: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fit a logistic regression with normal priors; return mean `[3]` and covariance `[3, 3]` (Laplace's method)."""

    def loss(w: np.ndarray) -> float:
        logits, away = design @ w, (w - _PRIOR_MEAN) / _PRIOR_SD
        return np.logaddexp(0, logits).sum() - right @ logits + 0.5 * away @ away

    def gradient(w: np.ndarray) -> np.ndarray:
        return design.T @ (expit(design @ w) - right) + (w - _PRIOR_MEAN) / _PRIOR_SD**2

    def hessian(w: np.ndarray) -> np.ndarray:
        chance = expit(design @ w)
        return (design * (chance * (1 - chance))[:, None]).T @ design + np.diag(_PRIOR_SD**-2)

    weights = minimize(loss, _PRIOR_MEAN, jac=gradient, hess=hessian, method="trust-exact").x
    return weights, np.linalg.inv(hessian(weights))


def _interval(mean: float, variance: float, rows: int) -> tuple[float, float]:
    """Return a 95 % interval of the share of right predictions among `rows`: beta-binomial, of a beta's moments."""
    mean = min(max(mean, _SMALLEST), 1 - _SMALLEST)
    size = max(mean * (1 - mean) / variance - 1, 0.1)
    low, high = betabinom.ppf([0.025, 0.975], rows, mean * size, (1 - mean) * size) / rows
    return float(low), float(high)


def stability(before: Any, after: Any) -> float:
    """Return how far the predictions of two rounds agree: Cohen's kappa, 1 for equal ones.

    M. Bloodgood and K. Vijay-Shanker, A Method for Stopping Active Learning Based on Stabilizing Predictions and the
    Need for User-Adjustable Stopping, CoNLL 2009 (arXiv 1409.5165): stop when it is .99 on average over some rounds.

    Args:
        before: `[N, C]`, probabilities of the same rows in the earlier round.
        after: `[N, C]`, in the later round.

    Raises:
        AlmetaError: if the shapes differ.
    """
    first, second = np.asarray(before), np.asarray(after)
    if first.shape != second.shape or first.ndim != 2:
        raise AlmetaError(f"before {list(first.shape)} and after {list(second.shape)} must both be [N, C]")
    said, now = first.argmax(1), second.argmax(1)
    return 1.0 if (said == now).all() else float(cohen_kappa_score(said, now))  # kappa of a single class is 0 / 0


def expected_gain(pool: LabelledPool, labels: int = HORIZON, generator: Rng = None) -> Gain:
    """Expect what the next labels bring from what the last ones have brought.

    The learner is fit to the first half of the labels, to all of them, and to numbers between. The probabilities that
    all labels give say how much less accurate each earlier fit is on the rows without a label. The curve c - a / L,
    after the rate at which a parametric model's excess error falls, is fitted to these losses and continued. To fit
    one number, a, keeps it steady with few labels. The interval comes from the share of predictions that are going to
    change, which is continued in the same way, in the square root of 1 / L.

    Args:
        pool: with its labels.
        labels: how many more; fewer if fewer rows are left.
        generator: whatever the learner draws; None for one of seed 0.
    """
    generator = generator or make_generator(0, "stopping")
    labels = min(labels, len(pool.unlabelled))
    if _too_few(pool):
        return Gain(labels, None)
    total = len(pool)
    sizes = sorted({round(size) for size in np.linspace(total / 2, total, 9)})
    found = pool.predict_after(sizes, generator)  # [S, M, C]
    now, said = found[-1], found.argmax(-1)
    lost = (now.amax(-1) - now.gather(1, said[:-1].mT).mT).mean(1).double().numpy()  # [S - 1]
    changed = (said[:-1] != said[-1]).double().mean(1).numpy()
    past, ahead = 1 / np.array(sizes[:-1]) - 1 / total, 1 / total - 1 / (total + labels)
    gain = float(past @ lost / (past @ past)) * ahead
    changes = float(np.sqrt(past) @ changed / past.sum()) * math.sqrt(ahead)
    block = 1 / (_BLOCKS_PER_LABEL * total)
    half = 1.96 * math.sqrt((changes + block) * block)  # as if one block more were to change
    return Gain(labels, gain, gain - half, gain + half)


def advise(
    pool: LabelledPool,
    min_gain: float = 0.01,
    min_stability: float = 0.99,
    generator: Rng = None,
    classes: Sequence[Any] = (),
) -> Advice:
    """Advise to stop when predictions are stable and the next labels are expected to bring less than `min_gain`.

    A learner that never predicts a class which has labels is stable because it has not learnt that class yet: the
    advice is to go on.

    Args:
        pool: with its labels.
        min_gain: accuracy that the next `HORIZON` labels must be expected to bring to be worth their price.
        min_stability: mean kappa over the last `HORIZON` labels from which predictions count as stable.
        generator: draws folds, and whatever the learner draws; None for one of seed 0.
        classes: what to call the classes in the sentence; empty for their numbers.
    """
    generator = generator or make_generator(0, "stopping")
    estimate, gain = estimate_accuracy(pool, generator), expected_gain(pool, generator=generator)
    if not len(pool.unlabelled):
        return Advice(True, "Stop: no row is left without a label.", estimate, None, gain)
    if estimate.accuracy is None or gain.accuracy is None:
        return Advice(False, f"Go on: {estimate.method}.", estimate, None, gain)
    accuracy = f"accuracy is about {_text(estimate.accuracy)} ({_text(estimate.low)} to {_text(estimate.high)})"
    if len(pool) < HORIZON + ROUND:
        sentence = f"Go on: {accuracy}, and {len(pool)} labels are too few to tell whether predictions are stable."
        return Advice(False, sentence, estimate, None, gain)
    sizes = [len(pool) - back for back in range(HORIZON, -1, -ROUND)]
    found = pool.predict_after(sizes, generator)
    kappa = float(np.mean([stability(before, after) for before, after in pairwise(found)]))
    unchanged = float((found[0].argmax(-1) == found[-1].argmax(-1)).double().mean())
    never = sorted({*pool.labels.tolist()} - {*found[-1].argmax(-1).tolist()})
    stop = kappa >= min_stability and gain.accuracy < min_gain and not never
    amount = (
        f"less than {min_gain:g}".replace("0.", ".") if gain.accuracy < min_gain else f"about {_text(gain.accuracy)}"
    )
    sentence = (
        f"{'Stop' if stop else 'Go on'}: {100 * unchanged:.0f} % of predictions are unchanged over the last {HORIZON} "
        f"labels, {accuracy}, and {gain.labels} more labels are expected to bring {amount} ({_text(gain.low)} to "
        f"{_text(gain.high)})."
    )
    if never:
        names = ", ".join(repr(classes[number]) if classes else str(number) for number in never)
        sentence += f" No row without a label is predicted to be of class {names}, though there are labels of it."
    return Advice(stop, sentence, estimate, kappa, gain)


def _text(value: float) -> str:
    """Return a share to two decimals, without the zero before the point; never -.00."""
    return f"{round(value, 2) + 0.0:.2f}".replace("0.", ".", 1)
