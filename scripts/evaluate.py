"""Judge a trained agent on classes or data sets that it never saw, beside the rules it has to beat.

python scripts/evaluate.py policy=runs/quickstart/DATE dataset=omniglot episodes=10000
python scripts/evaluate.py policy=transfer dataset=csv:my.csv dataset.target=label
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import hydra
from omegaconf import DictConfig

from almeta.checks import Count, Within, check_values
from almeta.policies import find_policy, is_run_on_streams
from almeta.scripts.commands import name_datasets, output_folder, plain, told_in_one_line
from almeta.scripts.pools import judge_policy
from almeta.scripts.streams import judge_streams
from almeta.training.build import Config, set_compute

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
    "strategies": list[str],
    "learner": dict[str, Any] | None,
    "oracle": dict[str, Any] | None,
    "repeats": Annotated[int, Within(2)],
    "jobs": Count,
}


def main() -> None:
    """Print the measures, and leave `summary.json`, tables and figures in the run's folder."""
    name_datasets()
    run()


@told_in_one_line()
@hydra.main(version_base="1.3", config_path="pkg://almeta.conf", config_name="evaluate")
def run(config: DictConfig) -> None:
    """Judge as the command line says."""
    with told_in_one_line():
        evaluate_policy(plain(config), output_folder())


def evaluate_policy(config: Config, folder: Path) -> dict[str, Any]:
    """Judge as the config says, write everything to `folder`, and return the content of `summary.json`."""
    check_values(config, VALUES)
    if is_run_on_streams(config["policy"]):
        return judge_streams(config, folder)
    set_compute(config | {"matmul_precision": config["matmul_precision"] or "highest"})
    return judge_policy(config, find_policy(config["policy"]), folder)


if __name__ == "__main__":
    main()
