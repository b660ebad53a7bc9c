"""Where a run's figures go. The local file is the truth; anything else is a copy."""

import errno
import json
import logging
import os
import uuid
from collections.abc import Iterator, Sequence
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
    """`metrics.jsonl`: one JSON object a line. Holds no clock times, so that equal runs write equal files.

    Args:
        path: the file, appended to.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("ab", buffering=0)  # so that nothing lingers to fail once more when it is closed

    def log(self, record: Record) -> None:
        """Append the record and hand it to the operating system.

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
        """Drop what was written after the first `size` bytes: lines of batches that will be trained again.

        A shorter file (its end was lost with the power, or it lies in another folder) loses but half a line.
        """
        with self._path.open("rb") as file:
            whole = file.read(size).rfind(b"\n") + 1
        self._file.truncate(whole)
        self._file.seek(whole)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_json_lines(path: Path) -> list[Record]:
    """Return the records of a `metrics.jsonl`; half a line at its end, left by a stop, is none.

    Raises:
        AlmetaError: if a line is no record, because somebody has damaged the file.
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

    Names are `train/loss` for training records, and `test/accuracy`, `test/by_instance/1/accuracy`,
    `test/intervals/accuracy`, ... for evaluations, by their classes; those on training classes are
    `train_classes/accuracy`, ..., because `train/accuracy` is that of the exploring agent. A run that is resumed in
    its folder goes on under the same id there.

    Args:
        folder: the run's; wandb keeps its files, and the id, in it.
        config: plain values, shown beside the run.
        mode: "online", "offline" (files only, for `wandb sync` later), or "disabled" (nothing; wandb is not imported).
        project: where it is listed.
        entity: user or team; None for the default of whoever is logged in.
        name: of the run.
        group: lists runs together, None for no group.
        tags: to filter by.

    Raises:
        AlmetaError: if wandb cannot start. Later failures are one warning: the files in the folder are complete
            without it.
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
            # Here and not at the top: it takes more than a second to import, and most runs do not use it.
            import wandb
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
                resume="allow" if mode == "online" else None,  # offline, the same id is all there is to do
                settings=wandb.Settings(console="off"),  # what is printed is not recorded, and passes unchanged
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
        try:
            self._run.log({"batch": record["batch"], **dict(_flatten(place, values))})
        except Exception as error:  # whatever it is, it must not stop the training
            self._warn(error)

    def close(self) -> None:
        """Wait until everything is sent or written; call it in a `finally`."""
        if self._run is None:
            return
        run, self._run = self._run, None
        try:
            run.finish()
        except Exception as error:  # as above
            self._warn(error)

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            logging.getLogger(__name__).warning(
                "Weights & Biases does not take the figures (%s); metrics.jsonl still has them all", reason
            )
        self._warned = True


def build_loggers(config: dict[str, Any], folder: Path) -> list[Logger]:
    """Return what the run's `logger` choice asks for beyond `metrics.jsonl`: an empty list for `logger=none`.

    Args:
        config: the whole run's.
        folder: the run's.
    """
    if not config["logger"]:
        return []
    return [build(config["logger"], "logger", folder=folder, config=config)]


def _run_id(folder: Path) -> str:
    """Return the id under which wandb knows the run of this folder: drawn once, kept in a file."""
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
