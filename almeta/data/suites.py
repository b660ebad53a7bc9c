"""Named lists of data sets, and splits of such lists that keep near-duplicates together."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from almeta.data.catalogue import FAMILIES, OPENML, canonical_name, known_as
from almeta.errors import AlmetaError, did_you_mean

# Data sets that share rows or a source: training on one of a group tells something about the others. A data set that is
# not named here is a group of its own.
GROUPS: dict[str, tuple[str, ...]] = {
    "breast tumours, Wisconsin": ("breast_cancer", "breast_cancer_wisconsin", "wdbc"),
    "splice junctions": ("dna", "splice"),
    "handwritten digits, Alpaydin and Kaynak": ("digits", "optdigits"),
    "Breiman's generators": ("ring", "twonorm", "waveform"),
    "wine quality": ("wine_quality_red", "wine_quality_white"),
}

_TABLES = tuple(sorted((*FAMILIES["tabular"], "iris", "wine")))
# OpenML lacks the six that are named, or has them in another form.
_TWO_CLASSES = tuple(
    sorted(
        {name for name, (_, _, classes) in OPENML.items() if classes == 2}
        | {"appendicitis", "fourclass", "german_numer", "liver_disorders", "mammographic_masses", "splice"}
    )
)

SUITES: dict[str, tuple[str, ...]] = {
    # These need no file and no network.
    "embedded": FAMILIES["embedded"],
    # The small tables; of iris and wine, scikit-learn's copy.
    "tables": _TABLES,
    # The small tables with two classes, and those with more.
    "two_class": _TWO_CLASSES,
    "multi_class": tuple(name for name in _TABLES if name not in _TWO_CLASSES),
    # P.-Y. Lu, C.-L. Li and H.-T. Lin, Re-Benchmarking Pool-Based Active Learning for Binary Classification, 2023
    # (arXiv 2306.08954), without checkerboard, ex8a, ex8b, gcloudb and gcloudub.
    "rebenchmark": (
        *("appendicitis", "australian", "banana", "breast_cancer_wisconsin", "clean1", "diabetes", "german_numer"),
        *("haberman", "heart_statlog", "ionosphere", "mammographic_masses", "parkinsons", "phishing", "phoneme"),
        *("ring", "sonar", "spambase", "splice", "tic_tac_toe", "twonorm", "wdbc"),
    ),
    # K. Pang, M. Dong, Y. Wu and T. Hospedales, Meta-Learning Transferable Active Learning Policies by Deep
    # Reinforcement Learning, 2018 (arXiv 1806.04798): 14 names there, two of them for the Pima data.
    "pang": (
        *("australian", "breast_cancer_wisconsin", "diabetes", "fertility", "fourclass", "german_numer", "haberman"),
        *("heart_statlog", "ilpd", "ionosphere", "liver_disorders", "planning_relax", "wdbc"),
    ),
    "synthetic": FAMILIES["synthetic"],
    "text": FAMILIES["sentences"],
    "images": ("cifar10", "digits", "fashion-mnist", "mnist", "usps"),
}


def suite(name: str) -> tuple[str, ...]:
    """Return the names of the data sets of a suite.

    Raises:
        AlmetaError: if there is no such suite.
    """
    if name not in SUITES:
        raise AlmetaError(did_you_mean(name, SUITES, "suite"))
    return SUITES[name]


def group_of(name: str) -> str:
    """Return the group of near-duplicates of a data set; its own name where it has none.

    A table of OpenML, and a file, count as the data set that they are named after. Only `almeta.data.rows` recognises a
    data set under another name.

    Raises:
        AlmetaError: if there is no such data set.
    """
    known = known_as(name)
    return next((group for group, members in GROUPS.items() if known in members), known)


def group_or_name(dataset: str) -> str:
    """Return the group of a data set; the name itself if nobody has registered it here."""
    try:
        return group_of(dataset)
    except AlmetaError:
        return dataset


def folds(names: Sequence[str], num_folds: int = 5, seed: int = 0) -> list[tuple[str, ...]]:
    """Split a list of data sets into parts of nearly the same size; near-duplicates go into the same part.

    Args:
        names: of data sets, each once.
        num_folds: number of parts.
        seed: of the split; the same names in any order and the same seed give the same parts.

    Returns:
        The parts, names within each in their given order. Sizes differ by at most one where no group has two names.

    Raises:
        AlmetaError: for an unknown name, a name that occurs twice, and for fewer groups than parts.
    """
    canonical = {name: canonical_name(name) for name in names}
    twice = [name for name, count in Counter(canonical[name] for name in names).items() if count > 1]
    if twice:
        raise AlmetaError(f"data set {twice[0]!r} is in the list more than once; name it once, by one of its names")
    groups: dict[str, list[str]] = {}
    for name in sorted(names, key=lambda name: canonical[name]):
        groups.setdefault(group_of(name), []).append(name)
    if num_folds < 1 or num_folds > len(groups):
        raise AlmetaError(
            f"num_folds={num_folds}, but the {len(names)} data sets are {len(groups)} groups of near-duplicates; "
            f"choose from 1 to {len(groups)} parts, or name more data sets"
        )
    order = [sorted(groups)[place] for place in np.random.default_rng(seed).permutation(len(groups))]
    parts: list[set[str]] = [set() for _ in range(num_folds)]
    for group in sorted(order, key=lambda group: -len(groups[group])):  # stable: the largest first, else as drawn
        min(parts, key=len).update(groups[group])
    return [tuple(name for name in names if name in part) for part in parts]
