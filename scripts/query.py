"""Which rows of your own to label next: a table, and a file to fill in.

python scripts/query.py data=my.csv target=label n=20
python scripts/query.py data=my.csv target=label answers=next.csv
"""

from omegaconf import DictConfig

from almeta.scripts.commands import command, plain


@command("query")
def main(config: DictConfig) -> None:
    """Take answers, choose the next rows, print them and write them to a file."""
    from almeta.build import trust_targets
    from almeta.registry import import_modules
    from almeta.runs.query import QueryConfig, query_rows
    from almeta.training.compute import set_compute

    told = QueryConfig.read(plain(config))
    import_modules(told.modules)
    trust_targets(told.plain())
    set_compute(told.threads, "cpu", "highest")
    query_rows(told)


if __name__ == "__main__":
    main()
