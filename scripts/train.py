"""Train an agent: `python scripts/train.py experiment=one_shot/quickstart`."""

from pathlib import Path

import hydra
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from almeta.evaluation.one_shot import evaluate
from almeta.seeding import make_generator
from almeta.training.build import build_agent, build_simulation, load_split, set_compute
from almeta.training.checkpoint import load_checkpoint
from almeta.training.trainer import Schedule, Trainer


@hydra.main(version_base="1.3", config_path="pkg://almeta.conf", config_name="train")
def main(config: DictConfig) -> float:
    folder = Path(HydraConfig.get().runtime.output_dir)
    set_compute(config)
    parts = load_split(config)
    simulation = build_simulation(config, parts["train"], config.num_envs, "env")
    agent = build_agent(config, simulation.num_pixels, simulation.num_slots)

    def evaluation(classes):
        sim = build_simulation(config, parts[classes], 500, f"evaluation {classes}")

        def run(agent):
            return evaluate(agent, sim, config.evaluate_episodes, config.seed).summary()
        return run

    trainer = Trainer(
        agent, simulation, torch.optim.Adam(agent.parameters(), config.learning_rate, fused=True),
        make_generator(config.seed, "policy", config.device),
        {c: evaluation(c) for c in parts}, folder,
        Schedule(config.batches, config.log_every, config.evaluate_every, config.checkpoint_every),
        OmegaConf.to_container(config, resolve=True), config.anneal_lr, config.max_grad_norm,
    )
    if config.resume:
        trainer.restore(load_checkpoint(Path(config.resume) / "last.pt"))
    trainer.train()
    return trainer.best


if __name__ == "__main__":
    main()
