import dataclasses
import math

import numpy as np
import pytest
import torch

from almeta.build import as_config, build, choose
from almeta.data import load_dataset
from almeta.envs.pool import PoolOptions, PoolSimulation
from almeta.geometry import Geometry
from almeta.inputs import Candidates, candidates
from almeta.inputs.candidates import CANDIDATE, POOL, Known
from almeta.learners import make_learner
from almeta.oracles import Oracle
from almeta.pool import Pool
from almeta.seeding import make_generator
from tests.strategies.pools import make_pools, with_probabilities

TABLES = ("iris", "wine", "breast_cancer")
CANDIDATE_INPUTS, POOL_INPUTS = Candidates().candidate_names, Candidates().pool_names


def candidate_inputs(state):
    view = Candidates()(state)
    return view.candidates, view.pool


def candidate(state, name):
    return candidate_inputs(state)[0][..., CANDIDATE_INPUTS.index(name)]


def pool(state, name):
    return candidate_inputs(state)[1][..., POOL_INPUTS.index(name)]


def simulate(num_envs=8, budget=12, oracle=None, **options):
    datasets = [load_dataset(name) for name in TABLES]
    chosen = PoolOptions(pool_size=50, budget=budget, **options)
    return PoolSimulation(datasets, chosen, num_envs, make_generator(0, "env"), oracle=oracle)


def line(points, picked=(), classes=(), probabilities=None):
    """One pool of points on a line, of which some were picked and have a class."""
    x = torch.tensor(points)[None, :, None]
    pools = make_pools((len(points),), (1,), (2,), (0,))
    exists = torch.ones(1, len(points), dtype=torch.bool)
    labels = torch.full((1, len(points)), -1)
    available = exists.clone()
    for row, label in zip(picked, classes, strict=True):
        labels[0, row], available[0, row] = label, False
    if probabilities is None:
        probabilities = torch.full((len(points), 2), 0.5)
    return dataclasses.replace(
        pools.state,
        x=x,
        labels=labels,
        available=available,
        picks=torch.tensor([picked], dtype=torch.int64).view(1, -1),
        answered=len(picked),
        probabilities=torch.as_tensor(probabilities, dtype=torch.float32)[None],
        geometry=Geometry(x, exists, num_neighbours=1),
    )


# --- rules that hold for all inputs ---


@pytest.mark.parametrize("labelled", [(0, 0), (1, 1), (4, 3), (14, 11)])
@pytest.mark.parametrize("classes", [(3, 2), (1, 1)])
def test_finite_and_of_the_shape_that_is_said(labelled, classes):
    state = make_pools(labelled=labelled, classes=classes).state
    candidates, about = candidate_inputs(state)
    assert candidates.shape == (2, 14, len(CANDIDATE_INPUTS)) and about.shape == (2, len(POOL_INPUTS))
    assert candidates.dtype == about.dtype == torch.float32
    assert candidates.isfinite().all() and about.isfinite().all()
    assert (candidates[~state.available] == 0).all()


def test_a_pool_of_one_row_and_one_of_equal_rows_are_no_trouble():
    for state in (line([1.0]), line([2.0] * 5), line([2.0] * 5, (0, 1), (0, 1))):
        candidates, about = candidate_inputs(state)
        assert candidates.isfinite().all() and about.isfinite().all()


