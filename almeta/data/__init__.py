"""Data sets by name.

A data set is a module of this folder that defines `load() -> Dataset`; its name is the module's name.
Adding one is adding that one file.
"""

import importlib
from pathlib import Path

from almeta.data.dataset import Dataset
from almeta.errors import AlmetaError, did_you_mean

__all__ = ["Dataset", "dataset_names", "load_dataset"]


def dataset_names() -> list[str]:
    """Names that `load_dataset` takes, sorted: `["characters", "fashion-mnist", ...]`.

    The modules are read, not imported: some need libraries that are slow to load.
    """
    modules = Path(__file__).parent.glob("*.py")
    return sorted(m.stem.replace("_", "-") for m in modules if "\ndef load(" in m.read_text("utf-8"))


def load_dataset(name: str) -> Dataset:
    """The data set called `name`; `fashion-mnist` and `fashion_mnist` are the same.

    Its files are looked for in `$ALMETA_DATA/<folder>/`, then in the cache folder (`$ALMETA_CACHE`, or else
    the system's folder for caches), then downloaded into the cache.

    Raises:
        AlmetaError: if the name is unknown, or the files cannot be had or are damaged.
    """
    if name.replace("_", "-") not in dataset_names():
        raise AlmetaError(did_you_mean(name, dataset_names(), "data set"))
    return importlib.import_module(f"{__name__}.{name.replace('-', '_')}").load()
