"""Playing cells in several processes at once, here or on a cluster, by joblib."""

import contextlib
import importlib
import itertools
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import cloudpickle
from joblib import Parallel, delayed, parallel_config
from joblib.parallel import BACKENDS

from almeta.errors import AlmetaError, did_you_mean
from almeta.processes import end_with
from almeta.registry import import_modules, trusted_modules

Result = TypeVar("Result")
Warned = list[tuple[type[Warning], str]]
# Extras of almeta for backends that joblib does not install.
_EXTRAS = {"dask": "almeta[dask]", "ray": "almeta[ray]"}
# What a lost worker was at is done by another one, up to three times; dask does so by itself.
_PATIENT = {"ray": {"ray_remote_args": {"max_restarts": 3, "max_task_retries": 3}}}


def make_workers(jobs: int, backend: str | None, options: dict[str, Any]) -> Parallel:
    """Return joblib's pool of workers, which yields results in the order they finish if the backend can do that.

    Raises:
        AlmetaError: if the backend is unknown, not installed, does not answer, or does not take the options.
    """
    if backend is not None and backend not in (known := {*BACKENDS, *_EXTRAS}):
        raise AlmetaError(did_you_mean(backend, known, "backend"))
    if backend == "dask" and "scheduler_host" not in options:
        raise AlmetaError("backend=dask needs its scheduler: backend_options={scheduler_host:'tcp://HOST:8786'}")
    # loky renews a worker whose memory has grown; nothing is lost.
    warnings.filterwarnings("ignore", "A worker stopped while some jobs were given", UserWarning)
    try:
        if backend == "ray":  # an optional package, which joblib knows only after this call
            importlib.import_module(f"{backend}.util.joblib").register_ray()
        # The options are those of the backend, which `Parallel(backend=...)` would not pass on to it.
        with parallel_config(backend or "loky", n_jobs=jobs, **{**_PATIENT.get(backend or "", {}), **options}):
            unordered = {"return_as": "generator_unordered"} if Parallel()._backend.supports_return_generator else {}
            return Parallel(batch_size=1, **unordered)  # each result comes as soon as it is there
    except (ImportError, OSError, TypeError, ValueError) as error:
        if isinstance(error, ImportError) and backend in _EXTRAS:
            way = f"pip install '{_EXTRAS[backend]}'"
        else:
            way = "look whether it runs where backend_options say, and whether it takes them"
        raise AlmetaError(f"backend '{backend}' cannot be used here ({error}); choose loky, or {way}") from error


def in_workers(
    workers: Parallel, function: Callable[..., Result], calls: Sequence[tuple[Any, ...]]
) -> Iterator[Result]:
    """Yield the results of calls as they finish, and warn once of what workers warn of.

    Workers import the modules that are trusted here, so they know what these register.

    Args:
        workers: from `make_workers`.
        function: one that other processes can import.
        calls: the arguments of each call.
    """
    here = os.getpid()
    is_child = type(workers._backend).__name__ == "LokyBackend"
    if workers.n_jobs == 1 and is_child:
        packed = [delayed(_call)(here, function, arguments) for arguments in calls]
    else:
        # The worker watches this process before it unpacks: unpacking imports torch, which takes seconds.
        unpack = delayed(partial(_unpack_and_call, here, is_child, trusted_modules()))
        packed = [unpack(cloudpickle.dumps((function, arguments))) for arguments in calls]
    # A backend that returns all results at once gets the calls in portions, so that finished cells are kept.
    portion = max(1, len(packed) if workers.return_generator else workers.n_jobs)
    portions = (packed[begin : begin + portion] for begin in range(0, len(packed), portion))
    said: set[str] = set()
    with contextlib.nullcontext() if workers.return_generator else workers:  # which keeps them from portion to portion
        for result, warned in itertools.chain.from_iterable(map(workers, portions)):
            for category, text in warned:
                if text not in said:
                    said.add(text)
                    warnings.warn(text, category, stacklevel=2)
            yield result


def _unpack_and_call(here: int, is_child: bool, modules: list[str], packed: bytes) -> tuple[Any, Warned]:
    if is_child:
        end_with(here)
    for module in modules:
        with contextlib.suppress(AlmetaError):  # if the call needs it, it raises
            import_modules(module)
    return _call(here, *cloudpickle.loads(packed))


def _call(here: int, function: Callable[..., Result], arguments: tuple[Any, ...]) -> tuple[Result, Warned]:
    """Call a function; return its result, and its warnings if this is not the process `here`."""
    if os.getpid() == here:
        return function(*arguments), []
    with warnings.catch_warnings(record=True) as caught:
        result = function(*arguments)
    return result, [(warning.category, str(warning.message)) for warning in caught]
