"""What the page shows at one time, and what it asks of whoever plays there."""

from dataclasses import dataclass
from typing import Protocol

from PIL import Image


@dataclass(frozen=True)
class Card:
    """One question, or in place of it a message.

    Attributes:
        token: tells this card from others, so that no answer goes to a card that was not seen; None for a message.
        title: such as "row 17".
        why: the reason for the question, or the message.
        choices: the answers, in the order of the keys 1 to 9.
        text: to read; None if there is none.
        image: to look at; None if there is none.
        cells: further values, by their names.
        examples: images that were named before, with their names.
        may_skip: whether "cannot tell" is an answer.
    """

    token: int | None
    title: str
    why: str
    choices: tuple[str, ...] = ()
    text: str | None = None
    image: Image.Image | None = None
    cells: tuple[tuple[str, str], ...] = ()
    examples: tuple[tuple[str, Image.Image], ...] = ()
    may_skip: bool = False


class Player(Protocol):
    """Who decides what the page shows; `Session` and `StreamSession`."""

    title: str

    def card(self) -> Card:
        """Return what to show now."""
        ...

    def status(self) -> str:
        """Return how far it is, in a line."""
        ...

    def answer(self, token: int, choice: int | None) -> bool:
        """Take the choice of that number, None for "cannot tell"; return False if the card is no longer shown."""
        ...

    def undo(self) -> bool:
        """Take back the last answer; return False if there is none."""
        ...
