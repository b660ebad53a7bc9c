"""Judge a trained agent on classes or data sets that it never saw, beside the rules it has to beat.

python scripts/evaluate.py policy=runs/quickstart/DATE dataset=omniglot episodes=10000
python scripts/evaluate.py policy=transfer dataset=csv:my.csv dataset.target=label
"""

from omegaconf import DictConfig

from almeta.scripts.commands import command, given_keys, output_folder, plain


@command("evaluate")
def main(config: DictConfig) -> None:
    """Print the measures, and leave `summary.json`, tables and figures in the run's folder."""
    from almeta.build import trust_targets
    from almeta.policies import kind_of
    from almeta.registry import import_modules
    from almeta.runs import find_run
    from almeta.runs.config import EvaluateConfig

    told = EvaluateConfig.read(plain(config))
    import_modules(told.modules)
    trust_targets(told.plain())
    run = find_run(kind_of(told.policy))
    run.check_knobs(given_keys())
    run.judge(told, output_folder())


if __name__ == "__main__":
    main()
