"""Publish trained policies in almeta/policies: weights as safetensors, and a card for each.

python scripts/publish.py runs/transfer/sweep mine --command "python scripts/train.py -m experiment=pool/transfer"
python scripts/publish.py runs/episodic/DATE mine --command "python scripts/train.py experiment=one_shot/episodic"

Of pools the folder holds one run a fold, as a sweep leaves them; the runs become members of one policy. A policy of
streams is one run: name its folder, or a folder with that run alone.
"""

import argparse
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd

import almeta.policies
from almeta.errors import AlmetaError
from almeta.evaluation.measures import RATIOS
from almeta.policies import policy_names
from almeta.policies.published import publish
from almeta.scripts.errors import in_one_line
from almeta.strategies import is_strategy
from almeta.training.checkpoint import load_checkpoint

MEASURES = ("strategy", "aulc", "mean_rank", "gain_over_random", "gain_over_reference")
MOST_BYTES = 5_000_000  # of a member's weights: all policies ship with every installation


@in_one_line
def main() -> None:
    """Write the cards and weights of all finished runs of a folder; nothing if the name or a run cannot be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="a run's folder, or a folder with the runs' folders")
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
    for old in target.iterdir():  # members of the policy that was there before
        if old.suffix in (".json", ".safetensors") and old.stem not in members:
            old.unlink()
            print(f"removed {old}")


def members_of(runs: Path) -> dict[str, Path]:
    """Return the checkpoints of the finished runs in a folder, by the names that their cards get.

    Raises:
        AlmetaError: if there is none, one of another kind, two of one fold, or several on streams.
    """
    found: dict[str, Path] = {}
    checkpoints = [runs / "last.pt"] if (runs / "last.pt").exists() else sorted(runs.glob("*/last.pt"))
    for checkpoint in checkpoints:
        if not (checkpoint.parent / "summary.json").exists():
            print(f"left out, since it is not finished: {checkpoint.parent}")
            continue
        name = member_name(load_checkpoint(checkpoint), checkpoint.parent)
        if name in found:
            is_stream = name == "stream"
            have = "were both trained on streams, and a policy of streams is one run" if is_stream else "have one fold"
            way_out = "name the folder of that run" if is_stream else "keep one of them there"
            raise AlmetaError(f"{found[name].parent} and {checkpoint.parent} {have}; {way_out}")
        found[name] = checkpoint
    if len(found) > 1 and "stream" in found:
        raise AlmetaError(f"{runs} has runs on streams and on pools; name the folder of one run")
    if not found:
        raise AlmetaError(
            f"there is no finished run in {runs}; name the folder of a run, or one that holds a run's folder for each "
            "fold"
        )
    return found


def member_name(content: dict[str, Any], run: Path) -> str:
    """Return the name that the card of a run gets; a run that cannot be published is an AlmetaError."""
    size = sum(weight.numel() * weight.element_size() for weight in content["agent"].values())
    if size > MOST_BYTES:
        raise AlmetaError(
            f"the weights of {run} have {size / 1e6:.1f} MB, and those of a policy that ships at most "
            f"{MOST_BYTES / 1e6:.0f}; train a smaller network"
        )
    if content["kind"] == "stream":
        return "stream"
    if content["kind"] != "pool":
        raise AlmetaError(f"{run} was trained on problems of kind {content['kind']}, not on pools or streams")
    fold = content["config"]["dataset"]["fold"]
    return "full" if fold is None else f"fold{fold}"


def commit() -> str:
    """The commit that is checked out."""
    asked = ["git", "rev-parse", "HEAD"]
    return subprocess.run(asked, capture_output=True, text=True, check=True, cwd=Path(__file__).parent).stdout.strip()


def scores(run: Path) -> dict[str, Any]:
    """How a run's policy and the rules did on what it never saw; empty where nothing was held out."""
    summary = json.loads((run / "summary.json").read_text("utf-8"))
    if summary.get("kind") == "stream":
        return stream_scores(run, summary)
    results = summary.get("benchmark")
    if results is None:
        return {}
    rows = [{key: row[key] for key in MEASURES if key in row} for row in results["strategies"]]
    return {"datasets": sorted(results["datasets"]), "strategies": rows, "verdict": results["verdict"]}


def stream_scores(run: Path, summary: dict[str, Any]) -> dict[str, Any]:
    """How a run's policy and the baselines did on the held-out classes, at which rewards, and its encoder alone."""
    config, test = load_checkpoint(run / "last.pt")["config"], summary["test"]
    found = {
        "dataset": config["dataset"]["name"],
        "classes": "those held out from the training",
        "rewards": config["env"]["reward"],
        **{key: test[key] for key in ("episodes", *RATIOS, "intervals")},
        "baselines": {name: {key: one[key] for key in RATIOS} for name, one in summary["baselines"].items()},
        "gain": summary["gain"],
    }
    if by_price := summary.get("prices"):  # an agent that is told the price of a mistake
        found["prices"] = {
            price: {key: one[key] for key in ("episodes", *RATIOS, "intervals")} for price, one in by_price.items()
        }
    few_shot = run / "few_shot.csv"
    return found | ({"few_shot": pd.read_csv(few_shot).to_dict("records")} if few_shot.exists() else {})


if __name__ == "__main__":
    main()
