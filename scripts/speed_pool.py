"""How fast pool selection is: the benchmark `python scripts/speed.py pool`."""

import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits
from torch import Tensor

from almeta.data import load_dataset
from almeta.envs import PoolOptions, PoolSimulation
from almeta.inputs import Candidates
from almeta.seeding import make_generator
from almeta.strategies import PoolStrategy, make_strategy
from almeta.strategies.choosing import best_action
from almeta.tasks import PoolSampler, PoolTaskOptions, PoolTasks

EPISODES, QUERIES = 256, 20
# Episodes of the plain loop: it takes them one by one, so that its time a step does not depend on their number.
PLAIN = 8
# Data set, rows of a pool, share of test rows.
TABLES = (("digits", 1000, 0.4), ("breast_cancer", 120, 0.4), ("iris", 120, 0.2))
LARGE_ROWS, LARGE_FEATURES = 1_000_000, 50


def pool(repeats: int) -> None:
    """Steps/s against a plain scikit-learn loop, cost against pool size and episodes, memory of a large pool."""
    threads = torch.get_num_threads()
    # Memory comes first: a process begins with the peak of the one that started it.
    memory = {name: in_new_process(large_pool, name, threads) for name in ("margin", "core_set")}
    print(f"pool selection, logistic regression, {threads} CPU thread(s)")
    print(f"\n{EPISODES} episodes at once, margin picks, against one scikit-learn fit a step on {PLAIN} of them")
    print(f"{'':14}  pool  steps/s  with inputs    plain  ratio                   largest difference in probability")
    with threadpool_limits(threads):
        for name, rows, test_share in TABLES:
            compare(name, rows, test_share, repeats)
    print("\nrows of the pool   ms a step (1 episode, 20 features, margin picks)")
    for rows in (100, 1000, 10_000, 100_000):
        print(f"{rows:16,}  {1e3 * seconds_a_step(random_tasks(1, rows, 20), make_strategy('margin'), repeats):10.2f}")
    print("\nepisodes   ms a step   steps/s (120 rows, 20 features, margin picks)")
    for episodes in (1, 4, 16, 64, 256, 1024):
        each = seconds_a_step(random_tasks(episodes, 120, 20), make_strategy("margin"), repeats)
        print(f"{episodes:8,}  {1e3 * each:10.2f}  {episodes / each:8,.0f}")
    size = LARGE_ROWS * LARGE_FEATURES * 4 / 2**20
    print(f"\n{LARGE_ROWS:,} rows x {LARGE_FEATURES} features, {size:.0f} MiB, 1 episode")
    for name, (peak, each) in memory.items():
        print(f"{name:10}  {each:6.2f} s a step, peak {peak:5.0f} MiB above the data")


def compare(name: str, rows: int, test_share: float, repeats: int) -> None:
    """One line of the table: a data set."""
    sampler = PoolSampler([load_dataset(name)], PoolTaskOptions(pool_size=rows, test_share=test_share))
    tasks = sampler.draw(EPISODES, make_generator(0, "speed"))
    fitted: list[Tensor] = []
    picks = play(
        tasks,
        make_strategy("margin"),
        QUERIES,
        lambda simulation: fitted.append(simulation.state().probabilities[:PLAIN]),
    )[1]
    expected = plain_loop(tasks, picks, tol=1e-8)
    worst = max(float(np.abs(a.numpy() - b).max()) for a, b in zip(fitted[1:], expected, strict=True))

    seconds: dict[str, list[float]] = {"ours": [], "inputs": [], "plain": []}
    for _ in range(repeats):  # in turn, so that all meet the machine in the same moods
        seconds["ours"].append(play(tasks, make_strategy("margin"), QUERIES)[0] / EPISODES)
        looked = play(tasks, make_strategy("margin"), QUERIES, lambda simulation: Candidates()(simulation.state()))
        seconds["inputs"].append(looked[0] / EPISODES)
        start = time.perf_counter()
        plain_loop(tasks, picks)
        seconds["plain"].append((time.perf_counter() - start) / PLAIN)
    rates = [QUERIES / median(times) for times in seconds.values()]
    ratios = sorted(slow / fast for fast, slow in zip(seconds["ours"], seconds["plain"], strict=True))
    spread = f"{median(ratios):5.1f} ({ratios[0]:.1f} to {ratios[-1]:.1f})"
    print(f"{name:14} {rows:5} {rates[0]:8,.0f}  {rates[1]:11,.0f} {rates[2]:8,.0f}  {spread:22}  {worst:.1e}")


