"""What commands say: words that cannot be written do not stop a run, and a warning is one line, said once."""

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from typing import Any, TextIO, cast


class _Output:
    """A stream that drops what cannot be written, for a closed pipe or a full disk behind it; `error` says why."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        if self.error is None:
            try:
                self.stream.write(text)
            except OSError as error:
                self.error = error
        return len(text)

    def flush(self) -> None:
        if self.error is None:
            try:
                self.stream.flush()
            except OSError as error:
                self.error = error

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextlib.contextmanager
def kept_output() -> Iterator[None]:
    """Let the block run to its end whatever becomes of what it prints, and say afterwards what could not be printed.

    A closed pipe (`| head -1`) is no error. Signs that the terminal does not have become question marks.

    Raises:
        SystemExit: with status 1 if standard output could not be written, a closed pipe apart.
    """
    kept = sys.stdout, sys.stderr
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
    out, err = _Output(sys.stdout), _Output(sys.stderr)
    sys.stdout, sys.stderr = cast(TextIO, out), cast(TextIO, err)
    try:
        yield
    finally:
        out.flush()
        err.flush()
        sys.stdout, sys.stderr = kept
        for output in (out, err):
            if output.error is not None:  # what waits in its buffer would fail again when Python ends
                with contextlib.suppress(OSError):
                    os.dup2(os.open(os.devnull, os.O_WRONLY), output.stream.fileno())
    if out.error is not None and not isinstance(out.error, BrokenPipeError):
        print(f"error: could not print all ({out.error.strerror}); the files of the run are whole", file=sys.stderr)
        raise SystemExit(1)


@contextlib.contextmanager
def warnings_in_one_line() -> Iterator[None]:
    """Within the block a warning is one line on standard error, and the same words are said once."""
    said: set[str] = set()

    def say(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if str(message) not in said:
            said.add(str(message))
            print(f"warning: {' '.join(str(message).split())}", file=sys.stderr)

    before = warnings.showwarning
    warnings.showwarning = say
    try:
        yield
    finally:
        warnings.showwarning = before
