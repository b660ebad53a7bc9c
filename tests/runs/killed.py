"""A run of streams in a process of its own, and a script that stops it at many instants and lets it go on.

python -m tests.runs.killed [INSTANTS]   stops runs at so many instants by each of kill -9, SIGTERM and SIGINT

Whatever the instant, the run that went on must equal one that was never stopped: weights, optimiser, random states and
metrics.jsonl, bit for bit.
"""

import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

import almeta.runs.streams
from almeta.data import Dataset
from almeta.errors import AlmetaError, Interrupted
from almeta.runs import run_of
from almeta.runs.config import TrainConfig
from almeta.runs.training import train
from almeta.training.checkpoint import load_checkpoint
from tests.small_config import small_config

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
# Long enough that most instants fall into it: evaluations and checkpoints are often and take a good part of the time.
RUN = (
    *("experiment=one_shot/quickstart", "seed=3", "batches=40", "log_every=1", "evaluate_every=5"),
    *(
        "checkpoint_every=4",
        "evaluate_episodes=100",
        "final_episodes=20",
        "threads=1",
        "matmul_precision=highest",
        "env.length=10",
    ),
)


def images() -> Dataset:
    draw = np.random.default_rng(0)
    y = draw.permutation(np.repeat(np.arange(40), 12))
    names = tuple(f"class {k}" for k in range(40))
    return Dataset("characters", draw.random((len(y), 16), dtype=np.float32), y, names, "random numbers", (4, 4))


def run(folder: Path, *overrides: str) -> int:
    """Train in a folder; return the exit status of the command."""
    data = images()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as the commands have it
    almeta.runs.streams.load_dataset = lambda *_: data
    # Figures are composed but not drawn, so that more of the instants fall into training.
    Figure.savefig = lambda self, file, **_: file.write(b"\x89PNG")  # type: ignore[method-assign]
    folder.mkdir(exist_ok=True)
    config = TrainConfig.read(small_config(*RUN, *overrides))
    print("begun", flush=True)
    try:
        train(config, folder)
    except (Interrupted, KeyboardInterrupt):
        return 130
    except AlmetaError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def fork(folder: Path, log: Path) -> int:
    """Begin the run in a process that has imported everything already; return its number."""
    if pid := os.fork():
        return pid
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    status = 1
    try:
        status = run(folder)
    except BaseException:  # the process must not go on as its parent
        traceback.print_exc()
    finally:
        os._exit(status)


def same(one: object, other: object) -> bool:
    """Whether two parts of checkpoints hold the same bits."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def differences(folder: Path, whole: Path) -> list[str]:
    """What differs between two runs."""
    files = ("metrics.jsonl", "summary.json")
    found = [name for name in files if (folder / name).read_bytes() != (whole / name).read_bytes()]
    for name in ("last.pt", "best.pt"):
        one, other = load_checkpoint(folder / name), load_checkpoint(whole / name)
        found += [f"{name}: {key}" for key in one if not same(one[key], other[key])]
    return found


def wait_for_begin(log: Path) -> None:
    """Wait until the config is read and the run itself begins."""
    while not log.exists() or "begun" not in log.read_text():
        time.sleep(0.005)


def stopped_and_gone_on(number: int, wait: float, folder: Path) -> str:
    """Stop a run after some seconds by a signal, let it go on to its end, and say how it ended and in which part."""
    log = folder.with_suffix(".log")
    log.unlink(missing_ok=True)
    pid = fork(folder, log)
    wait_for_begin(log)
    time.sleep(wait)
    os.kill(pid, number)
    ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert "Traceback" not in log.read_text(), log.read_text()
    batch = load_checkpoint(folder / "last.pt")["batch"] if (folder / "last.pt").exists() else None
    assert os.waitpid(fork(folder, log), 0)[1] == 0, log.read_text()
    told = {-signal.SIGKILL: "killed", 130: "stopped", 0: "had finished"}[ended]
    part = "before the first checkpoint" if batch is None else "after training" if batch == 40 else "in training"
    return f"{told} {part}"


def main(instants: int) -> int:
    wrong = 0
    torch.set_num_threads(1)
    run_of(TrainConfig.read(small_config(*RUN)))  # imports what the processes need
    with tempfile.TemporaryDirectory() as place:
        folder, whole = Path(place) / "run", Path(place) / "whole"
        pid = fork(whole, Path(place) / "whole.log")
        wait_for_begin(Path(place) / "whole.log")
        begun = time.monotonic()
        assert os.waitpid(pid, 0)[1] == 0
        seconds = time.monotonic() - begun
        draw = random.Random(0)
        for number in SIGNALS:
            seen: Counter[str] = Counter()
            for wait in sorted(draw.uniform(0, seconds) for _ in range(instants)):
                seen[stopped_and_gone_on(number, wait, folder)] += 1
                if found := differences(folder, whole):
                    wrong += 1
                    print(f"{signal.Signals(number).name} after {wait:.3f} s: {', '.join(found)} differ", flush=True)
                shutil.rmtree(folder)
            name = signal.Signals(number).name
            print(f"{name}: {instants} instants within {seconds:.1f} s: {dict(seen)}", flush=True)
    print(f"{wrong} of {len(SIGNALS) * instants} runs differ from the one that was never stopped")
    return wrong


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if sys.argv[1:] else 30))
