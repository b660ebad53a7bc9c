"""What a person sees and does who labels rows, without a browser."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from almeta.errors import AlmetaError
from almeta.page.session import Session, Thinker
from almeta.queries import Labelling
from almeta.queries.reasons import BY_CHANCE
from almeta.queries.store import Answers

RNG = np.random.default_rng(0)
FRAME = pd.DataFrame({"a": RNG.normal(size=40).round(3), "b": RNG.normal(size=40).round(3)})
TRUTH = ["cat" if a > 0 else "dog" for a in FRAME["a"]]
FIRST = {0: TRUTH[0], 1: TRUTH[1], 2: TRUTH[2], 3: TRUTH[3]}
CLASSES = ("cat", "dog")


def make(first, classes):
    y = [first.get(row) for row in range(len(FRAME))]
    return Labelling(FRAME.to_numpy(), y, by="margin", classes=classes)


@pytest.fixture
def answers(tmp_path):
    with Answers(tmp_path / "my.labels.sqlite", FRAME) as answers:
        yield answers


@pytest.fixture
def thinker():
    return Thinker(make, FIRST, "margin", ahead=3, random_share=0)


@pytest.fixture
def session(answers):
    return Session(answers, FIRST, CLASSES, FRAME)


def think(session, thinker):
    if (plan := session.plan()) is not None:
        session.take(thinker.think(plan))


def give(session):
    """Answer the row that is shown, with the truth; return the row."""
    row = session.card().token
    assert session.answer(row, CLASSES.index(TRUTH[row]))
    return row


def test_a_row_is_shown_as_it_is_and_with_its_reason(session, thinker):
    assert session.card().token is None and session.card().why == "Choosing the next row …"
    think(session, thinker)
    card, expected = session.card(), make(FIRST, CLASSES).ask(3)
    assert card.token == expected.rows[0] and card.title == f"row {card.token + 1}"
    assert card.why == expected.reasons[0]
    assert card.choices == CLASSES and card.may_skip
    assert card.cells == (("a", str(FRAME["a"][card.token])), ("b", str(FRAME["b"][card.token])))
    assert session.status() == "4 labels (0 of them given here), 36 rows left"


def test_picks_are_those_of_margin_sampling(session, thinker):
    """With time to think after each answer, row by row."""
    labelling = make(FIRST, CLASSES)
    for _ in range(10):
        expected = int(labelling.ask(1).rows[0])
        session._question, session._next = None, []  # a person who looks away until the best row is there
        think(session, thinker)
        assert give(session) == expected
        labelling.tell([expected], [TRUTH[expected]])


def test_the_next_row_is_there_before_it_was_thought_about(session, thinker, answers):
    think(session, thinker)
    rows = [give(session) for _ in range(3)]
    assert list(answers.labels()) == rows == make(FIRST, CLASSES).ask(3).rows.tolist()
    assert session.card().token is None  # three were chosen ahead
    think(session, thinker)
    assert session.card().token not in {*rows, *FIRST, None}
    assert session.plan() is None  # nothing new to think about


def test_what_was_thought_late_brings_no_row_that_is_answered_or_shown(session, thinker):
    think(session, thinker)
    give(session)
    late = thinker.think(session.plan())
    shown = session.card().token
    give(session)
    again = session.card().token
    session.take(late)
    assert session.card().token == again
    seen = [give(session)]
    while session.card().token is not None:
        seen.append(give(session))
    assert shown not in seen and len(seen) == len(set(seen))
    assert session.plan() is not None


def test_an_answer_to_a_row_that_is_not_shown_is_not_kept(session, thinker, answers):
    think(session, thinker)
    row = give(session)
    assert not session.answer(row, 0)  # the second of a double click
    assert not session.answer(session.card().token, 2)  # key 3
    assert list(answers.labels()) == [row]


def test_undo_shows_the_row_again_and_then_the_one_that_was_shown(session, thinker, answers):
    think(session, thinker)
    assert not session.undo()
    row = give(session)
    then = session.card().token
    think(session, thinker)
    assert session.undo() and answers.labels() == {}
    assert session.card().token == row and "taken back" in session.card().why
    think(session, thinker)  # it unlearns the answer
    assert thinker._known[1].labels[row] == -1
    assert session.answer(row, None)
    assert session.card().token == then
    assert answers.labels() == {row: None}
    assert [answer.chosen_by for answer in answers.answers()] == ["margin"]
    assert session.status() == "4 labels (0 of them given here), 1 skipped, 35 rows left"


def test_a_new_class_is_an_answer_at_once(session, thinker, answers):
    think(session, thinker)
    for name, says in [(" cat ", "there is a class 'cat' already"), ("", "has no name")]:
        with pytest.raises(AlmetaError, match=says):
            session.add_class(name)
    session.add_class("eel ")
    row = session.card().token
    assert session.card().choices == ("cat", "dog", "eel") and session.answer(row, 2)
    think(session, thinker)
    assert thinker._known[1].classes == ("cat", "dog", "eel") and thinker._known[1].labels[row] == 2
    assert Session(answers, FIRST, CLASSES, FRAME).classes == ("cat", "dog", "eel")  # after a restart


def test_without_any_label_or_class(answers):
    thinker = Thinker(make, {}, "margin", ahead=3, random_share=0)
    session: Any = Session(answers, {}, (), FRAME)
    think(session, thinker)
    row = session.card().token
    assert row is not None and session.card().choices == ()
    session.add_class("cat")
    assert session.answer(row, 0)
    think(session, thinker)
    assert session.answer(session.card().token, None)
    think(session, thinker)
    assert session.card().token not in answers.labels()


def test_to_the_last_row_and_back(session, thinker, answers):
    for _ in range(36):
        think(session, thinker)
        give(session)
    think(session, thinker)
    assert session.card().token is None and session.card().why == "Every row has a label or an answer."
    assert session.status() == "40 labels (36 of them given here), 0 rows left"
    assert session.undo()
    assert session.card().token is not None


def test_a_round_ends_after_five_answers_and_keeps_the_estimate(session, thinker, answers):
    for _ in range(17):
        think(session, thinker)
        give(session)
    assert [answer.round for answer in answers.answers()] == [1] * 5 + [2] * 5 + [3] * 5 + [4] * 2  # one at the start
    assert [one.labels for one in session.rounds] == [4, 9, 14, 19] and session.rounds == answers.rounds()
    assert [one.accuracy is None for one in session.rounds] == [True, True, False, False]  # 10 labels are the fewest
    labelling = make(FIRST, CLASSES)
    for row, label in list(answers.labels().items())[:15]:
        labelling.tell([row], [label])
    advice = labelling.advise()
    assert session.rounds[3] == (19, advice.estimate.accuracy, advice.estimate.low, advice.estimate.high)
    assert session.advice == advice.sentence


def test_a_restart_advises_again_and_begins_no_round(session, thinker, answers):
    for _ in range(12):
        think(session, thinker)
        give(session)
    fresh: Any = Session(answers, FIRST, CLASSES, FRAME)
    assert fresh.rounds == session.rounds and not fresh.advice
    think(fresh, thinker)
    assert fresh.advice and [one.labels for one in fresh.rounds] == [4, 9, 14, 16]
    again: Any = Session(answers, FIRST, CLASSES, FRAME)
    think(again, thinker)
    assert again.advice == fresh.advice and len(again.rounds) == 4
    assert again.plan() is None


def test_a_share_of_the_rows_is_drawn_at_random(answers):
    thinker = Thinker(make, FIRST, "margin", ahead=3, random_share=0.5)
    session: Any = Session(answers, FIRST, CLASSES, FRAME)
    for _ in range(20):
        session._question, session._next = None, []
        think(session, thinker)
        chosen_by = session._question.chosen_by
        assert (session.card().why == BY_CHANCE) == (chosen_by == "random")
        give(session)
    how = [answer.chosen_by for answer in answers.answers()]
    assert how.count("random") + how.count("margin") == 20 and 5 <= how.count("random") <= 15
    assert session.plan().drawn == tuple(row for row, one in zip(answers.labels(), how, strict=True) if one == "random")


def test_a_label_that_the_rows_came_with_counts_before_an_answer(answers):
    answers.add({0: "eel"}, "margin")
    session: Any = Session(answers, FIRST, CLASSES, FRAME)
    assert session.plan().answers == {}
    assert session.status() == "4 labels (0 of them given here), 36 rows left"


def test_a_session_goes_on_where_the_last_one_stopped(session, thinker, answers):
    think(session, thinker)
    given = [give(session), give(session)]
    again, fresh = Session(answers, FIRST, CLASSES, FRAME), Thinker(make, FIRST, "margin", ahead=3, random_share=0)
    think(again, fresh)
    assert again.status() == session.status()
    assert again.card().token not in given


def test_an_answer_that_cannot_be_written_leaves_the_row(session, thinker, answers):
    think(session, thinker)
    row = session.card().token
    answers._database.ask("PRAGMA query_only = ON")
    with pytest.raises(AlmetaError, match="cannot be opened for writing"):
        session.answer(row, 0)
    answers._database.ask("PRAGMA query_only = OFF")
    assert session.card().token == row and session.answer(row, 0)


def test_texts_and_images(answers, tmp_path):
    for row in range(40):
        Image.new("L", (800, 400), row).save(tmp_path / f"{row}.png")
    frame = FRAME.assign(text="so long", note=None)
    images = [tmp_path / f"{row}.png" for row in range(40)]
    session: Any = Session(answers, FIRST, CLASSES, frame, text="text", images=images)
    think(session, Thinker(make, FIRST, "margin", random_share=0))
    card = session.card()
    assert card.text == "so long" and card.image.size == (600, 300)
    assert card.image.getpixel((0, 0)) == (card.token,) * 3
    assert [name for name, _ in card.cells] == ["a", "b"]  # what is empty is not shown


def test_the_table_has_answers_and_values(session, thinker):
    think(session, thinker)
    row = give(session)
    table = session.table()
    assert list(table) == ["row", "label", "chosen_by", "round", "time", "key", "a", "b"]
    values = [row + 1, TRUTH[row], "margin", FRAME["a"][row], FRAME["b"][row]]
    assert table.iloc[0][["row", "label", "chosen_by", "a", "b"]].tolist() == values
