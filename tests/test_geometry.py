import pytest
import torch
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from almeta import geometry as module
from almeta.geometry import Geometry, rows_of
from almeta.seeding import make_generator

INF = torch.inf


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=make_generator(seed, "test"))


def pools(sizes=(30, 17), columns=4, seed=0, more=0) -> tuple[Tensor, Tensor]:
    """x `[E, N, D]`, exists `[E, N]`; what a pool holds does not depend on the padding."""
    x = torch.zeros(len(sizes), max(sizes) + more, columns)
    for pool, size in enumerate(sizes):
        x[pool, :size] = draw(size, columns, seed=seed + pool)
    return x, torch.arange(x.shape[1]) < torch.tensor(sizes)[:, None]


def between(x, others):
    """Distances by their definition; torch.cdist takes products of float32, which are coarse for near rows."""
    return torch.linalg.vector_norm(x[..., :, None, :] - others[..., None, :, :], dim=-1)


def everything(size, columns=3, seed=0) -> tuple[Tensor, Tensor]:
    """One pool without padding."""
    return draw(1, size, columns, seed=seed), torch.ones(1, size, dtype=torch.bool)


# ---- neighbours


def test_neighbours_are_those_of_scikit_learn():
    x, exists = pools()
    rows, distances = Geometry(x, exists, num_neighbours=5).neighbours
    assert rows.shape == distances.shape == (2, 30, 5)
    for pool, size in enumerate((30, 17)):
        own = x[pool, :size].numpy()
        theirs, indices = NearestNeighbors(n_neighbors=5).fit(own).kneighbors()  # leaves out the row itself
        torch.testing.assert_close(distances[pool, :size], torch.from_numpy(theirs).float())
        assert rows[pool, :size].tolist() == indices.tolist()


def test_a_small_pool_has_neighbours_at_infinity():
    x, exists = pools(sizes=(6, 3))
    rows, distances = Geometry(x, exists, num_neighbours=4).neighbours
    assert distances[0].isfinite().all()
    assert distances[1, :3].isfinite().tolist() == [[True, True, False, False]] * 3
    assert set(rows[1, :3, :2].flatten().tolist()) <= {0, 1, 2}
    alone = Geometry(*everything(1)).neighbours
    assert alone[1].tolist() == [[[INF]]]


def test_copies_are_at_distance_zero():
    """However far from the origin: what rounding leaves in a product of large numbers is not a distance."""
    x = (draw(1, 20, 47) * 100 + 1000).repeat(1, 2, 1)
    rows, distances = Geometry(x, torch.ones(1, 40, dtype=torch.bool), num_neighbours=2).neighbours
    assert (distances[..., 0] == 0).all()
    assert rows[0, :, 0].tolist() == [*range(20, 40), *range(20)]
    torch.testing.assert_close(distances[..., 1], between(x, x).topk(3, largest=False).values[..., 2])


def test_near_rows_far_from_the_origin_are_told_apart():
    x = torch.tensor([[1000.0, 1000.0], [1000.0, 1000.25], [1000.0, 1001.0]])[None]
    distances = Geometry(x, torch.ones(1, 3, dtype=torch.bool), num_neighbours=2).neighbours[1]
    torch.testing.assert_close(distances[0], torch.tensor([[0.25, 1], [0.25, 0.75], [0.75, 1]]))


def test_scale_is_the_mean_distance_to_a_neighbour():
    x, exists = pools(sizes=(12, 3))
    geometry = Geometry(x, exists, num_neighbours=4)
    first = geometry.neighbours[1][0].mean()
    second = between(x[1, :3], x[1, :3]).sum() / 6
    torch.testing.assert_close(geometry.scale, torch.stack((first, second)))


@pytest.mark.parametrize("x", [torch.full((1, 9, 2), 3.7), torch.full((1, 1, 2), 3.7)], ids=["all alike", "one row"])
def test_scale_is_one_where_there_is_no_distance(x):
    assert Geometry(x, torch.ones(x.shape[:2], dtype=torch.bool)).scale.tolist() == [1.0]


# ---- density


def test_density_is_that_of_modal():
    density = pytest.importorskip("modAL.density").information_density
    x, exists = pools()
    ours = Geometry(x, exists).information_density
    for pool, size in enumerate((30, 17)):
        theirs = torch.from_numpy(density(x[pool, :size].numpy().copy(), "euclidean")).float()
        torch.testing.assert_close(ours[pool, :size], theirs)


def test_density_by_hand():
    x = torch.tensor([0.0, 1.0, 3.0])[None, :, None]
    density = Geometry(x, torch.ones(1, 3, dtype=torch.bool)).information_density
    wanted = [1 + 1 / 2 + 1 / 4, 1 / 2 + 1 + 1 / 3, 1 / 4 + 1 / 3 + 1]
    assert density[0].tolist() == pytest.approx([value / 3 for value in wanted])


