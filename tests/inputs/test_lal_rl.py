"""What LAL-RL reads, held to a plain transcription."""

import dataclasses

import numpy as np
import pytest
import torch

from almeta.build import as_config, build, choose
from almeta.errors import AlmetaError
from almeta.geometry import Geometry
from almeta.inputs import LalRL
from tests.strategies.pools import make_pools, with_probabilities


def plain(state, e, rows_aside):
    """The numbers of one pool, candidates `[N, 3]` and sorted probabilities, by loops over its rows."""
    rows = np.flatnonzero(state.exists[e])
    known = [row for row in rows if state.labels[e, row] >= 0]
    unknown = [row for row in rows if state.labels[e, row] < 0]
    x = state.x[e].double().numpy()
    p = state.probabilities[e].double().numpy()

    def probability(row):
        if state.num_classes[e] == 2:
            return p[row, 0]
        first, second = sorted(p[row])[::-1][:2]
        return (1 + first - second) / 2

    def distance(row, others):
        length = np.linalg.norm
        cosines = [x[row] @ x[other] / (length(x[row]) * length(x[other])) for other in others]
        return np.mean(1 - np.array(cosines)) if others else 1.0

    candidates = np.zeros((state.x.shape[1], 3))
    for row in rows:
        if state.available[e, row]:
            candidates[row] = probability(row), distance(row, unknown), distance(row, known)
    order = torch.rand(100, generator=torch.Generator().manual_seed(0), dtype=torch.float64).numpy()
    aside = sorted(unknown, key=lambda row: order[row])[:rows_aside]
    # Of as many rows as wanted these are their sorted probabilities.
    wanted = np.quantile([probability(row) for row in aside], np.linspace(0, 1, rows_aside)) if aside else 0.0
    return candidates, np.broadcast_to(wanted, rows_aside)


@pytest.mark.parametrize("rows_aside", [1, 7, 30])
@pytest.mark.parametrize("labelled", [(4, 3), (0, 0), (13, 11)])
def test_the_numbers_are_those_of_a_plain_loop(rows_aside, labelled):
    state = make_pools((14, 11), (3, 2), (3, 2), labelled).state
    view = LalRL(rows_aside)(state)
    assert view.candidates.dtype == view.pool.dtype == torch.float32
    for e in range(2):
        candidates, pool = plain(state, e, rows_aside)
        np.testing.assert_allclose(view.candidates[e], candidates, atol=2e-6)
        np.testing.assert_allclose(view.pool[e], pool, atol=1e-6)


def test_of_as_many_rows_or_more_there_is_no_interpolation():
    state = make_pools((80, 34), (3, 3), (2, 2), (4, 4)).state
    pool = LalRL()(state).pool
    assert pool.shape == (2, 30)
    assert (pool.diff(dim=1) >= 0).all()
    probabilities = state.probabilities[1, (state.exists & (state.labels < 0))[1], 0]
    assert torch.equal(pool[1], probabilities.sort().values)  # 30 rows are left
    assert all(value in state.probabilities[0, :, 0] for value in pool[0])


@pytest.mark.parametrize("more", [(5, 0, 0), (0, 3, 0), (0, 0, 4), (6, 2, 3)])
def test_padding_changes_nothing(more):
    inputs = LalRL(5)
    whole, padded = make_pools((14, 9)), make_pools((14, 9), more=more)
    for _ in range(2):
        view, other = inputs(whole.state), inputs(padded.state)
        torch.testing.assert_close(other.candidates[:, :14], view.candidates, atol=1e-6, rtol=0)
        assert (other.candidates[:, 14:] == 0).all()
        torch.testing.assert_close(other.pool, view.pool, atol=1e-6, rtol=0)
        rows = whole.state.available.float().argmax(1)
        whole, padded = whole.pick(rows).answer(), padded.pick(rows).answer()


def test_a_row_set_aside_may_be_picked_and_another_takes_its_place():
    pools = make_pools((20,), (2,), (2,), (2,))
    inputs, fixed = LalRL(4), torch.arange(20.0)[None] / 20
    with_places = lambda state: dataclasses.replace(state, probabilities=torch.stack((fixed, 1 - fixed), -1))  # noqa: E731
    before = inputs(with_places(pools.state)).pool[0]
    row = int((before[1] * 20).round())  # its probability is its place
    after = inputs(with_places(pools.pick([row]).answer().state)).pool[0]
    assert set(before.tolist()) - set(after.tolist()) == {float(fixed[0, row])}


def test_two_classes_tell_the_first_ones_probability_and_more_their_margin():
    state = with_probabilities([[0.2, 0.8], [0.7, 0.3], [0.5, 0.5]])
    np.testing.assert_allclose(LalRL()(state).candidates[0, :, 0], [0.2, 0.7, 0.5])
    state = with_probabilities([[0.2, 0.7, 0.1], [0.4, 0.4, 0.2], [0.0, 0.0, 1.0]])
    np.testing.assert_allclose(LalRL()(state).candidates[0, :, 0], [0.75, 0.5, 1.0], atol=1e-7)


def test_rows_of_zeros_and_one_class_are_no_trouble():
    state = make_pools((6,), (2,), (1,), (2,)).state
    x = torch.zeros_like(state.x)
    state = dataclasses.replace(state, x=x, geometry=Geometry(x, state.exists))
    view = LalRL()(state)
    assert view.pool.isfinite().all()
    assert (view.candidates[0, state.available[0], 1:] == 1).all()


def test_its_config_makes_it_again():
    inputs = choose("lal_rl", "inputs", LalRL)
    assert inputs == LalRL() and len(inputs.pool_names) == 30
    assert build(as_config(LalRL(12)), "inputs") == LalRL(12)
    with pytest.raises(AlmetaError, match=r"inputs\.rows_aside is 0; it must be a whole number of at least 1"):
        LalRL(0)
