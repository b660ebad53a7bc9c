"""Train an agent on the classes of a data set and judge it on classes it never saw.

python scripts/train.py experiment=one_shot/quickstart
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
from rich.console import Console

from almeta.agents.agent import Agent
from almeta.envs.one_shot import OneShotSimulation
from almeta.errors import AlmetaError
from almeta.evaluation.one_shot import evaluate
from almeta.evaluation.report import compare, draw_training, print_results, write_results
from almeta.scripts.commands import RESUMABLE, plain, read_run, register_resolvers, told_in_one_line
from almeta.seeding import make_generator
from almeta.training.build import Config, build_agent, build_simulation, load_split, set_compute
from almeta.training.checkpoint import load_checkpoint, write_atomically
from almeta.training.loggers import build_loggers, read_json_lines
from almeta.training.pretraining import pretrain_encoder
from almeta.training.progress import Progress
from almeta.training.trainer import LAST, Evaluate, Schedule, Trainer

CONFIG, SUMMARY = "config.yaml", "summary.json"

register_resolvers()


@hydra.main(version_base="1.3", config_path="pkg://almeta.conf", config_name="train")
def main(config: DictConfig) -> float:
    """Train as the config says; return the mean return on training classes, for sweepers to raise."""
    score = math.nan
    with told_in_one_line():
        score = train(*read_run(config))["train"]["mean_return"]
    return score


def train(config: Config, folder: Path) -> dict[str, Any]:
    """Train, evaluate, write and draw everything in `folder`; return the content of its `summary.json`."""
    check_folder(config, folder)
    if (folder / SUMMARY).exists():
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
    if (folder / LAST).exists():
        trainer.restore(load_checkpoint(folder / LAST))
        print(f"going on after batch {trainer.batch:,} of {folder / LAST}")
    write_atomically(folder / CONFIG, OmegaConf.to_yaml(OmegaConf.create(config)).encode())
    try:
        if trainer.batch == 0:
            trainer.save(LAST)  # from here on there is something to resume
            pretrain(agent, simulation, config)
        trainer.train()
    finally:
        for logger in loggers:
            logger.close()
    return conclude(config, agent, judges, folder)


def check_folder(config: Config, folder: Path) -> None:
    """Raise if the folder holds a run of another config: its files would be mixed up with this one's."""
    if (folder / CONFIG).exists():
        there = plain(OmegaConf.load(folder / CONFIG))
        differing = [key for key in config if key not in RESUMABLE and config[key] != there.get(key)]
        if differing:
            raise AlmetaError(
                f"{folder} holds a run with another {', '.join(differing)}; choose another folder with "
                "hydra.run.dir=... (hydra.sweep.dir=... for a sweep), or remove it"
            )


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
    episodes, seed, published = config["final_episodes"], config["seed"], config["dataset"]["name"] == "omniglot"
    results = compare(agent, config["name"], judges["test"], judges["train"], episodes, seed)
    train_summary = evaluate(agent, judges["train"], episodes, seed).summary()
    title = f"{judges['test'].sampler.name}, classes never trained on, after {config['batches']:,} batches"
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
        "scripted": results.scripted,
    }
    write_atomically(folder / SUMMARY, json.dumps(summary, indent=2).encode())
    for path in (*paths, folder / SUMMARY):
        print(f"wrote {path}")
    return summary


if __name__ == "__main__":
    main()
