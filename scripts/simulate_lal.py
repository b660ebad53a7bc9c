"""Make almeta/strategies/lal.npz, from which the strategy `lal` learns: features of synthetic tasks and drops of error.

python scripts/simulate_lal.py
"""

import argparse
from pathlib import Path

import numpy as np
from rich.progress import track

from almeta.strategies.lal import NUM_TASKS, PAIRS, simulate


def main() -> None:
    """Play the tasks, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--tasks", type=int, default=NUM_TASKS, help=f"synthetic tasks (default {NUM_TASKS}, which are shipped)"
    )
    parser.add_argument("--out", type=Path, default=PAIRS, help=f"file (default {PAIRS.name} of the package)")
    options = parser.parse_args()
    features, drops = zip(*map(simulate, track(range(options.tasks))), strict=True)
    features, drops = (np.concatenate(part).astype(np.float32) for part in (features, drops))
    np.savez_compressed(options.out, features=features, drops=drops)
    print(f"{len(drops)} pairs in {options.out}, {options.out.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
