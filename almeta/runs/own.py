"""What the commands for rows of one's own share: where the rows and answers are, and who chooses."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from almeta.build import build
from almeta.checks import Count
from almeta.data.own import Own, read_own
from almeta.queries import Labelling
from almeta.queries.store import Answers, labels_path
from almeta.runs.config import CommandConfig, Group

# What an estimate of the accuracy depends on beside the labels: how rows become features, and what predicts.
_OF_ESTIMATES = ("text", "embedding", "ignore", "keep", "missing", "encoding", "size", "encoder", "learner")


@dataclass(frozen=True)
class OwnConfig(CommandConfig):
    """The part of a config that names rows of one's own, and who chooses among them."""

    by: str | dict[str, Any]
    modules: list[str]
    seed: int
    target: str | None
    text: str | None
    embedding: str | None
    ignore: list[str]
    keep: list[str]
    missing: list[str] | None
    encoding: str
    labels: str | None
    size: Count | None
    encoder: str | None
    classes: list[str]
    learner: Group
    budget: Count | None
    store: str | None

    def read_own(self, data: str) -> Own:
        """Return the rows of a file or folder."""
        options = ("text", "embedding", "ignore", "keep", "missing", "encoding", "labels", "size", "encoder")
        return read_own(data, self.target, **{key: getattr(self, key) for key in options})

    def open_answers(self, own: Own, frame: pd.DataFrame) -> Answers:
        """Open the file of answers to the rows, given without their labels; no other process may hold it."""
        path = labels_path(own.path) if self.store is None else Path(self.store).expanduser()
        options = {"target": self.target_of(own), **{key: getattr(self, key) for key in _OF_ESTIMATES}}
        return Answers(path, frame, json.dumps(options))

    def target_of(self, own: Own) -> str:
        """Return the name of the label column, which the rows may lack yet."""
        return own.target or self.target or "label"

    def make_labelling(self, own: Own, labels: Sequence[str | None], classes: Sequence[str]) -> Labelling:
        """Return what is asked which rows to label, with the labels of all rows."""
        return Labelling(
            own.dataset,
            labels,
            by=self.by,
            learner=build(self.learner, "learner"),
            classes=classes,
            budget=self.budget,
            missing=None,
            seed=self.seed,
        )

    @property
    def chooser(self) -> str:
        """The name of who chooses."""
        return self.by if isinstance(self.by, str) else str(self.by.get("name"))
