"""Judge a trained agent on classes or data sets that it never saw, beside the rules it has to beat.

python scripts/evaluate.py policy=runs/quickstart/DATE dataset=omniglot episodes=10000
python scripts/evaluate.py policy=transfer dataset=csv:my.csv dataset.target=label
"""

import hydra
from omegaconf import DictConfig

from almeta.policies import kind_of
from almeta.registry import import_modules
from almeta.runs import find_run
from almeta.runs.config import EvaluateConfig
from almeta.scripts.commands import name_datasets, output_folder, plain, told_in_one_line


def main() -> None:
    """Print the measures, and leave `summary.json`, tables and figures in the run's folder."""
    name_datasets()
    run()


@told_in_one_line()
@hydra.main(version_base="1.3", config_path="pkg://almeta.conf", config_name="evaluate")
def run(config: DictConfig) -> None:
    """Judge as the command line says."""
    with told_in_one_line():
        told = EvaluateConfig.read(plain(config))
        import_modules(told.modules)
        find_run(kind_of(told.policy)).judge(told, output_folder())


if __name__ == "__main__":
    main()
