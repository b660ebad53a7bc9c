"""Compare strategies and policies, all on the same tasks, over many data sets.

python scripts/benchmark.py strategies=[random,margin,entropy] policies=[transfer] suite=tables repeats=16 out=DIR
python scripts/benchmark.py protocol=rebenchmark datasets=[sonar,heart]
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import hydra
from omegaconf import DictConfig
from rich.console import Console

from almeta.checks import Count, Within, check_values
from almeta.data import canonical_name
from almeta.data.suites import suite
from almeta.errors import AlmetaError
from almeta.evaluation.benchmark import Contender, Setting, StrategyByName
from almeta.evaluation.writers import publish
from almeta.policies import TrainedPolicy, find_policy
from almeta.scripts.commands import output_folder, plain, told_in_one_line
from almeta.scripts.pools import judge
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
    "backend_options": dict[str, Any],
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
    strategies = list(map(StrategyByName, dict.fromkeys(("random", *config["strategies"]))))
    contenders: list[Contender] = [*strategies, *chosen_policies(config["policies"], {one.name for one in strategies})]
    options = {key: value for key, value in config["options"].items() if value is not None}
    setting = Setting(config, config["repeats"], options, config["threads"])
    judging = {key: config[key] for key in ("jobs", "backend", "backend_options", "reference", "area")}
    report = judge(datasets, contenders, setting, folder, **judging)
    publish(report, folder, Console(), report.summary)
    return dict(report.summary)


def chosen_policies(paths: Sequence[str], taken: Collection[str] = ()) -> list[TrainedPolicy]:
    """The policies, each by its own name; by its path where that name is taken, or several have it.

    Args:
        paths: what `find_policy` takes.
        taken: names of others.
    """
    policies = [find_policy(path) for path in paths]
    count = Counter([*taken, *(policy.name for policy in policies)])
    named = zip(paths, policies, strict=True)
    return [policy if count[policy.name] == 1 else replace(policy, name=path) for path, policy in named]


def chosen_datasets(config: Config) -> list[str]:
    """The names in `datasets`, or those of `suite`.

    Raises:
        AlmetaError: if neither is given, or both.
    """
    if config["datasets"] is not None and config["suite"] is not None:
        raise AlmetaError(
            f"both suite={config['suite']} and datasets=[{','.join(config['datasets'])}] are set, perhaps one of them "
            "by a preset; add datasets=null or suite=null"
        )
    if config["datasets"] is None and config["suite"] is None:
        raise AlmetaError("name the data sets either one by one, datasets=[iris,wine], or as a suite, suite=tables")
    return config["datasets"] if config["suite"] is None else list(suite(config["suite"]))


if __name__ == "__main__":
    main()