def test_blocks_change_nothing(monkeypatch):
    x, exists = pools()
    whole = Geometry(x, exists, num_neighbours=4)
    monkeypatch.setattr(module, "_BLOCK", 7 * 2 * 30)  # of one pool fourteen rows at once
    parts = Geometry(x, exists, num_neighbours=4)
    assert len(list(parts._blocks())) == 2 * 3
    assert torch.equal(parts.neighbours[0], whole.neighbours[0])
    torch.testing.assert_close(parts.neighbours[1], whole.neighbours[1])
    torch.testing.assert_close(parts.information_density, whole.information_density)
    picks = torch.tensor([[3], [5]])
    torch.testing.assert_close(parts.nearest_pick(picks), whole.nearest_pick(picks))


# ---- large pools


def test_in_a_large_pool_some_rows_stand_for_all():
    x, exists = everything(500)
    geometry = Geometry(x, exists, num_neighbours=3, reference=40)
    reference = geometry.reference
    assert reference.shape == (1, 40)
    assert (reference.diff() > 0).all()
    distances = between(x[0], x[0, reference[0]])  # [N, R]
    torch.testing.assert_close(geometry.information_density[0], (1 / (1 + distances)).mean(1))
    distances = between(x[0], x[0, reference[0]]).masked_fill(torch.arange(500)[:, None] == reference[0], INF)
    values, places = distances.topk(3, largest=False)
    torch.testing.assert_close(geometry.neighbours[1][0], values)
    assert torch.equal(geometry.neighbours[0][0], reference[0, places])


