import dataclasses
import timeit

import numpy as np
import pytest
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler

from almeta.data import Dataset, load_dataset
from almeta.data.preparation import LIMIT, MAX_CATEGORIES, prepare
from almeta.errors import AlmetaError

NAN = np.nan


def made(x, **fields):
    x = np.asarray(x, np.float32)
    y = np.arange(len(x)) % 2
    return Dataset(**({"name": "made", "x": x, "y": y, "class_names": ("a", "b"), "source": "here"} | fields))


def rows(pool: int, test: int) -> tuple[np.ndarray, np.ndarray]:
    """The first rows are the pool, the next ones are for testing."""
    return np.arange(pool), np.arange(pool, pool + test)


def mixed(rng, n=60, missing=0.2):
    """Three columns of numbers and two of categories (columns 1 and 3), with missing values."""
    x = rng.normal(5, 3, (n, 5))
    x[:, 1], x[:, 3] = rng.integers(4, size=n), rng.integers(9, size=n)
    x[rng.random((n, 5)) < missing] = NAN
    categories = {1: tuple("abcd"), 3: tuple("abcdefghi")}
    return made(x, categories=categories, missing=True)


TEXT = made(np.random.default_rng(0).poisson(0.07, (50, 30)), kind="text")
IMAGES = made(np.random.default_rng(0).random((50, 12)) * (np.arange(12) > 1), image_shape=(3, 4))
KINDS = {"table": made(np.random.default_rng(0).normal(size=(50, 6))), "images": IMAGES, "text": TEXT}
KINDS["mixed"] = mixed(np.random.default_rng(0))


def test_standard_is_that_of_scikit_learn():
    data = load_dataset("wine")
    pool, test = np.split(np.random.default_rng(0).permutation(178), [100])
    scaler = StandardScaler().fit(data.x[pool].astype(np.float64))
    x, test_x = prepare(data, pool, test)
    assert x.dtype == test_x.dtype == np.float32
    assert np.allclose(x, scaler.transform(data.x[pool]), atol=1e-5)
    assert np.allclose(test_x, scaler.transform(data.x[test]), atol=1e-5)


def test_minmax_is_that_of_scikit_learn():
    data = load_dataset("wine")
    pool, test = np.split(np.random.default_rng(0).permutation(178), [100])
    scaler = MinMaxScaler((-1, 1)).fit(data.x[pool].astype(np.float64))
    x, test_x = prepare(data, pool, test, "minmax")
    assert (x.min(0) == -1).all() and (x.max(0) == 1).all()
    assert np.allclose(test_x, scaler.transform(data.x[test]), atol=1e-5)


def test_none_leaves_numbers_as_they_are():
    data = load_dataset("wine")
    x, test_x = prepare(data, *rows(100, 78), scale="none")
    assert (np.concatenate([x, test_x]) == data.x).all()


def test_values_by_hand():
    data = made([[1, 5], [3, 5], [4, 6]])
    x, test_x = prepare(data, *rows(2, 1))
    assert x.tolist() == [[-1, 0], [1, 0]]
    assert test_x.tolist() == [[2, 0]]  # the second column says nothing in the pool
    x, test_x = prepare(data, *rows(2, 1), scale="minmax")
    assert (x.tolist(), test_x.tolist()) == ([[-1, 0], [1, 0]], [[2, 0]])


@pytest.mark.parametrize("scale", ["standard", "minmax"])
@pytest.mark.parametrize("value", [0.1, -1e20, 1e-30, 16777216.0])
def test_constant_column_is_zero_beside_others(scale, value):
    x = np.random.default_rng(0).normal(size=(40, 3))
    x[:, 1] = value
    pool, _ = prepare(made(x), *rows(30, 10), scale=scale)
    assert (pool[:, 1] == 0).all()
    assert (pool[:, [0, 2]].std(0) > 0.1).all()  # however large the constant is


def test_odd_rows_are_cut():
    x = np.random.default_rng(0).normal(size=(500, 2))
    x[0, 0], x[400, 1], x[401, 1] = 1e30, 3e38, -3e38
    pool, test = prepare(made(x), *rows(400, 100))
    assert pool.max() == LIMIT and pool[0, 0] == LIMIT
    assert test[:2, 1].tolist() == [LIMIT, -LIMIT]
    assert np.isfinite(pool).all() and np.isfinite(test).all()


