"""Greedy sampling, against a direct transcription of Wu, Lin & Huang 2019."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from almeta.learners import gaussian_process, make_learner
from almeta.seeding import make_generator
from almeta.strategies import committee, greedy, make_strategy
from almeta.strategies.choosing import best_action
from almeta.strategies.greedy import (
    GreedyBoth,
    GreedyInputs,
    GreedyOutputs,
    centrality,
    nearest_output,
    smallest_product,
)
from almeta.strategies.regression import predicted
from tests.strategies.pools import make_pools, utilities_of


def transcribed(state, pool):
    """The three scores of each row of a pool, by equations 3, 5 and 8, in loops."""
    x, labels = state.x[pool].numpy().astype(float), state.labels[pool].numpy().astype(float)
    said = predicted(state)[0][pool].numpy().astype(float)
    known = [row for row in range(len(x)) if not np.isnan(labels[row])]
    scores = []
    for n in range(len(x)):
        in_x = [np.linalg.norm(x[n] - x[m]) for m in known]
        in_y = [abs(said[n] - labels[m]) for m in known]
        scores.append((min(in_x), min(in_y), min(a * b for a, b in zip(in_x, in_y, strict=True))))
    return np.array(scores).T


@pytest.mark.parametrize("pool", [0, 1])
def test_the_scores_are_those_of_the_paper(pool):
    state = make_pools(numbers=True).state
    open_rows = state.available[pool]
    for strategy, expected in zip(
        (GreedyInputs(), GreedyOutputs(), GreedyBoth()), transcribed(state, pool), strict=True
    ):
        got = utilities_of(strategy, state)[pool]
        np.testing.assert_allclose(got[open_rows], expected[open_rows], rtol=1e-4, atol=1e-5)


def test_rows_that_were_picked_and_not_answered_count_in_inputs_alone():
    pools = make_pools(numbers=True, labelled=(4, 4))
    before = [utilities_of(make_strategy(name), pools.state) for name in ("gsx", "gsy", "igs")]
    rows = before[0].argmax(1)
    pools = pools.pick(rows)
    after = [utilities_of(make_strategy(name), pools.state) for name in ("gsx", "gsy", "igs")]
    open_rows = pools.state.available
    distance = torch.linalg.vector_norm(pools.state.x - pools.state.x[[0, 1], rows][:, None], dim=-1)
    torch.testing.assert_close(after[0][open_rows], torch.minimum(before[0], distance)[open_rows])
    assert all(torch.equal(one[open_rows], other[open_rows]) for one, other in zip(before[1:], after[1:], strict=True))


def test_the_first_row_in_inputs_is_the_one_nearest_to_the_mean():
    state = make_pools(numbers=True, labelled=(0, 0)).state
    picked = best_action(utilities_of(GreedyInputs(), state), state.available, make_generator(0, "ties"))
    for pool, rows in enumerate((14, 11)):
        x = state.x[pool, :rows].numpy()
        assert picked[pool] == np.linalg.norm(x - x.mean(0), axis=1).argmin()
    torch.testing.assert_close(
        utilities_of(GreedyInputs(), state), centrality(state.x, state.exists).masked_fill(~state.available, -torch.inf)
    )


def test_labels_that_are_not_there_do_not_count():
    said, labels = torch.tensor([[0.0, 5.0]]), torch.tensor([[1.0, 5.0]])
    known, distance = torch.tensor([[True, False]]), torch.tensor([[[2.0, 0.1], [3.0, 0.1]]])
    assert nearest_output(said, labels, known).tolist() == [[1.0, 4.0]]
    assert smallest_product(distance, said, labels, known).tolist() == [[2.0, 12.0]]
    nobody = torch.tensor([[False, False]])
    assert nearest_output(said, labels, nobody).tolist() == [[0.0, 0.0]]
    assert smallest_product(distance[..., :0], said, labels[:, :0], known[:, :0]).tolist() == [[0.0, 0.0]]


def test_in_inputs_alone_classes_serve_as_well():
    state = make_pools().state
    torch.testing.assert_close(utilities_of(GreedyInputs(), state), utilities_of(make_strategy("core_set"), state))


@pytest.mark.parametrize("name", ["gsy", "igs", "committee_variance", "emcm", "predictive_variance"])
def test_rows_in_blocks_score_as_all_at_once(name, monkeypatch):
    state = make_pools(numbers=True).state
    x, labels, weight = state.labelled_rows()
    learner = make_learner("gaussian_process")
    model = learner.fit(x, labels, weight, 0)
    scores = []
    for block in (1 << 22, 30):  # numbers: all rows, and one or a few
        for module in (greedy, committee, gaussian_process):
            monkeypatch.setattr(module, "_BLOCK", block)
        given = replace(state, learner=learner, model=model, prediction=model.predict(state.x))
        scores.append(utilities_of(make_strategy(name, make_generator(0, "test")), given))
    torch.testing.assert_close(*scores)
