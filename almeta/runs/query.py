"""A round of labelling rows of one's own: take the answers, choose the next rows, write them to a file."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from almeta.checks import Count, Share
from almeta.data.own import Own
from almeta.data.reading import Columns, read_table
from almeta.errors import AlmetaError, did_you_mean
from almeta.files import write_atomically
from almeta.queries import Labelling
from almeta.queries.keys import key_names, row_keys
from almeta.queries.reasons import BY_CHANCE
from almeta.queries.store import CANNOT_TELL, RANDOM, Answers, beside
from almeta.runs.own import OwnConfig

# Columns of values that are printed, and the characters of each; the file has all.
_SHOWN, _WIDE = 3, 16


@dataclass(frozen=True)
class QueryConfig(OwnConfig):
    """The config of `query`."""

    data: str
    n: Count
    random_share: Share
    answers: str | None
    out: str
    threads: Count | None


def query_rows(config: QueryConfig) -> pd.DataFrame:
    """Take the answers of the last round, if there are any, write and print the next questions, and return them.

    Raises:
        AlmetaError: if the rows or answers cannot be read, an answer is no known class, or the file of questions has
            answers that were not taken.
    """
    console, own = Console(), config.read_own(config.data)
    target = own.target or config.target or "label"
    values = own.frame.drop(columns=own.target or [])
    keys = row_keys(values)
    with config.open_answers(own, keys) as store:
        if config.answers:
            console.print(_take(config, own, store, target, keys))
        _check_nothing_is_lost(config, target)
        labelling = _labelling(config, own, store)
        asked = _ask(config, labelling)
        drawn = [answer.row for answer in store.answers() if answer.chosen_by == RANDOM and answer.row is not None]
        advice = labelling.advise(drawn)
        store.end_round(int((labelling.labels >= 0).sum()), advice.estimate)
    questions = _file_of(asked, labelling, target, keys, values)
    write_atomically(Path(config.out), questions.to_csv(index=False))
    _print(console, config, labelling, questions, target, [name for name in values if name not in own.set_aside])
    console.print(advice.sentence, markup=False, soft_wrap=True)
    return questions


# ---- answers


def _take(config: QueryConfig, own: Own, store: Answers, target: str, keys: np.ndarray) -> str:
    """Keep the answers of a file that `almeta-query` wrote and somebody filled in; return what was done in words."""
    path = Path(str(config.answers)).expanduser()
    table = read_table(path, Columns(missing=(), labelled=False)).written
    for column in ("key", target):
        if column not in table:
            raise AlmetaError(
                f"{path} has no column '{column}'; give back the file that almeta-query wrote, with column '{target}' "
                "filled in"
            )
    answered = table[table[target].notna() & (table[target].astype(str).str.strip() != "")]
    row_of = {name: row for row, name in enumerate(key_names(keys))}
    known = answered[answered["key"].isin(row_of)]
    if len(known) < len(answered):
        warnings.warn(f"{path} answers rows that {own.path} no longer has; these answers are left out", stacklevel=2)
    rows = known["key"].map(row_of)
    labels = dict(zip(rows, known[target].astype(str).str.strip(), strict=True))
    _check_classes(labels, _classes(config, own, store), path)
    choosers = known["chosen_by"] if "chosen_by" in known else pd.Series(config.chooser, known.index)
    for chooser, of_one in rows.groupby(choosers):
        store.add({row: None if labels[row] == CANNOT_TELL else labels[row] for row in of_one}, str(chooser))
    return f"took {len(labels)} answers from {path}; {len(table) - len(answered)} rows have none yet"


def _check_classes(labels: Mapping[int, str], classes: Sequence[str], path: Path) -> None:
    """Raise for an answer that is no known class; without known classes all answers are new ones."""
    for row, label in labels.items():
        if classes and label not in (*classes, CANNOT_TELL):
            raise AlmetaError(
                f"{path}: row {row + 1}: {did_you_mean(label, classes, 'class')}; if it is a new class, add "
                f"classes=[{label}]; write {CANNOT_TELL} for a row that you cannot tell"
            )


def _classes(config: QueryConfig, own: Own, store: Answers) -> tuple[str, ...]:
    """Return the classes that the rows, the config and the answers name."""
    answered = [label for label in store.labels().values() if label is not None]
    return tuple(dict.fromkeys([*own.class_names, *config.classes, *answered]))


def _check_nothing_is_lost(config: QueryConfig, target: str) -> None:
    """Raise if the file of questions has answers that are not taken."""
    path = Path(config.out)
    if not path.exists() or (config.answers and path.resolve() == Path(config.answers).expanduser().resolve()):
        return
    found = read_table(path, Columns(missing=(), labelled=False)).written
    if "key" not in found:
        raise AlmetaError(f"{path} is there, and almeta-query did not write it; choose another file with out=...")
    if target in found and (given := int(found[target].notna().sum())):
        raise AlmetaError(
            f"{path} has {given} answers that were not taken; add answers={path}, or choose another file with out=..."
        )


# ---- questions


def _labelling(config: QueryConfig, own: Own, store: Answers) -> Labelling:
    """Return the rows with all labels: those of the file, and the answers where the file has none."""
    answers = store.labels()
    differ = [row for row, label in answers.items() if own.labels[row] is not None and label != own.labels[row]]
    if differ:
        warnings.warn(
            f"{own.path} has other labels than {store.path} for {len(differ)} rows, the first is row {differ[0] + 1}; "
            "those of the file count",
            stacklevel=2,
        )
    labelling = config.make_labelling(own, own.labels, _classes(config, own, store))
    told = {row: label for row, label in answers.items() if own.labels[row] is None}
    if told:
        labelling.tell(list(told), list(told.values()))
    return labelling


def _ask(config: QueryConfig, labelling: Labelling) -> pd.DataFrame:
    """Return rows, their reasons and what chose them; a share of them is drawn at random."""
    count = round(config.random_share * config.n)
    chosen = labelling.ask(config.n)
    rows, reasons = chosen.rows[: config.n - count], chosen.reasons[: config.n - count]
    open_rows = labelling.pool.state().available[0].numpy().copy()
    open_rows[rows] = False
    rng = np.random.default_rng((config.seed, int((~open_rows).sum())))
    drawn = rng.permutation(np.flatnonzero(open_rows))[: config.n - len(rows)]
    return pd.DataFrame(
        {
            "row": [*rows, *drawn],
            "why": [*reasons, *[BY_CHANCE] * len(drawn)],
            "chosen_by": [config.chooser] * len(rows) + [RANDOM] * len(drawn),
        }
    )


def _file_of(
    asked: pd.DataFrame, labelling: Labelling, target: str, keys: np.ndarray, values: pd.DataFrame
) -> pd.DataFrame:
    """Return the questions as they are written: rows count from 1, the label is empty, and the values follow."""
    rows = asked["row"].to_numpy(int)
    questions = pd.DataFrame({"row": rows + 1, target: "", "guess": _guesses(labelling, rows)})
    questions = questions.assign(why=asked["why"], chosen_by=asked["chosen_by"], key=key_names(keys[rows]))
    return beside(questions, values.iloc[rows])


def _guesses(labelling: Labelling, rows: np.ndarray) -> list[str]:
    """Return the learner's opinion on rows: "cat (71 %)", or nothing while it knows fewer than two classes."""
    if len(np.unique(labelling.labels[labelling.labels >= 0])) < 2:
        return [""] * len(rows)
    found = labelling.probabilities()[rows]
    return [f"{labelling.classes[one.argmax()]} ({one.max():.0%})".replace("%", " %") for one in found]


