import dataclasses
import math

import pytest
import torch

from almeta.build import as_config, build, choose
from almeta.geometry import Geometry
from almeta.inputs import Candidates, LookAheadCandidates
from almeta.inputs.ahead import AHEAD, POOL_AHEAD
from almeta.seeding import make_generator
from almeta.strategies.choosing import z_scores
from almeta.strategies.look_ahead import LookAhead, condition, kernel, scales
from almeta.strategies.uncertainty import entropy, margin
from tests.strategies.pools import make_pools

INPUTS = LookAheadCandidates()


def candidate(state, name):
    return INPUTS(state).candidates[..., INPUTS.candidate_names.index(name)]


def pool(state, name):
    return INPUTS(state).pool[..., INPUTS.pool_names.index(name)]


def open_rows(state, values):
    return values[state.available]


def believed(state):
    """The posterior mean of the Gaussian process of `look_ahead`, `[E, N, 3]`, in one piece."""
    rows, known = state.picks.clamp_min(0), state.counted_picks
    spread, length = scales(state.geometry)
    matrix = kernel(state.x, state.x, 0.5, spread, length)
    at = rows[..., None].expand(-1, -1, matrix.shape[2])
    covariance = matrix.gather(1, at)
    own = covariance.gather(2, rows[:, None].expand(-1, rows.shape[1], -1))
    posterior = condition(own, state.labels.gather(1, rows), known, 3, 1.0)
    solved, mean = posterior.at(covariance)
    return mean, matrix.diagonal(dim1=1, dim2=2).float() - solved.square().sum(1)


@pytest.fixture
def state():
    return make_pools((14, 9), (3, 3), (3, 3), (4, 5)).state


# --- rules that hold for all inputs ---


@pytest.mark.parametrize("labelled", [(0, 0), (1, 1), (4, 3), (14, 11)])
@pytest.mark.parametrize("classes", [(3, 2), (1, 1)])
def test_finite_and_of_the_shape_that_is_said(labelled, classes):
    state = make_pools(labelled=labelled, classes=classes).state
    view = INPUTS(state)
    assert view.candidates.shape == (2, 14, len(INPUTS.candidate_names)) and view.candidates.dtype == torch.float32
    assert view.pool.shape == (2, len(INPUTS.pool_names)) and view.pool.dtype == torch.float32
    assert view.candidates.isfinite().all() and view.pool.isfinite().all()
    assert (view.candidates[~state.available] == 0).all()
    assert view.candidates.abs().max() <= 20 and view.pool.abs().max() <= 20