def test_one_row_and_no_test_rows():
    pool, test = prepare(KINDS["table"], np.array([3]), np.array([], np.int64))
    assert (pool == 0).all()
    assert test.shape == (0, 6)


def test_missing_values_and_categories_are_those_of_scikit_learn():
    data = mixed(np.random.default_rng(1), n=80)
    pool, test = np.split(np.random.default_rng(2).permutation(80), [50])
    numeric, categorical = data.x[:, [0, 2, 4]], data.x[:, [1, 3]]
    imputer, scaler = SimpleImputer(strategy="median"), StandardScaler()
    mode, encoder = SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    scaler.fit(imputer.fit_transform(numeric[pool].astype(np.float64)))
    encoder.fit(mode.fit_transform(categorical[pool]))
    for found, rows_ in zip(prepare(data, pool, test), (pool, test), strict=True):
        numbers = scaler.transform(imputer.transform(numeric[rows_].astype(np.float64)))
        wanted = np.concatenate([numbers, encoder.transform(mode.transform(categorical[rows_]))], 1)
        assert found.shape == wanted.shape
        assert np.allclose(found, wanted, atol=1e-5)


def test_unknown_and_missing_categories():
    column = [[0], [0], [2], [NAN], [1], [NAN], [2]]
    pool, test = prepare(made(column, categories={0: tuple("abc")}, missing=True), *rows(4, 3))
    assert pool.tolist() == [[1, 0], [1, 0], [0, 1], [1, 0]]  # a missing one becomes the most frequent
    assert test.tolist() == [[0, 0], [1, 0], [0, 1]]  # "b" is not in the pool


def test_columns_without_a_value_in_the_pool():
    x = [[NAN, NAN, 1], [NAN, NAN, 2], [7, 1, 3]]
    data = made(x, categories={1: ("a", "b")}, missing=True)
    pool, test = prepare(data, *rows(2, 1))
    assert pool.tolist() == [[0, -1], [0, 1]]  # of the categories nothing is left
    assert test.tolist() == [[0, 3]]
    pool, test = prepare(made([[NAN], [NAN], [1]], categories={0: ("a", "b")}, missing=True), *rows(2, 1))
    assert (pool.tolist(), test.tolist()) == ([[0], [0]], [[0]])


def test_ten_thousand_categories():
    names = tuple(str(k) for k in range(10_000))
    column = np.concatenate([np.arange(10_000), np.arange(60).repeat(3)])[:, None]
    pool, test = prepare(made(column, categories={0: names}), np.arange(10_180), np.arange(100))
    assert pool.shape == (10_180, MAX_CATEGORIES)
    assert (test.argmax(1)[:MAX_CATEGORIES] == np.arange(MAX_CATEGORIES)).all()  # of equally frequent ones the first
    assert pool.sum() == 4 * MAX_CATEGORIES


def test_images_share_one_scale():
    pool, test = prepare(IMAGES, *rows(30, 20))
    raw = IMAGES.x[:30]
    assert np.allclose(pool, (raw - raw.mean(0)) / np.sqrt(raw.var(0).mean()), atol=1e-5)
    assert np.square(pool).mean() == pytest.approx(1, abs=1e-5)
    distance, ratio = np.linalg.norm(pool[0] - test[0]), np.linalg.norm(raw[0] - IMAGES.x[30])
    assert distance / ratio == pytest.approx(np.linalg.norm(pool[1] - test[1]) / np.linalg.norm(raw[1] - IMAGES.x[31]))
    assert (prepare(IMAGES, *rows(30, 20), scale="none")[0] == raw).all()
    pool, _ = prepare(IMAGES, *rows(30, 20), scale="minmax")
    assert (pool.min(), pool.max()) == (-1, 1)
    assert np.allclose(pool, 2 * raw / raw.max() - 1, atol=1e-6)


def test_text_is_tf_idf_of_the_terms_in_the_pool():
    pool, test = prepare(TEXT, *rows(20, 30))
    used = TEXT.x[:20].any(0)
    assert 0 < used.sum() < 30
    transformer = TfidfTransformer().fit(TEXT.x[:20][:, used])
    assert np.allclose(pool, transformer.transform(TEXT.x[:20][:, used]).toarray(), atol=1e-6)
    assert np.allclose(test, transformer.transform(TEXT.x[20:][:, used]).toarray(), atol=1e-6)


