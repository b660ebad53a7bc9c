"""Train an agent on the classes of a data set and judge it on classes it never saw.

python scripts/train.py experiment=one_shot/quickstart
python scripts/train.py -m experiment=one_shot/woodward_finn env.reward.incorrect=-1,-5 seed=0,1,2
python scripts/train.py resume=runs/woodward_finn/DATE
"""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import hydra
import torch
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from almeta.agents.agent import Agent
from almeta.envs.one_shot import OneShotSimulation
from almeta.errors import AlmetaError, Interrupted
from almeta.evaluation.one_shot import evaluate
from almeta.evaluation.published import is_published_task
from almeta.evaluation.report import compare, draw_training, print_results, write_results
from almeta.scripts.commands import (
    differing_keys,
    how_to_go_on,
    plain,
    read_run,
    register_resolvers,
    told_in_one_line,
)
from almeta.seeding import make_generator
from almeta.training.build import Config, build_agent, build_simulation, check_config, load_split, set_compute
from almeta.training.checkpoint import load_checkpoint, write_atomically
from almeta.training.loggers import build_loggers, read_json_lines
from almeta.training.pretraining import pretrain_encoder
from almeta.training.progress import Progress
from almeta.training.trainer import LAST, Evaluate, Schedule, Trainer

CONFIG, SUMMARY = "config.yaml", "summary.json"

register_resolvers()


@told_in_one_line()
@hydra.main(version_base="1.3", config_path="pkg://almeta.conf", config_name="train")
def main(config: DictConfig) -> float:
    """Train as the config says; return the mean return on training classes, for sweepers to raise."""
    score = math.nan
    with told_in_one_line():
        score = train(*read_run(config))["train"]["mean_return"]
    return score


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
    classes = load_split(config)
    simulation = build_simulation(config, classes["train"], config["num_envs"], "env")
    agent = build_agent(config, simulation)
    judges = {name: build_simulation(config, part, 250, "evaluation") for name, part in classes.items()}
    weights = sum(weight.numel() for weight in agent.parameters())
    print(
        f"training {config['name']}: {type(agent).__name__} with {type(agent.network).__name__} ({weights:,} weights) "
        f"on {classes['train'].num_classes:,} classes of {classes['train'].name} for {config['batches']:,} batches of "
        f"{config['num_envs']} episodes; judged on {classes['test'].num_classes:,} classes it never sees"
    )
    progress = Progress(config["name"])
    loggers = build_loggers(config, folder)
    try:
        trainer = Trainer(
            agent=agent,
            simulation=simulation,
            optimizer=torch.optim.Adam(agent.parameters(), config["learning_rate"], fused=True),
            generator=make_generator(config["seed"], "policy", config["device"]),
            evaluations={name: judge(config, streams) for name, streams in judges.items()},
            folder=folder,
            schedule=Schedule(*(config[key] for key in ("batches", "log_every", "evaluate_every", "checkpoint_every"))),
            config=config,
            anneal_lr=config["anneal_lr"],
            max_grad_norm=config["max_grad_norm"],
            loggers=[*loggers, progress],
            track=progress,
        )
        begin(trainer, start or folder / LAST)
        if trainer.batch == 0:
            pretrain(agent, simulation, config)
        trainer.train()
        return conclude(config, agent, judges, folder)
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


def judge(config: Config, simulation: OneShotSimulation) -> Evaluate:
    """Return a function that measures an agent on the simulation's classes, on the same streams at each call."""

    def measure(agent: Agent) -> dict[str, Any]:
        return evaluate(agent, simulation, config["evaluate_episodes"], config["seed"]).summary()

    return measure


def pretrain(agent: Agent, simulation: OneShotSimulation, config: Config) -> None:
    """Train the network's image encoder on the training classes, if it has one."""
    encoder = getattr(agent.network, "encoder", None)
    if encoder is not None:
        generator = make_generator(config["seed"], "pretraining", config["device"])
        progress = Progress("image encoder")
        pretrain_encoder(encoder, simulation.sampler, generator, track=progress, **config["pretraining"])


def conclude(config: Config, agent: Agent, judges: dict[str, OneShotSimulation], folder: Path) -> dict[str, Any]:
    """Judge the trained agent and the baselines, print, write and draw; return what `summary.json` holds."""
    episodes, seed = config["final_episodes"], config["seed"]
    published = is_published_task(config["dataset"]["name"], config["env"])
    results = compare(agent, config["name"], judges["test"], judges["train"], episodes, seed)
    train_summary = evaluate(agent, judges["train"], episodes, seed).summary()
    classes = config["dataset"]["name"]
    title = f"{config['name']} after {config['batches']:,} batches, on classes of {classes} never trained on"
    print_results(results, title, Console(), published)
    paths = write_results(results, folder, published)
    paths += draw_training(read_json_lines(folder / "metrics.jsonl"), results.baselines, folder, published)
    summary = {
        "policy": config["name"],
        "seed": seed,
        "batches": config["batches"],
        "test": results.summary,
        "train": train_summary,
        "baselines": results.baselines,
        "gain": asdict(results.gain) | {"over": results.best_baseline},
        "scripted": results.scripted,
    }
    write_atomically(folder / SUMMARY, json.dumps(summary, indent=2).encode())
    print(f"wrote {', '.join(path.name for path in paths)} and {SUMMARY} to {folder}")
    return summary


if __name__ == "__main__":
    main()
