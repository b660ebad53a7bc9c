import torch

from tests.strategies.pools import make_pools


def test_labelled_rows_are_those_that_were_answered():
    pools = make_pools(labelled=(3, 2))
    open_rows = [int(available.nonzero()[0]) for available in pools.state.available]
    state = pools.pick(open_rows).state  # the fourth pick has no answer yet
    declined = state.picks[0, 1]
    state.labels[0, declined] = -1
    x, labels, weight = state.labelled_rows()
    assert weight.dtype == torch.float32
    assert weight.tolist() == [[1, 0, 1, 0], [1, 1, 0, 0]]
    for pool, places in ((0, (0, 2)), (1, (0, 1))):
        for place in places:
            row = state.picks[pool, place]
            assert torch.equal(x[pool, place], state.x[pool, row])
            assert labels[pool, place] == pools.y[pool, row]
    assert labels.min() >= 0  # an index wherever the weight is 0, too


def test_no_picks_are_no_rows():
    x, labels, weight = make_pools(labelled=(0, 0)).state.labelled_rows()
    assert x.shape == (2, 0, 3)
    assert labels.shape == weight.shape == (2, 0)
