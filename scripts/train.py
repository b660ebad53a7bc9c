"""Train an agent on some classes or data sets and judge it on others that it never saw.

python scripts/train.py experiment=one_shot/quickstart
python scripts/train.py experiment=pool/quickstart
python scripts/train.py -m experiment=one_shot/woodward_finn env.reward.incorrect=-1,-5 seed=0,1,2
python scripts/train.py resume=runs/woodward_finn/DATE
"""

from omegaconf import DictConfig

from almeta.errors import AlmetaError
from almeta.scripts.commands import command, given_keys, how_to_go_on, register_resolvers
from almeta.scripts.help import choices

register_resolvers()

_FIRST = "one_shot/quickstart"  # a good first run


@command("train")
def main(config: DictConfig) -> float:
    """Train as the config says; return the score on training classes or data sets, for sweepers to raise."""
    if config.resume is None and not given_keys():
        raise AlmetaError(
            f"nothing says what to train; name a preset, such as experiment={_FIRST}, which takes minutes; there are "
            f"{', '.join(choices('experiment', 'train'))}"
        )
    from almeta.runs import run_of
    from almeta.runs.training import train
    from almeta.scripts.resume import read_run

    run, folder, start = read_run(config)
    summary = train(run, folder, start, how_to_go_on(folder))
    score: float = summary["train"][run_of(run).score]
    return score


if __name__ == "__main__":
    main()
