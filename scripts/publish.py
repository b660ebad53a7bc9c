"""Publish trained policies of pools in almeta/policies: weights as safetensors, and a card for each.

python scripts/publish.py runs/transfer/sweep transfer --command "python scripts/train.py -m experiment=pool/transfer"

The folder holds one run a fold, as a sweep leaves them; the runs become members of one policy.
"""

import argparse
import json
import subprocess
from pathlib import Path
from typing import Any

import almeta.policies
from almeta.policies.published import publish
from almeta.training.checkpoint import load_checkpoint

MEASURES = ("strategy", "aulc", "mean_rank", "gain_over_random", "gain_over_reference")


def main() -> None:
    """Write the cards and weights of all finished runs of a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="a folder with the runs' folders")
    parser.add_argument("name", help="what load_policy will call the policy")
    parser.add_argument("--command", required=True, help="how the runs were made, for the card")
    parser.add_argument("--commit", help="the commit they were trained with; the one checked out if left out")
    options = parser.parse_args()
    target = Path(almeta.policies.__file__).parent / options.name
    target.mkdir(exist_ok=True)
    for checkpoint in sorted(options.runs.glob("*/last.pt")):
        if not (checkpoint.parent / "summary.json").exists():
            print(f"left out, since it is not finished: {checkpoint.parent}")
            continue
        fold = load_checkpoint(checkpoint)["config"]["dataset"]["fold"]
        card = target / ("full.json" if fold is None else f"fold{fold}.json")
        publish(
            checkpoint,
            card,
            {"command": options.command, "commit": options.commit or commit(), "scores": scores(checkpoint.parent)},
        )
        print(f"wrote {card}")


def commit() -> str:
    """The commit that is checked out."""
    asked = ["git", "rev-parse", "HEAD"]
    return subprocess.run(asked, capture_output=True, text=True, check=True, cwd=Path(__file__).parent).stdout.strip()


def scores(run: Path) -> dict[str, Any]:
    """How a run's policy and the strategies did on data sets that it never saw; empty where there were none."""
    results = json.loads((run / "summary.json").read_text("utf-8")).get("benchmark")
    if results is None:
        return {}
    rows = [{key: row[key] for key in MEASURES if key in row} for row in results["strategies"]]
    return {"datasets": sorted(results["datasets"]), "strategies": rows, "verdict": results["verdict"]}


if __name__ == "__main__":
    main()
