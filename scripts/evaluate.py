"""Judge a trained agent, on its own data set's unseen classes or on another data set, beside all baselines.

python scripts/evaluate.py policy=runs/quickstart/DATE dataset=omniglot episodes=10000
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import hydra
from omegaconf import DictConfig
from rich.console import Console

from almeta.checks import Count, check_values
from almeta.errors import AlmetaError
from almeta.evaluation.published import is_published_task
from almeta.evaluation.report import compare, print_results, write_results
from almeta.scripts.commands import output_folder, plain, told_in_one_line
from almeta.training.build import (
    Config,
    build_simulation,
    choose_classes,
    load_agent,
    read_part,
    set_compute,
)
from almeta.training.checkpoint import write_atomically

VALUES: dict[str, Any] = {
    "policy": str,
    "dataset": dict[str, Any] | None,
    "classes": str,
    "episodes": Count,
    "seed": int,
    "num_envs": Count,
    "device": str,
    "threads": Count | None,
    "matmul_precision": Literal["highest", "medium"] | None,
    "env": dict[str, Any],
}


@told_in_one_line()
@hydra.main(version_base="1.3", config_path="pkg://almeta.conf", config_name="evaluate")
def main(config: DictConfig) -> None:
    """Print the measures, and leave `summary.json`, a table and figures in the run's folder."""
    with told_in_one_line():
        evaluate_policy(plain(config), output_folder())


def evaluate_policy(config: Config, folder: Path) -> dict[str, Any]:
    """Judge as the config says, write everything to `folder`, and return the content of `summary.json`."""
    check_values(config, VALUES)
    agent, checkpoint = load_agent(config["policy"])
    trained = checkpoint["config"]
    set_compute({**config, "matmul_precision": config["matmul_precision"] or trained["matmul_precision"]})
    agent.to(config["device"])
    changes = {key: value for key, value in config["env"].items() if value is not None}
    streams = {**config, "env": {**trained["env"], **changes}}
    read_part(streams["env"], "env")
    if streams["env"]["classes"] > streams["env"]["slots"]:
        raise AlmetaError(
            f"the policy tells {streams['env']['slots']} classes apart; choose env.classes={streams['env']['slots']} "
            "or fewer"
        )
    judged, tuning = choose_classes(checkpoint, config["dataset"], config["classes"])
    simulation, tuning_simulation = (
        build_simulation(streams, part, config["num_envs"], "evaluation") for part in (judged, tuning)
    )
    if simulation.num_pixels != agent.num_pixels:
        raise AlmetaError(
            f"the policy reads images of {agent.num_pixels} pixels, "
            f"those of '{judged.name}' have {simulation.num_pixels}"
        )
    seen = config["classes"] == "train" and judged.name == checkpoint["dataset"]
    title = (
        f"{trained['name']}, trained on {trained['dataset']['name']}; judged on {judged.num_classes:,} classes of "
        f"{judged.name}, {'those it was trained on' if seen else 'never trained on'}"
    )
    published = is_published_task(judged.name, streams["env"])
    results = compare(agent, trained["name"], simulation, tuning_simulation, config["episodes"], config["seed"])
    print_results(results, title, Console(), published)
    summary = {
        "policy": str(config["policy"]),
        "dataset": judged.name,
        "classes": config["classes"],
        **results.summary,
        "baselines": results.baselines,
        "gain": asdict(results.gain) | {"over": results.best_baseline},
        "scripted": results.scripted,
    }
    paths = write_results(results, folder, published)
    write_atomically(folder / "summary.json", json.dumps(summary, indent=2).encode())
    print(f"wrote {', '.join(path.name for path in paths)} and summary.json to {folder}")
    return summary


if __name__ == "__main__":
    main()
