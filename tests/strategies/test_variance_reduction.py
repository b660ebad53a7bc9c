from dataclasses import replace

import numpy as np
import pytest
import torch

from almeta.geometry import Geometry
from almeta.strategies import variance_reduction
from almeta.strategies.variance_reduction import (
    VarianceReduction,
    fisher_information,
    principal_components,
    traces_reduced,
)
from tests.strategies.pools import lay_out, make_pools


def test_by_hand():
    """Two classes, equally likely, and nothing but an intercept.

    A row's information is 1/4 [[1, -1], [-1, 1]], of eigenvalue 1/2. Without labels the trace is 1/2 / 1, and
    1/2 / (1 + 1/2) after a label: it falls by 1/6. After the next one it is 1/2 / 2: it falls by 1/3 - 1/4.
    """
    exists = torch.ones(1, 4, dtype=torch.bool)
    picks = torch.empty(1, 0, dtype=torch.int64)
    pools = lay_out(torch.zeros(1, 4, 1), torch.zeros(1, 4, dtype=torch.int64), exists, torch.tensor([2]), picks, 2)
    assert VarianceReduction().score(pools.state)[0].tolist() == pytest.approx([1 / 6] * 4)
    assert VarianceReduction().score(pools.pick([0]).state)[0].tolist() == pytest.approx([1 / 12] * 4)


def information(p, f):
    return np.kron(np.diag(p) - np.outer(p, p), np.outer(f, f))


def direct(p, f, labelled, counted, penalty=1.0):
    """Zhang & Oles's criterion: how much the trace falls with each row, by inverses of whole matrices."""
    pool = np.mean([information(p[row], f[row]) for row in counted], 0)
    fisher = penalty * np.eye(pool.shape[0]) + sum(information(p[row], f[row]) for row in labelled)
    return [
        np.trace(pool @ (np.linalg.inv(fisher) - np.linalg.inv(fisher + information(p[row], f[row]))))
        for row in range(len(p))
    ]


def features(x, num_components=30):
    centred = x - x.mean(0)
    if x.shape[1] > num_components:
        centred = centred @ np.linalg.svd(centred)[2][:num_components].T
    return np.column_stack([np.ones(len(x)), centred])


@pytest.mark.parametrize("options", [{}, {"penalty": 0.1}, {"num_components": 2}])
def test_values_against_the_definition(options):
    pools = make_pools((20, 14), (4, 3), (4, 2), (5, 3))
    waiting = [int(pool.nonzero()[2]) for pool in pools.state.available]
    state = pools.pick(waiting).state
    penalty, components = options.get("penalty", 1.0), options.get("num_components", 30)
    scores = VarianceReduction(num_components=components, penalty=penalty).score(state).numpy()
    for pool, (size, columns, classes) in enumerate(((20, 4, 4), (14, 3, 2))):
        p = state.probabilities[pool, :size, :classes].double().numpy()
        f = features(state.x[pool, :size, :columns].double().numpy(), components)
        labelled = [row for row in state.picks[pool].tolist() if row >= 0]  # with the one that waits
        wanted = direct(p, f, labelled, range(size), penalty)
        assert scores[pool, :size] == pytest.approx(wanted, rel=1e-4, abs=1e-6)


def test_a_row_without_an_answer_says_nothing():
    pools = make_pools((20,), (3,), (3,), (5,))
    declined = int(pools.state.picks[0, 1])
    pools.state.labels[0, declined] = -1
    labelled = [row for row in pools.state.picks[0].tolist() if row != declined]
    p, f = pools.state.probabilities[0].double().numpy(), features(pools.state.x[0].double().numpy())
    assert VarianceReduction().score(pools.state)[0].numpy() == pytest.approx(
        direct(p, f, labelled, range(20)), rel=1e-4
    )


def test_fisher_information_is_the_hessian_of_the_loss():
    """It does not depend on the labels. By autograd, and by differences of the gradient."""
    random = torch.Generator().manual_seed(0)
    f, w = (torch.randn(*shape, generator=random, dtype=torch.float64) for shape in ((7, 3), (4, 3)))
    weight, labels = torch.rand(7, generator=random, dtype=torch.float64), torch.arange(7) % 4

    def loss(w):
        return -(weight * (f @ w.view(4, 3).T).log_softmax(1)[torch.arange(7), labels]).sum()

    made = fisher_information((f @ w.T).softmax(1)[None], f[None], weight[None])[0]
    torch.testing.assert_close(made, torch.autograd.functional.hessian(loss, w.flatten()))
    gradient = torch.func.grad(loss)
    step = 1e-5 * torch.eye(12, dtype=torch.float64)
    differences = [(gradient(w.flatten() + one) - gradient(w.flatten() - one)) / 2e-5 for one in step]
    torch.testing.assert_close(made, torch.stack(differences), atol=1e-8, rtol=1e-5)


