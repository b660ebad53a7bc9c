"""The names of all data sets, and the module of this room that loads each.

A new data set is a file with `load() -> Dataset` and its name in `SINGLE`; a family is a file with `load(name)` and its
names in `FAMILIES`. A module is imported when one of its data sets is loaded, because some need slow libraries. Users
register their own data sets by `register_dataset`.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath

from almeta.data.dataset import Dataset
from almeta.errors import AlmetaError, did_you_mean

Loader = Callable[..., Dataset]

# Modules with the name of their data set: `load()`.
SINGLE = ("characters", "cifar10", "fashion-mnist", "mnist", "omniglot", "usps")

# fmt: off
# Modules that load several data sets: `load(name)`. Iris and wine come with scikit-learn and are embedded.
FAMILIES = {
    "embedded": ("breast_cancer", "digits", "iris", "wine"),
    "regression": ("california_housing", "diabetes_progression", "friedman", "waves"),  # numbers as targets
    "sentences": ("sst2", "subj", "trec"),
    "synthetic": ("blobs", "checkerboard", "circles", "classification", "moons", "three-cluster"),
    "tabular": (
        "abalone", "appendicitis", "australian", "balance_scale", "banana", "banknote", "blood_transfusion",
        "breast_cancer_ljubljana", "breast_cancer_wisconsin", "car", "clean1", "dermatology", "diabetes", "dna",
        "ecoli", "fertility", "fourclass", "german_numer", "glass", "haberman", "hayes_roth", "heart_statlog",
        "hepatitis", "house_votes", "ilpd", "ionosphere", "kr_vs_kp", "letter", "liver_disorders", "lymphography",
        "magic", "mammographic_masses", "mushrooms", "new_thyroid", "optdigits", "page_blocks", "parkinsons",
        "pendigits", "phishing", "phoneme", "planning_relax", "ring", "satimage", "seeds", "segment", "sonar",
        "spambase", "splice", "tic_tac_toe", "twonorm", "vehicle", "vowel", "waveform", "wdbc", "wine_quality_red",
        "wine_quality_white", "yeast", "zoo",
    ),
}
# fmt: on

# Modules by prefix: `load(rest)` gets the text after the prefix and a colon.
PREFIXES = {"csv": "table_file", "folder": "folder", "openml": "openml", "table": "table_file"}
FILES = ("csv", "folder", "table")  # prefixes of what lies at a path
PARQUET, EXCEL = (".parquet", ".pq"), (".xlsx", ".xlsm")  # ends of files of tables; any other file is text

ALIASES = {
    "austra": "australian",
    "australian_credit": "australian",
    "breast": "breast_cancer_wisconsin",
    "breast_w": "breast_cancer_wisconsin",
    "bupa": "liver_disorders",
    "german": "german_numer",
    "heart": "heart_statlog",
    "livers": "liver_disorders",
    "musk1": "clean1",
    "pima": "diabetes",
    "planning": "planning_relax",
    "ringnorm": "ring",
    "thyroid": "new_thyroid",
    "tic": "tic_tac_toe",
    "vote": "house_votes",
}

# fmt: off
# Names at OpenML (version 1), with the number of rows and classes there: another table of the same name is refused.
# The tables that are missing here are not at OpenML, or with other labels or columns.
OPENML = {
    "australian": ("Australian", 690, 2), "balance_scale": ("balance-scale", 625, 3), "banana": ("banana", 5300, 2),
    "banknote": ("banknote-authentication", 1372, 2), "blood_transfusion": ("blood-transfusion-service-center", 748, 2),
    "breast_cancer_ljubljana": ("breast-cancer", 286, 2), "breast_cancer_wisconsin": ("breast-w", 699, 2),
    "car": ("car", 1728, 4), "clean1": ("clean1", 476, 2), "dermatology": ("dermatology", 366, 6),
    "diabetes": ("diabetes", 768, 2), "dna": ("dna", 3186, 3), "ecoli": ("ecoli", 336, 8),
    "fertility": ("fertility", 100, 2), "glass": ("glass", 214, 6), "haberman": ("haberman", 306, 2),
    "hayes_roth": ("hayes-roth", 160, 3), "heart_statlog": ("heart-statlog", 270, 2),
    "hepatitis": ("hepatitis", 155, 2), "house_votes": ("vote", 435, 2), "ilpd": ("ilpd", 583, 2),
    "ionosphere": ("ionosphere", 351, 2), "iris": ("iris", 150, 3), "kr_vs_kp": ("kr-vs-kp", 3196, 2),
    "letter": ("letter", 20000, 26), "lymphography": ("lymph", 148, 4), "magic": ("MagicTelescope", 19020, 2),
    "mushrooms": ("mushroom", 8124, 2), "new_thyroid": ("thyroid-new", 215, 3), "optdigits": ("optdigits", 5620, 10),
    "page_blocks": ("page-blocks", 5473, 5), "parkinsons": ("parkinsons", 195, 2),
    "pendigits": ("pendigits", 10992, 10), "phishing": ("PhishingWebsites", 11055, 2), "phoneme": ("phoneme", 5404, 2),
    "planning_relax": ("planning-relax", 182, 2), "ring": ("ringnorm", 7400, 2), "satimage": ("satimage", 6430, 6),
    "seeds": ("seeds", 210, 3), "segment": ("segment", 2310, 7), "sonar": ("sonar", 208, 2),
    "spambase": ("spambase", 4601, 2), "tic_tac_toe": ("tic-tac-toe", 958, 2), "twonorm": ("twonorm", 7400, 2),
    "vehicle": ("vehicle", 846, 4), "waveform": ("waveform-5000", 5000, 3), "wdbc": ("wdbc", 569, 2),
    "wine": ("wine", 178, 3), "wine_quality_red": ("wine-quality-red", 1599, 6),
    "wine_quality_white": ("wine-quality-white", 4898, 7), "yeast": ("yeast", 1484, 10), "zoo": ("zoo", 101, 7),
}

# Numbers at OpenML, also of other versions and of tables that share their rows: heart-c (49) has the patients of
# heart_statlog, credit-approval (29) and credit-g (31) have the applicants of australian and german_numer.
OPENML_IDS = {
    3: "kr_vs_kp", 6: "letter", 8: "liver_disorders", 10: "lymphography", 11: "balance_scale",
    13: "breast_cancer_ljubljana", 15: "breast_cancer_wisconsin", 21: "car", 24: "mushrooms", 28: "optdigits",
    29: "australian", 30: "page_blocks", 31: "german_numer", 32: "pendigits", 35: "dermatology", 36: "segment",
    37: "diabetes", 39: "ecoli", 40: "sonar", 41: "glass", 43: "haberman", 44: "spambase", 46: "splice",
    49: "heart_statlog", 50: "tic_tac_toe", 53: "heart_statlog", 54: "vehicle", 55: "hepatitis", 56: "house_votes",
    59: "ionosphere", 60: "waveform", 61: "iris", 62: "zoo", 181: "yeast", 182: "satimage", 183: "abalone", 187: "wine",
    307: "vowel", 329: "hayes_roth", 554: "mnist", 1120: "magic", 1460: "banana", 1462: "banknote",
    1464: "blood_transfusion", 1473: "fertility", 1480: "ilpd", 1488: "parkinsons", 1489: "phoneme",
    1490: "planning_relax", 1496: "ring", 1499: "seeds", 1507: "twonorm", 1510: "wdbc", 4534: "phishing",
    40498: "wine_quality_white", 40670: "dna", 40682: "new_thyroid", 40691: "wine_quality_red", 40927: "cifar10",
    40975: "car", 40981: "australian", 40984: "segment", 40996: "fashion-mnist",
}
# fmt: on
OPENML_NAMES = {
    **{at_openml.lower(): name for name, (at_openml, _, _) in OPENML.items()},
    "cifar_10": "cifar10",
    "credit-approval": "australian",
    "credit-g": "german_numer",
    "heart-c": "heart_statlog",
    "mnist_784": "mnist",
}


@dataclass(frozen=True)
class Entry:
    """How to load a data set.

    Attributes:
        name: its canonical name.
        loader: the module of almeta.data with the function `load`, or the function itself.
        argument: of the function: nothing, the name in a family, or the text after the prefix.
    """

    name: str
    loader: str | Loader
    argument: tuple[str, ...] = ()


def _key(name: str) -> str:
    return name.replace("_", "-")


_ENTRIES = {
    **{name: Entry(name, _key(name).replace("-", "_")) for name in SINGLE},
    **{_key(name): Entry(name, module, (name,)) for module, names in FAMILIES.items() for name in names},
}
_ENTRIES |= {_key(alias): _ENTRIES[_key(name)] for alias, name in ALIASES.items()}


def register_dataset(name: str, load: Loader) -> None:
    """Let `load_dataset(name)`, and every place that takes the name of a data set, call a function of yours.

    Call this in each process. The workers of a benchmark with `jobs=2` import the modules of `modules=[...]`, so a call
    in one of these is enough there.

    Args:
        name: of letters, digits, dots, hyphens and underscores; underscores and hyphens are the same.
        load: returns a `Dataset`. Its keyword arguments are options of `load_dataset`, checked against their
            annotations; positional arguments are not passed.

    Raises:
        AlmetaError: if the name has other characters or is taken, or `load` is not callable.
    """
    if not callable(load):
        raise AlmetaError(f"data set {name!r}: load is {load!r}; it must be a function that returns a Dataset")
    if not isinstance(name, str) or not re.fullmatch(r"[\w.-]+", name):
        raise AlmetaError(
            f"data set {name!r}: a name has letters, digits, dots, hyphens and underscores only; rename it"
        )
    taken = _ENTRIES.get(_key(name))
    if taken is not None and not _same(taken.loader, load):
        raise AlmetaError(f"the name {name!r} is taken by another data set, {taken.name!r}; choose another name")
    _ENTRIES[_key(name)] = Entry(name, load)


def _same(one: str | Loader, other: Loader) -> bool:
    """Return whether two loaders are one function, which a notebook's cell may have defined twice."""
    place, again = ((getattr(load, "__module__", ""), getattr(load, "__qualname__", "<>")) for load in (one, other))
    return one is other or (place == again and "<" not in place[1])  # all lambdas are called <lambda>


