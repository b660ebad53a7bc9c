"""Benchmarks: strategies and policies play the same tasks, cell by cell, and finished cells are kept.

A cell is one contender on one data set, with all repeats. Repeat r of a data set has the same split, first labels and
oracle's answers for every contender, however many repeats there are.
"""

import dataclasses
import logging
import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, cast

import joblib
import numpy as np
import pandas as pd

from almeta.data import Dataset, load_dataset, takes_option
from almeta.envs.pool import PoolSimulation
from almeta.errors import AlmetaError
from almeta.evaluation.cells import CellStore, Played
from almeta.evaluation.contenders import Contender, Entrant, StrategySpec
from almeta.evaluation.playing import Setting, play_cell, task_seed
from almeta.evaluation.workers import in_workers, make_workers
from almeta.learners import Augmented, TorchModel
from almeta.learners.learner import EmbedsWords, Learner, Samples
from almeta.pool import PoolState
from almeta.strategies import PoolStrategy, make_strategy

__all__ = ["Contender", "Entrant", "Results", "Setting", "StrategySpec", "play_cell", "run_benchmark", "task_seed"]

Track = Callable[[range], Iterable[int]]
Cell = tuple[str, str, str]  # the names of a setting, a data set and a contender
_log = logging.getLogger(__name__)


def _try_out(dataset: Dataset, setting: Setting) -> PoolSimulation:
    """Return a simulation that has begun one task, which raises early if the data set or the learner does not fit."""
    learner: Any = setting.learner
    is_ours = type(learner).__module__.startswith("almeta.")
    if is_ours and hasattr(learner, "steps"):  # of its training: one tells what does not fit
        setting = dataclasses.replace(setting, learner=dataclasses.replace(learner, steps=1))
    simulation = setting.simulation(dataset, 1, "trial")
    simulation.reset(simulation.sampler.draw_seeded(setting.seeds(dataset)[:1]))
    return simulation


def _leaves_out_rows(simulation: PoolSimulation) -> bool:
    """Return whether the pool is as small as asked for, and rows are in neither pool nor test."""
    (dataset,), tasks = simulation.sampler.datasets, simulation.tasks
    pool, tests = tasks.x.shape[1], tasks.test_x.shape[1]
    return pool == simulation.options.pool_size and pool + tests < len(dataset.x)


def _check_learners(contenders: Sequence[Contender], dataset: Dataset, setting: Setting) -> bool:
    """Fit each learner to the first labels of one task, and return whether the pools leave out rows of the data set.

    Raises:
        AlmetaError: if the data set does not fit, a learner cannot be fit to it, or cannot do what a strategy needs.
    """
    simulations: dict[str, PoolSimulation] = {}
    _warn_of_turned_images(contenders, dataset, setting)
    for contender in contenders:
        own = setting.of(contender)
        name = joblib.hash(own.learner)
        if name not in simulations:
            simulations[name] = _try_out(dataset, own)
            _warn_of_tokens(dataset, own, simulations[name].state())
        strategy = contender.contender if isinstance(contender, Entrant) else contender
        if isinstance(strategy, StrategySpec):
            _check_strategy(make_strategy(strategy), simulations[name].state())
        else:
            dataset.check_classes(f"policy {contender}")
    return any(map(_leaves_out_rows, simulations.values()))


def _warn_of_tokens(dataset: Dataset, setting: Setting, state: PoolState) -> None:
    """Warn if a learner takes the numbers of words for amounts; what a network of one's own does, nobody knows."""
    if (
        dataset.kind == "tokens"
        and not isinstance(state.model, EmbedsWords)
        and not isinstance(setting.learner, TorchModel)
    ):
        name = type(setting.learner).__name__
        warnings.warn(
            f"{name} reads the word numbers of a text (form=tokens) as amounts, which mean nothing; choose "
            "learner=text, or leave form out",
            stacklevel=2,
        )


