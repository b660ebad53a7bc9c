import torch

from almeta.seeding import make_generator
from almeta.strategies.random import Random
from tests.strategies.pools import make_pools, utilities_of


def test_all_available_rows_are_as_likely(looks_uniform):
    state = make_pools(sizes=(8, 6), columns=(2, 2), labelled=(1, 1)).state
    strategy = Random()
    strategy.generator = make_generator(0, "test")
    picked = torch.stack([utilities_of(strategy, state).argmax(1) for _ in range(4000)])
    for pool in range(2):
        rows = state.available[pool].nonzero()[:, 0]
        assert torch.isin(picked[:, pool], rows).all()
        assert looks_uniform(torch.searchsorted(rows, picked[:, pool].contiguous()), len(rows))
