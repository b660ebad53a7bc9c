"""Reading pictures as people have them: any size, colours, transparency, damage."""

import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from almeta.data.encoders import BATCH, Encoder, check_codes, find_encoder
from almeta.data.files import Arrays, cached_arrays, code_of, digest_of
from almeta.errors import AlmetaError

Image.init()
# An EPS is a program, which Pillow gives to another program to run.
FORMATS = tuple(form for form in Image.OPEN if form != "EPS")
SUFFIXES = frozenset(suffix for suffix, form in Image.registered_extensions().items() if form in FORMATS)
PIXELS, ENCODED = 28, 224  # sides of pictures as pixels, and for an encoder


def read_pictures(
    paths: Sequence[Path], size: int | None = None, encoder: str | None = None
) -> tuple[np.ndarray, list[str], tuple[int, int] | None]:
    """Return what pictures look like, and what is wrong with them; both are kept in the cache, by their content.

    A picture is turned as its camera says, put on white where it is transparent, and stretched to a square. Of several
    frames, the first counts.

    Args:
        paths: of n files.
        size: side of the square; None for 28 pixels, and 224 for an encoder.
        encoder: its name; None for pixels.

    Returns:
        Grey pixels `[n, size * size]` in [0, 1] or codes `[n, d]`, float32, zeros for pictures that cannot be read; why
        each of these cannot, an empty text for the others; and the image shape of pixels.

    Raises:
        AlmetaError: if there is no such encoder, or it returns no finite numbers for each picture.
    """
    if encoder is None:
        side = size or PIXELS
        arrays = _cached(paths, f"pixels {side}", lambda: _pixels(paths, side))
        return arrays["pixels"].astype(np.float32) / 255, arrays["problems"].tolist(), (side, side)
    found, side = find_encoder(encoder), size or ENCODED
    version = None if found.version is None else f"{encoder} {found.version} {side}"
    arrays = _cached(paths, version, lambda: _codes(paths, side, found, encoder))
    return arrays["codes"], arrays["problems"].tolist(), None


def _cached(paths: Sequence[Path], version: str | None, build: Callable[[], Arrays]) -> Arrays:
    """Return `build()`, from the cache if its version is known."""
    if version is None:
        return build()
    facts = [code_of(__file__), Image.__version__, version, *(digest_of(path, "sha256") for path in paths)]
    return cached_arrays("pictures", json.dumps(facts), build)


def _pixels(paths: Sequence[Path], side: int) -> Arrays:
    """Return `pixels` `[n, side * side]` uint8 and `problems` `[n]`."""
    pixels, problems = np.zeros((len(paths), side * side), np.uint8), [""] * len(paths)
    for place, path in enumerate(paths):
        picture, problems[place] = _read(path, "L", side)
        if picture is not None:
            pixels[place] = np.asarray(picture).ravel()
    return {"pixels": pixels, "problems": np.array(problems)}


def _codes(paths: Sequence[Path], side: int, encoder: Encoder, name: str) -> Arrays:
    """Return `codes` `[n, d]` float32 and `problems` `[n]`."""
    problems, parts, readable = [], [], []
    for begin in range(0, len(paths), BATCH):
        found = [_read(path, "RGB", side) for path in paths[begin : begin + BATCH]]
        problems += [problem for _, problem in found]
        pictures = [picture for picture, _ in found if picture is not None]
        readable += [begin + place for place, (picture, _) in enumerate(found) if picture is not None]
        if pictures:
            parts.append(check_codes(encoder.encode(pictures), len(pictures), name))
    codes = np.concatenate(parts) if parts else np.zeros((0, 1), np.float32)
    whole = np.zeros((len(paths), codes.shape[1]), np.float32)
    whole[readable] = codes
    return {"codes": whole, "problems": np.array(problems)}


def _read(path: Path, mode: str, side: int) -> tuple[Image.Image | None, str]:
    """Return a picture in mode "L" or "RGB", or None and why it cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of oddities that do not matter here
            with Image.open(path, formats=FORMATS) as picture:
                picture.draft(mode, (side, side))  # a JPEG is read in the smallest size that will do
                turned = ImageOps.exif_transpose(picture)
                return _plain(turned, mode).resize((side, side), Image.Resampling.BILINEAR), ""
    except Exception as error:  # a damaged picture may raise anything in the code that reads it
        return None, str(error).replace(str(path), path.name) or type(error).__name__


def _plain(picture: Image.Image, mode: str) -> Image.Image:
    """Return a picture without transparency, in 8 bits."""
    if picture.mode.startswith("I;16"):
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    elif picture.mode in ("I", "F"):
        raise AlmetaError("pixels of 32 bits, whose black and white nobody knows; save it with 8 or 16")
    if picture.has_transparency_data:
        above = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", above.size, "white"), above)
    return picture.convert(mode)
