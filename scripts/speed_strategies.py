"""How fast strategies are, against scikit-activeml in the same run: `python scripts/speed.py strategies`."""

import functools
import inspect
import time
import warnings
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from sklearn.ensemble import BaggingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits
from torch import Tensor

from almeta.data import load_dataset
from almeta.errors import AlmetaError
from almeta.learners import make_learner
from almeta.pool import Pool
from almeta.registry import import_extra
from almeta.scripts.speed_pool import in_new_process, peak_mebibytes, random_tasks
from almeta.seeding import make_generator
from almeta.strategies import make_strategy, strategy_names
from almeta.strategies.choosing import best_action

ROWS, PICKS, BATCH, CLASSES = (300, 1_000, 10_000), 5, 100, 10
# Pools at once, as a benchmark plays its repeats.
REPEATS = 16
# Seconds: where a query takes longer, the strategy is left out for larger pools.
LIMIT = 2.0
# The first of them that does what a strategy needs.
LEARNERS = ("logistic_regression", "mlp", "text")
POOLS, POOL_SIZE, LARGE_ROWS = 256, 120, 100_000
# Classes of `skactiveml.pool` and their options, by our name. Expected error reduction has a measurement of its own.
THEIRS: dict[str, tuple[str, dict[str, Any]]] = {
    "random": ("RandomSampling", {}),
    "least_confident": ("UncertaintySampling", {"method": "least_confident"}),
    "margin": ("UncertaintySampling", {"method": "margin_sampling"}),
    "entropy": ("UncertaintySampling", {"method": "entropy"}),
    "vote_entropy": ("QueryByCommittee", {"method": "vote_entropy"}),
    "mean_kl": ("QueryByCommittee", {"method": "KL_divergence"}),
    "core_set": ("CoreSet", {}),
    "typiclust": ("TypiClust", {}),
    "prob_cover": ("ProbCover", {}),
    "badge": ("Badge", {}),
    "discriminative_active_learning": ("DiscriminativeAL", {}),
}


def strategies(repeats: int) -> None:
    """Seconds a query, with its refit; expected error reduction; look-ahead; batches of core-set."""
    threads = torch.get_num_threads()
    warnings.filterwarnings("ignore", category=ConvergenceWarning)  # of scikit-activeml's learner, as its users have it
    # Memory comes first: a process begins with the peak of the one that started it.
    peak, seconds = in_new_process(large_look_ahead, LARGE_ROWS, threads)
    with threadpool_limits(threads):
        print(f"seconds a query and its refit, pools of digits; ratio to scikit-activeml; {threads} CPU thread(s)")
        head = "".join(f"{rows:>12,}{'ratio':>8}" for rows in ROWS)
        print(f"{'one pool':32}{head}")
        for name in strategy_names("classes"):
            print(line_of(name, repeats), flush=True)
        print(f"{f'each of {REPEATS} pools at once':32}{head}")
        for name in sorted({*THEIRS} & {*strategy_names("classes")}):
            print(line_of(name, repeats, REPEATS), flush=True)
        print(f"\ncore_set, {BATCH} picks in a query, against CoreSet(batch_size={BATCH})")
        for rows in ROWS[1:]:
            ours = ours_by_query("core_set", rows, BATCH)
            theirs = theirs_by_query("core_set", rows, BATCH)
            print(f"{rows:9,}" + compared(*in_turn(ours, theirs, repeats)))
        print(f"\nexpected_error_reduction, {ROWS[0]} rows of digits, logistic regression, against MonteCarloEER")
        for loss, method in (("error", "misclassification_loss"), ("log_loss", "log_loss")):
            print(error_reduction(ROWS[0], loss, method), flush=True)
    each = 1e3 * look_ahead_seconds(repeats) / POOLS
    print(f"\nlook_ahead, {POOLS} pools of {POOL_SIZE} rows and 3 classes at once: {each:.3f} ms a pool")
    print(f"look_ahead, {LARGE_ROWS:,} rows: {seconds:.2f} s a query, peak {peak:.0f} MiB above the data")


# ---- by query


