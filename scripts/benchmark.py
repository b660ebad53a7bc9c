"""Compare strategies and policies, all on the same tasks, over many data sets.

python scripts/benchmark.py strategies=[random,margin,entropy] policies=[transfer] suite=tables repeats=16 out=DIR
python scripts/benchmark.py protocol=rebenchmark datasets=[sonar,heart]
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import hydra
from omegaconf import DictConfig

from almeta.checks import Count, Within, check_values
from almeta.data import canonical_name
from almeta.data.suites import suite
from almeta.errors import AlmetaError
from almeta.evaluation.benchmark import Contender, Setting, StrategyByName
from almeta.policies import find_policy
from almeta.scripts.commands import output_folder, plain, told_in_one_line
from almeta.scripts.pools import judge
from almeta.strategies import make_strategy
from almeta.training.build import Config, read_part, set_compute

VALUES: dict[str, Any] = {
    "strategies": list[str],
    "policies": list[str],
    "datasets": list[str] | None,
    "suite": str | None,
    "options": dict[str, Any],
    "env": dict[str, Any],
    "learner": dict[str, Any],
    "oracle": dict[str, Any],
    "protocol": Any,
    "budget": Count | None,
    "repeats": Annotated[int, Within(2)],
    "reference": str,
    "area": Literal["mean", "trapezoid"],
    "jobs": Count,
    "backend": str | None,
    "threads": Count,
    "seed": int,
    "device": str,
    "matmul_precision": Literal["highest", "medium"],
    "out": str,
}


@told_in_one_line()
@hydra.main(version_base="1.3", config_path="pkg://almeta.conf", config_name="benchmark")
def main(config: DictConfig) -> None:
    """Play what is not finished, print who is better than whom, and leave curves, tables and figures."""
    with told_in_one_line():
        benchmark(plain(config), output_folder())


def benchmark(config: Config, folder: Path) -> dict[str, Any]:
    """Benchmark as the config says, write everything to `folder`, and return the summary."""
    check_values(config, VALUES)
    for part in ("env", "learner", "oracle"):
        read_part(config[part], part)
    set_compute(config)
    datasets = [canonical_name(name) for name in chosen_datasets(config)]
    for name in config["strategies"]:
        make_strategy(name)  # an unknown one is told before anything is played
    policies = [find_policy(name) for name in config["policies"]]
    contenders: list[Contender] = [*map(StrategyByName, dict.fromkeys(("random", *config["strategies"]))), *policies]
    setting = Setting(config, config["repeats"], config["options"], config["threads"])
    options = {key: config[key] for key in ("jobs", "backend", "reference", "area")}
    return judge(datasets, contenders, setting, folder, **options)


def chosen_datasets(config: Config) -> list[str]:
    """The names in `datasets`, or those of `suite`.

    Raises:
        AlmetaError: if neither is given, or both.
    """
    if (config["datasets"] is None) == (config["suite"] is None):
        raise AlmetaError("name the data sets either one by one, datasets=[iris,wine], or as a suite, suite=tables")
    return config["datasets"] if config["suite"] is None else list(suite(config["suite"]))


if __name__ == "__main__":
    main()
