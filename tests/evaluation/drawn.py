"""What was drawn, as plain arrays."""

import numpy as np
from matplotlib.collections import Collection
from matplotlib.lines import Line2D


def x_of(line: Line2D) -> np.ndarray:
    return np.asarray(line.get_xdata(), dtype=float)


def y_of(line: Line2D) -> np.ndarray:
    return np.asarray(line.get_ydata(), dtype=float)


def heights_of(band: Collection) -> np.ndarray:
    """Where the outline of a filled area goes up and down."""
    return np.asarray(band.get_paths()[0].vertices, dtype=float)[:, 1]