def line_of(name: str, repeats: int, pools: int = 1) -> str:
    """Return seconds a query of a pool at each size, and ratios to scikit-activeml where it has the strategy."""
    line, slowest = f"{name:32}", 0.0
    for rows in ROWS:
        if slowest > LIMIT:
            return line + f"   left out: {slowest:.1f} s with fewer rows"
        try:
            ours = ours_by_query(name, rows, pools=pools)
        except AlmetaError as error:
            return line + f"   left out: {error}"
        theirs = theirs_by_query(name, rows) if name in THEIRS else None
        seconds, ratio = in_turn(ours, theirs, repeats)
        each, ratio = seconds / PICKS / pools, ratio and ratio * pools
        line += compared(each, ratio)
        slowest = max(slowest, each * pools, each * (ratio or 1.0))
    return line


def compared(seconds: float, ratio: float | None) -> str:
    """Return the cells of a measurement."""
    return f"{seconds:12.4f}" + (f"{ratio:7.1f}x" if ratio else f"{'':8}")


def in_turn(
    ours: Callable[[], object], theirs: Callable[[], object] | None, repeats: int
) -> tuple[float, float | None]:
    """Return our seconds and the ratio of theirs to ours: medians of calls in turn, after one that is not counted.

    A single call counts where the first one takes long.
    """
    seconds, ratios = [], []
    is_slow = timed(ours) > PICKS * LIMIT
    for _ in range(1 if is_slow else repeats):
        seconds.append(timed(ours))
        if theirs is not None:
            ratios.append(timed(theirs) / seconds[-1])
    return median(seconds), median(ratios) if ratios else None