def test_traces_reduced_against_whole_inverses():
    random = torch.Generator().manual_seed(0)
    f = torch.randn(2, 6, 3, generator=random, dtype=torch.float64)
    p = torch.randn(2, 6, 4, generator=random, dtype=torch.float64).softmax(-1)
    fisher = fisher_information(p[:, :2], f[:, :2], torch.ones(2, 2, dtype=torch.float64)) + torch.eye(12)
    pool = fisher_information(p, f, torch.ones(2, 6, dtype=torch.float64) / 6)
    made = traces_reduced(torch.linalg.inv(fisher), pool, p, f)
    for e in range(2):
        wanted = direct(p[e].numpy(), f[e].numpy(), [0, 1], range(6))
        assert made[e].numpy() == pytest.approx(wanted)


def test_principal_components_against_a_singular_value_decomposition():
    random = torch.Generator().manual_seed(0)
    x, exists = torch.randn(1, 9, 5, generator=random), torch.arange(9)[None] < 7
    made = principal_components(x, exists, 2)[0, :7]
    wanted = torch.from_numpy(features(x[0, :7].double().numpy(), 2)[:, 1:])
    torch.testing.assert_close(made @ made.T, wanted @ wanted.T)  # but for their signs
    centred = x[0, :7].double() - x[0, :7].double().mean(0)
    torch.testing.assert_close(principal_components(x, exists, 5)[0, :7], centred)


@pytest.mark.parametrize("num_components", [2, 30])
def test_principal_components_of_more_columns_than_rows(num_components):
    random = torch.Generator().manual_seed(0)
    x, exists = torch.randn(1, 9, 40, generator=random), torch.arange(9)[None] < 7
    made = principal_components(x, exists, num_components)
    wanted = torch.from_numpy(features(x[0, :7].double().numpy(), num_components)[:, 1:])
    torch.testing.assert_close(made[0, :7] @ made[0, :7].T, wanted @ wanted.T)
    torch.testing.assert_close(made[0, 7:], torch.zeros_like(made[0, 7:]), atol=1e-6, rtol=0)


def test_no_matrix_is_larger_than_rows_or_columns(monkeypatch):
    sizes, eigh = [], torch.linalg.eigh

    def count(matrix):
        sizes.append(matrix.shape[-1])
        return eigh(matrix)

    monkeypatch.setattr(torch.linalg, "eigh", count)
    for rows, columns in ((9, 40), (40, 9)):
        principal_components(torch.randn(1, rows, columns), torch.ones(1, rows, dtype=torch.bool), 2)
    assert sizes == [9, 9]


def test_components_of_the_rows_are_found_once_an_episode(monkeypatch):
    asked = []

    def count(x, exists, num_components):
        asked.append(num_components)
        return principal_components(x, exists, num_components)

    monkeypatch.setattr(variance_reduction, "principal_components", count)
    pools = make_pools()
    for _ in range(3):
        VarianceReduction().score(pools.state)
        pools = pools.pick(pools.state.available.byte().argmax(1)).answer()
    VarianceReduction(num_components=2).score(pools.state)
    assert asked == [30, 2]
    monkeypatch.setattr(type(pools.state.model), "embed", lambda self, x: 2 * x)  # as a network does
    for _ in range(2):
        VarianceReduction().score(pools.state)
    assert asked == [30, 2, 30, 30]


@pytest.mark.parametrize("rows, columns", [(9, 40), (40, 9), (9, 2)])
def test_components_in_blocks(monkeypatch, rows, columns):
    random = torch.Generator().manual_seed(0)
    x, exists = torch.randn(2, rows, columns, generator=random), torch.arange(rows) < torch.tensor([[rows], [7]])
    whole = principal_components(x, exists, 3)
    monkeypatch.setattr(variance_reduction, "_BLOCK", 50)
    made = principal_components(x, exists, 3)
    torch.testing.assert_close(made @ made.mT, whole @ whole.mT)


def test_blocks_change_nothing(monkeypatch):
    state = make_pools().state
    whole = VarianceReduction().score(state)
    monkeypatch.setattr(variance_reduction, "_BLOCK", 100)
    torch.testing.assert_close(VarianceReduction().score(state), whole)


def test_of_a_large_pool_some_rows_count():
    state = make_pools((40,), (3,), (3,), (5,)).state
    geometry = Geometry(state.x, state.exists, reference=15)
    p, f = state.probabilities[0].double().numpy(), features(state.x[0].double().numpy())
    wanted = direct(p, f, state.picks[0].tolist(), geometry.reference[0].tolist())
    made = VarianceReduction().score(replace(state, geometry=geometry))[0].numpy()
    assert made == pytest.approx(wanted, rel=1e-4)
