import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from almeta.data import Dataset, load_dataset
from almeta.data.rows import share_of_rows, sketch
from almeta.data.suites import group_of, suite
from tests.data.conftest import published


def made(x, categories=None, name="made", **fields):
    x = np.asarray(x, np.float32)
    y = np.arange(len(x)) % 2
    fields = {"missing": bool(np.isnan(x).any()), "categories": categories or {}} | fields
    return Dataset(name, x, y, ("a", "b"), "here", **fields)


def overlap(one, other):
    return share_of_rows(sketch(one), sketch(other))


def same_rows(one, other):
    return overlap(one, other) > 0.5


def numbers(n=300, d=5, seed=0):
    return made(np.random.default_rng(seed).normal(50, 20, (n, d)))


def bits(n=300, d=9, seed=0):
    """Zeros and ones, more of the ones in later columns."""
    return made(np.random.default_rng(seed).random((n, d)) < np.linspace(0.2, 0.8, d))


@pytest.mark.parametrize("make", [numbers, bits])
def test_a_copy_is_told(make):
    data, rng = make(), np.random.default_rng(1)
    rows, columns = rng.permutation(len(data)), rng.permutation(data.x.shape[1])
    copy = Dataset("another", data.x[rows][:, columns], 1 - data.y[rows], ("no", "yes"), "elsewhere")
    assert sketch(copy) == sketch(data)
    assert same_rows(copy, data) and overlap(copy, data) == 1
    assert overlap(data, make(seed=7)) == 0


def test_a_sketch_is_short_and_goes_into_json():
    texts = sketch(numbers())
    assert len(texts) == len(set(texts)) == 64
    assert json.loads(json.dumps(texts)) == texts
    assert max(map(len, texts)) <= 17
    assert len(sketch(bits(3))) <= 3


@pytest.mark.parametrize("make", [numbers, bits])
def test_the_parts_of_a_table_with_a_fixed_test_set_are_told(make):
    whole = make()
    fixed = dataclasses.replace(whole, test_rows=np.arange(200, 300))
    for rows in (np.arange(200), np.arange(200, 300), np.arange(300)):
        part = dataclasses.replace(whole, x=whole.x[rows], y=whole.y[rows])
        assert overlap(part, fixed) == overlap(fixed, part) == 1
    assert overlap(make(seed=7), fixed) == 0
    assert len(sketch(fixed)) <= 64


@pytest.mark.parametrize("written", ["%.9g", "%.6g", "%.17e", None])
def test_by_way_of_a_file(written, tmp_path):
    rng = np.random.default_rng(2)
    scales = 10.0 ** rng.integers(-12, 12, 6)
    x = np.column_stack([rng.normal(size=(200, 6)) * scales, rng.integers(0, 3, 200), rng.integers(0, 2, 200)])
    x[rng.random(200) < 0.2, 2] = np.nan
    names = {6: ("blue", "green", "red"), 7: ("0", "1")}
    data = made(x, names)
    frame = pd.DataFrame(data.x).assign(target=np.where(data.y, "p", "q"))
    frame[6] = np.array(names[6])[data.x[:, 6].astype(int)]
    frame[7] = frame[7].astype(int)  # these categories come back as numbers
    frame.sample(frac=1, random_state=0).to_csv(tmp_path / "copy.csv", index=False, float_format=written)
    back = load_dataset(f"csv:{tmp_path / 'copy.csv'}")
    assert back.categories == {6: names[6]}
    assert sketch(back) == sketch(data)


def test_categories_are_known_by_their_text_whatever_their_order():
    x = np.random.default_rng(0).integers(0, 3, (100, 4))
    order = dict.fromkeys(range(4), ("u", "v", "w"))
    other = dict.fromkeys(range(4), ("w", "v", "u"))
    assert same_rows(made(x, order), made(2 - x, other))
    assert not same_rows(made(x, order), made(x, dict.fromkeys(range(4), ("u", "v", "x"))))


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_part_is_told(share):
    data = numbers(2000)
    part = made(data.x[np.random.default_rng(0).permutation(2000)[: int(share * 2000)]])
    assert overlap(part, data) == overlap(data, part) == 1


@pytest.mark.parametrize("share", [0.0, 0.25, 0.75])
def test_the_share_of_common_rows(share):
    found = []
    for seed in range(20):
        one, other = numbers(1000, seed=2 * seed), numbers(1000, seed=2 * seed + 1)
        mixed = made(np.concatenate([one.x[: int(share * 1000)], other.x[int(share * 1000) :]]))
        found.append(overlap(one, mixed))
    assert np.mean(found) == pytest.approx(share, abs=0.05)  # 20 estimates of error below 0.08: within 3 errors
    assert max(abs(value - share) for value in found) < 0.3


def test_tables_of_a_few_plain_values_share_rows_by_chance_and_are_told_apart():
    one, other = bits(4000, 6, 0), bits(4000, 6, 1)
    assert {tuple(row) for row in one.x} == {tuple(row) for row in other.x}  # all 64 rows that there are
    assert overlap(one, other) == 0
    few = [np.random.default_rng(seed).integers(0, 10, (500, 4)) for seed in (0, 1)]
    assert overlap(*map(made, few)) == 0


@pytest.mark.parametrize("one, other", [([0.1, 0.2], [0.1, 0.2]), ([1e30, 1e-30], [1e30, 1e-30])])
def test_a_row_is_its_values(one, other):
    assert share_of_rows(sketch(made([one])), sketch(made([other[::-1]]))) == 1


@pytest.mark.parametrize(
    "one, other", [(1, -1), (1, 10), (0, np.nan), (0, 1e-30), (999_999, 999_998), (100_000, 99_999.9), (1, 1.00001)]
)
def test_values_that_differ(one, other):
    assert share_of_rows(sketch(made([[one]])), sketch(made([[other]]))) == 0


def test_six_digits_count():
    for value in (1, 0.1, 999_999.96, 1e6, 123_456.7, 1e-7, 9.999999e11):
        near = np.nextafter(np.float32(value), np.float32(0))
        assert sketch(made([[float(f"{near:.6g}")]])) == sketch(made([[near]]))


def test_no_two_tables_of_the_suites_are_taken_for_each_other_but_near_duplicates(load_once):
    published("tabular/catalogue.json")
    found = {name: sketch(load_once(name)) for name in {*suite("tables"), *suite("embedded"), *suite("synthetic")}}
    shares = {(one, other): share_of_rows(found[one], found[other]) for one in found for other in found if one < other}
    assert {pair for pair, share in shares.items() if share > 0} == {("breast_cancer", "wdbc")}
    assert group_of("breast_cancer") == group_of("wdbc")


@pytest.mark.parametrize("name", ["iris", "wine"])
def test_two_copies_of_one_table_that_differ_in_a_few_cells(name, load_once):
    file = published(f"tabular/{name}.csv.gz") / "tabular" / f"{name}.csv.gz"
    assert same_rows(load_dataset(f"csv:{file}"), load_once(name))
