"""Publish trained policies of pools in almeta/policies: weights as safetensors, and a card for each.

python scripts/publish.py runs/transfer/sweep mine --command "python scripts/train.py -m experiment=pool/transfer"

The folder holds one run a fold, as a sweep leaves them; the runs become members of one policy.
"""

import argparse
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import almeta.policies
from almeta.errors import AlmetaError
from almeta.policies import policy_names
from almeta.policies.published import publish
from almeta.scripts.errors import in_one_line
from almeta.strategies import is_strategy
from almeta.training.checkpoint import load_checkpoint

MEASURES = ("strategy", "aulc", "mean_rank", "gain_over_random", "gain_over_reference")


@in_one_line
def main() -> None:
    """Write the cards and weights of all finished runs of a folder; nothing if the name or a run cannot be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="a folder with the runs' folders")
    parser.add_argument("name", help="what load_policy will call the policy")
    parser.add_argument("--command", required=True, help="how the runs were made, for the card")
    parser.add_argument("--commit", help="the commit they were trained with; the one checked out if left out")
    parser.add_argument("--force", action="store_true", help="write over a policy of that name")
    options = parser.parse_args()
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", options.name) or is_strategy(options.name):
        raise AlmetaError(
            f"the name is '{options.name}'; it must have lower-case letters, digits, _ and - alone, and name no "
            "strategy"
        )
    if options.name in policy_names() and not options.force:
        raise AlmetaError(f"there is a policy '{options.name}'; choose another name, or --force to write over it")
    members = members_of(options.runs)
    target = Path(almeta.policies.__file__).parent / options.name
    target.mkdir(exist_ok=True)
    for name, checkpoint in members.items():
        card = target / f"{name}.json"
        publish(
            checkpoint,
            card,
            {"command": options.command, "commit": options.commit or commit(), "scores": scores(checkpoint.parent)},
        )
        print(f"wrote {card}")


def members_of(runs: Path) -> dict[str, Path]:
    """Return the checkpoints of the finished runs in a folder, by the names that their cards get.

    Raises:
        AlmetaError: if there is none, one of another kind, or two of one fold.
    """
    found: dict[str, Path] = {}
    for checkpoint in sorted(runs.glob("*/last.pt")):
        if not (checkpoint.parent / "summary.json").exists():
            print(f"left out, since it is not finished: {checkpoint.parent}")
            continue
        content = load_checkpoint(checkpoint)
        if content["kind"] != "pool":
            raise AlmetaError(f"{checkpoint.parent} was trained on problems of kind {content['kind']}, not on pools")
        fold = content["config"]["dataset"]["fold"]
        name = "full" if fold is None else f"fold{fold}"
        if name in found:
            raise AlmetaError(
                f"{found[name].parent} and {checkpoint.parent} have the same fold; keep one of them there"
            )
        found[name] = checkpoint
    if not found:
        raise AlmetaError(
            f"there is no finished run in {runs}; name the folder that holds one run's folder for each fold"
        )
    return found


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