def test_reordering_the_rows_reorders_the_inputs():
    pools = make_pools(more=(2, 0, 0))
    order = torch.randperm(16, generator=make_generator(0, "order"))
    view, other = INPUTS(pools.state), INPUTS(pools.rearranged(order).state)
    torch.testing.assert_close(other.candidates, view.candidates[:, order], atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(other.pool, view.pool, atol=1e-4, rtol=1e-4)


def test_pools_of_a_batch_do_not_meet_and_padding_changes_nothing():
    plain, padded = make_pools(sizes=(14, 9)), make_pools(sizes=(14, 9), more=(5, 3, 4))
    view, other = INPUTS(plain.state), INPUTS(padded.state)
    torch.testing.assert_close(other.candidates[:, :14], view.candidates, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(other.pool, view.pool, atol=1e-4, rtol=1e-4)
    for e in range(2):
        alone = INPUTS(plain.alone(e).state)
        torch.testing.assert_close(alone.candidates[0], view.candidates[e], atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(alone.pool[0], view.pool[e], atol=1e-4, rtol=1e-4)


def test_names_and_config():
    plain = Candidates()
    assert INPUTS.candidate_names == (*plain.candidate_names, *AHEAD)
    assert INPUTS.pool_names == (*plain.pool_names, *POOL_AHEAD)
    chosen = choose("look_ahead", "inputs")
    assert isinstance(chosen, LookAheadCandidates)
    assert build(as_config(chosen), "inputs").names == INPUTS.names


def test_the_first_numbers_are_those_of_candidates(state):
    view, plain = INPUTS(state), Candidates()(state)
    assert torch.equal(view.candidates[..., : plain.candidates.shape[-1]], plain.candidates)
    assert torch.equal(view.pool[:, : plain.pool.shape[-1]], plain.pool)


# --- values ---


def test_what_the_look_ahead_says(state):
    scores = LookAhead().score(state)
    z = z_scores(scores, state.available)
    near = z_scores(margin(state.probabilities), state.available)
    torch.testing.assert_close(open_rows(state, candidate(state, "look-ahead")), open_rows(state, z.clamp(-4, 4)))
    both = z.clamp(-4, 4) + near.clamp(-4, 4)
    torch.testing.assert_close(open_rows(state, candidate(state, "look-ahead and margin")), open_rows(state, both))
    torch.testing.assert_close(open_rows(state, candidate(state, "relative margin")), open_rows(state, -near))
    for e in range(2):
        own = scores[e][state.available[e]]
        order = own.argsort().argsort().float() / (len(own) - 1)
        torch.testing.assert_close(candidate(state, "rank of look-ahead")[e][state.available[e]], order)
        spread = math.log(float(own.std(correction=0)) + 1e-5) / 3
        assert float(pool(state, "spread of look-ahead")[e]) == pytest.approx(spread, abs=1e-4)


def test_what_the_gaussian_process_believes(state):
    mean, variance = believed(state)
    belief = mean.clamp_min(1e-3) / mean.clamp_min(1e-3).sum(-1, keepdim=True)
    doubt = entropy(belief) / math.log(3)
    dispute = 0.5 * (belief - state.probabilities).abs().sum(-1)
    top = belief.sort(-1, descending=True).values
    predicted = belief.gather(-1, state.probabilities.argmax(-1, keepdim=True)).squeeze(-1)
    wanted = {
        "entropy of the belief": doubt,
        "margin of the belief": top[..., 0] - top[..., 1],
        "belief against learner": dispute,
        "belief in the predicted class": predicted,
        "variance of the belief": variance.clamp_max(5),
    }
    for name, values in wanted.items():
        made = open_rows(state, candidate(state, name))
        torch.testing.assert_close(made, open_rows(state, values), atol=1e-5, rtol=1e-4, msg=name)
    for name, values in {"mean entropy of the belief": doubt, "mean belief against learner": dispute}.items():
        means = torch.stack([values[e][state.available[e]].mean() for e in range(2)])
        torch.testing.assert_close(pool(state, name), means, atol=1e-5, rtol=1e-4, msg=name)


def test_numbers_in_standard_deviations(state):
    length = torch.linalg.vector_norm(state.x, dim=-1)
    wanted = {
        "length": length,
        "relative entropy of the neighbours": candidate(state, "mean entropy of the neighbours"),
        "relative open mass": candidate(state, "open mass around"),
    }
    for name, values in wanted.items():
        z = z_scores(values, state.available).clamp(-4, 4)
        torch.testing.assert_close(open_rows(state, candidate(state, name)), open_rows(state, z), msg=name)


def test_what_stands_out_is_drawn_in_and_stays_the_highest():
    pools = make_pools((400,), (3,), (2,), (4,))
    rows = pools.state.available[0].nonzero()[:2, 0]
    pools.state.x[0, rows] *= torch.tensor([[1e3], [3e3]])
    state = dataclasses.replace(pools.state, geometry=Geometry(pools.state.x, pools.state.exists))
    z = z_scores(torch.linalg.vector_norm(state.x, dim=-1), state.available)[0, rows]
    length = candidate(state, "length")[0, rows]
    assert z.min() > 4 and float(length[1]) == pytest.approx(4 + math.log1p(float(z[1]) - 4), rel=1e-4)
    assert candidate(state, "length")[0].argmax() == rows[z.argmax()] and float(length.diff()) * float(z.diff()) > 0
    assert candidate(state, "variance of the belief")[0, rows].tolist() == [5, 5]
    view = INPUTS(state)
    assert view.candidates.isfinite().all() and view.candidates.abs().max() <= 20


def test_of_a_large_pool_512_rows_are_looked_at():
    state = make_pools((600,), (3,), (2,), (4,)).state
    part, whole = (z_scores(LookAhead(rows=rows).score(state), state.available) for rows in (512, 600))
    made = open_rows(state, candidate(state, "look-ahead"))
    torch.testing.assert_close(made, open_rows(state, part.clamp(-4, 4)), atol=1e-2, rtol=1e-2)
    assert (made - open_rows(state, whole)).abs().max() > 0.05


@pytest.mark.parametrize("waiting", [0, 2])
def test_what_tells_whether_there_is_something_to_learn(waiting):
    """Rows that wait for their answer say nothing of the labels."""
    pools = make_pools((14, 9), (3, 3), (3, 3), (4, 5))
    for _ in range(waiting):
        pools = pools.pick(pools.state.available.float().argmax(1))
    state = pools.state
    assert state.counted_picks.sum(1).tolist() == [4 + waiting, 5 + waiting]
    told = [state.labels[e][state.labels[e] >= 0] for e in range(2)]
    predicted = [state.probabilities[e].argmax(-1)[state.exists[e]] for e in range(2)]
    expected = [LookAhead().score(state)[e][state.available[e]].mean() for e in range(2)]
    commonest = [float(one.bincount().max() / len(one)) for one in (*told, *predicted)]
    assert pool(state, "share of the commonest label").tolist() == pytest.approx(commonest[:2])
    assert pool(state, "share of the commonest prediction").tolist() == pytest.approx(commonest[2:])
    assert pool(state, "expected accuracy").tolist() == pytest.approx([float(one) for one in expected], abs=1e-5)
    spread, length = scales(state.geometry)
    for e in range(2):
        right = []
        rows = (state.labels[e] >= 0).nonzero().squeeze(1)
        for left in range(len(rows)):
            others = rows[torch.arange(len(rows)) != left]
            matrix = kernel(state.x[e : e + 1], state.x[e : e + 1], 0.5, spread[e : e + 1], length[e : e + 1])[0]
            counts = state.labels[e, rows].bincount(minlength=3) + 1.0
            prior = (counts / counts.sum()).double()  # of all labels: only the residuals are left out
            gap = torch.nn.functional.one_hot(state.labels[e, others], 3).double() - prior
            noisy = matrix[others][:, others] + torch.eye(len(others), dtype=torch.float64)
            mean = prior + matrix[rows[left], others] @ torch.linalg.solve(noisy, gap)
            right.append(int(mean.argmax()) == int(state.labels[e, rows[left]]))
        assert float(pool(state, "left-out labels predicted")[e]) == pytest.approx(sum(right) / len(right))