def _warn_of_turned_images(contenders: Sequence[Contender], dataset: Dataset, setting: Setting) -> None:
    """Warn if somebody turns images whose mean image was subtracted: pixel by pixel, so that it is turned, too."""
    if dataset.kind != "image" or setting.env.scale != "standard":
        return
    of_all = [learner for one in contenders for learner in (setting.of(one).learner, setting.judge)]
    who = [type(learner).__name__ for learner in of_all if _turns(learner)]
    for contender in contenders:
        strategy = contender.contender if isinstance(contender, Entrant) else contender
        if isinstance(strategy, StrategySpec):
            made = make_strategy(strategy)
            parts = (made, *made.parts)
            if any(getattr(one, "rotations", ()) or any(map(_turns, one.depends_on)) for one in parts):
                who.append(str(strategy))
    if who:
        warnings.warn(
            f"{who[0]} turns the images of data set {dataset.name!r}, from which env.scale=standard subtracts their "
            "mean image, so that this is turned, too; choose env.scale=minmax",
            stacklevel=2,
        )


def _turns(learner: Any) -> bool:
    """Return whether a learner, or one that it is built on, is fit to turned images."""
    if isinstance(learner, Augmented) and learner.rotation > 0:
        return True
    return isinstance(learner, Learner) and any(map(_turns, vars(learner).values()))


def _check_strategy(strategy: PoolStrategy, state: PoolState) -> None:
    for one in (strategy, *strategy.parts):
        one.check(state)
        if Samples in one.needs:  # a network that can sample may have nothing to leave out
            cast(Samples, state.model).sample(state.x[:, :1], 1)


class Results(NamedTuple):
    """The tables of a benchmark.

    Attributes:
        curves: columns `dataset, strategy, repeat, queries, score`, and one for each further measure; the first column
            of each table is `setting` where there are several.
        picks: columns `dataset, strategy, repeat, query, row`: the rows of the data set or of its file, counted from 0
            below the header, in the order in which they were picked; the first labels have query 0.
        seconds: columns `dataset, strategy, seconds_a_pick, seconds_a_query`: means of what the contender took to
            choose, without the learner's refit.
    """

    curves: pd.DataFrame
    picks: pd.DataFrame
    seconds: pd.DataFrame


def run_benchmark(
    datasets: Sequence[str],
    contenders: Sequence[Contender],
    setting: Setting | Mapping[str, Setting],
    store: Path,
    jobs: int = 1,
    backend: str | None = None,
    backend_options: dict[str, Any] | None = None,
    track: Track = iter,
    say: Callable[[str], None] = _log.info,
) -> Results:
    """Play all cells that are not finished yet, and return the tables of all.

    Args:
        datasets: names.
        contenders: strategies and policies.
        setting: what the cells share, or several of it by name: everybody plays in each of them.
        store: an SQLite file with the finished cells, also of other settings; made if it is missing.
        jobs: number of cells played at once.
        backend: of joblib, such as "loky" (processes), "dask" or "ray"; None for its default.
        backend_options: of the backend, such as `scheduler_host` of dask.
        track: wraps the range of open cells, to show the progress.
        say: prints notes about damaged cells and about pools that leave out rows.

    Raises:
        AlmetaError: before any cell is played, if a name occurs twice, a policy was trained on a data set, a data set
            cannot be loaded or does not fit the setting, or a learner cannot do what a strategy needs; later, if a cell
            fails (finished cells are kept).
    """
    settings = setting if isinstance(setting, Mapping) else {"": setting}
    keys, players, numbers = _open(datasets, contenders, settings, say)
    workers = make_workers(min(jobs, len(keys)), backend, backend_options or {})
    with closing(CellStore(store)) as cells:
        if damaged := sum(map(cells.is_damaged, keys.values())):
            say(f"{damaged} of {len(keys)} cells in {store} are damaged: they are played again")
        calls = [(cell, players[cell], settings[cell[0]]) for cell, key in keys.items() if key not in cells]
        for _, (cell, played) in zip(track(range(len(calls))), in_workers(workers, _play_named, calls), strict=True):
            cells.keep(keys[cell], *cell[1:], played)
        read = {cell: cells.read(key) for cell, key in keys.items()}
    return Results(
        pd.concat([_curves(cell, played, settings[cell[0]]) for cell, played in read.items()]),
        pd.concat([_picks(cell, played, numbers[cell[:2]]) for cell, played in read.items()]),
        pd.DataFrame([_seconds(cell, played, settings[cell[0]]) for cell, played in read.items()]),
    )


