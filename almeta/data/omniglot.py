"""Omniglot: 1,623 handwritten characters of 50 alphabets, each drawn once by 20 people.

B. M. Lake, R. Salakhutdinov and J. B. Tenenbaum. Human-level concept learning through probabilistic program
induction. Science 350(6266), 1332-1338, 2015. https://github.com/brendenlake/omniglot
"""

import hashlib
import io
import zipfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from almeta.data.dataset import Dataset
from almeta.data.files import Arrays, RemoteFile, cached_arrays, check_members, code_of, digest_of

URL = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/"
SIDE = 28
DRAWINGS = 20
LARGEST = 1 << 30  # bytes of an unpacked archive
# [28, 105]: the overlap of each of the 28 pixels with each of the 105, in quarters (105 * 4 = 28 * 15)
OVERLAP = np.eye(SIDE, dtype=np.float32).repeat(15, axis=1).reshape(SIDE, 105, 4).sum(2)

# The published archives, each with a digest of its images (`content_digest`): an archive that was packed again has
# another md5 but the same images.
ARCHIVES = {
    RemoteFile(
        "omniglot", "images_background.zip", URL + "images_background.zip", "68d2efa1b9178cc56df9314c21c6e718"
    ): "7c563fb7d98dbd312c5e0ccb87230ca9d7e8a13d672e5de6186245e7905ed43e",
    RemoteFile(
        "omniglot", "images_evaluation.zip", URL + "images_evaluation.zip", "6b91aef0f799c5bb55b94e3f2daec811"
    ): "e5a69b751aa33f555bdc92febd48220b69a811b2ff01de32bf4d1bca47bd1809",
}


def load() -> Dataset:
    """Return all 1,623 classes x 20 drawings: x `[32460, 784]` in [0, 1] (multiples of 1/255), ink high on zero.

    Rows are class by class: the 964 characters of the background archive, then the 659 of the evaluation archive, both
    by alphabet and number; within a class by drawer. A class name is "Braille/character01". The images of 105 x 105
    pixels are reduced to 28 x 28 by averaging over areas.

    Raises:
        AlmetaError: if an archive is missing or damaged.
    """
    paths = {archive: archive.locate() for archive in ARCHIVES}
    key = " ".join([code_of(__file__), *(digest_of(path, "md5") for path in paths.values())])
    arrays = cached_arrays("omniglot", key, lambda: decode(paths))
    return Dataset(
        name="omniglot",
        x=arrays["images"].reshape(-1, SIDE * SIDE).astype(np.float32) / np.float32(255),
        y=np.arange(len(arrays["names"])).repeat(DRAWINGS),
        class_names=tuple(arrays["names"].tolist()),
        source="Omniglot (Lake, Salakhutdinov and Tenenbaum 2015), https://github.com/brendenlake/omniglot",
        image_shape=(SIDE, SIDE),
    )


def decode(paths: dict[RemoteFile, Path]) -> Arrays:
    """Return `images [32460, 28, 28]` uint8 and `names [1623]` of the archives."""
    members = [item for archive, path in paths.items() for item in read_archive(archive, path).items()]
    images = np.stack([shrink(png) for _, png in members])
    # images_background/Braille/character01/0103_01.png: the 20 drawings of a class follow each other
    names = ["/".join(name.split("/")[1:3]) for name, _ in members[::DRAWINGS]]
    return {"images": images, "names": np.array(names)}


def read_archive(archive: RemoteFile, path: Path) -> dict[str, bytes]:
    """Return the PNG files of one archive by name, sorted.

    Raises:
        AlmetaError: if the archive is neither the published one nor the same images packed again.
    """
    expected = f"md5 {archive.digest} or content digest {ARCHIVES[archive]}"
    try:
        check_members(path, LARGEST)
        with zipfile.ZipFile(path) as opened:
            pngs = {name: opened.read(name) for name in sorted(opened.namelist()) if name.endswith(".png")}
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, ValueError) as error:
        raise archive.damaged(path, expected, f"no readable zip archive: {error}") from error
    if digest_of(path, "md5") != archive.digest and content_digest(pngs) != ARCHIVES[archive]:
        raise archive.damaged(path, expected, f"content digest {content_digest(pngs)} of {len(pngs)} images")
    return pngs


def content_digest(members: dict[str, bytes]) -> str:
    """Return the sha256 over the sorted members: name, a zero byte, the hexadecimal sha256 of the bytes, a newline."""
    lines = (f"{name}\0{hashlib.sha256(members[name]).hexdigest()}\n" for name in sorted(members))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def shrink(png: bytes) -> np.ndarray:
    """Return one drawing as `[28, 28]` uint8, each pixel the mean over its area; ink 255 on 0 (in the file: 0 on 1)."""
    paper = np.asarray(Image.open(io.BytesIO(png)))  # [105, 105] bool
    ink = OVERLAP @ ~paper @ OVERLAP.T  # whole numbers, at most 15 * 15: exact in float32
    return np.rint(ink * (255 / 225)).astype(np.uint8)
