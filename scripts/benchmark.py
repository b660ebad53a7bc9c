"""Compare strategies and policies, all on the same tasks, over many data sets.

python scripts/benchmark.py strategies=[random,margin,entropy] policies=[transfer] suite=tables repeats=16 out=DIR
python scripts/benchmark.py protocol=rebenchmark datasets=[sonar,heart]
"""

from omegaconf import DictConfig

from almeta.scripts.commands import command, output_folder, plain


@command("benchmark")
def main(config: DictConfig) -> None:
    """Play what is not finished, print who is better than whom, and leave curves, tables and figures."""
    from almeta.build import trust_targets
    from almeta.registry import import_modules
    from almeta.runs.config import BenchmarkConfig
    from almeta.runs.pools import benchmark

    told = BenchmarkConfig.read(plain(config))
    import_modules(told.modules)
    trust_targets(told.plain())
    benchmark(told, output_folder())


if __name__ == "__main__":
    main()
