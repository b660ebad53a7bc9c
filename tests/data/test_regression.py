import io
import re
import tarfile

import numpy as np
import pytest
from sklearn.datasets import load_diabetes

from almeta.data import load_dataset, regression, takes_option
from almeta.errors import AlmetaError


def test_diabetes_is_that_of_scikit_learn():
    dataset = load_dataset("diabetes_progression")
    theirs = load_diabetes(scaled=False)
    assert dataset.target == "numbers" and dataset.num_classes == 0 and dataset.y.dtype == np.float64
    np.testing.assert_array_equal(dataset.y, theirs.target)
    np.testing.assert_allclose(dataset.x, theirs.data, rtol=1e-6)
    assert dataset.columns == tuple(theirs.feature_names)
    assert load_dataset("diabetes").target == "classes"  # that of the Pima


def write_california(folder, lines, member=regression.MEMBER):
    """Write an archive in the form of the published one."""
    path = folder / "california_housing" / "cal_housing.tgz"
    path.parent.mkdir()
    content = "\n".join(lines).encode()
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo(member)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return path


LINES = [
    "-122.230000,37.880000,41.000000,880.000000,129.000000,322.000000,126.000000,8.325200,452600.000000",
    "-122.220000,37.860000,21.000000,7099.000000,1106.000000,2401.000000,1138.000000,8.301400,358500.000000",
]


@pytest.fixture
def any_digest(monkeypatch):
    """A made copy has another digest."""
    monkeypatch.setattr("almeta.data.files.digest_of", lambda path, algorithm: regression.CALIFORNIA.digest)


@pytest.mark.usefixtures("cache", "offline", "any_digest")
def test_california_has_the_features_of_scikit_learn(data):
    """The first rows of its documentation."""
    write_california(data, LINES)
    dataset = load_dataset("california_housing")
    assert dataset.columns == (
        *("MedInc", "HouseAge", "AveRooms", "AveBedrms", "Population", "AveOccup", "Latitude", "Longitude"),
    )
    np.testing.assert_allclose(dataset.y, [4.526, 3.585])
    expected = [8.3252, 41.0, 6.98412698, 1.02380952, 322.0, 2.55555556, 37.88, -122.23]
    np.testing.assert_allclose(dataset.x[0], expected, rtol=1e-6)
    np.testing.assert_allclose(dataset.x[1, 2], 6.23813708, rtol=1e-6)


@pytest.mark.usefixtures("cache", "data", "offline")
def test_california_that_cannot_be_downloaded_is_one_line():
    with pytest.raises(AlmetaError, match="could not download california_housing/cal_housing.tgz from .*; put") as told:
        load_dataset("california_housing")
    assert "\n" not in str(told.value)


@pytest.mark.usefixtures("cache", "offline")
def test_another_file_is_not_the_published_one(data):
    path = write_california(data, LINES)
    with pytest.raises(AlmetaError, match=f"{re.escape(str(path))} .* expected sha256 aaa5c9"):
        load_dataset("california_housing")


@pytest.mark.usefixtures("cache", "offline", "any_digest")
@pytest.mark.parametrize("lines, member", [(["a,b"], regression.MEMBER), (LINES, "other.data")])
def test_an_archive_that_cannot_be_read_is_told(lines, member, data):
    write_california(data, lines, member)
    with pytest.raises(AlmetaError, match="cal_housing.tgz (cannot be read|has no file)"):
        load_dataset("california_housing")


def test_friedman_is_its_formula():
    dataset = load_dataset("friedman", n=200, features=6, noise=0.0, seed=3)
    assert dataset.x.shape == (200, 6) and 0 <= dataset.x.min() and dataset.x.max() <= 1
    for x, y in zip(dataset.x[:20].astype(float), dataset.y[:20], strict=True):
        expected = 10 * np.sin(np.pi * x[0] * x[1]) + 20 * (x[2] - 0.5) ** 2 + 10 * x[3] + 5 * x[4]
        assert y == pytest.approx(expected, abs=1e-4)
    noisy = load_dataset("friedman", n=200, features=6, noise=2.0, seed=3)
    assert np.std(noisy.y - dataset.y) == pytest.approx(2, rel=0.2)


def test_waves_are_smooth_and_of_unit_size():
    sizes = [load_dataset("waves", n=500, seed=seed).y.std() for seed in range(20)]
    assert 0.6 < np.mean(sizes) < 1.2
    gaps = []
    for frequency in (0.5, 8.0):
        waves = load_dataset("waves", n=500, features=1, frequency=frequency)
        gaps.append(np.abs(np.diff(waves.y[waves.x[:, 0].argsort()])).mean() / waves.y.std())
    assert gaps[0] < gaps[1] / 3
    plain, noisy = (load_dataset("waves", n=500, noise=noise) for noise in (0.0, 0.5))
    assert np.array_equal(plain.x, noisy.x) and np.std(plain.y - noisy.y) == pytest.approx(0.5, rel=0.15)


@pytest.mark.parametrize("name", ["friedman", "waves"])
def test_the_seed_decides(name):
    first, again, other = (load_dataset(name, n=50, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.y, again.y) and not np.array_equal(first.y, other.y)


def test_options_are_checked():
    assert takes_option("waves", "frequency") and not takes_option("diabetes_progression", "n")
    with pytest.raises(AlmetaError, match="unknown key of data set waves 'frequncy'; did you mean 'frequency'"):
        load_dataset("waves", frequncy=2)
    with pytest.raises(AlmetaError, match="data set friedman.features is 3; it must be a whole number of at least 5"):
        load_dataset("friedman", features=3)
