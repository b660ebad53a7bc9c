"""Loggers of a run's figures. The local file is complete; everything else is a copy."""

import errno
import json
import logging
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, Protocol

from almeta.build import build
from almeta.errors import AlmetaError

Record = dict[str, Any]

METRICS = "metrics.jsonl"
_WANDB_ID = "wandb-run-id"


class Logger(Protocol):
    """Takes one record after another."""

    def log(self, record: Record) -> None:
        """Take a record: JSON-able values, "batch" and "kind" among them."""
        ...

    def close(self) -> None:
        """Finish; nothing is logged afterwards."""
        ...


class JsonLines:
    """Appends to `metrics.jsonl`, one JSON object a line, without clock times: equal runs write equal files."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("ab", buffering=0)  # no buffer, whose writing could fail again at the end

    def log(self, record: Record) -> None:
        """Append a record.

        Raises:
            AlmetaError: if it cannot be written (full disk); no half a line is left.
        """
        line = json.dumps(record).encode() + b"\n"
        size = self.size
        try:
            if self._file.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(size)
            raise AlmetaError(
                f"could not write {self._path}: {error.strerror}; make room, then resume the run"
            ) from error

    @property
    def size(self) -> int:
        """Bytes written so far, those found in the file included."""
        return self._file.tell()

    def truncate(self, size: int) -> None:
        """Drop what follows the first `size` bytes, and half a line at the end: these batches are trained again."""
        with self._path.open("rb") as file:
            whole = file.read(size).rfind(b"\n") + 1
        self._file.truncate(whole)
        self._file.seek(whole)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_json_lines(path: Path) -> list[Record]:
    """Return the records of a `metrics.jsonl`, without half a line that a stop left at its end.

    Raises:
        AlmetaError: if a line is no record.
    """
    records, content = [], path.read_bytes()
    for number, line in enumerate(content[: content.rfind(b"\n") + 1].splitlines(), 1):
        try:
            record = json.loads(line)
            if not isinstance(record.get("kind"), str) or not isinstance(record.get("batch"), int):
                raise ValueError("it does not say its kind and batch")
        except (ValueError, AttributeError, RecursionError) as error:
            raise AlmetaError(
                f"line {number} of {path} is damaged ({error}); remove the line, or the file: what was learned is in "
                "the checkpoints"
            ) from error
        records.append(record)
    return records


class WandbLogger:
    """Copies the records to Weights & Biases, with the batch as the axis of every chart.

    Names are `train/loss` for training records, and `test/accuracy`, `test/by_instance/1/accuracy`, ... for evaluations
    on test classes. Those on training classes are `train_classes/accuracy`, ..., because `train/accuracy` is of the
    exploring agent. A run that is resumed in its folder keeps its id.

    Args:
        folder: the run's; wandb keeps its files, and the id, in it.
        config: plain values, shown with the run.
        mode: "online", "offline" (files only, for `wandb sync` later), or "disabled" (wandb is not imported).
        project: the project that lists the run.
        entity: user or team; None for the default of the account.
        name: name of the run.
        group: lists runs together; None for no group.
        tags: words to filter by.

    Raises:
        AlmetaError: if wandb cannot start. Later failures are one warning.
    """

    def __init__(
        self,
        folder: Path,
        config: dict[str, Any],
        mode: Literal["online", "offline", "disabled"] = "online",
        project: str = "almeta",
        entity: str | None = None,
        name: str | None = None,
        group: str | None = None,
        tags: Sequence[str] = (),
    ) -> None:
        self._run: Any = None
        self._warned = False
        if mode == "disabled":
            return
        try:
            import wandb  # not at the top: it takes more than a second, and most runs do not use it
        except ImportError as error:
            raise AlmetaError("wandb is not installed: pip install wandb, or set logger=none") from error
        try:
            self._run = wandb.init(
                dir=folder,
                config=config,
                mode=mode,
                project=project,
                entity=entity,
                name=name,
                group=group,
                tags=list(tags),
                id=_run_id(folder),
                resume="allow" if mode == "online" else None,  # offline runs resume by the id alone
                settings=wandb.Settings(console="off"),  # do not record what is printed
            )
        except (wandb.Error, OSError, ValueError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise AlmetaError(
                f"Weights & Biases could not start ({reason}); log in with `wandb login`, or set logger.mode=offline "
                "and `wandb sync` later, or logger=none: metrics.jsonl has everything anyway"
            ) from error
        self._run.define_metric("batch")
        self._run.define_metric("*", step_metric="batch")

    def log(self, record: Record) -> None:
        """Send the record's numbers."""
        if self._run is None:
            return
        place = str(record.get("classes", record["kind"]))
        if place == "train" and record["kind"] != "train":
            place = "train_classes"
        values = {key: value for key, value in record.items() if key != "batch"}
        self._attempt(self._run.log, {"batch": record["batch"], **dict(_flatten(place, values))})

    def close(self) -> None:
        """Wait until everything is sent or written; call it in a `finally`."""
        run, self._run = self._run, None
        if run is not None:
            self._attempt(run.finish)

    def _attempt(self, call: Callable[..., Any], *values: Any) -> None:
        """Call wandb; its first failure becomes a warning, since no failure may stop the training."""
        try:
            call(*values)
        except Exception as error:
            if not self._warned:
                reason = str(error).strip().partition("\n")[0] or type(error).__name__
                logging.getLogger(__name__).warning(
                    "Weights & Biases does not take the figures (%s); metrics.jsonl still has them all", reason
                )
            self._warned = True


def build_loggers(config: dict[str, Any], folder: Path) -> list[Logger]:
    """Return the loggers of a run's config beside `metrics.jsonl`: none for `logger=none`."""
    chosen = config["logger"]
    return [build(chosen, "logger", folder=folder, config=config)] if chosen else []


def _run_id(folder: Path) -> str:
    """Return wandb's id of the run of this folder: drawn once, kept in a file."""
    path = folder / _WANDB_ID
    if not path.exists():
        path.write_text(uuid.uuid4().hex[:12] + "\n", "utf-8")
    return path.read_text("utf-8").strip()


def _flatten(name: str, value: Any) -> Iterator[tuple[str, float]]:
    """Yield the numbers in a nested value with names such as `test/by_instance/1/accuracy`."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield from _flatten(f"{name}/{key}", below)
    elif isinstance(value, list):
        for position, below in enumerate(value, 1):
            yield from _flatten(f"{name}/{position}", below)
    elif isinstance(value, int | float):
        yield name, value