def dataset_names() -> list[str]:
    """Return the names that `load_dataset` takes, sorted, without aliases and prefixes."""
    return sorted({entry.name for entry in _ENTRIES.values()})


def canonical_name(name: str) -> str:
    """Return the canonical name of a data set: `heart` -> `heart_statlog`, `fashion_mnist` -> `fashion-mnist`.

    That of a file is its absolute path without links: `csv:./a.csv`, `table:~/a.csv` -> `csv:/home/me/a.csv`; the
    prefix of Parquet and Excel is `table`.

    Raises:
        AlmetaError: if there is no such data set.
    """
    return find(name).name


def is_shipped(name: str) -> bool:
    """Return whether a data set is one of almeta, whose rows never change: no file, table of OpenML or registered one.

    Raises:
        AlmetaError: if there is no such data set.
    """
    loader = find(name).loader
    return isinstance(loader, str) and loader not in PREFIXES.values()


def path_of(name: str) -> PurePath | None:
    """Return the path in the name of a file or folder, `a.csv` of `csv:a.csv`; None for other names."""
    prefix, _, rest = name.partition(":")
    return PurePath(rest) if prefix in FILES else None


def known_as(name: str) -> str:
    """Return the data set of the catalogue that a file, folder or table of OpenML is named after, else the own name.

    `openml:40` and `csv:my/Sonar.csv` -> `sonar`, `csv:pima.csv` -> `diabetes`, `csv:mine.csv` -> the same.

    Raises:
        AlmetaError: if there is no such data set.
    """
    entry = find(name)
    if entry.loader not in PREFIXES.values():
        return entry.name
    prefix, _, rest = entry.name.partition(":")
    called = Path(rest).name.partition(".")[0] if prefix in FILES else rest
    if prefix == "openml":
        called = OPENML_IDS.get(int(rest), rest) if rest.isdecimal() else OPENML_NAMES.get(rest.lower(), rest)
    known = _ENTRIES.get(_key(called.lower()))
    return known.name if known else entry.name


