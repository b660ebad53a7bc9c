"""Playing the one-shot stream with a person who answers: the agent predicts the class of an image, or asks for it."""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from almeta.agents.agent import Agent
from almeta.agents.live import Looking
from almeta.envs.stream import StreamSimulation
from almeta.page.card import Card

RIGHT, WRONG = 0, 1  # the choices of whoever judges a prediction


@dataclass(frozen=True)
class Turn:
    """What the agent did with an image: `action` S asks, a lower number predicts that slot. `choice` is the answer."""

    action: int
    choice: int


class StreamSession:
    """One stream: the person says which slot an image belongs to when the agent asks, else whether it is right.

    The agent learns the answers to its requests and nothing else, as in training. The slots are empty at first: the
    person decides which class is "A". Nothing is kept after the last image.

    Args:
        agent: a trained agent of streams.
        simulation: draws the streams, one at a time, and knows the rewards.
        generator: breaks ties between actions.
        title: of the page.
    """

    def __init__(
        self, agent: Agent, simulation: StreamSimulation, generator: torch.Generator, title: str = "almeta"
    ) -> None:
        self._agent, self._simulation, self._generator, self.title = agent, simulation, generator, title
        self.begin()

    def begin(self) -> None:
        """Begin a new stream."""
        self._simulation.reset()
        self._images = self._simulation.images[:, 0].cpu().numpy()  # [T, P]
        self._luck = self._generator.get_state()
        self._play([])

    def _play(self, choices: list[int]) -> None:
        """Begin the stream anew, and give these answers: the agent does the same again."""
        self._generator.set_state(self._luck)
        self._turns: list[Turn] = []
        self._looking = Looking(self._agent, self._simulation.num_slots, float(self._simulation.incorrect[0]))
        self._act()
        for choice in choices:
            self._take(choice)

    def _act(self) -> None:
        """Let the agent look at the current image."""
        time = len(self._turns)
        requests, most = sum(self._is_request(turn.action) for turn in self._turns), self._simulation.max_requests
        mask = np.ones(self._simulation.num_slots + 1, bool)
        mask[-1] = most is None or requests < most
        self._action = self._looking.look(self._images[time], action_mask=mask, generator=self._generator)

    def _take(self, choice: int) -> None:
        self._turns.append(Turn(self._action, choice))
        if self._is_request(self._action):
            self._looking.tell(choice)
        if not self._is_over:
            self._act()

    def _is_request(self, action: int) -> bool:
        return action == self._simulation.num_slots

    @property
    def _is_over(self) -> bool:
        return len(self._turns) == self._simulation.length

    # ---- what is shown

    def card(self) -> Card:
        """Return the current image with what the agent does, or how the stream went."""
        if self._is_over:
            return Card(len(self._turns), "The stream is over", self.status(), ("Play another one",))
        asks = self._is_request(self._action)
        named = {
            turn.choice: time for time, turn in reversed(list(enumerate(self._turns))) if self._is_request(turn.action)
        }
        slots = tuple(chr(ord("A") + slot) for slot in range(self._simulation.num_slots))
        return Card(
            token=len(self._turns),
            title=f"image {len(self._turns) + 1} of {self._simulation.length}",
            why="I ask: which class is this?" if asks else f"I say: {slots[self._action]}.",
            choices=slots if asks else ("Right", "Wrong"),
            image=self._picture(len(self._turns)),
            examples=tuple((slots[slot], self._picture(named[slot])) for slot in sorted(named)),
        )

    def _picture(self, time: int) -> Image.Image:
        pixels = self._images[time].reshape(self._simulation.dataset.image_shape or (1, -1))
        return Image.fromarray(np.rint(255 * (1 - pixels)).astype(np.uint8))  # ink is dark

    def status(self) -> str:
        """Return how many requests and right and wrong predictions there were, and the sum of the rewards."""
        asked = [self._is_request(turn.action) for turn in self._turns]
        right = sum(turn.choice == RIGHT for turn, request in zip(self._turns, asked, strict=True) if not request)
        wrong, rewards = len(asked) - sum(asked) - right, self._simulation.rewards
        total = sum(asked) * rewards.request + right * rewards.correct + wrong * float(self._simulation.incorrect[0])
        return f"{sum(asked)} requests, {right} right, {wrong} wrong, return {total:.2f}"

    # ---- what the person does

    @torch.no_grad()
    def answer(self, token: int, choice: int | None) -> bool:
        """Take an answer to the image of that number; after the last one, begin another stream."""
        card = self.card()
        if token != card.token or choice is None or choice >= len(card.choices):
            return False
        if self._is_over:
            self.begin()
        else:
            self._take(choice)
        return True

    def undo(self) -> bool:
        """Take back the last answer; return False if there is none."""
        if not self._turns:
            return False
        self._play([turn.choice for turn in self._turns[:-1]])
        return True
