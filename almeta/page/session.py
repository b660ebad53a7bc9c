"""Labelling rows of one's own: which row is shown, what becomes of an answer, and what is computed meanwhile.

Nothing here knows of a browser. What takes long is in `Thinker`, which runs in a thread of its own while the person
looks at a row: `Session.plan` says what to think about, and `Session.take` takes what came of it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from almeta.errors import AlmetaError
from almeta.page.card import Card
from almeta.queries import Labelling
from almeta.queries.store import Answers

Labels = Mapping[int, str | None]
# Makes what is asked for rows, of the labels that they came with, by the numbers of the rows, and the classes.
Make = Callable[[Labels, Sequence[str]], Labelling]


@dataclass(frozen=True)
class Question:
    """A row to label, why, and what chose it."""

    row: int
    why: str
    chosen_by: str


@dataclass(frozen=True)
class Plan:
    """What to think about: the answers so far, in their order, and the classes."""

    answers: dict[int, str | None]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Thought:
    """What came of a plan.

    Attributes:
        plan: the plan.
        questions: the rows to label next, the best first; none if no row is left.
        predicted: `[N]` int64, the class that the learner predicts for each row.
    """

    plan: Plan
    questions: list[Question]
    predicted: np.ndarray


class Thinker:
    """Chooses the next rows, in whatever thread calls it; one call at a time.

    Args:
        make: what is asked.
        first: the labels that the rows came with.
        by: the name of what chooses.
        ahead: rows to choose at once: one is shown while the others wait.
    """

    def __init__(self, make: Make, first: Labels, by: str, ahead: int = 5) -> None:
        self._make, self._first, self._by, self._ahead = make, first, by, ahead
        self._known: tuple[Plan, Labelling] | None = None

    def think(self, plan: Plan) -> Thought:
        """Return the next rows for the answers of a plan."""
        labelling, told = self._labelling_for(plan)
        self._known = None  # an error leaves nothing that is told in part
        if new := list(plan.answers.items())[told:]:
            labelling.tell([row for row, _ in new], [label for _, label in new])
        left = int(labelling.pool.state().available.sum())
        questions = []
        if left:
            asked = labelling.ask(min(self._ahead, left))
            found = zip(asked.rows.tolist(), asked.reasons, strict=True)
            questions = [Question(row, why, self._by) for row, why in found]
        self._known = plan, labelling
        probabilities = labelling.probabilities()
        return Thought(plan, questions, probabilities.argmax(1) if plan.classes else np.zeros(len(probabilities), int))

    def _labelling_for(self, plan: Plan) -> tuple[Labelling, int]:
        """Return a labelling and the number of answers that it knows: that of before if it knows no others."""
        if self._known is not None:
            before, labelling = self._known
            known = list(before.answers.items())
            if before.classes == plan.classes and list(plan.answers.items())[: len(known)] == known:
                return labelling, len(known)
        first = {row: label for row, label in self._first.items() if row not in plan.answers}
        return self._make(first, plan.classes), 0


class Session:
    """What a person sees and does who labels the rows of a file.

    Args:
        answers: the file of answers; each answer is in it before `answer` returns.
        first: the labels that the rows came with.
        classes: the class names that are known.
        frame: `[N]` rows to show, without the column of the labels.
        target: the name of that column.
        text: the column to read, if the rows are texts.
        image: returns the image of a row, if they are images.
        round_size: answers after which a round ends.
        title: of the page.

    Attributes:
        classes: the class names, later ones behind earlier ones, so that keys stay what they are.
    """

    def __init__(
        self,
        answers: Answers,
        first: Labels,
        classes: Sequence[str],
        frame: pd.DataFrame,
        target: str = "label",
        text: str | None = None,
        image: Callable[[int], np.ndarray] | None = None,
        round_size: int = 5,
        title: str = "almeta",
    ) -> None:
        self._answers, self._first, self._frame, self.title = answers, first, frame, title
        self._target, self._text, self._image, self._round_size = target, text, image, round_size
        self._given = answers.labels()
        named = [label for label in self._given.values() if label is not None]
        self.classes = tuple(dict.fromkeys([*classes, *named]))
        self._question: Question | None = None
        self._next: list[Question] = []
        self._thought: Thought | None = None
        self._ended = len(self._given)  # answers when the last round ended

    # ---- what is shown

    def card(self) -> Card:
        """Return the row to label now, or why there is none."""
        if self._question is None:
            is_done = self._thought is not None and not self._thought.questions and self.plan() is None
            why = "Every row has a label or an answer." if is_done else "Choosing the next row …"
            return Card(None, "", why)
        row = self._question.row
        cells = self._frame.iloc[row].dropna().astype(str)
        return Card(
            token=row,
            title=f"row {row + 1}",
            why=self._question.why,
            choices=self.classes,
            text=None if self._text is None else cells.get(self._text, ""),
            image=None if self._image is None else self._image(row),
            cells=tuple((str(name), cell) for name, cell in cells.items() if name != self._text),
            may_skip=True,
        )

    def status(self) -> str:
        """Return how many answers there are, and how many rows are left."""
        skipped = sum(label is None for label in self._given.values())
        labelled = len({*self._first, *self._given}) - skipped
        left = len(self._frame) - labelled - skipped
        parts = [f"{labelled:,} labels ({len(self._given) - skipped:,} of them given here)"]
        return ", ".join([*parts, *([f"{skipped:,} skipped"] if skipped else []), f"{left:,} rows left"])

    # ---- what the person does

    def answer(self, token: int, choice: int | None) -> bool:
        """Keep an answer to the row that is shown, and show the next one.

        Args:
            token: the row.
            choice: the number of the class; None for "cannot tell".

        Returns:
            False, and nothing is kept, if another row is shown by now, or there is no such class.

        Raises:
            AlmetaError: if the answer cannot be written; the row stays.
        """
        question = self._question
        if question is None or question.row != token or (choice is not None and choice >= len(self.classes)):
            return False
        label = None if choice is None else self.classes[choice]
        self._answers.add({question.row: label}, question.chosen_by)
        self._given[question.row] = label
        self._question = self._next.pop(0) if self._next else None
        return True

    def undo(self) -> bool:
        """Take back the last answer and show its row again; return False if there is none."""
        if (undone := self._answers.undo()) is None or undone.row is None:
            return False
        del self._given[undone.row]
        if self._question is not None:
            self._next.insert(0, self._question)
        self._question = Question(undone.row, "its answer was taken back", undone.chosen_by)
        return True

    def add_class(self, name: str) -> None:
        """Add a class.

        Raises:
            AlmetaError: if there is one of that name, or the name is empty.
        """
        name = name.strip()
        if not name or name in self.classes:
            raise AlmetaError(f"there is a class {name!r} already" if name else "the new class has no name; type one")
        self.classes = (*self.classes, name)

    # ---- what is computed meanwhile

    def plan(self) -> Plan | None:
        """Return what to think about now; None if that is done already."""
        plan = Plan(dict(self._given), self.classes)
        return None if self._thought is not None and self._thought.plan == plan else plan

    def take(self, thought: Thought) -> None:
        """Take what was thought: the rows to show next, and at the end of a round what the learner predicts."""
        self._thought = thought
        shown = None if self._question is None else self._question.row
        taken = {*self._given, shown}
        self._next = [question for question in thought.questions if question.row not in taken]
        if self._question is None and self._next:
            self._question = self._next.pop(0)
        given = len(thought.plan.answers)
        if given >= self._ended + self._round_size and thought.plan.classes:
            self._ended = given
            self._answers.end_round(thought.predicted, thought.plan.classes)

    def table(self) -> pd.DataFrame:
        """Return all answers with the values of their rows."""
        return self._answers.table(self._target, self._frame)