def play(
    tasks: PoolTasks, strategy: PoolStrategy, queries: int, look: Callable[[PoolSimulation], object] | None = None
) -> tuple[float, Tensor]:
    """Let a strategy pick, and whoever looks see the state after each step.

    Returns:
        Seconds of all steps, resetting left out, and the rows picked, `[E, T]`.
    """
    generator = make_generator(0, "speed")
    simulation = PoolSimulation([], PoolOptions(synthetic=1.0, budget=queries), len(tasks), generator)
    simulation.reset(tasks)
    picks = []
    if look is not None:  # what it makes once an episode belongs to resetting
        look(simulation)
    start = time.perf_counter()
    for _ in range(queries):
        state = simulation.state()
        picks.append(best_action(strategy.step(state, ())[0].utilities, state.available, generator))
        simulation.step(picks[-1])
        if look is not None:
            look(simulation)
    return time.perf_counter() - start, torch.stack(picks, 1)


def plain_loop(tasks: PoolTasks, picks: Tensor, tol: float = 1e-4) -> list[np.ndarray]:
    """The same steps as one would first write them, in the first episodes.

    Returns:
        Probabilities `[PLAIN, N, C]` after each step.
    """
    found = []
    for episode in range(PLAIN):
        x, y = tasks.x[episode].double().numpy(), tasks.y[episode].numpy()
        test_x, test_y = tasks.test_x[episode].double().numpy(), tasks.test_y[episode].numpy()
        labelled, probabilities = tasks.first[episode].tolist(), []
        for pick in picks[episode].tolist():
            labelled.append(pick)
            learner = LogisticRegression(tol=tol, max_iter=1000).fit(x[labelled], y[labelled])
            probabilities.append(learner.predict_proba(x))
            learner.score(test_x, test_y)
        found.append(probabilities)
    return [np.stack(step) for step in zip(*found, strict=True)]


def random_tasks(episodes: int, rows: int, features: int) -> PoolTasks:
    """Pools of random numbers in which two classes overlap."""
    generator = make_generator(0, "speed")
    x = torch.randn(episodes, rows + 300, features, generator=generator)
    y = (x[..., 0] > 0).long()
    first = torch.stack([y[:, :rows].argmin(1), y[:, :rows].argmax(1)], 1)  # one of each class
    there = torch.ones_like(y, dtype=torch.bool)
    return PoolTasks(
        x=x[:, :rows],
        y=y[:, :rows],
        exists=there[:, :rows],
        rows=torch.arange(rows).expand(episodes, -1),
        test_x=x[:, rows:],
        test_y=y[:, rows:],
        test_exists=there[:, rows:],
        first=first,
        num_classes=torch.full((episodes,), 2),
        names=("random numbers",) * episodes,
    )


def seconds_a_step(tasks: PoolTasks, strategy: PoolStrategy, repeats: int) -> float:
    """The median over some runs, after one that is not counted."""
    play(tasks, strategy, QUERIES)
    return median(play(tasks, strategy, QUERIES)[0] / QUERIES for _ in range(repeats))


def in_new_process(function: Callable[..., tuple[float, float]], *arguments: object) -> tuple[float, float]:
    """Call a function in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as processes:
        return processes.apply(function, arguments)


def large_pool(strategy: str, threads: int) -> tuple[float, float]:
    """MiB that this process needs at its peak beyond the data, and seconds a step."""
    torch.set_num_threads(threads)
    tasks = random_tasks(1, LARGE_ROWS, LARGE_FEATURES)
    before = peak_mebibytes()
    seconds, picks = play(tasks, make_strategy(strategy), 3)
    return peak_mebibytes() - before, seconds / picks.shape[1]


def peak_mebibytes() -> float:
    """The largest resident size of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2 ** (20 if sys.platform == "darwin" else 10)  # bytes there, KiB elsewhere
