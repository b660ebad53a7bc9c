"""Printed characters of many scripts, from the fonts that matplotlib ships: image classes without a download.

The fonts are DejaVu (https://dejavu-fonts.github.io) and STIX (https://www.stixfonts.org), in 16 styles. A class is a
character, and its drawings are its styles with small distortions. For the nearest neighbour in pixels, with one example
of each of 3 classes, it is about as hard as Omniglot (accuracy 57 % against 56 %).
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
import PIL
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from rich.console import Console
from rich.progress import track

from almeta.data.dataset import Dataset
from almeta.data.files import Arrays, cached_arrays, code_of

SEED = 0
SIDE = 28
DRAWINGS = 20
BOX = Image.Resampling.BOX

# Faces x weights and slants. `suitable` judges a character by its first style.
STYLES = (
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique"),
    *("DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique", "DejaVuSansMono-BoldOblique"),
    *("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic"),
    *("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta"),
)
EM = 80  # font size in pixels at which glyphs are rendered
MIN_STYLES = 3  # smallest number of different renderings of a character
MIN_HEIGHT = 0.3  # smallest longer side of a glyph in em: smaller ones are dots and commas
MAX_ASPECT = 2.5  # largest ratio of the longer to the shorter side: beyond, glyphs are bars
MAX_FILL = 0.55  # largest share of ink in the box: beyond, glyphs are blots
LIMIT = 0.95  # smallest correlation of look-alikes, see `choose`

# Characters of dots and lines, hundreds of near copies at 28 x 28 pixels; and grey areas.
TABLES = ("BOX DRAWINGS", "BRAILLE", "DOMINO", "HEXAGRAM", "PLAYING CARD", "QUADRANT", "TETRAGRAM")
SHADES = ("LIGHT SHADE", "MEDIUM SHADE", "DARK SHADE")

ZOOM = 4  # drawings are made at ZOOM x SIDE and averaged down for smooth edges
TURN, SLANT, STRETCH = np.deg2rad(15), 0.2, 0.25  # uniform in -v .. v; STRETCH is of the logarithm
SIZES, SHIFT = (16.0, 21.0), 2.0  # longer side, and shift of the centre, in pixels of the final image
STROKES = (-2, -1, 0, 1)  # pixels at ZOOM x SIDE to add to each side of a stroke


def load() -> Dataset:
    """Return at least 1,000 classes x 20 drawings: x `[n, 784]` in [0, 1] (multiples of 1/255), ink high on zero.

    Rows are class by class, by code point; class names are "U+0416 CYRILLIC CAPITAL LETTER ZHE" and so on. The first
    call builds the images in some seconds, later ones read the cache. The same versions of matplotlib and Pillow give
    the same bytes; others may shade edges differently, and keep or drop a borderline class.
    """
    versions = f"matplotlib {matplotlib.__version__}, pillow {PIL.__version__}"  # they fix fonts and rendering
    arrays = cached_arrays("characters", f"{code_of(__file__)}, {versions}", lambda: build(choose(), SEED))
    codes = arrays["codes"]
    return Dataset(
        name="characters",
        x=arrays["images"].reshape(-1, SIDE * SIDE).astype(np.float32) / np.float32(255),
        y=np.arange(len(codes)).repeat(DRAWINGS),
        class_names=tuple(f"U+{code:04X} {unicodedata.name(chr(code))}" for code in codes),
        source="glyphs of the DejaVu and STIX fonts that matplotlib ships, distorted by almeta",
        image_shape=(SIDE, SIDE),
    )


def choose() -> list[str]:
    """Choose the characters that become classes, by code point: suitable ones, without look-alikes.

    A character is dropped if one of its renderings, in any quarter turn, correlates by `LIMIT` or more with a rendering
    of an earlier character, in any style: environments turn classes by quarters, and drawings of a class mix styles.
    """
    kept: list[str] = []
    chars = candidates()
    seen, count = np.zeros((len(chars) * len(STYLES), 144), np.float32), 0
    for char in progress(chars, "Comparing characters"):
        images = renderings(char)
        if not suitable(images):
            continue
        new = np.stack([signature(image) for image in images])  # [styles, 4, 144]
        if (new.reshape(-1, 144) @ seen[:count].T).max(initial=-1.0) < LIMIT:
            kept.append(char)
            seen[count : count + len(new)] = new[:, 0]
            count += len(new)
    return kept


def candidates() -> list[str]:
    """Return the letters, numbers and symbols that at least `MIN_STYLES` styles have, by code point.

    Characters that Unicode derives from others (accented, circled, bold, full width, ...) are excluded.
    """
    counts = Counter(code for style in STYLES for code in charmap(style))
    return [chr(code) for code in sorted(counts) if counts[code] >= MIN_STYLES and _is_plain(chr(code))]


def _is_plain(char: str) -> bool:
    name, kind = unicodedata.name(char, ""), unicodedata.category(char)
    drawn = kind[0] in "LNS" and kind not in ("Lm", "Sk")  # modifiers are small copies and accents
    return drawn and name != "" and not name.startswith(TABLES + SHADES) and not unicodedata.decomposition(char)


def suitable(images: list[Image.Image]) -> bool:
    """Return whether a character has enough different renderings, and its first is no dot, bar or blot."""
    if len({(image.size, image.tobytes()) for image in images}) < MIN_STYLES:
        return False
    short, long = sorted(images[0].size)
    filled = np.asarray(images[0]).mean() / 255
    return long >= MIN_HEIGHT * EM and long <= MAX_ASPECT * short and bool(filled <= MAX_FILL)


def signature(image: Image.Image) -> np.ndarray:
    """Return the look of a rendering at any size: `[4, 144]` float32, one row for each quarter turn.

    A row is a blurred 12 x 12 reduction of zero mean and unit length: the product of two rows is their correlation.
    """
    width, height = (2 * max(1, round(10 * side / max(image.size))) for side in image.size)
    square = Image.new("L", (24, 24))  # even sides in an even square: centred, so that turns are exact
    square.paste(image.resize((width, height), BOX), (12 - width // 2, 12 - height // 2))
    pixels = np.asarray(square.filter(ImageFilter.GaussianBlur(1)).reduce(2), np.float32)
    pixels = pixels - pixels.mean()
    pixels /= np.linalg.norm(pixels)
    return np.stack([np.rot90(pixels, turns).ravel() for turns in range(4)])


def build(chars: Sequence[str], seed: int) -> Arrays:
    """Return `images [C * 20, 28, 28]` uint8 and `codes [C]` int64 of the given characters."""
    images = [drawing for char in progress(chars, "Drawing characters") for drawing in draw(char, seed)]
    return {"images": np.stack(images), "codes": np.array([ord(char) for char in chars])}


def progress(chars: Sequence[str], what: str) -> Iterable[str]:
    """Yield the characters, with a progress bar on a terminal, or one line in a log."""
    console = Console(stderr=True)
    if not console.is_terminal:
        console.print(f"{what} (once, then they are in the cache) ...")
    return track(chars, what, console=console, transient=True, disable=not console.is_terminal)


def draw(char: str, seed: int) -> list[np.ndarray]:
    """Return 20 drawings of a character, `[28, 28]` uint8 each.

    The styles are shuffled and used in turn. The generator depends on the seed and the character alone, so that a class
    does not depend on the others.
    """
    rng = np.random.default_rng([seed, ord(char)])
    images = renderings(char)
    order = rng.permutation(len(images))
    return [distort(images[order[i % len(order)]], rng) for i in range(DRAWINGS)]


def distort(image: Image.Image, rng: np.random.Generator) -> np.ndarray:
    """Return a drawing `[28, 28]` of a rendering: turned, slanted, stretched, scaled, shifted, strokes changed."""
    turn, slant, stretch = rng.uniform(-1, 1, 3) * (TURN, SLANT, STRETCH)
    size, shift = rng.uniform(*SIZES) * ZOOM, rng.uniform(-SHIFT, SHIFT, 2) * ZOOM
    cos, sin, wide = np.cos(turn), np.sin(turn), np.exp(stretch / 2)
    linear = np.array([[cos, -sin], [sin, cos]]) @ np.array([[1, slant], [0, 1]]) @ np.diag([wide, 1 / wide])
    box = np.array(image.size)
    linear *= size / (np.abs(linear) @ box).max()  # the longer side of the box around the turned box
    # Pillow takes the inverse map: from each pixel of the canvas to the rendering.
    back = np.linalg.inv(linear)
    offset = box / 2 - back @ (SIDE * ZOOM / 2 + shift)
    way = (*back[0], offset[0], *back[1], offset[1])
    canvas = image.transform((SIDE * ZOOM, SIDE * ZOOM), Image.Transform.AFFINE, way, Image.Resampling.BILINEAR)
    pixels = restroke(np.asarray(canvas), rng.choice(STROKES))
    return np.asarray(Image.fromarray(pixels).reduce(ZOOM))


def restroke(pixels: np.ndarray, by: int) -> np.ndarray:
    """Make strokes `2 * by` pixels thicker, unless thinner strokes would lose over half of the ink."""
    pick, changed = (np.minimum if by < 0 else np.maximum), pixels
    for axis in [0, 1] * abs(by):  # rolling is safe: the border has no ink
        changed = pick(pick(changed, np.roll(changed, 1, axis)), np.roll(changed, -1, axis))
    return changed if changed.sum() >= pixels.sum() / 2 else pixels


def renderings(char: str) -> list[Image.Image]:
    """Return the character in each style that has it, cropped to its ink, without empty glyphs."""
    drawn = (render(char, style) for style in STYLES if ord(char) in charmap(style))
    return [image for image in drawn if image is not None]


def render(char: str, style: str) -> Image.Image | None:
    """Return the character in one style, white on black, cropped to its ink; None if it has no ink."""
    canvas = Image.new("L", (4 * EM, 4 * EM))
    ImageDraw.Draw(canvas).text((EM, EM), char, fill=255, font=font(style))
    box = canvas.getbbox()
    return canvas.crop(box) if box else None


@cache
def font(style: str) -> ImageFont.FreeTypeFont:
    """Return the style at `EM` pixels, laid out without Raqm, which not every machine has."""
    return ImageFont.truetype(font_file(style), EM, layout_engine=ImageFont.Layout.BASIC)


@cache
def charmap(style: str) -> frozenset[int]:
    """Return the code points of a style's glyphs; others would show as an empty box."""
    return frozenset(FT2Font(font_file(style)).get_charmap())


def font_file(style: str) -> str:
    """Return the path of the style's font."""
    return str(Path(matplotlib.get_data_path(), "fonts", "ttf", f"{style}.ttf"))
