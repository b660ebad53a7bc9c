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
from almeta.data.frames import check_alike, look_of, value_of
from almeta.data.own import Own
from almeta.data.reading import Columns, read_table
from almeta.errors import AlmetaError, did_you_mean
from almeta.files import write_atomically
from almeta.queries import Labelling
from almeta.queries.keys import key_names
from almeta.queries.labelling import at_most
from almeta.queries.mixing import Question, mixed_questions
from almeta.queries.store import CANNOT_TELL, RANDOM, USER, Answers, beside
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
    if Path(config.out).suffix.lower() != ".csv":
        raise AlmetaError(f"out={config.out} is no CSV file; give it a name that ends in .csv")
    console, own = Console(), config.read_own(config.data)
    target = config.target_of(own)
    values = own.frame.drop(columns=own.target or [], errors="ignore")
    with config.open_answers(own, values) as store:
        if config.answers:
            console.print(_take(config, own, store, target), markup=False, soft_wrap=True)
        _check_nothing_is_lost(config, store, target)
        labelling = _labelling(config, own, store)
        drawn = [answer.row for answer in store.answers() if answer.chosen_by == RANDOM and answer.row is not None]
        advice = labelling.advise(drawn)
        count = int((labelling.labels >= 0).sum())
        if count not in [one.labels for one in store.rounds()]:
            store.end_round(count, advice.estimate)
        asked = pd.DataFrame(_ask(config, labelling), columns=Question._fields)
        rows = asked["row"].to_numpy(int)
        guesses = _guesses(labelling, rows)
        questions = pd.DataFrame({"row": rows + 1, target: "", "guess": guesses})
        questions = questions.assign(why=asked["why"], chosen_by=asked["chosen_by"], key=key_names(store.keys[rows]))
    console.print(f"{len(values):,} rows, {count:,} labels of {len(labelling.classes)} classes", markup=False)
    questions = beside(questions, values.iloc[rows])
    if len(rows):
        write_atomically(Path(config.out), questions.to_csv(index=False))
        used = [place for place, name in enumerate(values) if name not in own.set_aside]
        _print(console, asked, guesses, values.iloc[rows, used[:_SHOWN]])
        way_on = f"fill in column {target!r} of {config.out} ({CANNOT_TELL} if you cannot tell)"
        console.print(f"{way_on}; then add answers={config.out}", markup=False, soft_wrap=True)
    console.print(advice.sentence, markup=False, soft_wrap=True)
    return questions


# ---- answers


def _take(config: QueryConfig, own: Own, store: Answers, target: str) -> str:
    """Keep the answers of a file that `almeta-query` wrote and somebody filled in; return what was done in words."""
    path = Path(str(config.answers)).expanduser()
    table = _read_questions(path, config)
    for column in ("key", target):
        if column not in table:
            raise AlmetaError(
                f"{path} has no column '{column}'; give back the file that almeta-query wrote, with column '{target}' "
                "filled in"
            )
    answered = table[_is_filled(table[target])]
    row_of = {name: row for row, name in enumerate(key_names(store.keys))}
    known = answered[answered["key"].isin(row_of)]
    if strangers := answered.index.difference(known.index).tolist():
        what = (
            f"{path} answers {len(strangers)} rows that {own.path} does not have, the first in line {strangers[0] + 2}"
        )
        why = "rows are known by their values: was a cell or a key changed?"
        if path.resolve() == Path(config.out).resolve():
            raise AlmetaError(f"{what} ({why}); mend it, or go on without them and keep {path} with out=OTHER.csv")
        warnings.warn(f"{what} ({why}); they are left out", stacklevel=2)
    rows = known["key"].map(row_of)
    classes = _classes(config, own, store)
    labels: dict[int, str] = {}
    for row, told in zip(rows, known[target].astype(str).str.strip(), strict=True):
        label = _known_label(told, classes)
        if labels.setdefault(row, label) != label:
            raise AlmetaError(f"{path} answers row {row + 1} twice, with {labels[row]!r} and {label!r}; remove one")
    new = _check_classes(labels, classes, path)
    before = store.labels()
    changed = sum(row in before and before[row] != _meant(label) for row, label in labels.items())
    choosers = known["chosen_by"] if "chosen_by" in known else pd.Series(USER, known.index)
    for chooser, of_one in rows.groupby(choosers.where(_is_filled(choosers), USER)):
        store.add({row: _meant(labels[row]) for row in of_one}, str(chooser))
    said = f"took {len(labels)} answers from {path}; {len(table) - len(answered)} rows have none yet"
    said += f"; {changed} answers of before were changed" if changed else ""
    return said + (f"; new classes: {', '.join(new)}" if new else "")