def test_reordering_the_rows_reorders_the_inputs():
    pools = make_pools(more=(2, 0, 0))
    order = torch.randperm(16, generator=make_generator(0, "order"))
    candidates, about = candidate_inputs(pools.state)
    others, same = candidate_inputs(pools.rearranged(order).state)
    torch.testing.assert_close(others, candidates[:, order], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(same, about, atol=1e-5, rtol=1e-4)


def test_rows_that_are_alike_have_inputs_that_are_alike():
    pools = make_pools(sizes=(30,), columns=(3,), classes=(2,), labelled=(0,))
    pools.state.x[:, 1::2] = pools.state.x[:, ::2]  # every row twice
    state = dataclasses.replace(pools.state, geometry=Geometry(pools.state.x, pools.state.exists))
    model = torch.sigmoid(state.x.sum(-1))
    state = dataclasses.replace(state, probabilities=torch.stack((model, 1 - model), -1))
    candidates, _ = candidate_inputs(state)
    ranks = [CANDIDATE_INPUTS.index(name) for name in ("rank of margin", "rank of density", "rank of distance")]
    torch.testing.assert_close(candidates[:, 1::2, ranks], candidates[:, ::2, ranks], atol=1e-6, rtol=0)
    assert candidates[0, :, ranks[0]].std() > 0.1


@pytest.mark.parametrize("more", [(5, 0, 0), (0, 3, 0), (0, 0, 4), (6, 2, 3)])
def test_padding_changes_nothing(more):
    plain, padded = make_pools(sizes=(14, 9)), make_pools(sizes=(14, 9), more=more)
    padded = dataclasses.replace(padded, state=dataclasses.replace(padded.state, budget=plain.state.budget))
    for _ in range(2):
        candidates, about = candidate_inputs(plain.state)
        others, same = candidate_inputs(padded.state)
        torch.testing.assert_close(others[:, :14], candidates, atol=1e-5, rtol=1e-4)
        assert (others[:, 14:] == 0).all()
        torch.testing.assert_close(same, about, atol=1e-5, rtol=1e-4)
        rows = plain.state.available.float().argmax(1)
        plain, padded = plain.pick(rows).answer(), padded.pick(rows).answer()


def test_pools_of_a_batch_do_not_meet():
    pools = make_pools()
    candidates, about = candidate_inputs(pools.state)
    for e in range(2):
        alone, own = candidate_inputs(pools.alone(e).state)
        torch.testing.assert_close(alone[0], candidates[e], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(own[0], about[e], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("oracle", [Oracle(), Oracle(decline=0.4, noise=0.2)], ids=["perfect", "declining"])
@pytest.mark.parametrize("query_size", [1, 3])
def test_step_by_step_and_all_at_once_are_the_same(oracle, query_size):
    """What is carried from pick to pick equals what a new geometry makes of all picks."""
    simulation, rng = simulate(oracle=oracle, query_size=query_size), np.random.default_rng(0)
    state = simulation.reset()
    while True:
        candidates, about = candidate_inputs(state)
        fresh = dataclasses.replace(state, geometry=Geometry(state.x, state.exists))
        others, same = candidate_inputs(fresh)
        torch.testing.assert_close(candidates, others, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(about, same, atol=1e-5, rtol=1e-4)
        if simulation.finished:
            break
        simulation.step(torch.tensor([rng.choice(np.flatnonzero(row)) for row in state.available]))
        state = simulation.state()


def test_numbers_stay_within_a_few_units():
    simulation, rng, seen = simulate(), np.random.default_rng(0), []
    state = simulation.reset()
    while not simulation.finished:
        candidates, about = candidate_inputs(state)
        assert about.abs().max() < 4
        seen.append(candidates[state.available])
        simulation.step(torch.tensor([rng.choice(np.flatnonzero(row)) for row in state.available]))
        state = simulation.state()
    rows = torch.cat(seen)
    assert rows.abs().max() < 6 and (rows.abs() > 3).float().mean() < 0.01
    shares = [name for name in CANDIDATE_INPUTS if name.split()[0] in ("entropy", "margin", "top", "share", "rank")]
    for name in shares:
        column = rows[:, CANDIDATE_INPUTS.index(name)]
        assert column.min() >= 0 and column.max() <= 1 + 1e-5 and column.std() > 0.01, name


# --- names ---


def test_every_number_is_bound_to_its_name():
    """The column of a name is what stands beside the name, whatever the order of the others."""
    state = simulate().reset()
    view, known = Candidates()(state), Known(state)
    assert len(CANDIDATE_INPUTS) == 22 and len(POOL_INPUTS) == 10
    assert Candidates().names == CANDIDATE_INPUTS + POOL_INPUTS
    for number, name in enumerate(CANDIDATE_INPUTS):
        expected = CANDIDATE[name](known).where(state.available, 0.0)
        assert torch.equal(view.candidates[..., number], expected), name
    for number, name in enumerate(POOL_INPUTS):
        assert torch.equal(view.pool[:, number], POOL[name](known)), name
    assert torch.equal(view.action_mask, state.available) and view.start is None


@pytest.mark.parametrize("names", ["candidate_names", "pool_names", "names"])
def test_names_cannot_be_put_into_another_order(names):
    inputs = Candidates()
    with pytest.raises(AttributeError):
        setattr(inputs, names, getattr(inputs, names)[::-1])


def test_they_are_chosen_by_name_and_kept_as_a_config():
    chosen = choose("candidates", "inputs")
    assert isinstance(chosen, Candidates)
    again = build(as_config(chosen), "inputs")
    assert type(again) is Candidates and again.names == chosen.names


# --- values by hand ---


def test_what_the_learner_says():
    state = with_probabilities([[0.5, 0.5, 0.0], [0.2, 0.7, 0.1], [1.0, 0.0, 0.0]])
    entropies = [math.log(2), -sum(p * math.log(p) for p in (0.2, 0.7, 0.1)), 0.0]
    np.testing.assert_allclose(candidate(state, "entropy")[0], np.array(entropies) / math.log(3), atol=1e-6)
    np.testing.assert_allclose(candidate(state, "margin")[0], [0.0, 0.5, 1.0], atol=1e-6)
    np.testing.assert_allclose(candidate(state, "top probability")[0], [0.5, 0.7, 1.0], atol=1e-6)
    np.testing.assert_allclose(candidate(state, "rank of margin")[0], [0.0, 0.5, 1.0])
    share = candidate(state, "share of the predicted class among predictions")
    np.testing.assert_allclose(share[0], [2 / 3, 1 / 3, 2 / 3], atol=1e-6)
    assert pool(state, "mean margin").item() == pytest.approx(0.5)
    assert pool(state, "mean entropy").item() == pytest.approx(sum(entropies) / 3 / math.log(3))
    assert pool(state, "classes").item() == pytest.approx(math.log(3))


def test_equal_values_share_their_rank():
    state = with_probabilities([[0.5, 0.5], [0.9, 0.1], [0.1, 0.9], [0.95, 0.05]])
    np.testing.assert_allclose(candidate(state, "rank of margin")[0], [0.0, 0.5, 0.5, 1.0])
    np.testing.assert_allclose(candidate(with_probabilities([[0.5, 0.5]] * 5), "rank of margin")[0], [0.5] * 5)


def test_distances_and_votes():
    # The nearest others are at 1, 1, 1 and 3, on average at 1.5, the unit of distances.
    state = line([0.0, 1.0, 2.0, 5.0], (0, 3), (0, 1), [[1.0, 0.0], [0.8, 0.2], [0.6, 0.4], [0.0, 1.0]])
    distances = np.log1p(np.array([1.0, 2.0]) / 1.5)
    np.testing.assert_allclose(
        candidate(state, "distance to the nearest pick")[0, 1:3], distances - distances.mean(), atol=1e-6
    )
    assert pool(state, "mean distance").item() == pytest.approx(distances.mean(), abs=1e-6)
    np.testing.assert_allclose(candidate(state, "rank of distance")[0, 1:3], [0.0, 1.0])
    kernel = np.exp(-0.5 * (np.array([[1.0, 4.0], [2.0, 3.0]]) / 1.5) ** 2)  # rows 1 and 2 to the labels of 0 and 1
    vote = (kernel + 1e-3 * 0.5) / (kernel.sum(1, keepdims=True) + 1e-3)
    np.testing.assert_allclose(candidate(state, "top share of the neighbour vote")[0, 1:3], vote.max(1), atol=1e-5)
    np.testing.assert_allclose(candidate(state, "vote for the predicted class")[0, 1:3], vote[:, 0], atol=1e-5)
    against = abs(vote[:, 0] - [0.8, 0.6])
    np.testing.assert_allclose(candidate(state, "vote against learner")[0, 1:3], against, atol=1e-5)
    np.testing.assert_allclose(candidate(state, "picked mass around")[0, 1:3], np.log1p(kernel.sum(1)), atol=1e-5)
    entropy = -(vote * np.log(vote)).sum(1) / math.log(2)
    np.testing.assert_allclose(candidate(state, "entropy of the neighbour vote")[0, 1:3], entropy, atol=1e-5)


def test_neighbours():
    # Row 1's neighbour is row 0 or 2, row 3's is row 2; each has one.
    state = line([0.0, 1.0, 1.5, 3.0], (0,), (1,), [[0.0, 1.0], [0.5, 0.5], [0.9, 0.1], [0.2, 0.8]])
    assert state.geometry.neighbours[0][0, :, 0].tolist() == [1, 2, 1, 2]
    np.testing.assert_allclose(candidate(state, "neighbours of the same prediction")[0, 1:], [1, 1, 0])
    entropy = -(0.9 * math.log(0.9) + 0.1 * math.log(0.1)) / math.log(2)
    np.testing.assert_allclose(
        candidate(state, "mean entropy of the neighbours")[0, 1:], [entropy, 1, entropy], atol=1e-6
    )
    assert (candidate(state, "picked share of the neighbours") == 0).all()
    scale = (1.0 + 0.5 + 0.5 + 1.5) / 4
    mass = np.exp(-0.5 * (np.array([0.5, 0.5, 1.5]) / scale) ** 2)
    np.testing.assert_allclose(candidate(state, "open mass around")[0, 1:], mass, atol=1e-6)
    density = -np.log(np.array([0.5, 0.5, 1.5]) / scale + 1e-3)
    np.testing.assert_allclose(candidate(state, "density")[0, 1:], density - density.mean(), atol=1e-5)
    np.testing.assert_allclose(candidate(state, "rank of density")[0, 1:], [0.75, 0.75, 0.0])


def test_what_is_known_of_the_pool():
    state = line([0.0, 1.0, 2.0, 5.0], (0, 3, 1), (0, 0, 0))
    state = dataclasses.replace(state, budget=8, spent=2, prices=torch.full((1, 4), 0.3))
    assert pool(state, "progress").item() == pytest.approx(0.25)
    assert pool(state, "labels").item() == pytest.approx(math.log(4) / 3)
    assert pool(state, "classes seen").item() == 0.5
    assert pool(state, "rows left").item() == pytest.approx(math.log(2) / 5)
    assert candidate(state, "price")[0].tolist() == pytest.approx([0, 0, 0.3, 0])
    assert candidate(state, "share of the predicted class among labels")[0, 2] == 1


def test_before_the_first_pick():
    state = line([0.0, 1.0, 3.0])
    assert (candidate(state, "distance to the nearest pick") == 0).all()  # all alike
    assert pool(state, "mean distance").item() == pytest.approx(math.log(21))
    assert pool(state, "labels") == pool(state, "classes seen") == pool(state, "progress") == 0
    assert (candidate(state, "picked mass around") == 0).all()


def test_many_labels_are_explained_as_few_are(monkeypatch):
    """By products of features in place of products of rows: the same numbers."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 400, 6, generator=generator) * torch.tensor([1.0, 1, 2, 0.1, 30, 1])
    picks, labels = torch.randperm(400, generator=generator)[None, :60], torch.zeros(1, 60, dtype=torch.int64)
    exists = torch.ones(1, 400, dtype=torch.bool)
    pool = Pool(x, exists, picks, labels, torch.tensor([2]), make_learner("ridge"), budget=1)
    few = candidates._unexplained(pool.state())
    monkeypatch.setattr(candidates, "_MANY", 50)
    torch.testing.assert_close(candidates._unexplained(pool.state()), few, rtol=1e-3, atol=1e-6)
    assert float(few.max()) > 0.01
