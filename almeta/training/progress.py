"""Progress, speed and remaining time of a run."""

import functools
import sys
import time
from collections.abc import Callable, Iterator
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from almeta.training.loggers import Record


class Progress:
    """Shows a bar on a terminal, elsewhere a plain line now and then, as the trainer's `track`.

    It is a logger too: then it also shows the mean return of the latest training record.

    Args:
        describe: text in front of the figures.
        every: seconds between plain lines, at least; there is one more at the end.
        stream: where to write; None for standard error, so that tables on standard output stay clean.
        clock: returns the time in seconds.
        unit: what is counted.
    """

    def __init__(
        self,
        describe: str = "",
        every: float = 15.0,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
        unit: str = "batch",
    ) -> None:
        self._unit, self._plural = unit, f"{unit}{'es' if unit.endswith('ch') else 's'}"
        self._describe, self._every, self._clock = describe, every, clock
        self._stream = sys.stderr if stream is None else stream
        self._mean_return: float | None = None

    def __call__(self, batches: range) -> Iterator[int]:
        """Yield the batches, and show between them how many are done; the speed counts from the first one yielded."""
        if not batches:
            return
        console = Console(file=self._stream)
        if console.is_terminal and not console.is_dumb_terminal:
            columns = TextColumn(self._describe), BarColumn(), TextColumn("{task.fields[line]}")
            # Printed text goes above the bar, unless standard output is a file.
            with Bar(*columns, console=console, redirect_stdout=sys.stdout.isatty(), auto_refresh=False) as bar:
                task = bar.add_task("", total=batches.stop, completed=batches.start, line="")
                show = functools.partial(bar.update, task, refresh=True)
                yield from self._watch(batches, 0.25, lambda done, line: show(completed=done, line=line))
        else:
            prefix = f"{self._describe}: " if self._describe else ""
            yield from self._watch(
                batches, self._every, lambda done, line: print(prefix + line, file=self._stream, flush=True)
            )

    def log(self, record: Record) -> None:
        """Keep the mean return of a training record for the next line."""
        if record["kind"] == "train":
            self._mean_return = record.get("mean_return")

    def close(self) -> None:
        """Do nothing: nothing is open between the batches."""

    def _watch(self, batches: range, every: float, show: Callable[[int, str], None]) -> Iterator[int]:
        """Yield the batches; call `show` with the number of finished ones and a line of figures, also at the end."""
        begun = shown = self._clock()
        for batch in batches:
            now = self._clock()
            if now - shown >= every:
                show(batch, self._line(batches, batch, now - begun))
                shown = now
            yield batch
        show(batches.stop, self._line(batches, batches.stop, self._clock() - begun))

    def _line(self, batches: range, done: int, seconds: float) -> str:
        parts = [f"{self._unit} {done:,} of {batches.stop:,}"]
        if done > batches.start and seconds > 0:
            rate = (done - batches.start) / seconds
            left = batches.stop - done
            parts.append(f"{rate:,.1f} {self._plural}/s")
            parts.append(f"{_duration(left / rate)} left" if left else f"took {_duration(seconds)}")
        if self._mean_return is not None:
            parts.append(f"mean return {self._mean_return:.2f}")
        return " | ".join(parts)


def _duration(seconds: float) -> str:
    """Return a text such as 40 s, 12 min or 3 h 20 min."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"
