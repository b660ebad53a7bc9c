"""Train an agent on some classes or data sets and judge it on others that it never saw.

python scripts/train.py experiment=one_shot/quickstart
python scripts/train.py experiment=pool/quickstart
python scripts/train.py -m experiment=one_shot/woodward_finn env.reward.incorrect=-1,-5 seed=0,1,2
python scripts/train.py resume=runs/woodward_finn/DATE
"""

import math

import hydra
from omegaconf import DictConfig

from almeta.runs import run_of
from almeta.runs.training import train
from almeta.scripts.commands import how_to_go_on, read_run, register_resolvers, told_in_one_line

register_resolvers()


@told_in_one_line()
@hydra.main(version_base="1.3", config_path="pkg://almeta.conf", config_name="train")
def main(config: DictConfig) -> float:
    """Train as the config says; return the score on training classes or data sets, for sweepers to raise."""
    score = math.nan
    with told_in_one_line():
        run, folder, start = read_run(config)
        summary = train(run, folder, start, how_to_go_on(folder))
        score = summary["train"][run_of(run).score]
    return score


if __name__ == "__main__":
    main()
