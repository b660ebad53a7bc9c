"""Frames of episodes: small images of one size, uint8 `[H, W, 3]`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_UNKNOWN = "0.8"


@dataclass(frozen=True)
class Answer:
    """What was answered to an image.

    Attributes:
        predicted: the label slot; None for a request.
        correct: whether that slot was the right one.
        revealed: the image's label slot; None if it was not revealed.
    """

    predicted: int | None
    correct: bool
    revealed: int | None

    def __str__(self) -> str:
        if self.predicted is None:
            text = "requested"
        else:
            text = f"predicted {self.predicted}: {'right' if self.correct else 'wrong'}"
        return text if self.revealed is None else f"{text}; label is {self.revealed}"


def draw_pool(
    x: np.ndarray,
    labels: np.ndarray,
    last: int | None,
    scores: Sequence[float],
    length: int,
    title: str,
    score: str,
) -> np.ndarray:
    """Draw a pool in its first two principal components, and the learning curve beside it.

    Args:
        x: `[N, D]` features of the rows.
        labels: `[N]`, those that are known; -1 for unknown ones.
        last: the row picked last; None before the first pick.
        scores: the learner's, before the first pick and after each.
        length: picks in an episode.
        title: stands above the pool.
        score: the name of the score.

    Returns:
        uint8 `[320, 640, 3]`.
    """
    figure = _figure()
    pool, curve = figure.subplots(1, 2)
    points = principal_components(x)
    pool.scatter(*points[labels < 0].T, s=12, color=_UNKNOWN)
    pool.scatter(*points[labels >= 0].T, s=24, color=[_colour(label) for label in labels[labels >= 0]])
    if last is not None:
        pool.scatter(*points[last], s=110, facecolors="none", edgecolors="black", linewidths=1.5)
    pool.set(title=title, xticks=[], yticks=[])
    curve.plot(scores, color="black", marker=".")
    curve.set(title=score.replace("_", " "), xlim=(-0.5, length + 0.5), xlabel="labels asked for")
    return _frame(figure)


def draw_stream(images: np.ndarray, answer: Answer | None, rewards: Sequence[float], length: int) -> np.ndarray:
    """Draw the image just answered, the next one, and the rewards so far.

    Args:
        images: `[1 or 2, H, W]` in [0, 1]: the one just answered and the next one, where there are such.
        answer: what was answered to the first of them; None before the first answer.
        rewards: of the steps so far.
        length: steps in an episode.

    Returns:
        uint8 `[320, 640, 3]`.
    """
    figure = _figure()
    before, now, curve = figure.subplots(1, 3)
    if answer is not None:
        _show(before, images[0], str(answer).replace("; ", "\n"))
    if len(rewards) < length:
        _show(now, images[-1], f"step {len(rewards) + 1} of {length}")
    for empty in [before] * (answer is None) + [now] * (len(rewards) == length):
        empty.axis("off")
    curve.plot(np.cumsum([0.0, *rewards]), color="black")
    curve.set(title=f"reward {sum(rewards):.2f}", xlim=(-0.5, length + 0.5), xlabel="steps")
    return _frame(figure)


def principal_components(x: np.ndarray) -> np.ndarray:
    """Return the first two principal components `[N, 2]` of features `[N, D]`; zeros where there are fewer."""
    centred = x.astype(np.float64) - x.mean(0)
    left, size, _ = np.linalg.svd(centred, full_matrices=False)
    points = np.zeros((len(x), 2))
    points[:, : len(size[:2])] = left[:, :2] * size[:2]
    # The sign of a component is arbitrary. The farthest row decides it, so that equal pools look alike.
    return points * np.where(points.max(0) >= -points.min(0), 1.0, -1.0)


def _colour(label: int) -> Any:
    import matplotlib

    return matplotlib.colormaps["tab10"](label % 10)


def _figure() -> "Figure":
    """Return an empty figure that is unknown to pyplot, so that nothing has to close it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.2), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _show(axes: Any, image: np.ndarray, title: str) -> None:
    axes.imshow(image, cmap="gray_r", vmin=0, vmax=1, aspect="auto" if 1 in image.shape else "equal")
    axes.set(title=title, xticks=[], yticks=[])


def _frame(figure: Any) -> np.ndarray:
    figure.canvas.draw()
    return np.array(figure.canvas.buffer_rgba())[..., :3].copy()
