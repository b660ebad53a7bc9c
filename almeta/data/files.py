"""Finding and checking the files of data sets, and caching arrays made from them."""

import gzip
import hashlib
import json
import os
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pooch

from almeta.errors import AlmetaError
from almeta.files import write_atomically

Arrays = dict[str, np.ndarray]

LARGEST = 4 << 30  # bytes of an unpacked file
GZIP_RATIO = 1032  # largest size of an unpacked gzip file in units of its packed size


@dataclass(frozen=True)
class RemoteFile:
    """A published file: `folder/name` in the data folder and in the cache, and the digest of the original.

    The digest is an md5, or of another `algorithm`, such as "sha256".
    """

    folder: str
    name: str
    url: str
    digest: str
    algorithm: str = "md5"

    def locate(self) -> Path:
        """Return the file in `$ALMETA_DATA` (unchecked, see `fetch`), else in the cache (checked), else download it.

        Raises:
            AlmetaError: if `$ALMETA_DATA` is no folder, or the file is nowhere and cannot be downloaded.
        """
        root = data_folder()
        if root and is_there(root / self.folder / self.name):
            return root / self.folder / self.name
        # pooch checks a cached copy and replaces a wrong one; it downloads to a temporary name and renames.
        # Its errors: OSError (no network, HTTP status, disk) and ValueError (another md5).
        try:
            return Path(
                pooch.retrieve(
                    self.url, f"{self.algorithm}:{self.digest}", fname=self.name, path=cache_folder() / self.folder
                )
            )
        except (OSError, ValueError) as error:
            file = f"{self.folder}/{self.name}"
            raise AlmetaError(
                f"could not download {file} from {self.url}: {error}; {where_to_put(self.folder, self.name)}"
            ) from error

    def fetch(self) -> Path:
        """Return the file as `locate` does, and check its digest wherever it was found.

        Raises:
            AlmetaError: as `locate`, and if the digest is not that of the original.
        """
        path = self.locate()
        if (found := digest_of(path, self.algorithm)) != self.digest:
            raise self.damaged(path, f"{self.algorithm} {self.digest}", f"{self.algorithm} {found}")
        return path

    def damaged(self, path: Path, expected: str, found: str) -> AlmetaError:
        """Return the error for a file that is not the published one."""
        return damaged(path, expected, found, f"replace it by {self.url}, or remove it to have that downloaded")


def data_folder() -> Path | None:
    """Return `$ALMETA_DATA`, or None where it is not set.

    Raises:
        AlmetaError: if it is not a folder.
    """
    value = os.environ.get("ALMETA_DATA")
    if not value:
        return None
    folder = Path(value).expanduser()
    if not folder.is_dir():
        raise AlmetaError(f"ALMETA_DATA={value} is not a folder; correct it, or unset it to download data sets")
    return folder


def cache_folder() -> Path:
    """Return `$ALMETA_CACHE`, by default the system's folder for caches."""
    return Path(os.environ.get("ALMETA_CACHE") or pooch.os_cache("almeta")).expanduser()


def find_file(folder: str, name: str) -> Path | None:
    """Return `folder/name` in the data folder, else in the cache; None if it is in neither.

    Raises:
        AlmetaError: if `$ALMETA_DATA` is no folder.
    """
    roots = [root for root in (data_folder(), cache_folder()) if root]
    return next((root / folder / name for root in roots if is_there(root / folder / name)), None)


def is_there(path: Path) -> bool:
    """Return whether a file exists.

    Raises:
        AlmetaError: if its folder may not be searched.
    """
    try:
        return path.exists()
    except PermissionError as error:
        raise unreadable(path) from error


def where_to_put(folder: str, name: str) -> str:
    """Return the way out for a missing file."""
    return f"put the file at {cache_folder() / folder / name}, or set ALMETA_DATA to a folder that has {folder}/{name}"


def published_file(folder: str, name: str, md5: str | None, origin: str) -> Path:
    """Return a file that is not downloaded, found as `find_file` does, with its digest checked.

    Args:
        folder: in the data folder, or in the cache.
        name: in that folder.
        md5: of the published file; None to check the record beside it, if there is one (see `catalogued`).
        origin: of the file, for messages.

    Raises:
        AlmetaError: if the file is nowhere, or has another digest.
    """
    path = find_file(folder, name)
    if path is None:
        raise AlmetaError(f"there is no file {folder}/{name} ({origin}); {where_to_put(folder, name)}")
    if md5 is None:
        catalogued(path)
    else:
        check_digest(path, "md5", md5)
    return path