def test_reference_rows_are_drawn_evenly_and_always_the_same():
    x, exists = everything(5000, columns=1)
    geometry = Geometry(x, exists, reference=1000)
    assert torch.equal(geometry.reference, Geometry(x, exists, reference=1000).reference)
    assert (geometry.reference[0] // 500).bincount().tolist() == pytest.approx([100] * 10, abs=35)


def test_estimates_are_near_the_truth():
    x, exists = everything(3000)
    truth = Geometry(x, exists, reference=3000).information_density
    estimate = Geometry(x, exists, reference=1000).information_density
    assert ((estimate - truth).abs() / truth).amax() < 0.1


@pytest.mark.parametrize("reference", [2048, 20])
def test_padding_and_other_pools_change_nothing(reference):
    """Pools of 30 and 17 rows, of which 20 stand for all: those of the small one must not go to waste on padding."""
    x, exists = pools()
    plain = Geometry(x, exists, 4, reference)
    padded = Geometry(*pools(more=50), num_neighbours=4, reference=reference)
    for pool, size in enumerate((30, 17)):
        alone = Geometry(x[[pool], :size], exists[[pool], :size], 4, reference)
        for other in (padded, plain):
            assert torch.equal(other.neighbours[0][pool, :size], alone.neighbours[0][0])
            torch.testing.assert_close(other.neighbours[1][pool, :size], alone.neighbours[1][0])
            torch.testing.assert_close(other.information_density[pool, :size], alone.information_density[0])
            torch.testing.assert_close(other.scale[pool], alone.scale[0])
    assert padded.exists.gather(1, padded.reference).sum(1).tolist() == [min(30, reference), 17]


def test_no_random_state_is_touched():
    before = torch.random.get_rng_state()
    _ = Geometry(*everything(100), reference=10).information_density
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_pool_of_100_000_rows_is_compared_with_2048_of_them():
    x, exists = everything(100_000, columns=4)
    geometry = Geometry(x, exists)
    assert geometry.reference.shape == (1, 2048)
    some = torch.tensor([0, 777, 99_999])
    wanted = (1 / (1 + between(x[0, some], x[0, geometry.reference[0]]))).mean(1)
    torch.testing.assert_close(geometry.information_density[0, some], wanted)


# ---- picks


def brute_force(x, picks):
    """Distance to the nearest pick, from all distances."""
    distances = between(x, x)
    wanted = torch.full(x.shape[:2], INF)
    for pool, rows in enumerate(picks):
        for row in rows[rows >= 0]:
            wanted[pool] = torch.minimum(wanted[pool], distances[pool, row])
    return wanted


def test_nearest_pick_is_carried_forward():
    x, exists = pools()
    picks = torch.tensor([[4, 9, 0, 22], [-1, 7, -1, 16]])
    carried = Geometry(x, exists)
    assert (carried.nearest_pick(picks[:, :0]) == INF).all()
    for count in (1, 1, 3, 4):
        wanted = brute_force(x, picks[:, :count])
        result = carried.nearest_pick(picks[:, :count])
        torch.testing.assert_close(result, wanted)
        assert torch.equal(result, Geometry(x, exists).nearest_pick(picks[:, :count]))
    assert (carried.nearest_pick(picks)[0, picks[0]] == 0).all()


def test_an_earlier_answer_stays_as_it_was():
    geometry = Geometry(*pools())
    earlier = geometry.nearest_pick(torch.tensor([[1], [2]]))
    copy = earlier.clone()
    geometry.nearest_pick(torch.tensor([[1, 5], [2, 6]]))
    assert torch.equal(earlier, copy)


def test_votes_are_kernel_mass_by_class():
    x, exists = pools()
    geometry = Geometry(x, exists)
    labels = torch.full((2, 30), -1)
    picks = torch.tensor([[3, 8, 12, 5], [2, 11, -1, 4]])
    labels[0, [3, 8, 5]] = torch.tensor([2, 0, 2])  # row 12 was declined
    labels[1, [2, 11, 4]] = torch.tensor([1, 1, 0])
    kernel = (-0.5 * (between(x, x) / geometry.scale[:, None, None]).square()).exp()
    wanted = torch.zeros(2, 30, 3)
    for pool in range(2):
        for row in (labels[pool] >= 0).nonzero()[:, 0]:
            wanted[pool, :, labels[pool, row]] += kernel[pool, :, row]
    assert (geometry.votes(picks[:, :0], labels, 3) == 0).all()
    geometry.votes(picks[:, :1], labels, 3)
    torch.testing.assert_close(geometry.votes(picks, labels, 3), wanted)
    assert torch.equal(geometry.votes(picks, labels, 3), Geometry(x, exists).votes(picks, labels, 3))


def test_votes_and_nearest_pick_keep_count_apart():
    """Picks of an unfinished query are near already, and have no vote yet."""
    x, exists = pools()
    geometry = Geometry(x, exists)
    labels = torch.zeros(2, 30, dtype=torch.int64)
    geometry.nearest_pick(torch.tensor([[1, 2], [3, 4]]))
    votes = geometry.votes(torch.tensor([[1], [3]]), labels, 1)
    assert torch.equal(votes, Geometry(x, exists).votes(torch.tensor([[1], [3]]), labels, 1))


def test_kernel_by_hand():
    geometry = Geometry(torch.tensor([[0.0], [2.0]])[None], torch.ones(1, 2, dtype=torch.bool))
    assert geometry.scale.tolist() == [2.0]
    result = geometry.kernel(torch.tensor([[0.0, 2.0, 4.0, INF]]))
    assert result[0].tolist() == pytest.approx([1, 0.60653, 0.13534, 0], abs=1e-5)


def test_picks_cannot_be_taken_back():
    geometry = Geometry(*pools())
    geometry.nearest_pick(torch.tensor([[1, 2], [3, 4]]))
    with pytest.raises(ValueError, match="1 columns of picks after 2"):
        geometry.nearest_pick(torch.tensor([[1], [3]]))
    geometry.votes(torch.tensor([[1], [3]]), torch.zeros(2, 30, dtype=torch.int64), 1)
    with pytest.raises(ValueError, match="0 columns of picks after 1"):
        geometry.votes(torch.zeros(2, 0, dtype=torch.int64), torch.zeros(2, 30, dtype=torch.int64), 1)


def test_many_new_picks_are_as_one_by_one(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    x, exists = torch.randn(2, 300, 4, generator=generator), torch.ones(2, 300, dtype=torch.bool)
    picks = torch.stack([torch.randperm(300, generator=generator)[:200] for _ in range(2)])
    picks[1, 150:] = -1
    labels = torch.randint(-1, 3, (2, 300), generator=generator)
    found = []
    for few in (10, 1000):
        monkeypatch.setattr(module, "_FEW", few)
        geometry = Geometry(x, exists)
        found.append((geometry.nearest_pick(picks).clone(), geometry.votes(picks, labels, 3).clone()))
    for many, one_by_one in zip(*found, strict=True):
        torch.testing.assert_close(many, one_by_one, rtol=1e-5, atol=1e-5)
    assert found[0][0].gather(1, picks.clamp_min(0))[0].eq(0).all()


def test_what_is_kept_is_made_once_also_for_copies():
    geometry = Geometry(torch.rand(2, 5, 3), torch.ones(2, 5, dtype=torch.bool))
    made: list[int] = []

    def make():
        made.append(len(made))
        return made[-1]

    assert [geometry.keep("first", make), geometry.keep("first", make), geometry.keep("second", make)] == [0, 0, 1]
    assert geometry.copy().keep("first", make) == 0
    assert Geometry(geometry.x, geometry.exists).keep("first", make) == 2


def test_rows_by_their_numbers():
    x = draw(2, 5, 3)
    made = rows_of(x, torch.tensor([[4, 1, 4], [0, -1, 2]]))
    assert torch.equal(made, torch.stack((x[0, [4, 1, 4]], x[1, [0, 0, 2]])))


# --- copies, as of rows about which several may be asked ---


@pytest.mark.parametrize("most", [2048, 12])
def test_copies_of_a_row_are_no_neighbours(most):
    """Each has what its row has without copies, also where distances are taken to some rows of many."""
    x, exists = pools(more=3)
    alone = Geometry(x, exists, num_neighbours=5, reference=most)
    x, there = x.repeat_interleave(3, 1), exists.repeat_interleave(3, 1)
    thrice = Geometry(x, there, num_neighbours=5, reference=most, copies=3)
    assert torch.equal(thrice.reference, 3 * alone.reference)
    for found, expected in zip(thrice.neighbours, alone.neighbours, strict=True):
        expected = expected if found.is_floating_point() else 3 * expected
        assert torch.equal(found[there], expected.repeat_interleave(3, 1)[there])
    torch.testing.assert_close(thrice.scale, alone.scale)
    density = alone.information_density.repeat_interleave(3, 1)
    torch.testing.assert_close(thrice.information_density[there], density[there])
