"""The style of figures: colours, dashes and markers, the legend, and the PNG.

The look of a strategy comes from its place. Those that are in most figures have a fixed place, and so look the same in
every figure of every run; the others take free places (`looks`). Figures use matplotlib's objects, which need no
display and no global state.
"""

from __future__ import annotations

import io
import itertools
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

# The palette of Okabe & Ito, which suits any colour vision, and five colours far from it and from each other.
BLACK, BLUE, RED, ORANGE = "#000000", "#0072B2", "#D55E00", "#E69F00"
GREEN, PINK, SKY, WINE = "#009E73", "#CC79A7", "#56B4E9", "#882255"
VIOLET, GREY, BROWN, LIME = "#6A3DC8", "#8A8A8A", "#7A5C1E", "#9DB300"

# By place: 12 of each.
COLOURS = (BLACK, BLUE, RED, ORANGE, GREEN, PINK, SKY, WINE, VIOLET, GREY, BROWN, LIME)
DASHES: tuple[Any, ...] = (
    "-",
    (0, (6, 1.5)),
    (0, (1, 1)),
    (0, (5, 1, 1, 1)),
    (0, (2.5, 1)),
    (0, (9, 1.5, 1, 1.5)),
    (0, (5, 1, 1, 1, 1, 1)),
    (0, (1, 2.5)),
    (0, (11, 1.5)),
    (0, (5, 4)),
    (0, (9, 1.5, 3, 1.5)),
    (0, (3, 1, 3, 1, 1, 1)),
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", "*", ">", "p", "d")

_OF_POOLS = (
    "random",
    "margin",
    "entropy",
    "least_confident",
    "information_density",
    "core_set",
    "vote_entropy",
    "mean_kl",
    "transfer",
)
_OF_STREAMS = (
    "never request: guess",
    "request always",
    "request at random, 10%",
    "request at random, 50%",
    "nearest labelled image",
    "nearest labelled image, all thresholds",
)


@cache
def places() -> dict[str, int]:
    """Return the fixed places of some strategies; pools and streams share them, because no figure shows both kinds."""
    return {name: place for names in (_OF_POOLS, _OF_STREAMS) for place, name in enumerate(names)}


def looks(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return the look of each strategy or policy: `color`, `linestyle` and `marker`, keywords of `Axes.plot`.

    A strategy with a fixed place, without options, always has the look of that place. The others take free places in
    the order of `names`: first those that nobody has, then those whose strategy is not among `names`. Up to 12 names
    differ in colour, in dashes and in markers; from the 13th place on, colours return with other dashes and markers.
    """
    names, fixed = list(dict.fromkeys(names)), places()
    taken = {fixed[name] for name in names if name in fixed}
    count, known = len(COLOURS), len(_OF_POOLS)
    order = itertools.chain(range(known, count), range(known), itertools.count(count))
    free = (place for place in order if place not in taken)
    return {name: _look(fixed[name] if name in fixed else next(free)) for name in names}


def _look(place: int) -> dict[str, Any]:
    turn, seat = divmod(place, len(COLOURS))
    dashes, marker = DASHES[(seat + turn) % len(DASHES)], MARKERS[(seat + 2 * turn) % len(MARKERS)]
    return {"color": COLOURS[seat], "linestyle": dashes, "marker": marker}


def dress(axis: Axes) -> None:
    """Draw light grid lines, and remove the frame above and on the right."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(color="0.9", linewidth=0.8)
    axis.set_axisbelow(True)


def legend(figure: Figure, axes: Iterable[Axes], ncols: int = 1, **place: Any) -> None:
    """Draw one legend for all panels, with each label once and the published ones last.

    It has `ncols` columns, or as many fewer as it takes to stay within the figure.
    """
    pairs = [pair for axis in axes for pair in zip(*axis.get_legend_handles_labels(), strict=True)]
    handles = {label: handle for handle, label in pairs}
    labels = sorted(handles, key=lambda label: label.startswith("published"))
    for columns in range(ncols, 0, -1):
        drawn = figure.legend(
            [handles[label] for label in labels], labels, frameon=False, title_fontsize="small", ncols=columns, **place
        )
        if columns == 1 or drawn.get_window_extent().width <= figure.bbox.width:
            return
        drawn.remove()


def png(figure: Figure) -> bytes:
    """Return the content of the figure's PNG file."""
    buffer = io.BytesIO()
    with _signals_later():
        figure.savefig(buffer, dpi=150, format="png")
    return buffer.getvalue()


@contextmanager
def _signals_later() -> Iterator[None]:
    """Delay Ctrl-C and SIGTERM to the end of the block: matplotlib's renderer turns them into a ValueError."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
