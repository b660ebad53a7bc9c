"""Labelling rows of one's own: which row is shown, what becomes of an answer, and what is computed meanwhile.

Nothing here knows of a browser. What takes long is in `Thinker`, which runs in a thread of its own while the person
looks at a row: `Session.plan` says what to think about, and `Session.take` takes what came of it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from PIL import Image, ImageOps

from almeta.errors import AlmetaError
from almeta.page.card import Card
from almeta.queries import Labelling
from almeta.queries.mixing import Question, mixed_questions
from almeta.queries.stopping import Advice
from almeta.queries.store import RANDOM, Answers

Labels = Mapping[int, str | None]
# Makes what is asked for rows, of the labels that they came with, by the numbers of the rows, and the classes.
Make = Callable[[Labels, Sequence[str]], Labelling]


@dataclass(frozen=True)
class Plan:
    """What to think about.

    Attributes:
        answers: so far, in their order.
        classes: the class names.
        drawn: the answered rows that were drawn at random.
        ends_round: whether to think about how good the predictions are, too.
    """

    answers: dict[int, str | None]
    classes: tuple[str, ...]
    drawn: tuple[int, ...] = ()
    ends_round: bool = False


@dataclass(frozen=True)
class Thought:
    """What came of a plan.

    Attributes:
        plan: the plan.
        questions: the rows to label next, the best first; none if no row is left.
        labels: the number of labels that this is based on.
        advice: how good the predictions are; None unless the plan ends a round.
    """

    plan: Plan
    questions: list[Question]
    labels: int
    advice: Advice | None


class Thinker:
    """Chooses the next rows, in whatever thread calls it; one call at a time.

    Args:
        make: what is asked.
        first: the labels that the rows came with.
        by: the name of what chooses.
        ahead: rows to choose at once: one is shown while the others wait.
        random_share: of the rows that are drawn at random instead.
        seed: of these draws.
    """

    def __init__(
        self, make: Make, first: Labels, by: str, ahead: int = 5, random_share: float = 0.2, seed: int = 0
    ) -> None:
        self._make, self._first, self._by, self._ahead = make, first, by, ahead
        self._random_share, self._seed = random_share, seed
        self._known: tuple[Plan, Labelling] | None = None

    def think(self, plan: Plan) -> Thought:
        """Return the next rows for the answers of a plan."""
        labelling, told = self._labelling_for(plan)
        self._known = None  # an error leaves nothing that is told in part
        if new := list(plan.answers.items())[told:]:
            labelling.tell([row for row, _ in new], [label for _, label in new])
        questions = self._ask(labelling, len(plan.answers))
        advice = labelling.advise(plan.drawn) if plan.ends_round else None
        self._known = plan, labelling
        return Thought(plan, questions, int((labelling.labels >= 0).sum()), advice)

    def _labelling_for(self, plan: Plan) -> tuple[Labelling, int]:
        """Return a labelling and the number of answers that it knows: that of before if it knows no others."""
        if self._known is not None:
            before, labelling = self._known
            known = list(before.answers.items())
            if before.classes == plan.classes and list(plan.answers.items())[: len(known)] == known:
                return labelling, len(known)
        return self._make(self._first, plan.classes), 0

    def _ask(self, labelling: Labelling, answers: int) -> list[Question]:
        """Return the next rows; which of them are drawn at random depends on the seed and the number of answers."""
        n = min(self._ahead, int(labelling.pool.state().available.sum()))
        return mixed_questions(labelling, n, self._random_share, self._by, (self._seed, answers))


class Session:
    """What a person sees and does who labels the rows of a file.

    Args:
        answers: the file of answers; each answer is in it before `answer` returns.
        first: the labels that the rows came with.
        classes: the class names that are known.
        frame: `[N]` rows to show, without the column of the labels.
        target: the name of that column.
        text: the column to read, if the rows are texts.
        images: the file of each row, if they are images.
        round_size: answers after which a round ends.
        title: of the page.

    Attributes:
        classes: the class names, later ones behind earlier ones, so that keys stay what they are.
        rounds: that have ended.
        advice: whether to stop, in a sentence; empty before the first round of this session.
    """

    def __init__(
        self,
        answers: Answers,
        first: Labels,
        classes: Sequence[str],
        frame: pd.DataFrame,
        target: str = "label",
        text: str | None = None,
        images: Sequence[Path] = (),
        round_size: int = 5,
        title: str = "almeta",
    ) -> None:
        self._answers, self._first, self._frame, self.title = answers, first, frame, title
        self._target, self._text, self._images, self._round_size = target, text, images, round_size
        # Labels that the rows came with count before answers.
        self._given = {row: label for row, label in answers.labels().items() if row not in first}
        named = [label for label in self._given.values() if label is not None]
        self.classes = tuple(dict.fromkeys([*classes, *named]))
        self._question: Question | None = None
        self._next: list[Question] = []
        self._thought: Thought | None = None
        self.rounds = answers.rounds()
        self.advice, self._ended = "", 0  # number of labels when the last round ended

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
            image=_picture(self._images[row]) if self._images else None,
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
        self._given.pop(undone.row, None)
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
        drawn = tuple(a.row for a in self._answers.answers() if a.chosen_by == RANDOM and a.row in self._given)
        labels = len(self._first) + sum(label is not None for label in self._given.values())
        ends_round = not self.advice or labels >= self._ended + self._round_size
        plan = Plan(dict(self._given), self.classes, drawn, ends_round)
        is_new = self._thought is None or _told(plan) != _told(self._thought.plan)
        return plan if is_new or ends_round else None

    def take(self, thought: Thought) -> None:
        """Take what was thought: the rows to show next, and at the end of a round how good the predictions are."""
        self._thought = thought
        shown = None if self._question is None else self._question.row
        taken = {*self._given, shown}
        self._next = [question for question in thought.questions if question.row not in taken]
        if self._question is None and self._next:
            self._question = self._next.pop(0)
        if thought.advice is not None:
            self._ended, self.advice = thought.labels, thought.advice.sentence
            if not self.rounds or self.rounds[-1].labels != thought.labels:  # not once more after a restart
                self._answers.end_round(thought.labels, thought.advice.estimate)
                self.rounds = self._answers.rounds()

    def table(self) -> pd.DataFrame:
        """Return all answers with the values of their rows."""
        return self._answers.table(self._target, self._frame)


def _told(plan: Plan) -> tuple[object, ...]:
    """Return what the choice of rows depends on."""
    return list(plan.answers.items()), plan.classes


def _picture(path: Path) -> Image.Image:
    """Return an image to show, at most 600 pixels wide and high."""
    picture = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    picture.thumbnail((600, 600))
    return picture