def timed(function: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


@functools.cache
def digits(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return standardised digits `[N, 64]`, their labels, and the first row of each class; with noise if many."""
    data, rng = load_dataset("digits"), np.random.default_rng(seed)
    known = np.flatnonzero(data.y < CLASSES)
    chosen = rng.choice(known, rows, replace=rows > len(known))
    x = data.x[chosen] + (rng.normal(size=(rows, 64)) if rows > len(known) else 0)
    x = (x - x.mean(0)) / (x.std(0) + 1e-3)
    y = data.y[chosen]
    return x.astype(np.float32), y, np.array([np.flatnonzero(y == label)[0] for label in range(CLASSES)])


def pool_of(rows: int, learner: str = "logistic_regression", query_size: int = 1, pools: int = 1) -> Pool:
    """Return pools of digits with a label of each class."""
    x, _, first = (torch.stack(part) for part in zip(*(of_seed(rows, seed) for seed in range(pools)), strict=True))
    labels, classes = torch.arange(CLASSES).expand(pools, -1), torch.full((pools,), CLASSES)
    return Pool(
        x,
        torch.ones(x.shape[:2], dtype=torch.bool),
        first,
        labels,
        classes,
        make_learner(learner),
        generator=make_generator(0, "speed"),
        query_size=query_size,
    )


def of_seed(rows: int, seed: int) -> tuple[Tensor, ...]:
    """Return `digits` as tensors."""
    return tuple(torch.from_numpy(part) for part in digits(rows, seed))


def ours_by_query(name: str, rows: int, batch: int = 1, pools: int = 1) -> Callable[[], list[int]]:
    """Return what picks `PICKS` rows one by one and refits after each, or one batch; it returns the first pool's picks.

    Raises:
        AlmetaError: if no learner does what the strategy needs.
    """
    learner = learner_for(name)
    generator = make_generator(0, "speed")
    y = torch.stack([of_seed(rows, seed)[1] for seed in range(pools)])
    whole = pool_of(rows, learner, batch, pools)

    def play() -> list[int]:
        pool, strategy = whole.copy(), make_strategy(name, generator)
        memory = strategy.initial(pools)
        for _ in range(PICKS if batch == 1 else 1):
            for _ in range(batch):
                state = pool.state()
                outputs, memory = strategy.step(state, memory)
                pool.pick(best_action(outputs.utilities, state.available, generator))
            pool.answer(y.gather(1, pool.pending))
        return pool.state().picks[0, CLASSES:].tolist()

    return play


@functools.cache
def learner_for(name: str) -> str:
    """Return the first learner that does what a strategy needs.

    Raises:
        AlmetaError: if there is none.
    """
    strategy, reason = make_strategy(name), ""
    for learner in LEARNERS:
        try:
            strategy.check(pool_of(CLASSES**2, learner).state())
            return learner
        except AlmetaError as error:  # the learner lacks an ability, or does not exist
            reason = reason or str(error)
    raise AlmetaError(reason)


def theirs_by_query(name: str, rows: int, batch: int = 1) -> Callable[[], list[int]]:
    """Return the same for scikit-activeml, as its users write it."""
    pools, classifiers = import_their("pool"), import_their("classifier")
    kind, options = THEIRS[name]
    x, y, first = digits(rows)
    x = x.astype(np.float64)

    def play() -> list[int]:
        labels = np.full(rows, np.nan)
        labels[first] = y[first]
        strategy = getattr(pools, kind)(random_state=0, **options)
        learner = classifiers.SklearnClassifier(LogisticRegression(), classes=np.arange(CLASSES), random_state=0)
        asked = inspect.signature(strategy.query).parameters
        helpers = {"clf": learner, "discriminator": learner}
        if "ensemble" in asked:
            helpers["ensemble"] = committee(learner)
        helpers = {key: value for key, value in helpers.items() if key in asked}
        picks: list[int] = []
        for _ in range(PICKS if batch == 1 else 1):
            picks += map(int, strategy.query(x, labels, **helpers, batch_size=batch))
            labels[picks] = y[picks]
            if not helpers:  # the others refit it themselves
                learner.fit(x, labels)
        return picks

    return play


def committee(learner: Any) -> Any:
    """Return a committee of scikit-activeml, of as many members as ours."""
    bagging = BaggingClassifier(LogisticRegression(), n_estimators=5)
    return import_their("classifier").SklearnClassifier(bagging, classes=np.arange(CLASSES), random_state=0)


def import_their(module: str) -> Any:
    """Return a module of scikit-activeml; raise AlmetaError if it is not installed."""
    return import_extra(f"skactiveml.{module}", "skactiveml", "the comparison")


# ---- single strategies


def error_reduction(rows: int, loss: str, method: str) -> str:
    """Return a line that compares expected error reduction with theirs: seconds, ratio, ranking."""
    pools, classifiers = import_their("pool"), import_their("classifier")
    strategy, pool = make_strategy("expected_error_reduction", loss=loss, over="all"), pool_of(rows)
    state = pool.state()
    strategy.score(state)
    seconds = median(timed(lambda: strategy.score(state)) for _ in range(3))
    x, y, first = digits(rows)
    labels = np.full(rows, np.nan)
    labels[first] = y[first]
    learner = classifiers.SklearnClassifier(LogisticRegression(max_iter=1000), classes=np.arange(CLASSES))
    start = time.perf_counter()
    query = pools.MonteCarloEER(method=method, random_state=0).query
    utilities = query(x.astype(np.float64), labels, learner, return_utilities=True)[1][0]
    theirs, left = time.perf_counter() - start, ~np.isnan(utilities)
    agreement = spearmanr(strategy.score(state)[0].numpy()[left], utilities[left]).statistic
    return f"{loss:9} {seconds:8.3f} s, theirs {theirs:6.1f} s: {theirs / seconds:5.0f}x; Spearman {agreement:.4f}"


def look_ahead_seconds(repeats: int) -> float:
    """Return seconds of a query in many pools at once, half of it labelled; the kernel is computed before."""
    generator = make_generator(0, "speed")
    x = torch.randn(POOLS, POOL_SIZE, 20, generator=generator)
    picks = torch.rand(POOLS, POOL_SIZE, generator=generator).argsort(1)[:, :20]
    labels, classes = torch.randint(3, picks.shape, generator=generator), torch.full((POOLS,), 3)
    exists = torch.ones(POOLS, POOL_SIZE, dtype=torch.bool)
    state = Pool(x, exists, picks, labels, classes, make_learner("prototype")).state()
    return in_turn(lambda: make_strategy("look_ahead").score(state), None, repeats)[0]


def large_look_ahead(rows: int, threads: int) -> tuple[float, float]:
    """Return the MiB that a process needs at its peak beyond the data, and seconds a query, in a large pool."""
    torch.set_num_threads(threads)
    tasks = random_tasks(1, rows, 20)
    labels = tasks.y.gather(1, tasks.first)
    pool = Pool(tasks.x, tasks.exists, tasks.first, labels, tasks.num_classes, make_learner("logistic_regression"))
    state, strategy = pool.state(), make_strategy("look_ahead")
    before = peak_mebibytes()
    seconds = timed(lambda: strategy.score(state))
    return peak_mebibytes() - before, seconds