def find(name: str) -> Entry:
    """Return how to load a data set; underscores and hyphens are the same, except after a prefix.

    Raises:
        AlmetaError: if there is no such data set, or the name is no text.
    """
    if not isinstance(name, str):
        raise AlmetaError(f"data set {name!r} is not the name of one; give a text, such as 'iris' or 'csv:my.csv'")
    prefix, colon, rest = name.partition(":")
    if colon and prefix in PREFIXES and rest:
        one = os.path.realpath(os.path.expanduser(rest)) if prefix in FILES else rest
        if prefix in ("csv", "table"):
            prefix = "table" if one.lower().endswith((*PARQUET, *EXCEL)) else "csv"
        return Entry(f"{prefix}:{one}", PREFIXES[prefix], (rest,))
    if entry := _ENTRIES.get(_key(name)):
        return entry
    if os.path.exists(path := os.path.expanduser(name)):
        prefix = "folder" if os.path.isdir(path) else "table" if name.lower().endswith((*PARQUET, *EXCEL)) else "csv"
        raise AlmetaError(f"unknown data set {name!r}, but there is such a path; write {prefix}:{name}")
    known = [*dataset_names(), *(f"{prefix}:..." for prefix in PREFIXES)]
    raise AlmetaError(did_you_mean(name, known, "data set"))
