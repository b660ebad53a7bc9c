"""Data sets by name; `almeta.data.catalogue` lists them."""

import dataclasses
import importlib
import inspect
from typing import Any

from almeta.checks import check_call
from almeta.data.catalogue import Entry, Loader, canonical_name, dataset_names, find, register_dataset
from almeta.data.dataset import Dataset
from almeta.data.encoders import register_encoder
from almeta.errors import AlmetaError

__all__ = [
    "Dataset",
    "canonical_name",
    "dataset_names",
    "load_dataset",
    "register_dataset",
    "register_encoder",
    "takes_option",
]


def load_dataset(name: str, **options: Any) -> Dataset:
    """Return the data set called `name`; `fashion-mnist` and `fashion_mnist` are the same.

    Besides the names of `dataset_names()` there are `csv:PATH` or `table:PATH`, a file of your own, `folder:PATH`, a
    folder of images, and `openml:ID` or `openml:NAME`.
    Published files are looked up in `$ALMETA_DATA/<folder>/`, then in the cache folder (`$ALMETA_CACHE`, or else the
    system's folder for caches), then downloaded into the cache.

    Args:
        name: of a data set.
        options: of its loader, such as `target="label"` of `csv:PATH`, or `n=1000` of the synthetic ones.

    Raises:
        AlmetaError: if the name or an option is unknown, the files are missing or damaged, or a registered function
            returns no `Dataset`.
    """
    entry = find(name)
    load, _ = _loader(entry)
    parameters = inspect.signature(load).parameters.values()
    if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters):  # else it checks for itself
        given = [parameter.name for parameter in parameters][: len(entry.argument)]
        check_call(load, options, f"data set {entry.name}", given)
    dataset = load(*entry.argument, **options)
    if not isinstance(dataset, Dataset):
        raise AlmetaError(f"data set {entry.name!r}: its loader returned {type(dataset).__name__}; return a Dataset")
    return dataset if dataset.name == entry.name else dataclasses.replace(dataset, name=entry.name)


def takes_option(name: str, option: str) -> bool:
    """Return whether the loader of a data set takes an option: `csv:PATH` takes "target", and iris takes none.

    Raises:
        AlmetaError: if the name is unknown.
    """
    entry = find(name)
    load, options_of = _loader(entry)
    if options_of is not None:  # the signature alone does not tell
        return option in options_of(*entry.argument)
    parameters = inspect.signature(load).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    return takes_any or option in list(parameters)[len(entry.argument) :]


def _loader(entry: Entry) -> tuple[Loader, Any]:
    """Return the function that loads a data set, and the one that names its options, or None."""
    if callable(entry.loader):
        return entry.loader, None
    module = importlib.import_module(f"{__name__}.{entry.loader}")
    return module.load, getattr(module, "options_of", None)
