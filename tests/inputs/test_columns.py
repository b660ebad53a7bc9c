"""Histograms of columns: values by hand and by loops, what they may depend on, and who can read them."""

import dataclasses

import numpy as np
import pytest
import torch

from almeta.agents import GroupReinforce, PoolScorer
from almeta.build import as_config, build, choose
from almeta.envs import PoolSelectionEnv, PoolSelectionVectorEnv
from almeta.errors import AlmetaError
from almeta.geometry import Geometry
from almeta.inputs import Columns
from tests.strategies.pools import make_pools, with_probabilities

COLUMNS = Columns()


def column_numbers(state, pool=0, column=0):
    """The three histograms of a column: of rows without a label, with one, and of all by output, `[10, 10]`."""
    unlabelled, labelled, both = COLUMNS(state).columns[pool, column].split([10, 10, 100])
    return unlabelled.numpy(), labelled.numpy(), both.view(10, 10).numpy()


def by_loops(x, probabilities, labels):
    """The numbers about the columns `[D, 120]` of one pool without padding, in NumPy."""
    output = probabilities[:, probabilities.mean(0).argmax()]
    found = np.zeros((x.shape[1], 120))
    for column, values in enumerate(x.T):
        counts = np.zeros((2, 10)), np.zeros((10, 10))
        for value, out, label in zip(values, output, labels, strict=True):
            part = min(9, int((value - values.min()) / (values.max() - values.min()) * 10))
            counts[0][int(label >= 0), part] += 1
            counts[1][part, min(9, int(out * 10))] += 1
        shares = [*(10 * own / own.sum() for own in counts[0]), 100 * counts[1].ravel() / counts[1].sum()]
        found[column] = np.sqrt(np.concatenate(shares))
    return found


def test_values_by_loops():
    state = make_pools(sizes=(40, 23), columns=(3, 2), classes=(3, 2), labelled=(5, 4)).state
    view = COLUMNS(state)
    for e, (rows, width, classes) in enumerate(((40, 3, 3), (23, 2, 2))):
        own = state.x[e, :rows, :width], state.probabilities[e, :rows, :classes], state.labels[e, :rows]
        expected = by_loops(*(part.numpy() for part in own))
        np.testing.assert_allclose(view.columns[e, :width], expected, rtol=1e-5)
        np.testing.assert_allclose(np.square(expected).mean(1), 1.0)
    assert (view.columns[1, 2] == 0).all() and view.varies.tolist() == [[True] * 3, [True, True, False]]
    assert view.rows is state.x and torch.equal(view.action_mask, state.available)


def test_values_by_hand():
    # The second class is the likeliest one in the mean; the row at 10 has a label.
    state = with_probabilities([[0.95, 0.05], [0.35, 0.65], [0.3, 0.7], [0.0, 1.0]])
    state.x[0, :, 0] = torch.tensor([0.0, 0.5, 5.2, 10.0])
    state = dataclasses.replace(state, labels=torch.tensor([[-1, -1, -1, 1]]))
    unlabelled, labelled, both = column_numbers(state)
    np.testing.assert_allclose(unlabelled, np.sqrt([10 * 2 / 3, 0, 0, 0, 0, 10 / 3, 0, 0, 0, 0]), rtol=1e-6)
    np.testing.assert_allclose(labelled, np.sqrt([0.0] * 9 + [10.0]), rtol=1e-6)
    expected = np.zeros((10, 10))
    expected[[0, 0, 5, 9], [0, 6, 7, 9]] = 5.0  # the root of 100 / 4
    np.testing.assert_allclose(both, expected, rtol=1e-6)


def test_without_a_label_there_is_no_histogram_of_labelled_rows():
    unlabelled, labelled, both = column_numbers(make_pools(labelled=(0, 0)).state)
    assert (labelled == 0).all() and np.square(unlabelled).sum() == pytest.approx(10)
    assert np.square(both).sum() == pytest.approx(100)


def test_a_column_of_one_value_tells_nothing():
    state = make_pools().state
    state.x[0, :, 1] = 3.0
    view = COLUMNS(state)
    assert (view.columns[0, 1] == 0).all() and view.varies[0].tolist() == [True, False, True]


def test_reordering_rows_changes_nothing_and_columns_follow_theirs():
    pools = make_pools()
    whole = COLUMNS(pools.state).columns
    order = torch.randperm(14, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(COLUMNS(pools.rearranged(order).state).columns, whole)
    x = pools.state.x.flip(2)
    turned = dataclasses.replace(pools.state, x=x, geometry=Geometry(x, pools.state.exists))
    torch.testing.assert_close(COLUMNS(turned).columns, whole.flip(1))


def test_the_order_of_classes_changes_nothing():
    state = make_pools(classes=(3, 3)).state
    turned = dataclasses.replace(state, probabilities=state.probabilities.flip(2))
    torch.testing.assert_close(COLUMNS(turned).columns, COLUMNS(state).columns)


def test_blocks_of_rows_change_nothing(monkeypatch):
    whole = COLUMNS(make_pools().state).columns
    monkeypatch.setattr("almeta.inputs.columns._BLOCK", 1)
    assert torch.equal(COLUMNS(make_pools().state).columns, whole)


@pytest.mark.parametrize("more", [(5, 0, 0), (0, 3, 0), (0, 0, 4), (6, 2, 3)])
def test_padding_changes_nothing(more):
    plain, padded = COLUMNS(make_pools().state).columns, COLUMNS(make_pools(more=more).state).columns
    torch.testing.assert_close(padded[:, :3], plain)
    assert (padded[:, 3:] == 0).all()


def test_names_and_config():
    assert len(COLUMNS.names) == len(set(COLUMNS.names)) == 120
    assert COLUMNS.names[:2] == ("unlabelled in bin 0", "unlabelled in bin 1")
    assert COLUMNS.names[19:22] == ("labelled in bin 9", "bin 0 at output 0", "bin 0 at output 1")
    assert isinstance(choose("columns", "inputs"), Columns)
    assert build(as_config(COLUMNS), "inputs").names == COLUMNS.names


@pytest.mark.parametrize(
    "use",
    [
        lambda: PoolSelectionEnv("iris", inputs="columns"),
        lambda: PoolSelectionVectorEnv(2, "iris", inputs=Columns()),
        lambda: COLUMNS.observed({}, None, None, torch.device("cpu")),
        lambda: GroupReinforce(PoolScorer, COLUMNS),
    ],
    ids=["environment", "batch of environments", "observation", "another network"],
)
def test_who_needs_numbers_of_one_size_is_told(use):
    with pytest.raises(AlmetaError, match=r"inputs=columns are whole rows, .*; for other networks, .* inputs=candid"):
        use()