def catalogued(path: Path) -> dict[str, Any]:
    """Return the record of a file and check its sha256; empty where there is no record.

    The record is beside the file: `FILE.json`, or the item with its `file` in a `catalogue.json`.

    Raises:
        AlmetaError: if the file has another sha256, or the record cannot be read.
    """
    own, shared = path.with_name(f"{path.name}.json"), path.with_name("catalogue.json")
    place = own if is_there(own) else shared
    if not is_there(place):
        return {}
    try:
        record = json.loads(place.read_text("utf-8"))
        if place == shared:
            record = next((item for item in record["datasets"] if item["file"] == path.name), {})
        record = dict(record)
    except PermissionError as error:
        raise unreadable(place) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AlmetaError(f"{place} cannot be read ({error}); replace it, or remove it to do without") from error
    if "sha256" in record:
        check_digest(path, "sha256", record["sha256"])
    return record


def check_digest(path: Path, algorithm: str, expected: str) -> None:
    """Raise unless a file has the expected digest.

    Raises:
        AlmetaError: if it has another one, or cannot be read.
    """
    if (found := digest_of(path, algorithm)) != expected:
        way_out = "replace it by a whole copy, or remove it to look for it anew"
        raise damaged(path, f"{algorithm} {expected}", f"{algorithm} {found}", way_out)


def damaged(path: Path, expected: str, found: str, way_out: str) -> AlmetaError:
    """Return the error for a file that is not the published one."""
    return AlmetaError(
        f"{path} ({path.stat().st_size} bytes) is damaged or not the published file: expected {expected}, found "
        f"{found}; {way_out}"
    )


def unreadable(path: Path) -> AlmetaError:
    """Return the error for a file that this user may not read."""
    return AlmetaError(f"{path} may not be read by this user (permission denied); change its permissions, or copy it")


def check_unpacked(path: Path) -> None:
    """Raise if a gzip-compressed file unpacks to more than `LARGEST` bytes, which would fill the memory.

    Raises:
        AlmetaError: if it does.
        OSError, EOFError, zlib.error: if it is damaged.
    """
    if path.suffix.lower() != ".gz" or path.stat().st_size * GZIP_RATIO <= LARGEST:
        return
    with gzip.open(path) as file:
        size = 0
        while block := file.read(1 << 20):
            size += len(block)
            if size > LARGEST:
                raise AlmetaError(
                    f"{path} ({path.stat().st_size} bytes) unpacks to more than {LARGEST >> 30} GiB, like a file "
                    f"that is made to fill the memory; if it is yours, unpack it and name the unpacked file"
                )


def check_members(path: Path, largest: int = LARGEST) -> None:
    """Raise if the members of a zip archive declare more than `largest` unpacked bytes in all.

    Raises:
        AlmetaError: if they do.
        OSError, zipfile.BadZipFile: if it cannot be read, or is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        size = sum(member.file_size for member in archive.infolist())
    if size > largest:
        raise AlmetaError(
            f"{path} ({path.stat().st_size} bytes) unpacks to {size} bytes, like a file that is made to fill the "
            f"memory; replace it by a whole copy"
        )


def digest_of(path: Path, algorithm: str) -> str:
    """Return a digest of the file, "md5" or "sha256", in hexadecimal.

    Raises:
        AlmetaError: if the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, algorithm).hexdigest()
    except PermissionError as error:
        raise unreadable(path) from error
    except OSError as error:
        raise AlmetaError(f"{path} cannot be read: {error}") from error


def code_of(module_file: str) -> str:
    """Return a digest of a loader's code: with it in the key of a cache, an edited loader builds anew."""
    return hashlib.sha256(Path(module_file).read_bytes()).hexdigest()


def cached_arrays(stem: str, key: str, build: Callable[[], Arrays]) -> Arrays:
    """Return the arrays of `build()`, kept as an npz in the cache folder under `stem` and `key`.

    The key must name everything that the arrays depend on. A cached file that cannot be read is built anew, with a
    warning, and so is a cache that cannot be written. Two processes may build the same arrays at once: each writes a
    file of its own and renames it.
    """
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    path = cache_folder() / "arrays" / f"{stem}-{digest}.npz"
    try:
        check_members(path, path.stat().st_size)  # they are not compressed
        with np.load(path, allow_pickle=False) as stored:  # every member carries a CRC, so damage is noticed
            return {name: stored[name] for name in stored.files}
    except (FileNotFoundError, NotADirectoryError):
        pass
    except PermissionError:
        warnings.warn(
            f"{path} may not be read by this user (permission denied); its arrays are built anew", stacklevel=2
        )
    except Exception as error:  # a damaged zip may raise nearly anything
        warnings.warn(f"{path} is damaged ({error}) and is built anew", stacklevel=2)
    arrays = build()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda file: np.savez(file, allow_pickle=False, **arrays))
    except (OSError, AlmetaError) as error:
        warnings.warn(f"could not keep {stem} in the cache ({error}); it is built anew next time", stacklevel=2)
    return arrays
