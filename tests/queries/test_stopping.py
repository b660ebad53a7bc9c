import re
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from almeta.errors import AlmetaError
from almeta.learners import make_learner
from almeta.pool import Pool
from almeta.queries.stopping import (
    STOP_SET,
    LabelledPool,
    advise,
    estimate_accuracy,
    expected_gain,
    held_out,
    stability,
)
from almeta.seeding import make_generator
from almeta.strategies.choosing import best_action
from almeta.strategies.uncertainty import margin

LEARNER = make_learner("logistic_regression")


@dataclass(frozen=True)
class Confident:
    """A learner that reads off a row how sure it is of class 1, whatever it is taught."""

    def fit(self, x, y, weight, num_classes, start=None, generator=None):
        return self

    def probabilities(self, x: Tensor) -> Tensor:
        return torch.stack((1 - x[..., 0], x[..., 0]), -1)


@dataclass(frozen=True)
class Growing:
    """A learner that says class 1 of a share 1 / 2 + amount / labels of the rows, whose feature is their rank."""

    amount: float
    labels: Tensor = field(default_factory=lambda: torch.ones(1, 1))

    def fit(self, x, y, weight, num_classes, start=None, generator=None):
        return replace(self, labels=weight.sum(1)[:, None])

    def probabilities(self, x: Tensor) -> Tensor:
        says_one = (x[..., 0] < 0.5 + self.amount / self.labels).float()
        return torch.stack((1 - says_one, says_one), -1)


