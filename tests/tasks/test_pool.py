import dataclasses

import numpy as np
import pytest
import torch

from almeta.data import Dataset, load_dataset
from almeta.errors import AlmetaError
from almeta.seeding import make_generator
from almeta.tasks import PoolSampler, PoolTaskOptions
from almeta.tasks.pool import stratified_order
from almeta.tasks.stream import StreamSampler


def table(counts=(30, 20, 10), features=4, seed=0, name="tiny", classes=None):
    """Rows of so many of each class; the first column is the row's number, so that rows are known."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    x = rng.normal(size=(len(y), features)).astype(np.float32)
    x[:, 0] = np.arange(len(y))
    names = tuple(f"class {k}" for k in range(classes or len(counts)))
    return Dataset(name=name, x=x, y=y, class_names=names, source="random numbers")


def draws_from(datasets, **options):
    return PoolSampler(datasets, PoolTaskOptions(**options))


def sampler(*datasets, **options):
    return draws_from(datasets or [table()], **({"scale": "none"} | options))


def parts(tasks, e=0):
    """Row numbers of pool and test of one task."""
    return tuple(
        x[e][exists[e]][:, 0].long().numpy()
        for x, exists in ((tasks.x, tasks.exists), (tasks.test_x, tasks.test_exists))
    )


# --- the split ---


@pytest.mark.parametrize(
    "options, pool, test",
    [
        ({"pool_size": None, "max_test": None}, 36, 24),
        ({"pool_size": None, "max_test": None, "test_share": 0.25}, 45, 15),
        ({"pool_size": 20, "max_test": None}, 20, 24),
        ({"pool_size": None, "max_test": 7}, 36, 7),
        ({"pool_size": 500, "max_test": 500}, 36, 24),
    ],
)
def test_sizes(options, pool, test):
    tasks = sampler(**options).draw_seeded(range(20))
    assert (tasks.exists.sum(1) == pool).all() and tasks.x.shape == (20, pool, 4)
    assert (tasks.test_exists.sum(1) == test).all() and tasks.test_x.shape == (20, test, 4)
    assert tasks.names == ("tiny",) * 20 and len(tasks) == 20
    assert tasks.x.dtype == tasks.test_x.dtype == torch.float32 and tasks.y.dtype == torch.int64


def test_pool_and_test_rows_are_different_rows_with_their_own_labels():
    dataset = table()
    tasks = sampler(dataset).draw_seeded(range(20))
    for e in range(20):
        pool, test = parts(tasks, e)
        assert len({*pool, *test}) == 60
        np.testing.assert_array_equal(dataset.y[pool], tasks.y[e])
        np.testing.assert_array_equal(dataset.y[test], tasks.test_y[e])
        np.testing.assert_array_equal(dataset.x[pool], tasks.x[e])
    assert len({tuple(sorted(parts(tasks, e)[0])) for e in range(20)}) == 20


def test_every_row_comes_into_the_pool():
    tasks = sampler(pool_size=None).draw_seeded(range(500))
    counts = np.bincount(np.concatenate([parts(tasks, e)[0] for e in range(500)]), minlength=60)
    assert abs(counts / 500 - 0.6).max() < 0.1  # 4.5 standard errors


def test_rows_are_those_of_the_data_set_whatever_classes_are_drawn():
    tasks = sampler(table((30, 20, 10)), table((9, 9), name="small"), max_classes=2, scale="none").draw_seeded(
        range(20)
    )
    for e in range(20):
        np.testing.assert_array_equal(tasks.rows[e][tasks.exists[e]], parts(tasks, e)[0])
    assert (tasks.rows[~tasks.exists] == -1).all() and not tasks.exists.all()
    assert tasks.rows.dtype == torch.int64


# --- a fixed test set


def fixed(dataset=None, rows=range(3, 60, 4)):
    return dataclasses.replace(dataset or table(), test_rows=np.array(rows))


def test_a_fixed_test_set_is_tested_on_exactly_and_never_drawn():
    dataset = fixed()
    whole = sampler(dataset, pool_size=None, max_test=3, test_share=0.9)
    tasks = whole.draw_seeded(range(20))
    assert (whole.num_rows, tasks.x.shape, tasks.test_x.shape) == (45, (20, 45, 4), (20, 15, 4))
    assert whole.bytes_per_task == 60 * (4 * 4 + 9)
    for e in range(20):
        pool, test = parts(tasks, e)
        assert test.tolist() == list(range(3, 60, 4)) and sorted(pool) == dataset.pool_rows.tolist()
        np.testing.assert_array_equal(dataset.y[pool], tasks.y[e])
        np.testing.assert_array_equal(dataset.y[test], tasks.test_y[e])
    assert len({tuple(parts(tasks, e)[0]) for e in range(20)}) == 20
    small = sampler(dataset, pool_size=10).draw_seeded(range(300))
    assert small.x.shape[1] == 10 and small.test_x.shape[1] == 15
    drawn = {row for e in range(300) for row in parts(small, e)[0]}
    assert drawn == set(dataset.pool_rows.tolist())


def test_a_fixed_test_set_of_some_classes():
    dataset = fixed(table((30, 30, 30)))
    tasks = sampler(dataset, max_classes=2, pool_size=None).draw_seeded(range(30))
    for e in range(30):
        pool, test = parts(tasks, e)
        kept = np.unique(dataset.y[pool])
        assert len(kept) == 2 and test.tolist() == [row for row in dataset.test_rows if dataset.y[row] in kept]
        assert (tasks.num_classes[e], len(pool) + len(test)) == (2, 60)


def test_classes_without_a_row_of_the_fixed_test_set_are_not_drawn_alone():
    dataset = table((30, 30, 5))
    rare = np.flatnonzero(dataset.y == 0)[:2]
    tasks = sampler(fixed(dataset, rare), max_classes=2).draw_seeded(range(50))
    assert (tasks.test_exists.sum(1) == 2).all()
    with pytest.raises(AlmetaError, match="has 60 rows: 60 for the pool and 0 for testing; .* testing 1"):
        sampler(fixed(dataset, np.flatnonzero(dataset.y == 2)[:2]), max_classes=2)


def test_a_pool_beside_a_fixed_test_set_needs_two_classes():
    dataset = table((30, 30))
    with pytest.raises(AlmetaError, match="has rows of 1 class; active learning needs at least 2"):
        sampler(fixed(dataset, np.flatnonzero(dataset.y == 1)))


def test_the_place_in_the_pool_does_not_tell_the_label():
    tasks = sampler(table((50, 50))).draw_seeded(range(200))
    assert tasks.exists.all()
    alike = (tasks.y[:, 1:] == tasks.y[:, :-1]).float().mean()
    assert 0.47 < alike < 0.52  # 29 of the 59 other rows; a standard error is .0046


def test_a_stratified_order_has_the_shares_in_every_stretch():
    rng = np.random.default_rng(0)
    for _ in range(50):
        counts = rng.integers(1, 60, size=rng.integers(2, 7))
        y = rng.permutation(np.repeat(np.arange(len(counts)), counts))
        order = stratified_order(y, rng)
        assert sorted(order) == list(range(len(y)))
        for begin in range(0, len(y), 10):
            for end in range(begin + 10, len(y) + 1, 10):
                found = np.bincount(y[order[begin:end]], minlength=len(counts))
                assert abs(found - counts * (end - begin) / len(y)).max() < len(counts)


def test_a_stratified_order_is_random_within_a_class():
    rng = np.random.default_rng(0)
    first = [np.flatnonzero(stratified_order(np.array([0, 0, 0, 1, 1]), rng) == 0)[0] for _ in range(500)]
    assert np.bincount(first, minlength=5).min() > 40


def test_classes_of_one_row_do_not_hang():
    names = tuple(str(k) for k in range(21))
    dataset = dataclasses.replace(table((20, *[1] * 20)), class_names=names)
    tasks = sampler(dataset, max_classes=2).draw_seeded(range(50))
    assert (tasks.exists.sum(1) >= 2).all() and ((tasks.first >= 0).sum(1) == 2).all()
    with pytest.raises(AlmetaError, match="has 2 rows: 1 for the pool"):
        sampler(dataclasses.replace(table([1] * 20), class_names=names[:20]), max_classes=2)


def test_a_single_row_of_a_rare_class_comes_into_the_pool():
    tasks = sampler(table((5000, 1)), pool_size=50).draw_seeded(range(20))
    assert ((tasks.y == 1) & tasks.exists).sum(1).tolist() == [1] * 20


def test_a_class_of_one_row_is_in_pool_or_test():
    tasks = sampler(table((40, 20, 1))).draw_seeded(range(200))
    in_pool = ((tasks.y == 2) & tasks.exists).sum(1)
    in_test = ((tasks.test_y == 2) & tasks.test_exists).sum(1)
    assert (in_pool + in_test == 1).all()
    assert 0.4 < in_pool.float().mean() < 0.8
    assert ((tasks.first >= 0).sum(1) == 2 + in_pool).all()
    assert (tasks.num_classes == 3).all()


# --- first labels ---


@pytest.mark.parametrize("wanted", [["b", "d"], ["d", "b"]], ids=str)
def test_tasks_of_some_classes_only(wanted):
    dataset = dataclasses.replace(table((30, 20, 40, 10), classes=4), class_names=("a", "b", "c", "d"))
    tasks = sampler(dataset, only_classes=wanted, scale="none", pool_size=None).draw_seeded(range(5))
    assert tasks.x.shape[1] + tasks.test_x.shape[1] == 30 and (tasks.num_classes == 2).all()
    rows = {tuple(row): label for row, label in zip(dataset.x.tolist(), dataset.y.tolist(), strict=True)}
    for x, y in zip(tasks.x.tolist(), tasks.y.tolist(), strict=True):
        assert [rows[tuple(row)] for row in x] == [{0: 1, 1: 3}[label] for label in y]


def test_classes_that_digits_name_come_from_a_command_line_as_numbers():
    digits = load_dataset("digits")
    tasks = sampler(digits, only_classes=[3, "8", 9]).draw_seeded(range(2))
    assert (tasks.num_classes == 3).all()
    with pytest.raises(AlmetaError, match="unknown class of data set digits '10'; did you mean '1'"):
        sampler(digits, only_classes=[3, 10])
    with pytest.raises(AlmetaError, match="data set 'digits' has rows of 1 class"):
        sampler(digits, only_classes=[3])


@pytest.mark.parametrize("first", ["per_class", "random"])
def test_no_first_labels_at_all(first):
    tasks = sampler(first=first, num_first=0).draw_seeded(range(3))
    assert tasks.first.shape == (3, 0) and tasks.max_budget == tasks.exists.sum(1).min()


@pytest.mark.parametrize("num_first", [1, 3])
def test_so_many_first_labels_per_class(num_first):
    tasks = sampler(num_first=num_first).draw_seeded(range(20))
    assert tasks.first.shape == (20, 3 * num_first)
    labels = tasks.y.gather(1, tasks.first)
    for e in range(20):
        assert np.bincount(labels[e]).tolist() == [num_first] * 3
        assert len(set(tasks.first[e].tolist())) == 3 * num_first


def test_a_class_with_fewer_rows_gives_those():
    tasks = sampler(table((40, 4)), num_first=5).draw_seeded(range(20))
    labels = tasks.y.gather(1, tasks.first.clamp_min(0)).masked_fill(tasks.first < 0, -1)
    assert ((labels == 0).sum(1) == 5).all()
    assert ((labels == 1).sum(1) == (tasks.y == 1).sum(1)).all()


@pytest.mark.parametrize("num_first", [1, 2, 6])
def test_so_many_first_labels_at_random_of_two_classes_at_least(num_first):
    tasks = sampler(table((55, 5)), first="random", num_first=num_first).draw_seeded(range(100))
    assert tasks.first.shape == (100, num_first)
    for rows, y in zip(tasks.first, tasks.y, strict=True):
        assert len(set(rows.tolist())) == num_first
        assert len(set(y[rows].tolist())) == min(2, num_first)


# --- cuts ---


def test_a_cut_to_some_classes():
    dataset = table((30, 20, 10, 25, 15))
    tasks = sampler(dataset, max_classes=3).draw_seeded(range(150))
    assert (tasks.num_classes == 3).all()
    chosen = set()
    for e in range(150):
        pool, test = parts(tasks, e)
        old, new = dataset.y[[*pool, *test]], [*tasks.y[e][tasks.exists[e]], *tasks.test_y[e][tasks.test_exists[e]]]
        pairs = {(int(a), int(b)) for a, b in zip(old, new, strict=True)}  # old and new number of each class
        assert len(pairs) == 3 and {b for _, b in pairs} == {0, 1, 2}
        chosen.add(frozenset(a for a, _ in pairs))
        rows = dataset.class_counts[[a for a, _ in pairs]].sum()
        assert len(test) == round(0.4 * rows) and len(pool) == rows - len(test)
    assert len(chosen) == 10


def test_classes_without_rows_are_not_chosen():
    tasks = sampler(table((30, 0, 20, 0), classes=5), max_classes=3).draw_seeded(range(10))
    assert (tasks.num_classes == 2).all()
    assert (tasks.first.shape[1], tasks.max_classes) == (2, 2)


def test_a_cut_to_some_features():
    dataset = table(features=6)
    tasks = draws_from([dataset], scale="none", max_features=2).draw_seeded(range(200))
    assert tasks.x.shape == (200, 36, 2) and tasks.test_x.shape == (200, 24, 2)
    chosen = set()
    for e in range(200):
        columns = [np.flatnonzero(np.isin(dataset.x, column.numpy()).sum(0) >= 36)[0] for column in tasks.x[e].T]
        chosen.add(tuple(int(column) for column in columns))
        assert columns == sorted(columns)
        for column, test in zip(columns, tasks.test_x[e].T, strict=True):  # the same of the test rows
            assert np.isin(test.numpy(), dataset.x[:, column]).all()
    assert len(chosen) == 15


# --- batches ---


def test_what_pads_is_said_and_is_zero():
    tasks = draws_from([table((20, 20), 3), table((10, 8, 7, 5), 5, name="other")]).draw_seeded([0, 1], cycle=True)
    assert tasks.names == ("tiny", "other")
    assert tasks.x.shape == (2, 24, 5) and tasks.test_x.shape == (2, 16, 5) and tasks.first.shape == (2, 4)
    assert tasks.exists.sum(1).tolist() == [24, 18] and tasks.test_exists.sum(1).tolist() == [16, 12]
    assert (tasks.x[~tasks.exists] == 0).all() and (tasks.test_x[~tasks.test_exists] == 0).all()
    assert (tasks.x[0, :, 3:] == 0).all() and (tasks.x[0, :, :3].std(0) > 0).all()
    assert (tasks.first[0] >= 0).tolist() == [True, True, False, False]
    assert tasks.num_classes.tolist() == [2, 4]
    assert (tasks.max_classes, tasks.max_budget) == (4, 14)


def test_the_same_seed_gives_the_same_task_whatever_the_others_are():
    make = draws_from([table((20, 20), 3), table((10, 8, 7, 5), 5, name="other")], synthetic=0.3)
    together = make.draw_seeded(range(12))
    for e in range(12):
        alone = make.draw_seeded([e])
        assert alone.names[0] == together.names[e]
        for key in ("x", "y", "exists", "test_x", "test_y", "test_exists", "num_classes"):
            one, other = getattr(alone, key)[0], getattr(together, key)[e]
            part = other[tuple(slice(n) for n in one.shape)]
            assert torch.equal(one, part), key
            assert other.count_nonzero() == part.count_nonzero()  # the rest pads
        first = together.first[e]
        assert torch.equal(alone.first[0][alone.first[0] >= 0], first[first >= 0])


def test_a_generator_draws_tasks():
    make = sampler()
    one, same, other = (make.draw(5, make_generator(seed, "env")) for seed in (0, 0, 1))
    assert torch.equal(one.x, same.x) and torch.equal(one.first, same.first)
    assert not torch.equal(one.x, other.x)
    generator = make_generator(0, "env")
    assert not torch.equal(make.draw(5, generator).x, make.draw(5, generator).x)


def test_every_data_set_is_drawn_as_often():
    names = draws_from([table((9, 9), name="a"), table((90, 90), name="b")]).draw_seeded(range(1000)).names
    assert abs(names.count("a") - 500) < 70  # 4.4 standard errors


def test_repeated_tasks_are_neighbours():
    tasks = sampler().draw_seeded([0, 1])
    repeated = tasks.repeat(3)
    assert len(repeated) == 6 and tasks.repeat(1) is tasks
    for e in range(6):
        assert torch.equal(repeated.x[e], tasks.x[e // 3]) and torch.equal(repeated.first[e], tasks.first[e // 3])


def test_each_row_stands_once_for_each_annotator():
    tasks = sampler().draw_seeded([0, 1])
    asked = tasks.asked_of(3)
    assert tasks.asked_of(1) is tasks
    for name in ("x", "y", "exists", "rows"):
        for annotator in range(3):
            assert torch.equal(getattr(asked, name)[:, annotator::3], getattr(tasks, name))
    known = asked.rows.gather(1, asked.first.clamp_min(0)).where(asked.first >= 0, -1)
    assert torch.equal(known, tasks.rows.gather(1, tasks.first.clamp_min(0)).where(tasks.first >= 0, -1))
    assert torch.equal(asked.test_x, tasks.test_x)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_share_of_tasks_is_synthetic(share):
    make = draws_from([table()], synthetic=share, pool_size=30, max_test=20)
    names = make.draw_seeded(range(300)).names
    assert abs(sum(name.startswith("synthetic-") for name in names) / 300 - share) < 0.12  # 4.5 standard errors


def test_synthetic_tasks_alone_are_of_full_size():
    tasks = draws_from([], synthetic=1.0, pool_size=30, max_test=20).draw_seeded(range(30))
    assert (tasks.exists.sum(1) == 30).all() and (tasks.test_exists.sum(1) == 20).all()
    assert len(set(tasks.num_classes.tolist())) > 1
    assert tasks.x.isfinite().all() and tasks.test_x.isfinite().all()


# --- preparation ---


@pytest.mark.parametrize("options", [{"scale": "standard"}, {"scale": "minmax"}, {"components": 2}])
def test_preparation_is_fitted_on_the_pool_alone(options):
    dataset = load_dataset("wine")
    make = draws_from([dataset], **options)
    plain = make.draw_seeded([5])
    # Which rows are test rows is found by drawing the same task from a table that numbers its rows.
    x = np.repeat(np.arange(len(dataset), dtype=np.float32)[:, None], 2, 1)
    _, test = parts(draws_from([dataclasses.replace(dataset, x=x, columns=())], scale="none").draw_seeded([5]))
    changed_x = dataset.x.copy()
    changed_x[test] = 100 - 3 * changed_x[test]
    changed = draws_from([dataclasses.replace(dataset, x=changed_x)], **options).draw_seeded([5])
    assert torch.equal(plain.x, changed.x) and torch.equal(plain.first, changed.first)
    assert not torch.equal(plain.test_x, changed.test_x)


def test_features_of_the_pool_are_scaled():
    tasks = draws_from([load_dataset("wine")], pool_size=None).draw_seeded([0, 1])
    torch.testing.assert_close(tasks.x.mean(1), torch.zeros(2, 13), atol=1e-5, rtol=0)
    torch.testing.assert_close(tasks.x.std(1, correction=0), torch.ones(2, 13), atol=1e-3, rtol=0)
    assert 0.01 < tasks.test_x.mean(1).abs().mean() < 0.5


# --- mistakes ---


@pytest.mark.parametrize(
    "options, message",
    [
        ({"test_share": 0.0}, "env.test_share is 0.0; it must be a number above 0, at most 1"),
        ({"test_share": 1.0}, "env.test_share is 1; it must be below 1, or no row is left for the pool"),
        ({"first": "all"}, "env.first is 'all'; it must be 'per_class' or 'random'"),
        ({"pool_size": 0}, "env.pool_size is 0; it must be a whole number of at least 1 or null"),
        ({"max_test": 0}, "env.max_test is 0; .* at least 1 or null"),
        ({"num_first": -1}, "env.num_first is -1; it must be a whole number of at least 0"),
        ({"max_features": 0}, "env.max_features is 0; .* at least 1 or null"),
        ({"max_classes": 1}, "env.max_classes is 1; it must be a whole number of at least 2 or null"),
        ({"synthetic": 1.5}, "env.synthetic is 1.5; it must be a number from 0 to 1"),
        ({"synthetic": -0.1}, "env.synthetic is -0.1; it must be a number from 0 to 1"),
        ({"scale": "log"}, "env.scale is 'log'; it must be 'standard' or 'minmax' or 'none'"),
        ({"components": 0}, "env.components is 0; .* at least 1 or null"),
        ({"pool_size": 1}, "data set 'tiny' has 60 rows: 1 for the pool"),
        ({"first": "random", "num_first": 37}, "data set 'tiny' has 60 rows: 36 for the pool.*needs 37"),
        ({"test_share": 0.999}, "0 for the pool"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(AlmetaError, match=message):
        draws_from([table()], **options)


def test_one_class_is_too_few():
    with pytest.raises(AlmetaError, match="data set 'dull' has rows of 1 class"):
        draws_from([table(), table((20,), name="dull", classes=3)])


def test_two_rows_are_too_few():
    with pytest.raises(AlmetaError, match="data set 'tiny' has 2 rows: 1 for the pool and 1 for testing"):
        draws_from([table((1, 1))])


def test_no_data_set_at_all():
    with pytest.raises(AlmetaError, match="no data set to draw tasks from"):
        draws_from([])


@pytest.mark.parametrize("first", ["random", "per_class"])
def test_a_pool_has_at_least_two_classes_however_rare_one_is(first):
    tasks = sampler(table((199, 1)), pool_size=3, first=first, num_first=2).draw_seeded(range(20))
    assert (((tasks.y == 1) & tasks.exists).sum(1) == 1).all()
    assert (tasks.y.gather(1, tasks.first.clamp_min(0)).amax(1) == 1).all()


# ---- numbers as targets


def of_numbers(rows=60, name="numbers", **changes):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 3)).astype(np.float32)
    return Dataset(name, x, 50 + 7 * x[:, 0].astype(np.float64), (), "made here", **changes)


def test_numbers_are_counted_from_the_mean_of_the_data_set_in_its_deviations():
    dataset = of_numbers()
    sampler = PoolSampler([dataset], PoolTaskOptions(pool_size=20, num_first=4))
    tasks = sampler.draw(5, make_generator(0, "test"))
    assert (sampler.target, tasks.y.dtype, tasks.num_classes.tolist(), tasks.max_classes) == (
        *("numbers", torch.float32, [0] * 5, 0),
    )
    expected = (dataset.y - dataset.y.mean()) / dataset.y.std()
    np.testing.assert_allclose(tasks.y, expected[tasks.rows], rtol=1e-5, atol=1e-6)
    assert tasks.y.shape == (5, 20) and tasks.test_y.shape == (5, 24)
    assert tasks.first.shape == (5, 4) and all(len(set(first)) == 4 for first in tasks.first.tolist())
    pooled = set(tasks.rows[0].tolist())
    assert len(pooled) == 20 and len({*map(tuple, tasks.first.tolist())}) > 1


@pytest.mark.parametrize("first", ["per_class", "random"])
def test_first_labels_of_numbers_are_so_many_in_all(first):
    tasks = PoolSampler([of_numbers()], PoolTaskOptions(first=first, num_first=6)).draw(2, make_generator(0, "test"))
    assert tasks.first.shape == (2, 6)


def test_fixed_test_rows_of_numbers_are_tested_on():
    dataset = of_numbers(test_rows=np.arange(10))
    tasks = PoolSampler([dataset]).draw(1, make_generator(0, "test"))
    expected = ((dataset.y - dataset.y.mean()) / dataset.y.std())[:10]
    np.testing.assert_allclose(tasks.test_y[0], expected, rtol=1e-5, atol=1e-6)
    assert tasks.rows.min() == 10 and tasks.rows.shape == (1, 50)


@pytest.mark.parametrize(
    "others, options, message",
    [
        (["iris"], {}, "data set 'numbers' has numbers as targets; data set 'iris', drawn beside it, is for classes"),
        ([], {"synthetic": 0.5}, "has numbers as targets; env.synthetic=0.5 is for classes"),
        ([], {"only_classes": ["a"]}, r"has numbers as targets; env.only_classes=\['a'\] is for classes"),
        ([], {"max_classes": 3}, "has numbers as targets; env.max_classes=3 is for classes"),
    ],
)
def test_what_is_for_classes_is_refused_of_numbers(others, options, message):
    with pytest.raises(AlmetaError, match=message):
        PoolSampler([*map(load_dataset, others), of_numbers()], PoolTaskOptions(**options))


def test_a_stream_of_numbers_is_refused():
    with pytest.raises(AlmetaError, match="data set 'numbers' has numbers as targets; a stream is for classes"):
        StreamSampler(of_numbers())
