"""Judge a trained agent, on its own data set's unseen classes or on another data set, beside all baselines.

python scripts/evaluate.py policy=runs/quickstart/DATE dataset=omniglot episodes=10000
"""

import json
from pathlib import Path
from typing import Any, Literal

import hydra
from omegaconf import DictConfig
from rich.console import Console

from almeta.checks import Count, check_values
from almeta.data import Dataset, load_dataset
from almeta.errors import AlmetaError, did_you_mean
from almeta.evaluation.published import is_published_task
from almeta.evaluation.report import compare, print_results, write_results
from almeta.scripts.commands import output_folder, plain, told_in_one_line
from almeta.training.build import DATASET, Config, build_simulation, load_agent, load_split, read_part, set_compute
from almeta.training.checkpoint import write_atomically

CLASSES = ("test", "train", "all")
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
    agent, trained = load_agent(config["policy"])
    set_compute({**config, "matmul_precision": config["matmul_precision"] or trained["matmul_precision"]})
    agent.to(config["device"])
    changes = {key: value for key, value in config["env"].items() if value is not None}
    streams = {**config, "env": {**trained["env"], **changes}}
    read_part(streams["env"], "env")
    judged, tuning = choose_classes(config, trained)
    simulation, tuning_simulation = (
        build_simulation(streams, part, config["num_envs"], "evaluation") for part in (judged, tuning)
    )
    if simulation.num_slots != agent.num_actions - 1:
        raise AlmetaError(
            f"the policy predicts {agent.num_actions - 1} label slots, these streams have {simulation.num_slots}; "
            f"leave env.classes at {agent.num_actions - 1} or fewer"
        )
    if simulation.num_pixels != agent.num_pixels:
        raise AlmetaError(
            f"the policy reads images of {agent.num_pixels} pixels, "
            f"those of '{judged.name}' have {simulation.num_pixels}"
        )
    seen = config["classes"] == "train" and judged.name == trained["dataset"]["name"]
    title = (
        f"{trained['name']}, trained on {trained['dataset']['name']}; "
        f"judged on {judged.num_classes:,} classes of {judged.name}, {'the same' if seen else 'never trained on'}"
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
        "scripted": results.scripted,
    }
    paths = write_results(results, folder, published)
    write_atomically(folder / "summary.json", json.dumps(summary, indent=2).encode())
    print(f"wrote {', '.join(path.name for path in paths)} and summary.json to {folder}")
    return summary


def choose_classes(config: Config, trained: Config) -> tuple[Dataset, Dataset]:
    """Return the classes to judge on, and those on which baselines may choose their threshold.

    Raises:
        AlmetaError: if classes the policy was trained on would be mixed with others.
    """
    wanted, own = config["classes"], trained["dataset"]
    if wanted not in CLASSES:
        raise AlmetaError(did_you_mean(str(wanted), CLASSES, "choice of classes"))
    chosen = config["dataset"] or own
    check_values(chosen, DATASET, "dataset")
    if chosen["name"] == own["name"] and (wanted == "all" or chosen != own):
        raise AlmetaError(
            f"the policy was trained on classes of '{own['name']}' (train_classes={own['train_classes']}, "
            f"split_seed={own['split_seed']}); to judge it there, choose classes=test (or train) of that split"
        )
    parts = load_split({"dataset": chosen})
    judged = load_dataset(chosen["name"]) if wanted == "all" else parts[wanted]
    return judged, parts["train"]


if __name__ == "__main__":
    main()