def noisy_pools(episodes: int, rows: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Rows `[E, N, 4]`, and labels: a smooth step along the first feature, so that most rows are easy."""
    generator = make_generator(seed, "pools")
    x = 2 * torch.randn(episodes, rows, 4, generator=generator)
    luck = torch.rand(episodes, rows, generator=generator)
    return x, (luck < (2 * x[..., 0]).sigmoid()).long()


def labelled_by_margin(x: Tensor, y: Tensor, labels: int, random_share: float) -> list[LabelledPool]:
    generator = make_generator(0, "play")
    first = torch.stack((y.argmin(1), y.argmax(1)), 1)
    exists, classes = torch.ones_like(y, dtype=torch.bool), torch.full((len(y),), 2)
    pool = Pool(x, exists, first, y.gather(1, first), classes, LEARNER)
    was_random = [torch.zeros_like(first, dtype=torch.bool)]
    while pool.state().picks.shape[1] < labels:
        state = pool.state()
        was_random.append(torch.rand(len(y), 1, generator=generator) < random_share)
        rows = best_action(margin(state.probabilities).masked_fill(was_random[-1], 0.0), state.available, generator)
        pool.tell(rows, y.gather(1, rows[:, None])[:, 0])
    picks = zip(x, pool.state().picks, y, torch.cat(was_random, 1), strict=True)
    return [LabelledPool(x, rows, y[rows], random, 2, LEARNER) for x, rows, y, random in picks]


# ---- the accuracy so far


@pytest.mark.parametrize("random_share", [0.0, 0.2])
def test_the_estimate_meets_the_truth_where_cross_validation_is_far_too_low(random_share):
    x, y = noisy_pools(24, 200)
    truth, naive, found = [], [], []
    for pool, labels in zip(labelled_by_margin(x, y, 50, random_share), y, strict=True):
        known, others = held_out(pool, pool.unlabelled, make_generator(0, "folds"))
        truth.append(float((others.argmax(-1) == labels[pool.unlabelled]).double().mean()))
        naive.append(float((known.argmax(-1) == pool.labels).double().mean()))
        found.append(estimate_accuracy(pool))
    assert np.mean(truth) > 0.85
    assert np.mean(naive) < np.mean(truth) - 0.1
    assert np.mean([estimate.accuracy for estimate in found]) == pytest.approx(np.mean(truth), abs=0.03)
    covered = [estimate.low <= value <= estimate.high for estimate, value in zip(found, truth, strict=True)]
    assert np.mean(covered) > 0.9
    assert np.mean([estimate.high - estimate.low for estimate in found]) < 0.35


def test_with_many_labels_the_estimate_is_the_share_of_right_predictions_at_each_confidence():
    # The learner is sure to 60 % of some rows and to 95 % of others; in truth it is right in 50 % and in 80 %.
    sure = torch.tensor([0.6, 0.95]).repeat_interleave(2000)
    labels = torch.cat((torch.arange(2000) % 2, (torch.arange(2000) % 5 > 0).long()))
    # Nine labelled rows of ten are of the first kind; of the rows without a label, one of four is.
    rows = torch.cat((torch.arange(1800), torch.arange(2000, 2200)))
    keep = torch.cat((rows, torch.arange(1800, 2000), torch.arange(2200, 2800)))
    x, y = sure[keep, None], labels[keep]
    random = torch.arange(2000) % 4 < 2
    estimate = estimate_accuracy(LabelledPool(x, torch.arange(2000), y[:2000], random, 2, Confident()))
    assert estimate.accuracy == pytest.approx(0.25 * 0.5 + 0.75 * 0.8, abs=0.02)
    assert estimate.low < 0.725 < estimate.high
    # Twice the binomial variance of the shares, and that of 800 rows.
    spread = (2 * (0.25**2 * 0.25 / 1800 + 0.75**2 * 0.16 / 200) + 0.2 / 800) ** 0.5
    assert estimate.high - estimate.low == pytest.approx(2 * 1.96 * spread, rel=0.15)
    assert "2000 labelled rows (1000 of them drawn at random)" in estimate.method


def test_rows_drawn_at_random_tell_how_much_the_choice_matters():
    # Chosen rows are right in 50 %, those drawn at random in 80 %, at the same confidence.
    x, random = torch.full((2000, 1), 0.8), torch.arange(1000) % 2 == 0
    labels = torch.where(random, (torch.arange(1000) % 10 < 8).long(), (torch.arange(1000) % 4 == 1).long())
    assert labels[random].double().mean() == 0.8 and labels[~random].double().mean() == 0.5
    estimate = estimate_accuracy(LabelledPool(x, torch.arange(1000), labels, random, 2, Confident()))
    assert estimate.accuracy == pytest.approx(0.8, abs=0.03)
    unknown = estimate_accuracy(LabelledPool(x, torch.arange(1000), labels, random & False, 2, Confident()))
    assert unknown.high - unknown.low > 2 * (estimate.high - estimate.low)


def test_a_held_out_prediction_does_not_know_its_own_label():
    x, y = noisy_pools(1, 40)
    pool = LabelledPool(x[0], torch.arange(20), y[0, :20], torch.zeros(20), 2, LEARNER)
    known, others = held_out(pool, pool.unlabelled, make_generator(0, "folds"))
    full = LEARNER.fit(x[:, :20], y[:, :20], torch.ones(1, 20), 2).probabilities(x[:, 20:])[0]
    torch.testing.assert_close(others, full, atol=1e-3, rtol=0)
    own = LEARNER.fit(x[:, :20], y[:, :20], torch.ones(1, 20), 2).probabilities(x[:, :20])[0]
    truth = pool.labels[:, None]
    # A fit is surer of labels that it was taught.
    assert (known.gather(1, truth) < own.gather(1, truth)).double().mean() > 0.8


def test_a_row_whose_class_has_no_other_label_is_held_out_from_all_of_its_class():
    x, y = noisy_pools(1, 40)
    labels = y[0, :20].clone()
    labels[3] = 2
    pool = LabelledPool(x[0], torch.arange(20), labels, torch.zeros(20), 3, LEARNER)
    known, _ = held_out(pool, pool.unlabelled, make_generator(0, "folds"))
    assert known[3, 2] == 0 and known[:3, 2].min() > 0


@pytest.mark.parametrize(
    ("labels", "why"),
    [
        ([0, 1] * 4, "8 of at least 10"),
        ([0] * 12, "at least 2 classes need 2 labels each"),
        ([0] * 11 + [1], "at least 2 classes need 2 labels each"),
        ([0, 1] * 15, "no row is left"),
    ],
)
def test_too_few_labels_are_said_to_be(labels, why):
    x, _ = noisy_pools(1, 30)
    pool = LabelledPool(x[0], torch.arange(len(labels)), torch.tensor(labels), torch.zeros(len(labels)), 2, LEARNER)
    estimate, gain = estimate_accuracy(pool), expected_gain(pool)
    assert (estimate.accuracy, estimate.low, estimate.high) == (None, 0.0, 1.0)
    assert why in estimate.method
    assert (gain.labels, gain.accuracy, gain.low, gain.high) == (min(20, 30 - len(labels)), None, -1.0, 1.0)
    advice = advise(pool)
    assert advice.stop == ("no row" in why)
    assert why in advice.sentence


# ---- whether predictions change


def test_stability_is_kappa_by_hand():
    before = torch.eye(2)[torch.tensor([0] * 5 + [1] * 5)]
    after = torch.eye(2)[torch.tensor([0] * 4 + [1] * 6)]
    # They agree in 9 of 10; by chance in .5 * .4 + .5 * .6.
    assert stability(before, after) == pytest.approx((0.9 - 0.5) / (1 - 0.5))
    assert stability(before, 1 - before) == pytest.approx(-1.0)
    assert stability(before, before) == 1.0
    assert stability(np.eye(3)[[2, 2]], np.eye(3)[[2, 2]]) == 1.0  # one class alone
    with pytest.raises(AlmetaError, match=re.escape("before [10, 2] and after [9, 2]")):
        stability(before, after[:9])


# ---- what more labels bring


@pytest.mark.parametrize("labels", [40, 100])
def test_a_gain_that_falls_as_one_over_the_labels_is_continued(labels):
    x = torch.linspace(0, 1, 2000)[torch.randperm(2000, generator=make_generator(0, "order")), None]
    pool = LabelledPool(x, torch.arange(labels), torch.arange(labels) % 2, torch.zeros(labels), 2, Growing(5.0))
    gain = expected_gain(pool)
    expected = 5 / labels - 5 / (labels + 20)
    assert (gain.labels, gain.accuracy) == (20, pytest.approx(expected, rel=0.05))
    assert gain.low < expected < gain.high
    assert expected_gain(pool, 40).accuracy == pytest.approx(5 / labels - 5 / (labels + 40), rel=0.05)
    still = expected_gain(replace(pool, learner=Growing(0.0)))
    assert still.accuracy == 0.0
    assert still.high == -still.low == pytest.approx(1.96 / (3 * labels))  # one block
    assert gain.high - gain.low > 2 * (still.high - still.low)


# ---- the advice


def test_the_advice_is_to_go_on_while_predictions_change_and_to_stop_when_they_do_not():
    x = torch.linspace(0, 1, 2000)[torch.randperm(2000, generator=make_generator(0, "order")), None]
    labels = (x[:100, 0] < 0.6).long()
    pool = LabelledPool(x, torch.arange(100), labels, torch.zeros(100), 2, Growing(10.0))
    change = advise(pool)
    # .625 of the rows were said to be of class 1 after 80 labels and .6 are now; the next 20 bring 10 / 100 - 10 / 120.
    assert not change.stop
    assert change.stability is not None and 0.97 < change.stability < 0.99
    assert re.fullmatch(
        r"Go on: 9[78] % of predictions are unchanged over the last 20 labels, accuracy is about [\d.]+ \([\d.]+ to "
        r"[\d.]+\), and 20 more labels are expected to bring about \.02 \(-?\.\d\d to \.\d\d\)\.",
        change.sentence,
    )
    rest = advise(replace(pool, learner=Growing(0.0)))
    assert rest.stop and rest.stability == 1.0
    assert rest.sentence.startswith("Stop: 100 % of predictions are unchanged over the last 20 labels, accuracy is")
    assert "20 more labels are expected to bring less than .01 (-.01 to .01)." in rest.sentence
    assert advise(pool, min_gain=0.02, min_stability=0.97).stop


def test_stability_needs_more_labels_than_an_estimate():
    x, y = noisy_pools(1, 60)
    pool = LabelledPool(x[0], torch.arange(24), y[0, :24], torch.ones(24), 2, LEARNER)
    advice = advise(pool)
    assert not advice.stop and advice.stability is None and advice.estimate.accuracy is not None
    assert "24 labels are too few to tell whether predictions are stable" in advice.sentence


def test_the_same_generator_gives_the_same_advice_and_many_rows_are_sampled():
    x, y = noisy_pools(1, 20_000)
    pool = LabelledPool(x[0], torch.arange(60), y[0, :60], torch.ones(60), 2, LEARNER)
    assert advise(pool) == advise(pool)
    rows = pool.stop_set(make_generator(0, "rows"))
    assert len(rows) == STOP_SET == len(rows.unique()) and rows.min() >= 60
    predicted = LEARNER.fit(x[:, :60], y[:, :60], torch.ones(1, 60), 2).probabilities(x[:, 60:])[0].argmax(-1)
    truth = float((predicted == y[0, 60:]).double().mean())
    assert estimate_accuracy(pool).accuracy == pytest.approx(truth, abs=0.08)


# ---- what is known of a pool


def test_rows_without_an_answer_count_as_rows_without_a_label():
    x, _ = noisy_pools(1, 6)
    parts: dict[str, Any] = {
        "x": x[0].numpy(),
        "rows": np.array([4, 1, 2]),
        "labels": np.array([0, -1, 1]),
        "was_random": np.array([True, False, False]),
    }
    pool = LabelledPool(**parts, num_classes=2, learner=LEARNER)
    assert (pool.rows.tolist(), pool.labels.tolist(), pool.was_random.tolist()) == ([4, 2], [0, 1], [True, False])
    assert pool.unlabelled.tolist() == [0, 1, 3, 5]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": [0, 6]}, "6 is among rows; they must be from 0 to 5"),
        ({"rows": [1, 1]}, "a row is given twice"),
        ({"labels": [0, 2]}, "2 is among labels; they must be from -1 to 1"),
        ({"labels": [0]}, r"x must be \[N, D\].*'labels': \[1\]"),
        ({"x": torch.zeros(6)}, r"x must be \[N, D\].*'x': \[6\]"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    parts = {"x": torch.zeros(6, 2), "rows": [0, 1], "labels": [0, 1], "was_random": [True, False]}
    with pytest.raises(AlmetaError, match=message):
        LabelledPool(**parts | change, num_classes=2, learner=LEARNER)


def test_go_on_while_a_labelled_class_is_never_predicted():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 2)).astype(np.float32)
    y = (np.abs(x[:, 0]) > 2.1).astype(np.int64)  # rare, and on both sides: no line tells it
    rare = [np.flatnonzero((y == 1) & (np.sign(x[:, 0]) == side))[0] for side in (-1, 1)]
    rows = torch.tensor(np.concatenate([rare, np.flatnonzero(y == 0)[:58]]))
    none = torch.zeros(60, dtype=torch.bool)
    learner = make_learner("logistic_regression")
    pool = LabelledPool(torch.tensor(x), rows, torch.tensor(y)[rows], none, 2, learner)
    advice = advise(pool, classes=["common", "rare"])
    assert advice.stability is not None and advice.stability > 0.99
    assert not advice.stop
    assert advice.sentence.endswith("predicted to be of class 'rare', though there are labels of it.")