def test_text_without_terms():
    data = made([[0, 0], [0, 0], [1, 2]], kind="text")
    assert [part.tolist() for part in prepare(data, *rows(2, 1))] == [[[0], [0]], [[0]]]
    assert [part.tolist() for part in prepare(data, np.array([0, 2]), np.array([1]))][1] == [[0, 0]]


@pytest.mark.parametrize("pool", [8, 40])  # fewer rows than columns, and more
@pytest.mark.parametrize("kind", ["table", "images", "text"])
def test_components_are_those_of_scikit_learn(kind, pool):
    rng = np.random.default_rng(0)  # more values than in the others, so that no two components are equally strong
    data = {
        "table": made(rng.normal(size=(50, 12))),
        "images": IMAGES,
        "text": made(rng.poisson(0.4, (50, 30)), kind="text"),
    }[kind]
    whole, other = prepare(data, *rows(pool, 10))
    x, test = prepare(data, *rows(pool, 10), components=3)
    method = TruncatedSVD(3, algorithm="arpack") if kind == "text" else PCA(3, svd_solver="full")
    method.fit(whole.astype(np.float64))
    for found, wanted in ((x, method.transform(whole)), (test, method.transform(other))):
        signs = np.sign((found * wanted).sum(0))
        assert found.shape == wanted.shape
        assert np.allclose(found, wanted * signs, atol=1e-4)


def test_at_most_as_many_components_as_there_are():
    x, test = prepare(KINDS["table"], *rows(4, 10), components=100)
    assert x.shape == (4, 4) and test.shape == (10, 4)
    assert np.abs(x[:, 3]).max() < 1e-5  # four rows about their mean span three directions
    assert np.isfinite(test).all() and np.abs(test[:, 3]).max() == 0
    x, _ = prepare(KINDS["table"], *rows(40, 10), components=100)
    assert x.shape == (40, 6)


@pytest.mark.parametrize("components", [None, 2])
@pytest.mark.parametrize("scale", ["standard", "minmax", "none"])
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_depends_on_the_test_rows(kind, scale, components):
    data = KINDS[kind]
    pool, test = rows(30, 10)
    x, test_x = prepare(data, pool, test, scale, components)
    foreign = data.x.copy()
    foreign[30:] = 3.0 if data.categories else 1e6
    changed, _ = prepare(dataclasses.replace(data, x=foreign), pool, test, scale, components)
    assert (changed == x).all()
    one, single = prepare(data, pool, test[4:5], scale, components)
    assert (one == x).all()
    assert np.allclose(single[0], test_x[4], atol=1e-6)
    assert np.isfinite(x).all() and np.isfinite(test_x).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_data_set_is_left_alone(kind):
    before = KINDS[kind].x.copy()
    for part in prepare(KINDS[kind], *rows(30, 10)):
        part[:] = 0
    assert np.array_equal(KINDS[kind].x, before, equal_nan=True)


def test_small_tables_are_quick():
    data = made(np.random.default_rng(0).normal(size=(320, 30)))
    pool, test = rows(120, 200)
    taken = min(timeit.repeat(lambda: prepare(data, pool, test), number=100, repeat=5)) / 100
    assert taken < 5e-4  # half a millisecond; a tenth of that on an idle core


@pytest.mark.parametrize("scale", ["standard", "minmax", "none"])
def test_tokens_stay_as_they_are(scale):
    tokens = made([[3, 1, 0], [2, 0, 0], [5, 5, 5], [1, 2, 0]], kind="tokens")
    pool, test = prepare(tokens, *rows(3, 1), scale)
    assert pool.tolist() == [[3, 1, 0], [2, 0, 0], [5, 5, 5]] and test.tolist() == [[1, 2, 0]]
    assert pool.dtype == test.dtype == np.float32
    with pytest.raises(AlmetaError, match="components=2, but data set 'made' has tokens, .*; set components=null, or"):
        prepare(tokens, *rows(3, 1), scale, components=2)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"scale": "standart"}, "unknown scale 'standart'; did you mean 'standard'"),
        ({"components": 0}, "components=0; keep at least 1, or null"),
        ({"pool_rows": np.array([], np.int64)}, "the pool drawn from data set 'made' is empty"),
    ],
)
def test_mistakes(options, message):
    arguments = {"dataset": KINDS["table"], "pool_rows": np.arange(5), "test_rows": np.arange(5)}
    with pytest.raises(AlmetaError, match=message):
        prepare(**(arguments | options))
