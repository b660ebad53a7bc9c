"""Compare strategies and policies, all on the same tasks, over many data sets.

python scripts/benchmark.py strategies=[random,margin,entropy] policies=[transfer] suite=tables repeats=16 out=DIR
python scripts/benchmark.py protocol=rebenchmark datasets=[sonar,heart]
"""

import hydra
from omegaconf import DictConfig

from almeta.build import trust_targets
from almeta.registry import import_modules
from almeta.runs.config import BenchmarkConfig
from almeta.runs.pools import benchmark
from almeta.scripts.commands import output_folder, plain, told_in_one_line


@told_in_one_line()
@hydra.main(version_base="1.3", config_path="pkg://almeta.conf", config_name="benchmark")
def main(config: DictConfig) -> None:
    """Play what is not finished, print who is better than whom, and leave curves, tables and figures."""
    with told_in_one_line():
        told = BenchmarkConfig.read(plain(config))
        import_modules(told.modules)
        trust_targets(told.plain())
        benchmark(told, output_folder())


if __name__ == "__main__":
    main()
