from dataclasses import replace

import numpy as np
import pytest
import torch

from almeta.geometry import Geometry
from almeta.strategies import look_ahead
from almeta.strategies.look_ahead import LookAhead, condition, expected_accuracy, kernel, scales, shares
from almeta.strategies.uncertainty import margin
from tests.strategies.pools import lay_out, make_pools


def direct(x, labels, pending, num_classes, weight=0.5, noise=1.0, classes=None, among=None):
    """The definition, one sum and one solution at a time: utilities `[N]` of a pool without padding.

    Labels are -1 for rows without one; rows that wait for their answer count in the covariance alone. Accuracy and the
    median distance are those of the rows `among`.
    """
    x, n = np.asarray(x, dtype=np.float64), len(x)
    distances = np.array([[np.sum((u - v) ** 2) for v in x] for u in x])
    among = np.arange(n) if among is None else among
    between = distances[np.ix_(among, among)][~np.eye(len(among), dtype=bool)]
    spread = np.quantile(between, 0.5, method="lower")
    products = np.array([[u @ v for v in x] for u in x])
    k = weight * np.exp(-distances / spread) + (1 - weight) * products / np.diag(products).mean()
    known = np.flatnonzero(labels >= 0)
    targets = np.eye(num_classes)[labels[known]]
    prior = (targets.sum(0) + 1) / (len(known) + num_classes)
    inverse = np.linalg.inv(k[np.ix_(known, known)] + noise * np.eye(len(known)))
    f = prior + k[:, known] @ inverse @ (targets - prior)
    given = np.concatenate([known, np.asarray(pending, dtype=int)])
    s = k - k[:, given] @ np.linalg.inv(k[np.ix_(given, given)] + noise * np.eye(len(given))) @ k[given]
    utility = np.zeros(n)
    for row in range(n):
        gain = s[:, row] / (s[row, row] + noise)
        q = np.maximum(f[row], 0.001)
        chosen = np.argsort(-q, kind="stable")[: classes or num_classes]
        for y in chosen:
            moved = f + gain[:, None] * ((np.arange(num_classes) == y) - f[row])
            utility[row] += q[y] / q[chosen].sum() * moved.max(1)[among].mean()
    return utility


def of_pool(state, pool, size, columns, pending=(), **options):
    """`direct` of one of several pools."""
    return direct(
        state.x[pool, :size, :columns].numpy(),
        state.labels[pool, :size].numpy(),
        pending,
        int(state.num_classes[pool]),
        **options,
    )


def test_by_hand():
    """Two rows, at 1 and -1; the first has label 0 of two classes.

    The mean is 2/3 and 1/3 before any neighbour. Half of the first row's surprise stays: f = (5/6, 1/6) there, and
    (1/2, 1/2) at the second, where the posterior variance is 1/2 and the covariance with the first -1/2. So 1/3 of the
    surprise at the second row goes to it, and -1/3 to the first. With label 0 the largest means are 4/6 and 2/3, with
    label 1 they are 1 and 2/3; both labels are equally likely: (2/3 + 5/6) / 2 = 3/4.
    """
    x = torch.tensor([[[1.0], [-1.0]]])
    y, exists = torch.tensor([[0, 1]]), torch.ones(1, 2, dtype=torch.bool)
    pools = lay_out(x, y, exists, torch.tensor([2]), torch.tensor([[0]]), 2)
    assert float(LookAhead(weight=0.0).score(pools.state)[0, 1]) == pytest.approx(0.75)


@pytest.mark.parametrize("labelled", [(0, 0), (1, 0), (6, 4)])
@pytest.mark.parametrize("options", [{}, {"weight": 1.0, "noise": 0.1}, {"weight": 0.0, "classes": 2}])
def test_values_against_the_definition(options, labelled):
    state = make_pools((30, 23), (4, 3), (5, 2), labelled).state
    weight, noise, classes = (options.get(*default) for default in (("weight", 0.5), ("noise", 1.0), ("classes",)))
    made = LookAhead(weight=weight, noise=noise, classes=classes).score(state).numpy()
    assert made[0] == pytest.approx(of_pool(state, 0, 30, 4, **options), abs=1e-5)
    assert made[1, :23] == pytest.approx(of_pool(state, 1, 23, 3, **options), abs=1e-5)
    assert made[0].std() > 1e-4


