import numpy as np
import pytest
import torch

from almeta.geometry import Geometry
from almeta.strategies.core_set import CoreSet
from tests.strategies.pools import lay_out, make_pools, utilities_of


def line(places, picks):
    """A pool of points on a line."""
    x = torch.tensor(places)[None, :, None]
    y = torch.zeros(1, len(places), dtype=torch.int64)
    return lay_out(x, y, torch.ones_like(y, dtype=torch.bool), torch.tensor([1]), torch.tensor([picks]), 1)


def score(pools):
    return utilities_of(CoreSet(), pools.state)


def test_by_hand():
    pools = line([0.0, 1.0, 4.0, 10.0], [1])
    assert score(pools)[0].tolist() == [1, -torch.inf, 3, 9]
    pools = pools.pick([3])  # not answered, and counted all the same
    assert score(pools)[0].tolist() == [1, -torch.inf, 3, -torch.inf]


def test_without_any_pick_all_rows_are_alike():
    assert score(make_pools(labelled=(0, 0)))[0].tolist() == [0.0] * 14


def test_picks_and_values_against_scikit_activeml():
    greedy = pytest.importorskip("skactiveml.pool").k_greedy_center
    pools = make_pools(sizes=(60,), columns=(4,), classes=(3,), labelled=(3,))
    labels = np.where(pools.state.labels[0] < 0, np.nan, pools.state.labels[0])
    picks, theirs = greedy(pools.state.x[0].numpy().copy(), labels, batch_size=25, random_state=0)
    for pick, values in zip(picks, theirs, strict=True):
        ours = score(pools)
        available = pools.state.available[0].numpy()
        assert ours[0].numpy()[available] == pytest.approx(values[available], abs=1e-5)
        assert ours.argmax() == pick
        pools = pools.pick([int(pick)])


def test_a_pick_costs_one_row_of_distances(monkeypatch):
    asked, distances_to = [], Geometry._distances_to

    def count(self, rows):
        asked.append(rows.tolist())
        return distances_to(self, rows)

    monkeypatch.setattr(Geometry, "_distances_to", count)
    pools = make_pools()
    firsts = pools.state.picks.T.tolist()
    score(pools)
    assert asked == firsts
    for _ in range(3):
        rows = score(pools).argmax(1)
        pools = pools.pick(rows).answer()
        score(pools)
        assert asked[-1] == rows.tolist()
    assert len(asked) == len(firsts) + 3