# ---- what is printed


def _print(
    console: Console,
    config: QueryConfig,
    labelling: Labelling,
    questions: pd.DataFrame,
    target: str,
    used: Sequence[str],
) -> None:
    """Print what there is, the questions with a few values, and how to go on."""
    labels = labelling.labels
    known = int((labels >= 0).sum())
    console.print(f"{len(labels):,} rows, {known:,} labels of {len(labelling.classes)} classes", markup=False)
    if questions.empty:
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("row", justify="right", no_wrap=True)
    table.add_column("guess", no_wrap=True)
    table.add_column("why", ratio=1)
    shown = [name for name in questions if name in used][:_SHOWN]
    for name in shown:
        table.add_column(str(name), overflow="ellipsis", no_wrap=True, max_width=_WIDE)
    cells = questions[["row", "guess", "why", *shown]].astype(object)
    cells["why"] = cells["why"].str.partition(";")[0].str.partition(":")[0]  # the first reason; the file has all
    for one in cells.where(cells.notna(), "").itertuples(index=False):
        table.add_row(*(escape(str(cell)) for cell in one))
    console.print(table)
    way_on = (
        f"fill in column {target!r} of {config.out} ({CANNOT_TELL} if you cannot tell); then add answers={config.out}"
    )
    console.print(way_on, markup=False, soft_wrap=True)
