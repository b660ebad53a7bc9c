"""Training a run of any kind from a config, in a folder of its own."""

import json
from pathlib import Path
from typing import Any

import torch
import yaml
from rich.console import Console

from almeta.errors import AlmetaError, Interrupted
from almeta.files import write_atomically
from almeta.lock import held
from almeta.runs import Run, run_of
from almeta.runs.config import TrainConfig
from almeta.runs.run import CONFIG, SUMMARY
from almeta.runs.together import Together
from almeta.seeding import make_generator
from almeta.training.agents import check_agent
from almeta.training.checkpoint import load_checkpoint, upgraded_config
from almeta.training.compute import set_compute
from almeta.training.loggers import METRICS, build_loggers, read_json_lines
from almeta.training.progress import Progress
from almeta.training.trainer import LAST, Schedule, Trainer

LOCK = ".lock"

# Keys that may change when a run is resumed: none changes the task, and a smaller step size helps a run that diverged.
RESUMABLE = {
    "batches", "checkpoint_every", "device", "evaluate_episodes", "evaluate_every", "final_episodes", "learning_rate",
    "log_every", "logger", "matmul_precision", "max_grad_norm", "modules", "threads",
}  # fmt: skip


def train(config: TrainConfig, folder: Path, start: Path | None = None, way_on: str = "") -> dict[str, Any]:
    """Train and judge a run, publish its report, and return the content of its `summary.json`.

    Args:
        config: of the run.
        folder: of the run; if it holds an unfinished run of this config, that run is resumed.
        start: the checkpoint to resume from, if it is not the last one of the folder.
        way_on: how to resume the run, for the message when it is stopped.
    """
    kind = run_of(config)
    for part in kind.without:
        if getattr(config, part):
            raise AlmetaError(
                f"{part} is set, but problems of kind {kind.kind} have none; leave it out, or {part}=null"
            )
    if config.at_once and kind.kind != "stream":
        raise AlmetaError(f"at_once is for streams, and env is of kind {kind.kind}; sweep with -m")
    kind.check(config)
    check_agent(config.plain(), kind.kind)
    if is_finished(config, folder) and (start is None or start.name == LAST):
        summary = read_summary(folder / SUMMARY, kind.score)
        print(f"{folder} is finished already: nothing to do")
        return summary
    set_compute(config.threads, config.device, config.matmul_precision)
    with held(
        folder / LOCK,
        f"{folder} belongs to a run that is going on",
        "wait for its end, or choose another folder with hydra.run.dir=...",
    ):
        run = Together(config) if config.at_once else kind(config)
        return _train(run, folder, start or folder / LAST, way_on)


def _train(run: Run, folder: Path, checkpoint: Path, way_on: str) -> dict[str, Any]:
    config = run.config
    print(run.describe())
    for note in run.notes():
        print(f"note: {note}")
    progress = Progress(config.name)
    loggers = build_loggers(config.plain(), folder)
    try:
        trainer = Trainer(
            agent=run.agent,
            simulation=run.simulation,
            optimizer=torch.optim.Adam(run.agent.parameters(), config.learning_rate, fused=True),
            generator=make_generator(config.seed, "policy", config.device),
            evaluations=run.evaluations,
            folder=folder,
            schedule=Schedule(config.batches, config.log_every, config.evaluate_every, config.checkpoint_every),
            config=config.plain(),
            anneal_lr=config.anneal_lr,
            max_grad_norm=config.max_grad_norm,
            loggers=[*loggers, progress],
            track=progress,
            score=run.score,
            runs=run.runs,
        )
        begin(trainer, checkpoint)
        if trainer.batch == 0:
            run.prepare()
        trainer.train()
        return run.finish(folder, Console())
    except (Interrupted, KeyboardInterrupt) as stop:
        end = way_on if (folder / LAST).exists() else "nothing was trained yet"
        raise Interrupted(f"{str(stop) or 'stopped'}; {end}") from None
    finally:
        for logger in loggers:
            logger.close()


def is_finished(config: TrainConfig, folder: Path) -> bool:
    """Whether the folder holds this run with its results.

    Raises:
        AlmetaError: if it holds a run of another config, whose files must not be mixed with those of this one.
    """
    if not (folder / CONFIG).exists():
        return False
    there, here = upgraded_config(_read_config(folder / CONFIG)), config.plain()
    if keys := differing_keys(here, there):
        raise AlmetaError(
            f"{folder} holds a run with another {', '.join(keys)}; choose another folder with "
            "hydra.run.dir=... (hydra.sweep.dir=... for a sweep), or remove it"
        )
    same_end = all(here[key] == there.get(key) for key in ("batches", "final_episodes"))
    return same_end and (folder / SUMMARY).exists()


def _read_config(path: Path) -> dict[str, Any]:
    """Return the config that `begin` wrote; a damaged one is an AlmetaError."""
    try:
        config = yaml.safe_load(path.read_text("utf-8"))
        if not isinstance(config, dict):
            raise ValueError("it is no group of keys")
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _damaged(path, error, "the checkpoints hold the config too") from error
    return config


def read_summary(path: Path, score: str) -> dict[str, Any]:
    """Return the summary of a finished run; one without a number `["train"][score]` is an AlmetaError."""
    try:
        summary: dict[str, Any] = json.loads(path.read_text("utf-8"))
        float(summary["train"][score])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise _damaged(path, error, "the policy is judged anew") from error
    return summary


def _damaged(path: Path, reason: Exception, comfort: str) -> AlmetaError:
    what = (str(reason).strip() or type(reason).__name__).splitlines()[0]
    return AlmetaError(f"{path} is damaged ({what[:200]}); remove it and start again: {comfort}, and nothing is lost")


def differing_keys(here: dict[str, Any], there: dict[str, Any]) -> list[str]:
    """Return the keys in which two runs of one folder may not differ, but do."""
    fixed = {key for key in {*here, *there} if key not in RESUMABLE}
    if here.get("anneal_lr"):  # the learning rate falls as the batches left do
        fixed.add("batches")
    return sorted(key for key in fixed if here.get(key) != there.get(key))


def begin(trainer: Trainer, checkpoint: Path) -> None:
    """Resume from a checkpoint if it exists, and write the config and a checkpoint to resume from."""
    read_json_lines(trainer.folder / METRICS)  # raises now if a line is damaged, not at the end of the training
    if checkpoint.exists():
        trainer.restore(load_checkpoint(checkpoint))
        print(f"going on after batch {trainer.batch:,} of {checkpoint}")
    if trainer.batch > trainer.schedule.batches:
        raise AlmetaError(f"{checkpoint} is of batch {trainer.batch:,} already; choose batches={trainer.batch} or more")
    (trainer.folder / SUMMARY).unlink(missing_ok=True)  # of an earlier, shorter run
    write_atomically(trainer.folder / CONFIG, yaml.safe_dump(trainer.config, sort_keys=False, allow_unicode=True))
    trainer.save(LAST)
