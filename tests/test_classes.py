"""What is known of classes, held to plain loops."""

import pytest
import torch

from almeta.classes import ClassState, class_accuracies, class_means, folds_of
from almeta.seeding import make_generator

C = 4


def drawn(rows=9, episodes=5, seed=0):
    """Labels `[E, L]`, some of which pad, and probabilities `[E, L, C]` now and before."""
    generator = make_generator(seed, "classes")
    labels = torch.randint(-1, C - 1, (episodes, rows), generator=generator)  # nobody is of the last class
    return labels, torch.rand(2, episodes, rows, C, generator=generator)


def make_state(labels, held_out, before, **changes):
    episodes = len(labels)
    known = {
        "available": torch.ones(episodes, C, dtype=torch.bool),
        "num_classes": torch.full((episodes,), C),
        "shares": torch.full((episodes, C), 1 / C),
        "labels": labels,
        "held_out": held_out,
        "held_out_before": before,
        "drawn": torch.zeros(episodes, C, dtype=torch.int64),
        "picks": torch.zeros(labels.shape, dtype=torch.int64),
        "budget": 20,
        "spent": 5,
        "query_size": 5,
    }
    return ClassState(**(known | changes))


def mean(values):
    return sum(values) / len(values) if values else 0.0


def test_the_accuracy_of_a_class_is_the_share_of_its_rows_that_are_predicted_to_be_of_it():
    labels, (held_out, _) = drawn()
    found = class_accuracies(labels, held_out)
    for e in range(len(labels)):
        for c in range(C):
            own = [row for row in range(labels.shape[1]) if labels[e, row] == c]
            right = [float(held_out[e, row].tolist().index(max(held_out[e, row].tolist())) == c) for row in own]
            assert found[e, c] == pytest.approx(mean(right))
    assert 0 < found.mean() < 1 and (found[:, -1] == 0).all()


def test_a_mean_of_no_rows_is_0():
    values = torch.tensor([[1.0, 3.0, 5.0]])
    assert class_means(values, torch.tensor([[0, 0, -1]]), 2).tolist() == [[2.0, 0.0]]
    assert class_means(values[:, :0], torch.zeros(1, 0, dtype=torch.int64), 2).tolist() == [[0.0, 0.0]]


def test_gains_and_changed_predictions_are_those_of_the_rows_there_were_before():
    labels, (now, before) = drawn()
    state = make_state(labels, now, before[:, :6])
    gains, changed = state.gains, state.redistricted
    for e in range(len(labels)):
        for c in range(C):
            own = [row for row in range(9) if labels[e, row] == c]
            old = [row for row in own if row < 6]
            hits = mean([float(now[e, row].argmax() == c) for row in own])
            hits_before = mean([float(before[e, row].argmax() == c) for row in old])
            assert gains[e, c] == pytest.approx(hits - hits_before)
            differs = [float(now[e, row].argmax() != before[e, row].argmax()) for row in old]
            assert changed[e, c] == pytest.approx(mean(differs))
    assert (gains > 0).any() and (gains < 0).any() and changed.any()


def test_in_the_first_query_nothing_is_gained_or_changed():
    labels, (now, _) = drawn()
    state = make_state(labels, now, now[:, :0])
    assert state.accuracies.any()
    assert not state.gains.any() and not state.redistricted.any()


def test_rows_of_a_class_take_the_folds_in_turn():
    labels = torch.tensor([[0, 0, 1, -1, 0, 1, 0, 2, 1]])
    folds = folds_of(labels, 3, 3)[0].tolist()
    assert [folds[place] for place in (0, 1, 4, 6)] == [0, 1, 2, 0]
    assert [folds[place] for place in (2, 5, 8)] == [1, 2, 0]  # another class begins at another fold
    assert folds[7] == 2
    assert folds_of(labels[:, :5], 3, 3)[0].tolist() == folds[:5]  # a row stays in its fold


def test_counts_are_rows_that_the_learner_is_fit_to():
    labels, (now, before) = drawn()
    counts = make_state(labels, now, before, drawn=torch.ones(5, C, dtype=torch.int64)).counts
    assert counts.tolist() == [[int((row == c).sum()) for c in range(C)] for row in labels]