def test_rows_that_wait_and_rows_without_an_answer():
    pools = make_pools((30, 23), (4, 3), (5, 2), (6, 4))
    declined = pools.state.picks[0, 2]
    pools.state.labels[0, declined] = -1
    rows = [[int(pool.nonzero()[place]) for pool in pools.state.available] for place in (2, 5)]
    pools = pools.pick(rows[0]).pick(rows[1])
    made = LookAhead().score(pools.state).numpy()
    waiting = np.array(rows).T
    assert made[0] == pytest.approx(of_pool(pools.state, 0, 30, 4, waiting[0]), abs=1e-5)
    assert made[1, :23] == pytest.approx(of_pool(pools.state, 1, 23, 3, waiting[1]), abs=1e-5)


def test_it_goes_on_as_labels_come():
    """The kernel is computed once; what it says after each label is what it says at once."""
    pools = make_pools((30,), (4,), (3,), (3,))
    for _ in range(5):
        made = LookAhead().score(pools.state)
        assert made[0].numpy() == pytest.approx(of_pool(pools.state, 0, 30, 4), abs=1e-5)
        pools = pools.pick(made.masked_fill(~pools.state.available, -1.0).argmax(1)).answer()


def test_the_kernel_is_computed_once_an_episode(monkeypatch):
    calls = []

    def counted(geometry):
        calls.append(geometry)
        return scales(geometry)

    monkeypatch.setattr(look_ahead, "scales", counted)
    state = make_pools().state
    for weight in (0.5, 0.5, 0.2, 0.5):
        LookAhead(weight=weight).score(state)
    assert calls == [state.geometry] * 2


def test_blocks_change_nothing(monkeypatch):
    state = make_pools((30, 23), (4, 3), (5, 2), (6, 4)).state
    whole = LookAhead().score(state)
    monkeypatch.setattr(look_ahead, "_MATRIX", 0)
    for block in (1_000, 20_000):
        monkeypatch.setattr(look_ahead, "_BLOCK", block)
        anew = replace(state, geometry=Geometry(state.x, state.exists))
        torch.testing.assert_close(LookAhead().score(anew), whole, atol=1e-6, rtol=1e-5)


def test_of_a_large_pool_some_rows_are_looked_at():
    state = make_pools((40,), (3,), (3,), (5,)).state
    geometry = Geometry(state.x, state.exists, reference=15)  # whose scale, too, is that of these rows
    among = geometry.reference[0]
    expected = of_pool(state, 0, 40, 3, among=among.numpy())
    made = LookAhead(rows=15).score(replace(state, geometry=geometry))[0].numpy()
    assert len(among.unique()) == 15 and made == pytest.approx(expected, abs=1e-5)
    assert torch.equal(LookAhead(rows=40).score(state), LookAhead().score(state))


def test_kernel_and_scales():
    x = torch.tensor([[[0.0, 0.0], [3.0, 4.0], [0.0, 1.0], [9.0, 9.0]]])
    spread, length = scales(Geometry(x, torch.tensor([[True, True, True, False]])))
    assert (float(spread), float(length)) == pytest.approx((18, 26 / 3))  # of 25, 1 and 18
    made = kernel(x, x[:, 1:3], 0.25, spread, length)[0]
    assert float(made[1, 1]) == pytest.approx(0.25 * np.exp(-1) + 0.75 * 4 / (26 / 3))
    assert made[1, 0] == pytest.approx(0.25 + 0.75 * 25 / (26 / 3))
    alike = scales(Geometry(torch.zeros(1, 3, 2), torch.ones(1, 3, dtype=torch.bool)))
    assert [float(part) for part in alike] == [1, 1]


