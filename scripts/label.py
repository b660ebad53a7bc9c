"""Label rows on a page in the browser; the ones that teach most come first.

python scripts/label.py data=my.csv target=label
python scripts/label.py data=reviews.csv text=review classes=[good,bad]
python scripts/label.py by=runs/quickstart/DATE data=omniglot
"""

from omegaconf import DictConfig

from almeta.scripts.commands import command, given_keys, plain


@command("label")
def main(config: DictConfig) -> None:
    """Serve the page until the process is stopped."""
    from almeta.build import trust_targets
    from almeta.page.config import LabelConfig
    from almeta.page.site import serve
    from almeta.registry import import_modules
    from almeta.training.compute import set_compute

    told = LabelConfig.read(plain(config))
    import_modules(told.modules)
    trust_targets(told.plain())
    told.check_knobs(given_keys())
    set_compute(told.threads, "cpu", "highest")
    with told.opened() as (player, thinker):
        serve(player, thinker, told.port, told.show)


if __name__ == "__main__":
    main()
