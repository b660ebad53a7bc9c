"""Data sets whose targets are numbers: two tables, and two families of random numbers.

F. Pedregosa et al. Scikit-learn: machine learning in Python. JMLR 12, 2825-2830, 2011.
https://scikit-learn.org/stable/datasets.html
"""

import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import numpy as np
from sklearn import datasets

from almeta.checks import Positive, Weight, Within, check_values
from almeta.data.dataset import Dataset
from almeta.data.files import RemoteFile
from almeta.data.synthetic import Rows, Seed
from almeta.errors import AlmetaError

Made = tuple[np.ndarray, np.ndarray]  # x [n, d] and y [n], float64

# The file that scikit-learn's `fetch_california_housing` reads.
CALIFORNIA = RemoteFile(
    "california_housing",
    "cal_housing.tgz",
    "https://ndownloader.figshare.com/files/5976036",
    "aaa5c9a6afe2225cc2aed2723682ae403280c4a3695a2ddda4ffb5d8215ea681",
    "sha256",
)
MEMBER = "CaliforniaHousing/cal_housing.data"
BLOCK = ("longitude", "latitude", "age", "rooms", "bedrooms", "population", "households", "income", "value")


def load(name: str, **options: Any) -> Dataset:
    """Return a data set with numbers as targets; the rows of the tables are in their published order.

    | name | rows | features | target |
    | --- | --- | --- | --- |
    | california_housing | 20,640 | 8 | median value of a block's houses, in 100,000 dollars (downloaded once, 0.4 MB) |
    | diabetes_progression | 442 | 10 | progression of the disease after a year, scikit-learn's `load_diabetes` |
    | friedman, waves | `n` | | functions below, of random rows |

    Args:
        name: of a data set.
        options: of friedman and waves: `n` rows, 600 by default; `seed`, 0 by default; and the arguments of the family.

    Raises:
        AlmetaError: for unknown options, values out of range, and a file that is missing or damaged.
    """
    check_values(options, options_of(name), f"data set {name}")
    if name in TABLES:
        return TABLES[name]()
    settings = {"n": 600, "seed": 0, **options}
    rng, n = np.random.default_rng(settings.pop("seed")), settings.pop("n")
    x, y = FAMILIES[name](rng, n, **settings)
    values = "".join(f", {key}={value:.3g}" for key, value in settings.items())
    return Dataset(name, x, y, (), f"random numbers, made by almeta ({name}, n={n}{values})")


def options_of(name: str) -> dict[str, Any]:
    """Return the options of a data set, with the type of each."""
    if name in TABLES:
        return {}
    hints = get_type_hints(FAMILIES[name], include_extras=True)
    return {key: hint for key, hint in hints.items() if key not in ("rng", "return")} | {"n": Rows, "seed": Seed}


# ---- tables


def diabetes_progression() -> Dataset:
    """Return the diabetes data of Efron, Hastie, Johnstone & Tibshirani, "Least Angle Regression", 2004."""
    bunch = datasets.load_diabetes(scaled=False)
    return Dataset(
        name="diabetes_progression",
        x=bunch.data,
        y=bunch.target.astype(np.float64),
        class_names=(),
        source="Diabetes (Efron, Hastie, Johnstone and Tibshirani 2004), as in scikit-learn",
        columns=tuple(bunch.feature_names),
    )


def california_housing() -> Dataset:
    """Return the blocks of Pace & Barry, "Sparse spatial autoregressions", 1997, with the features of scikit-learn.

    Raises:
        AlmetaError: if the file is nowhere and cannot be downloaded, or is not the published one.
    """
    rows = dict(zip(BLOCK, _read(CALIFORNIA.fetch()).T, strict=True))
    columns = {
        "MedInc": rows["income"],
        "HouseAge": rows["age"],
        "AveRooms": rows["rooms"] / rows["households"],
        "AveBedrms": rows["bedrooms"] / rows["households"],
        "Population": rows["population"],
        "AveOccup": rows["population"] / rows["households"],
        "Latitude": rows["latitude"],
        "Longitude": rows["longitude"],
    }
    return Dataset(
        name="california_housing",
        x=np.stack(list(columns.values()), 1),
        y=rows["value"] / 100_000,
        class_names=(),
        source="California housing (Pace and Barry 1997), as in scikit-learn",
        columns=tuple(columns),
    )


def _read(path: Path) -> np.ndarray:
    """Return the numbers `[n, 9]` in the archive, in the order of `BLOCK`."""
    try:
        with tarfile.open(path, "r:gz") as archive:
            lines = archive.extractfile(MEMBER)
            if lines is not None:
                return np.loadtxt(lines, delimiter=",", ndmin=2)
    except (OSError, EOFError, KeyError, ValueError, tarfile.TarError) as error:
        raise AlmetaError(f"{path} cannot be read ({error}); remove it to have it downloaded") from error
    raise AlmetaError(f"{path} has no file {MEMBER}; remove it to have it downloaded")


TABLES: dict[str, Callable[[], Dataset]] = {
    "california_housing": california_housing,
    "diabetes_progression": diabetes_progression,
}


# ---- the families, which take a generator and a number of rows


def friedman(rng: np.random.Generator, n: int, features: Annotated[int, Within(5)] = 10, noise: Weight = 1.0) -> Made:
    """Return 10 sin(pi x0 x1) + 20 (x2 - 1/2)^2 + 10 x3 + 5 x4 of rows drawn from the unit cube, with Gaussian noise.

    Friedman, "Multivariate Adaptive Regression Splines", Annals of Statistics 19, 1991, section 4.3; the columns after
    the fifth say nothing.
    """
    x = rng.random((n, features))
    y = 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2 + 10 * x[:, 3] + 5 * x[:, 4]
    return x, y + noise * rng.normal(size=n)


def waves(
    rng: np.random.Generator,
    n: int,
    features: Annotated[int, Within(1)] = 2,
    frequency: Positive = 3.0,
    noise: Weight = 0.0,
) -> Made:
    """Return the sum of ten plane waves over rows drawn from the cube from -1 to 1, with Gaussian noise.

    Args:
        rng: draws everything.
        n: number of rows.
        features: D.
        frequency: standard deviation of each entry of a wave vector.
        noise: standard deviation of the noise; that of the sum is about 1.
    """
    x = rng.uniform(-1, 1, (n, features))
    waves, phases = frequency * rng.normal(size=(features, 10)), rng.uniform(0, 2 * np.pi, 10)
    return x, np.sin(x @ waves + phases).sum(1) / np.sqrt(5) + noise * rng.normal(size=n)


FAMILIES: dict[str, Callable[..., Made]] = {"friedman": friedman, "waves": waves}
