"""How fast almeta is, against a plain loop measured in the same run.

`python scripts/speed.py one_shot`, or `pool`, `query`, `strategies`.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from hydra import compose, initialize_config_module
from torch import Tensor, nn

from almeta.build import build
from almeta.data import Dataset
from almeta.envs import StreamOptions, StreamSimulation
from almeta.inputs import Images
from almeta.scripts.commands import plain
from almeta.scripts.speed_memories import memories
from almeta.scripts.speed_pool import pool
from almeta.scripts.speed_query import query
from almeta.scripts.speed_strategies import strategies
from almeta.seeding import make_generator
from almeta.training.agents import build_agent
from almeta.training.compute import set_matmul_precision
from almeta.training.rollout import explore

PIXELS = 784
# What experiment=one_shot/woodward_finn composes.
with initialize_config_module("almeta.conf", version_base="1.3"):
    PRESET = compose("train", ["experiment=one_shot/woodward_finn", "name=speed"])
CLASSES, SLOTS, LENGTH = (PRESET.env[key] for key in ("classes", "slots", "length"))
ENVS, UNITS, RATE = PRESET.num_envs, PRESET.network.hidden_size, PRESET.learning_rate
GAMMA, EPSILON = PRESET.agent.gamma, PRESET.agent.epsilon
R_REQ, R_COR, R_INC = (PRESET.env.reward[key] for key in ("request", "correct", "incorrect"))


def main() -> None:
    """Run the chosen benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("benchmark", choices=["one_shot", "pool", "query", "strategies"])
    parser.add_argument("--batches", type=int, default=30, help="batches a measurement of one_shot (default 30)")
    parser.add_argument("--repeats", type=int, default=5, help="measurements, of which the median counts (default 5)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.benchmark == "pool":
        pool(options.repeats)
    elif options.benchmark == "query":
        query(options.repeats)
    elif options.benchmark == "strategies":
        strategies(options.repeats)
    else:
        one_shot(options.batches, options.repeats)


def one_shot(batches: int, repeats: int) -> None:
    """Training batches/s of the Woodward & Finn preset, the plain loop's, and the environment's steps/s."""
    data = images_like_omniglot()
    generator = make_generator(0, "speed")
    options: StreamOptions = build(plain(PRESET.env), "env")
    simulation = StreamSimulation(data, options, ENVS, generator)
    ours, loop = our_training(simulation, generator), plain_training(data)
    # In turn, not one after the other, so that both meet the machine in the same moods.
    seconds: dict[str, list[float]] = {"preset": [], "float32": [], "plain": [], "matmul": []}
    for _ in range(repeats):
        set_matmul_precision("medium")
        seconds["preset"].append(time_per_call(ours, batches))
        set_matmul_precision("highest")
        seconds["float32"].append(time_per_call(ours, batches))
        seconds["plain"].append(time_per_call(loop, max(1, batches // 3)))
        seconds["matmul"].append(time_per_call(matmul, 20))
    rate = MATMUL_FLOP / median(seconds["matmul"])
    flop = training_flop()
    threads = torch.get_num_threads()
    print(f"one-shot stream, {ENVS} episodes of {LENGTH} steps a batch, LSTM of {UNITS}, {threads} CPU thread(s)")
    print(f"{'':32}  batches/s    steps/s  ratio to the plain loop   share of float32 product rate")
    names = {
        "preset": "preset (bfloat16 products)",
        "float32": "matmul_precision=highest",
        "plain": "plain torch loop (float32)",
    }
    for key, name in names.items():
        time_each = median(seconds[key])
        ratios = sorted(slow / fast for fast, slow in zip(seconds[key], seconds["plain"], strict=True))
        spread = f"{median(ratios):5.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        share = flop / time_each / rate
        print(f"{name:32}  {1 / time_each:9.1f}  {ENVS * LENGTH / time_each:9,.0f}  {spread:24}  {share:6.0%}")
    print(f"products in a batch: {flop / 1e9:.2f} GFLOP; this machine's float32 product rate: {rate / 1e9:.1f} GFLOP/s")
    print(f"environment alone: {environment_steps_per_second(simulation):,.0f} steps/s")
    memories(data, max(1, batches // 3), repeats)


def images_like_omniglot() -> Dataset:
    """1,200 classes of 20 images with about as much ink as Omniglot's; what they show does not change the speed."""
    rng = np.random.default_rng(0)
    ink = rng.random((1200 * 20, PIXELS), dtype=np.float32)
    x = np.where(rng.random(ink.shape) < 0.15, ink, np.float32(0))
    names = tuple(map(str, range(1200)))
    return Dataset("speed", x, np.repeat(np.arange(1200), 20), names, "random numbers", (28, 28))


def our_training(simulation: StreamSimulation, generator: torch.Generator) -> Callable[[], None]:
    """One training batch as `almeta.training.trainer` does it."""
    agent = build_agent(plain(PRESET), Images(PIXELS, SLOTS))
    optimizer = torch.optim.Adam(agent.parameters(), RATE, fused=True)

    def batch() -> None:
        loss, _ = agent.loss(explore(simulation, agent, generator))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return batch


def plain_training(data: Dataset) -> Callable[[], None]:
    """The same batch as one would first write it: episodes built one by one, nn.LSTMCell on [label, image]."""
    rng = np.random.default_rng(0)
    images = data.x.reshape(1200, 20, 28, 28)
    cell, head = nn.LSTMCell(SLOTS + PIXELS, UNITS), nn.Linear(UNITS, SLOTS + 1)
    parameters = [*cell.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(parameters, RATE)

    def episode() -> tuple[np.ndarray, np.ndarray]:
        classes = rng.choice(1200, CLASSES, replace=False)
        slots, turns = rng.permutation(SLOTS), rng.integers(4, size=CLASSES)
        order = rng.permutation(CLASSES * 20)[:LENGTH]
        shown = [np.rot90(images[classes[i // 20], i % 20], turns[i // 20]).reshape(-1) for i in order]
        return np.stack(shown), slots[order // 20]

    def act(values: Tensor, target: Tensor) -> Tensor:
        action = values.argmax(1)
        kind, wrong = torch.randint(3, (ENVS,)), (target + torch.randint(1, SLOTS, (ENVS,))) % SLOTS
        other = torch.where(kind == 0, target, torch.where(kind == 1, wrong, SLOTS))
        return torch.where(torch.rand(ENVS) < EPSILON, other, action)

    def batch() -> None:
        episodes = [episode() for _ in range(ENVS)]
        x = torch.from_numpy(np.stack([shown for shown, _ in episodes]))
        y = torch.from_numpy(np.stack([target for _, target in episodes]))
        state, label = None, torch.zeros(ENVS, SLOTS)
        values, actions, rewards = [], [], []
        for time_step in range(LENGTH):
            state = cell(torch.cat((label, x[:, time_step]), 1), state)
            value, target = head(state[0]), y[:, time_step]
            action = act(value.detach(), target)
            asked, correct = action == SLOTS, action == target
            rewards.append(torch.where(correct, R_COR, torch.where(asked, R_REQ, R_INC)))
            label = nn.functional.one_hot(target, SLOTS) * asked[:, None].float()
            values.append(value)
            actions.append(action)
        loss = torch.zeros(())
        for now in range(LENGTH - 1):
            taken = values[now].gather(1, actions[now][:, None])[:, 0]
            loss = loss + (taken - rewards[now] - GAMMA * values[now + 1].amax(1)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return batch


# A product of the size of a batch's images through the gates.
_FACTORS = torch.rand(ENVS * LENGTH, PIXELS), torch.rand(PIXELS, 4 * UNITS)
MATMUL_FLOP = 2 * ENVS * LENGTH * PIXELS * 4 * UNITS


def matmul() -> None:
    """One product by which the machine's own rate is told."""
    torch.mm(*_FACTORS)


def training_flop() -> int:
    """Floating-point operations of the products in one training batch; no gradient is taken to the images."""
    steps, gates = ENVS * LENGTH, 4 * UNITS
    images = 2 * steps * PIXELS * gates * 2  # forward, gradient of the weights
    recurrence = 2 * steps * (SLOTS + UNITS) * gates * 3  # forward, gradients of weights and of hidden
    head = 2 * steps * UNITS * (SLOTS + 1) * 3
    return images + recurrence + head


def environment_steps_per_second(simulation: StreamSimulation) -> float:
    """Steps/s with no agent: reset, the images of all steps, and stepping with given actions."""
    actions = torch.randint(SLOTS + 1, (LENGTH, ENVS))

    def episode() -> None:
        simulation.reset()
        _ = simulation.images
        for action in actions:
            simulation.step(action)

    return ENVS * LENGTH / time_per_call(episode, 50)


def time_per_call(function: Callable[[], None], calls: int) -> float:
    """Seconds a call takes, after one that is not counted."""
    function()
    start = time.perf_counter()
    for _ in range(calls):
        function()
    return (time.perf_counter() - start) / calls


if __name__ == "__main__":
    main()