def test_labels_of_a_gaussian_process_against_a_direct_solution():
    random = np.random.default_rng(0)
    factor = random.normal(size=(9, 12))
    covariance = factor @ factor.T / 12
    labels = torch.tensor([[0, 2, -1, 1, -1, -1]])
    known = torch.tensor([[True, True, False, True, True, True]])  # the third was declined, the last two wait
    posterior = condition(torch.from_numpy(covariance[None, :6, :6]), labels, known, 3, 0.3)
    solved, mean = posterior.at(torch.from_numpy(covariance[None, :6]))
    told, given = [0, 1, 3], [0, 1, 3, 4, 5]
    targets = np.eye(3)[[0, 2, 1]]
    prior = np.array([2, 2, 2]) / 6
    weights = np.linalg.solve(covariance[np.ix_(told, told)] + 0.3 * np.eye(3), targets - prior)
    assert mean[0].numpy() == pytest.approx(prior + covariance[:, told] @ weights, abs=1e-6)
    gone = covariance[:, given] @ np.linalg.solve(covariance[np.ix_(given, given)] + 0.3 * np.eye(5), covariance[given])
    assert (solved.mT @ solved)[0].numpy() == pytest.approx(gone, abs=1e-5)


@pytest.mark.parametrize("classes", [1, 2, 4, None])
@pytest.mark.parametrize("number", [1, 2, 3, 5])
def test_expected_accuracy_by_enumeration(number, classes):
    random = torch.Generator().manual_seed(0)
    mean, own = (1 + torch.randn(1, rows, number, generator=random) for rows in (8, 6))
    mean, own = mean / mean.sum(-1, keepdim=True), own / own.sum(-1, keepdim=True)
    gain = torch.randn(1, 6, 8, generator=random)
    mean[0, 0] = 1 / number  # ties
    made = expected_accuracy(mean, own, gain, classes)[0]
    for x in range(6):
        q = own[0, x].clamp_min(0.001)
        chosen = q.argsort(descending=True)[: classes or number]
        wanted = 0.0
        for y in chosen.tolist():
            label = torch.nn.functional.one_hot(torch.tensor(y), number)
            after = mean[0] + gain[0, x, :, None] * (label - own[0, x])
            wanted += float(q[y] / q[chosen].sum() * after.amax(1).sum())
        assert float(made[x]) == pytest.approx(wanted, rel=1e-4, abs=1e-4)


def test_margin_is_added_in_standard_deviations():
    state = make_pools(labelled=(6, 5)).state
    open_rows = state.available
    made = LookAhead(margin=2.0).score(state)
    for pool in range(2):
        parts = [part[pool][open_rows[pool]] for part in (LookAhead().score(state), margin(state.probabilities))]
        ahead, near = ((part - part.mean()) / part.std(correction=0) for part in parts)
        torch.testing.assert_close(made[pool][open_rows[pool]], ahead + 2 * near, atol=1e-3, rtol=1e-4)


def test_a_batch_spreads_out():
    """Once a row is picked, its twins say less; without regard to picks they would be chosen next."""
    pools = make_pools((40,), (2,), (2,), (4,))
    twins = pools.state.available[0].nonzero()[:3, 0]
    first = int(LookAhead().score(pools.state)[0].masked_fill(~pools.state.available[0], -1).argmax())
    twins = torch.tensor([row for row in twins.tolist() if row != first][:2])
    pools.state.x[0, twins] = pools.state.x[0, first].clone()
    pools = replace(pools, state=replace(pools.state, geometry=Geometry(pools.state.x, pools.state.exists)))
    before = LookAhead().score(pools.state)[0]
    assert set(before.masked_fill(~pools.state.available[0], -1).topk(3).indices.tolist()) == {first, *twins.tolist()}
    after = LookAhead().score(pools.pick([first]).state)[0]
    assert int(after.masked_fill(~pools.state.available[0], -1).argmax()) not in {first, *twins.tolist()}


def test_means_as_probabilities():
    mean = torch.tensor([[[0.5, -0.2, 0.3], [0.4, 0.4, 9.0]], [[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]]])
    made = shares(mean, torch.tensor([3, 2]))
    wanted = [[[0.5 / 0.801, 0.001 / 0.801, 0.3 / 0.801], [0.4 / 9.8, 0.4 / 9.8, 9 / 9.8]]]
    wanted.append([[0.4, 0.6, 0], [1 / 1.001, 0.001 / 1.001, 0]])
    torch.testing.assert_close(made, torch.tensor(wanted))
