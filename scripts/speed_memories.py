"""How fast agents of each memory learn, and several of them at once: part of `python scripts/speed.py one_shot`."""

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from hydra import compose, initialize_config_module

from almeta.agents.stacked import stack_agents
from almeta.data import Dataset
from almeta.envs import StreamRewards, StreamSimulation
from almeta.envs.codes import kept_codes
from almeta.inputs import Images
from almeta.scripts.commands import plain
from almeta.seeding import make_generator
from almeta.training.agents import build_agent
from almeta.training.rollout import explore

NETWORKS = ("lstm", "gru", "mann", "ntm", "transformer", "episodic")
# Prices of a mistake that are trained at once.
PRICES = (-1.0, -2.0, -5.0, -10.0, -20.0)
AT_ONCE = ("episodic", "lstm", "mann")
ENVS = 50


def memories(data: Dataset, batches: int, repeats: int) -> None:
    """Print training steps/s of each memory, and what training several settings at once gains."""
    print(f"\ntraining of each memory as its YAML has it, {ENVS} episodes a batch")
    print(f"{'network':12}  batches/s    steps/s  {len(PRICES)} settings at once: ratio to one after the other")
    for name in NETWORKS:
        one, several = _training(name, data, 1), _training(name, data, len(PRICES)) if name in AT_ONCE else None
        seconds: list[float] = []
        ratios: list[float] = []
        for _ in range(repeats):  # in turn, so that both meet the machine in the same moods
            seconds.append(_seconds(one, batches))
            if several is not None:
                ratios.append(len(PRICES) * seconds[-1] / _seconds(several, max(1, batches // len(PRICES))))
        each = median(seconds)
        gain = f"{median(ratios):5.2f} ({min(ratios):.2f} to {max(ratios):.2f})" if ratios else ""
        print(f"{name:12}  {1 / each:9.1f}  {30 * ENVS / each:9,.0f}  {gain}")


def _training(network: str, data: Dataset, runs: int) -> Callable[[], None]:
    """Return one training batch of an agent of a network, or of several at once."""
    with initialize_config_module("almeta.conf", version_base="1.3"):
        asked = [f"network={network}", "agent=q_learning_semi_gradient", "env=one_shot", "name=speed"]
        config: dict[str, Any] = plain(compose("train", asked))
    generator = make_generator(0, "speed")
    simulation = StreamSimulation(data, num_envs=ENVS * runs, generator=generator)
    agents = [build_agent(config | {"seed": seed}, Images(simulation.num_pixels, 3)) for seed in range(runs)]
    for one in agents[1:]:
        one.network.encoder = agents[0].network.encoder  # as runs of one seed share theirs
    simulation.block_rewards = [StreamRewards(incorrect=price) for price in PRICES[:runs]]
    agent = stack_agents(agents) if runs > 1 else agents[0]
    if agent.encoder_version is not None:  # its codes are computed once in a training, and not counted
        kept_codes(agents[0], simulation.sampler.images, torch.arange(len(simulation.sampler.images)))
    optimizer = torch.optim.Adam((p for p in agent.parameters() if p.requires_grad), 1e-3, fused=True)

    def batch() -> None:
        parts = explore(simulation, agent, generator).blocks(runs)
        loss = torch.stack([agent.loss(part)[0] for part in parts]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return batch


def _seconds(function: Callable[[], None], calls: int) -> float:
    """Return the seconds that a call takes, after one that is not counted."""
    function()
    begun = time.perf_counter()
    for _ in range(calls):
        function()
    return (time.perf_counter() - begun) / calls
