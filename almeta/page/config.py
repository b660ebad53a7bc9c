"""From the config of `label` to what the page plays."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from almeta.checks import Count, Within
from almeta.data.own import Own, read_own
from almeta.errors import AlmetaError
from almeta.learners import make_learner
from almeta.page.card import Player
from almeta.page.session import Labels, Make, Session, Thinker
from almeta.page.stream import StreamSession
from almeta.policies import kind_of, policy_names
from almeta.queries import Labelling
from almeta.queries.keys import row_keys
from almeta.queries.store import Answers, labels_path
from almeta.runs.config import CommandConfig
from almeta.runs.streams import streams_for
from almeta.seeding import make_generator
from almeta.strategies import strategy_names
from almeta.training.agents import load_agent


@dataclass(frozen=True)
class LabelConfig(CommandConfig):
    """The config of `label`."""

    data: str | None
    by: str | dict[str, Any]
    modules: list[str]
    seed: int
    target: str | None
    text: str | None
    ignore: list[str]
    keep: list[str]
    missing: list[str] | None
    encoding: str
    classes: list[str]
    learner: str | dict[str, Any]
    budget: Count | None
    labels: str | None
    port: Annotated[int, Within(1, 65535)] | None
    show: bool

    @contextlib.contextmanager
    def opened(self) -> Iterator[tuple[Player, Thinker | None]]:
        """Open the file of rows, or the policy of streams, and yield what the page plays.

        Raises:
            AlmetaError: if something is missing or cannot be read, or another process holds the file of answers.
        """
        if self._plays_streams():
            yield self._stream(), None
            return
        if self.data is None:
            raise AlmetaError("there is nothing to label; name a file with data=my.csv")
        own = read_own(self.data, self.target, self.text, self.ignore, self.keep, self.missing, encoding=self.encoding)
        frame = own.frame.drop(columns=own.target or [])
        path = labels_path(own.path) if self.labels is None else Path(self.labels).expanduser()
        first = {row: label for row, label in enumerate(own.labels) if label is not None}
        thinker = Thinker(self._maker(own), first, self._name)
        classes = [*own.class_names, *self.classes]
        with Answers(path, row_keys(frame)) as answers:
            session = Session(
                answers, first, classes, frame, own.target or self.target or "label", self.text, title=own.path.name
            )
            if (plan := session.plan()) is not None:  # the first row is there at once, or what is wrong is told
                session.take(thinker.think(plan))
            yield session, thinker

    def _maker(self, own: Own) -> Make:
        make_learner(self.learner)  # raises for an unknown one

        def make(first: Labels, classes: Sequence[str]) -> Labelling:
            y = [first.get(row) for row in range(len(own.labels))]
            return Labelling(
                own.dataset,
                y,
                by=self.by,
                learner=self.learner,
                classes=classes,
                budget=self.budget,
                missing=None,
                seed=self.seed,
            )

        return make

    @property
    def _name(self) -> str:
        return self.by if isinstance(self.by, str) else str(self.by.get("name"))

    def _plays_streams(self) -> bool:
        by = self.by
        if not isinstance(by, str) or by in strategy_names() or not (by in policy_names() or Path(by).exists()):
            return False
        return kind_of(by) == "stream"

    def _stream(self) -> StreamSession:
        agent, checkpoint = load_agent(str(self.by))
        dataset = None if self.data is None else {"name": self.data}
        _, simulation, _ = streams_for(agent, checkpoint, dataset, "test", {}, num_envs=1, seed=self.seed)
        ties = make_generator(self.seed, "ties")
        return StreamSession(agent, simulation, ties, f"{checkpoint['config']['name']} on {simulation.dataset.name}")
