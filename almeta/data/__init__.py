"""Data sets by name.

A data set is a module of this folder that defines `load() -> Dataset`; its name is the module's name. A module with
a literal `NAMES = ("one", "two")` loads several, by `load(name)`, and may have `ALIASES = {"uno": "one"}`; one with a
literal `PREFIX = "csv"` loads whatever follows that and a colon, by `load(rest)`. Further arguments of `load` are
options. Adding a data set, or a family of them, is adding that one file.
"""

import importlib
import inspect
from typing import Any

from almeta.checks import check_arguments
from almeta.data.dataset import Dataset
from almeta.data.names import canonical_name, dataset_names, find

__all__ = ["Dataset", "canonical_name", "dataset_names", "load_dataset", "takes_option"]


def load_dataset(name: str, **options: Any) -> Dataset:
    """The data set called `name`; `fashion-mnist` and `fashion_mnist` are the same.

    Besides the names of `dataset_names()` there are `csv:PATH`, a file of your own, and `openml:ID` or `openml:NAME`.
    Published files are looked for in `$ALMETA_DATA/<folder>/`, then in the cache folder (`$ALMETA_CACHE`, or else
    the system's folder for caches), then downloaded into the cache.

    Args:
        name: of a data set.
        options: of its loader, as `target="label"` of `csv:PATH`, or `n=1000` of the synthetic ones.

    Raises:
        AlmetaError: if the name or an option is unknown, or the files cannot be had or are damaged.
    """
    entry = find(name)
    load = importlib.import_module(f"{__name__}.{entry.module}").load
    parameters = inspect.signature(load).parameters.values()
    if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters):  # else it checks for itself
        given = [parameter.name for parameter in parameters][: len(entry.argument)]
        check_arguments(load, options, f"data set {entry.name}", given)
    dataset: Dataset = load(*entry.argument, **options)
    return dataset


def takes_option(name: str, option: str) -> bool:
    """Whether the loader of a data set takes an option: `csv:PATH` takes "target", and iris takes none.

    Raises:
        AlmetaError: if the name is unknown.
    """
    entry = find(name)
    module = importlib.import_module(f"{__name__}.{entry.module}")
    if hasattr(module, "options_of"):  # where its signature does not tell
        return option in module.options_of(*entry.argument)
    return option in list(inspect.signature(module.load).parameters)[len(entry.argument) :]