def _open(
    datasets: Sequence[str],
    contenders: Sequence[Contender],
    settings: Mapping[str, Setting],
    say: Callable[[str], None],
) -> tuple[dict[Cell, str], dict[Cell, Contender], dict[tuple[str, str], np.ndarray | None]]:
    """Check all that can be checked before a cell is played.

    Returns:
        The key and the contender of each cell, and `Dataset.numbers` of each setting's data sets.
    """
    _check_names(datasets, contenders)
    for contender in contenders:
        for dataset in datasets:
            contender.check(dataset)  # before files are read
    for setting in settings.values():
        check_options(setting.played(datasets), setting.options)
    keys: dict[Cell, str] = {}
    players: dict[Cell, Contender] = {}
    numbers: dict[tuple[str, str], np.ndarray | None] = {}
    cut: dict[int | None, dict[str, None]] = {}  # data sets of which rows are left out, by the size of the pools
    played = [(within, one, name) for within, one in settings.items() for name in one.played(datasets)]
    for within, setting, name in played:
        loaded = load_dataset(name, **setting.options_of(name))
        if _check_learners(contenders, loaded, setting):
            cut.setdefault(setting.env.pool_size, {})[f"{name} ({len(loaded.x):,} rows)"] = None
        numbers[within, name] = loaded.numbers
        for contender in contenders:
            cell = (within, name, str(contender))
            players[cell] = contender.on(loaded)
            keys[cell] = setting.key(name, loaded.content, players[cell])
    for size, names in cut.items():
        say(f"pools of {size} rows (env.pool_size) are drawn from {', '.join(names)}")
    return keys, players, numbers


def _play_named(cell: Cell, contender: Contender, setting: Setting) -> tuple[Cell, Played]:
    return cell, play_cell(cell[1], contender, setting)


def _check_names(datasets: Sequence[str], contenders: Sequence[Contender]) -> None:
    for kind, names in (("data set", list(datasets)), ("strategy or policy", [str(c) for c in contenders])):
        if not names:
            raise AlmetaError(f"no {kind} is named; a benchmark needs at least one")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise AlmetaError(f"the {kind} '{twice[0]}' is named twice; name it once")


def check_options(datasets: Sequence[str], options: Mapping[str, Any]) -> None:
    """Raise an AlmetaError for an option that no data set's loader takes."""
    for key, value in options.items():
        if not any(takes_option(dataset, key) for dataset in datasets):
            load_dataset(datasets[0], **{key: value})  # raises, and names the options that the loader takes


def _named(cell: Cell) -> dict[str, str]:
    """Return what the rows of a cell have in the columns that name it; no setting where there is one without a name."""
    setting, dataset, strategy = cell
    return ({"setting": setting} if setting else {}) | {"dataset": dataset, "strategy": strategy}


def _curves(cell: Cell, played: Played, setting: Setting) -> pd.DataFrame:
    """Return the rows of a cell in the table of curves."""
    scores = played.scores.swapaxes(1, 2)  # [K, R, T + 1]
    repeats, queries = np.indices(scores.shape[1:]).reshape(2, -1)
    names = ("score", *setting.measures)
    columns = {name: curves.ravel().astype(float) for name, curves in zip(names, scores, strict=True)}
    return pd.DataFrame({**_named(cell), "repeat": repeats, "queries": queries, **columns})


def _picks(cell: Cell, played: Played, numbers: np.ndarray | None) -> pd.DataFrame:
    """Return the rows of a cell in the table of picks; `numbers` are those of the data set's rows in its file."""
    repeats, places = np.indices(played.picks.shape).reshape(2, -1)
    first = played.picks.shape[1] - (played.scores.shape[1] - 1)
    columns = {"repeat": repeats, "query": np.maximum(places - first + 1, 0), "row": played.picks.ravel()}
    table = pd.DataFrame({**_named(cell), **columns})
    table = table[table["row"] >= 0]
    return table if numbers is None else table.assign(row=numbers[table["row"]])


def _seconds(cell: Cell, played: Played, setting: Setting) -> dict[str, Any]:
    """Return the row of a cell in the table of seconds."""
    _, points, repeats = played.scores.shape
    picks = points - 1
    each = {"seconds_a_pick": picks, "seconds_a_query": math.ceil(picks / setting.env.query_size)}
    means = {name: played.seconds / (count * repeats) for name, count in each.items()}
    return {**_named(cell), **means}