def _read_questions(path: Path, config: QueryConfig) -> pd.DataFrame:
    """Return a file of questions; spreadsheets may have written it in the encoding of the data, or of Windows."""
    failed: list[AlmetaError] = []
    for encoding in dict.fromkeys(("utf-8", config.encoding, "cp1252")):
        try:
            return read_table(path, Columns(missing=(), encoding=encoding, labelled=False)).written
        except AlmetaError as error:
            failed.append(error)
    raise failed[0]


def _is_filled(cells: pd.Series) -> pd.Series:
    return cells.notna() & (cells.astype(str).str.strip() != "")


def _meant(label: str) -> str | None:
    return None if label == CANNOT_TELL else label


def _known_label(label: str, classes: Sequence[str]) -> str:
    """Return a label as a class spells it: spreadsheets write 1 as 1.0."""
    value = value_of(label)
    return next((name for name in classes if name == label or (value and value_of(name) == value)), label)


def _check_classes(labels: Mapping[int, str], classes: Sequence[str], path: Path) -> list[str]:
    """Raise for an answer that is no known class; without known classes all are new, and are returned."""
    told = [label for label in dict.fromkeys(labels.values()) if label != CANNOT_TELL]
    if not classes:
        check_alike(told, str(path), (value_of, look_of))
        return told
    for row, label in labels.items():
        if label not in (*classes, CANNOT_TELL):
            raise AlmetaError(
                f"{path}: row {row + 1}: {did_you_mean(label, classes, 'class')}; if it is a new class, add "
                f"classes=[{label}]; write {CANNOT_TELL} for a row that you cannot tell"
            )
    return []


def _classes(config: QueryConfig, own: Own, store: Answers) -> tuple[str, ...]:
    """Return the classes that the rows, the config and the answers name."""
    answered = [label for row, label in store.labels().items() if label is not None and own.labels[row] is None]
    return tuple(dict.fromkeys([*own.class_names, *config.classes, *answered]))


def _check_nothing_is_lost(config: QueryConfig, store: Answers, target: str) -> None:
    """Raise if the file of questions has answers that are not taken."""
    path = Path(config.out)
    if not path.exists() or not path.read_text("utf-8", "replace").partition("\n")[2].strip():
        return
    found = _read_questions(path, config)
    if "key" not in found:
        raise AlmetaError(f"{path} is there, and almeta-query did not write it; choose another file with out=...")
    row_of, taken = {name: row for row, name in enumerate(key_names(store.keys))}, store.labels()
    filled = found[_is_filled(found[target])] if target in found else found[:0]
    missed = sum(row_of.get(key) not in taken for key in filled["key"])
    if missed:
        raise AlmetaError(
            f"{path} has {missed} answers that were not taken; add answers={path}, or choose another file with out=..."
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


def _ask(config: QueryConfig, labelling: Labelling) -> list[Question]:
    """Return rows, their reasons and what chose them; a share of them is drawn at random."""
    left = int(labelling.pool.state().available.sum())
    seed = (config.seed, left)
    return mixed_questions(labelling, at_most(config.n, left), config.random_share, config.chooser, seed)


def _guesses(labelling: Labelling, rows: np.ndarray) -> list[str]:
    """Return the learner's opinion on rows: "cat (71 %)", or nothing while it knows fewer than two classes."""
    if len(np.unique(labelling.labels[labelling.labels >= 0])) < 2:
        return [""] * len(rows)
    found = labelling.probabilities()[rows]
    return [f"{labelling.classes[one.argmax()]} ({one.max():.0%})".replace("%", " %") for one in found]


# ---- what is printed


def _print(console: Console, asked: pd.DataFrame, guesses: Sequence[str], values: pd.DataFrame) -> None:
    """Print the questions, the first reason of each, and a few of its values; the file has all."""
    table = Table(box=None, pad_edge=False)
    table.add_column("row", justify="right", no_wrap=True)
    table.add_column("guess", no_wrap=True)
    table.add_column("why", ratio=1)
    for name in values:
        table.add_column(escape(str(name)), overflow="ellipsis", no_wrap=True, max_width=_WIDE)
    cells = values.astype(object).where(values.notna(), "").astype(str).to_numpy()
    for (row, why), guess, shown in zip(asked[["row", "why"]].to_numpy(), guesses, cells, strict=True):
        first = why.partition(";")[0].partition(":")[0]
        table.add_row(str(row + 1), escape(guess), escape(first), *map(escape, shown))
    console.print(table)
