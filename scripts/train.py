"""Train an agent on some classes or data sets and judge it on others that it never saw.

python scripts/train.py experiment=one_shot/quickstart
python scripts/train.py experiment=pool/quickstart
python scripts/train.py -m experiment=one_shot/woodward_finn env.reward.incorrect=-1,-5 seed=0,1,2
python scripts/train.py resume=runs/woodward_finn/DATE
"""

import json
import math
from pathlib import Path
from typing import Any

import hydra
import torch
from omegaconf import DictConfig, OmegaConf

from almeta.errors import AlmetaError, Interrupted
from almeta.files import write_atomically
from almeta.scripts.commands import (
    differing_keys,
    how_to_go_on,
    plain,
    read_run,
    register_resolvers,
    told_in_one_line,
)
from almeta.scripts.pools import PoolRun
from almeta.scripts.streams import StreamRun
from almeta.seeding import make_generator
from almeta.training.build import Config, check_config, is_pool, set_compute
from almeta.training.checkpoint import load_checkpoint
from almeta.training.loggers import build_loggers
from almeta.training.progress import Progress
from almeta.training.trainer import LAST, Schedule, Trainer

CONFIG, SUMMARY = "config.yaml", "summary.json"

register_resolvers()


@told_in_one_line()
@hydra.main(version_base="1.3", config_path="pkg://almeta.conf", config_name="train")
def main(config: DictConfig) -> float:
    """Train as the config says; return the score on training classes or data sets, for sweepers to raise."""
    score = math.nan
    with told_in_one_line():
        run, folder, start = read_run(config)
        score = train(run, folder, start)["train"][score_name(run)]
    return score


def score_name(config: Config) -> str:
    """The measure that chooses the best checkpoint, and that sweepers raise."""
    return PoolRun.score if is_pool(config) else StreamRun.score


def train(config: Config, folder: Path, start: Path | None = None) -> dict[str, Any]:
    """Train, evaluate, write and draw everything in `folder`; return the content of its `summary.json`.

    Args:
        config: plain values, as conf/train.yaml explains them.
        folder: the run's; one that holds an unfinished run of this config is gone on with.
        start: the checkpoint to go on from, where it is not the last one of the folder.
    """
    check_config(config)
    if is_finished(config, folder) and (start is None or start.name == LAST):
        print(f"{folder} is finished already: nothing to do")
        return json.loads((folder / SUMMARY).read_text("utf-8"))
    set_compute(config)
    run = PoolRun(config) if is_pool(config) else StreamRun(config)
    print(run.describe())
    progress = Progress(config["name"])
    loggers = build_loggers(config, folder)
    try:
        trainer = Trainer(
            agent=run.agent,
            simulation=run.simulation,
            optimizer=torch.optim.Adam(run.agent.parameters(), config["learning_rate"], fused=True),
            generator=make_generator(config["seed"], "policy", config["device"]),
            evaluations=run.evaluations,
            folder=folder,
            schedule=Schedule(*(config[key] for key in ("batches", "log_every", "evaluate_every", "checkpoint_every"))),
            config=config,
            anneal_lr=config["anneal_lr"],
            max_grad_norm=config["max_grad_norm"],
            loggers=[*loggers, progress],
            track=progress,
            explore=run.explore,
            score=run.score,
        )
        begin(trainer, start or folder / LAST)
        if trainer.batch == 0:
            run.prepare()
        trainer.train()
        summary = run.conclude(folder)
        write_atomically(folder / SUMMARY, json.dumps(summary, indent=2).encode())
        print(f"wrote {SUMMARY} to {folder}")
        return summary
    except (Interrupted, KeyboardInterrupt) as stop:
        way_on = how_to_go_on(folder) if (folder / LAST).exists() else "nothing was trained yet"
        raise Interrupted(f"{str(stop) or 'stopped'}; {way_on}") from None
    finally:
        for logger in loggers:
            logger.close()


def is_finished(config: Config, folder: Path) -> bool:
    """Whether the folder holds this very run with its results.

    Raises:
        AlmetaError: if it holds a run of another config: its files would be mixed up with this one's.
    """
    if not (folder / CONFIG).exists():
        return False
    there = plain(OmegaConf.load(folder / CONFIG))
    if keys := differing_keys(config, there):
        raise AlmetaError(
            f"{folder} holds a run with another {', '.join(keys)}; choose another folder with "
            "hydra.run.dir=... (hydra.sweep.dir=... for a sweep), or remove it"
        )
    same_end = all(config[key] == there[key] for key in ("batches", "final_episodes"))
    return same_end and (folder / SUMMARY).exists()


def begin(trainer: Trainer, checkpoint: Path) -> None:
    """Go on from a checkpoint if it is there, and leave in the folder what the run can be resumed with."""
    if checkpoint.exists():
        trainer.restore(load_checkpoint(checkpoint))
        print(f"going on after batch {trainer.batch:,} of {checkpoint}")
    if trainer.batch > trainer.schedule.batches:
        raise AlmetaError(f"{checkpoint} is of batch {trainer.batch:,} already; choose batches={trainer.batch} or more")
    (trainer.folder / SUMMARY).unlink(missing_ok=True)  # of an earlier, shorter run
    write_atomically(trainer.folder / CONFIG, OmegaConf.to_yaml(OmegaConf.create(trainer.config)).encode())
    trainer.save(LAST)


if __name__ == "__main__":
    main()
