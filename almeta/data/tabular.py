"""Small tables for classification, most of them from the UCI Machine Learning Repository, by name.

D. Dua and C. Graff. UCI Machine Learning Repository. University of California, Irvine. http://archive.ics.uci.edu/ml
"""

from almeta.data.catalogue import OPENML
from almeta.data.dataset import Dataset
from almeta.data.openml import load_stored


def load(name: str) -> Dataset:
    """Return the table in `tabular/NAME.csv.gz` of the data folder or the cache, else fetch it from OpenML.

    OpenML has the same rows, but not always in the same order or coding: it has categories where other copies have a
    column of 0 and 1 for each. Its `letter` and `magic` are complete.

    Raises:
        AlmetaError: if the file is damaged, or is nowhere and cannot be fetched.
    """
    if name not in OPENML:
        return load_stored(name, name, query=None)
    called, rows, classes = OPENML[name]
    return load_stored(name, name, {"name": called, "version": 1}, shape=(rows, classes))
