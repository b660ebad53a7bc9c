"""Published results on the one-shot stream, which figures and tables show beside our own.

Source: Mark Woodward and Chelsea Finn, "Active One-shot Learning", arXiv 1702.06559 (2017): Table 1, Figure 2
and Figure 3. Their task: Omniglot, 3 classes and 30 images per episode, rewards -0.05 for a request, +1 for a
correct prediction and `R_inc` for an incorrect one. Each row is one run; no spread was published. All rates
are shares in [0, 1].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from almeta.envs.stream import StreamRewards


@dataclass(frozen=True)
class PublishedRow:
    """One model of Table 1, on test classes.

    Attributes:
        accuracy: correct predictions / steps; a request counts as wrong.
        prediction_accuracy: correct predictions / predictions.
        request_rate: requests / steps (1 for the supervised model, which always gets the label).
        mean_return: undiscounted sum of rewards of an episode, or None if it is unknown.
        incorrect: the reward of an incorrect prediction in training, R_inc; None for the supervised model.
    """

    label: str
    accuracy: float
    prediction_accuracy: float
    request_rate: float
    mean_return: float | None = None
    incorrect: float | None = None


@dataclass(frozen=True)
class PublishedPoint:
    """One point of Figure 2 (`R_inc` -1): the k-th instance of a class after some training batches.

    Attributes:
        classes: "train" or "test".
        batch: number of training batches, of 50 episodes.
        instance: k, from 1.
        request_rate: share of these instances whose label was requested.
        accuracy: share of these instances predicted correctly, or None if it is unknown.
    """

    classes: str
    batch: int
    instance: int
    request_rate: float
    accuracy: float | None


SOURCE = "Woodward & Finn 2017"

# The rows "RL" and "RL Prediction" of R_inc -1 are one model counted in two ways, hence one row here. Its
# mean return follows from the other three numbers.
TABLE_1 = (
    PublishedRow("Supervised", 0.910, 0.910, 1.000),
    PublishedRow("RL (R_inc -1)", 0.759, 0.818, 0.072, 17.6, incorrect=-1.0),
    PublishedRow("RL (R_inc -5)", 0.589, 0.864, 0.318, incorrect=-5.0),
    PublishedRow("RL (R_inc -10)", 0.486, 0.893, 0.456, incorrect=-10.0),
    PublishedRow("RL (R_inc -20)", 0.366, 0.928, 0.606, incorrect=-20.0),
)

FIGURE_2 = (
    PublishedPoint("train", 20_000, 1, 0.468, None),
    PublishedPoint("train", 20_000, 2, 0.095, 0.571),
    PublishedPoint("train", 20_000, 5, 0.031, 0.670),
    PublishedPoint("train", 20_000, 10, 0.015, 0.740),
    PublishedPoint("test", 100_000, 1, 0.539, 0.225),
    PublishedPoint("test", 100_000, 2, 0.110, 0.696),
    PublishedPoint("test", 100_000, 5, 0.009, 0.829),
    PublishedPoint("test", 100_000, 10, 0.000, 0.860),
)

# Figure 2, training: about this share of requests up to this batch, then a sharp switch between these two
# batches.
PLATEAU_REQUEST_RATE = 0.75
PLATEAU_END = 6_000
SWITCH = (7_000, 10_000)

# Figure 3: request rate at some steps (from 1) of scripted episodes; a letter is a class, in order of
# presentation.
FIGURE_3: dict[str, dict[int, float]] = {
    "AAAAAB": {1: 0.931, 2: 0.237, 3: 0.210, 4: 0.236, 5: 0.268, 6: 0.507},
    "AAAAAA": {6: 0.301},
    "AAAAAAAAAAB": {11: 0.497},
}


def rows_at(rewards: StreamRewards) -> tuple[PublishedRow, ...]:
    """Return the rows of Table 1 that were judged at these rewards, with the supervised model; none if none was."""
    theirs = [StreamRewards(incorrect=row.incorrect) for row in TABLE_1 if row.incorrect is not None]
    if rewards not in theirs:
        return ()
    return tuple(row for row in TABLE_1 if row.incorrect in (None, rewards.incorrect))


def is_published_task(dataset: str, env: Mapping[str, Any]) -> bool:
    """Whether the streams of a config are those of the paper, apart from rewards."""
    theirs = {"classes": 3, "slots": 3, "length": 30, "rotations": True, "script": None, "max_requests": None}
    return dataset == "omniglot" and all(env.get(key, value) == value for key, value in theirs.items())
