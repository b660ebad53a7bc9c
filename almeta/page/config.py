"""From the config of `label` to what the page plays."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from almeta.checks import Count, Share, Within
from almeta.data.own import Own
from almeta.errors import AlmetaError
from almeta.page.card import Player
from almeta.page.session import Labels, Make, Session, Thinker
from almeta.page.stream import StreamSession
from almeta.policies import kind_of, load_trained, policy_names
from almeta.queries import Labelling
from almeta.runs.own import OwnConfig
from almeta.runs.streams import streams_for
from almeta.seeding import make_generator
from almeta.strategies import strategy_names


@dataclass(frozen=True)
class LabelConfig(OwnConfig):
    """The config of `label`."""

    data: str | None
    random_share: Share
    port: Annotated[int, Within(1, 65535)] | None
    show: bool
    threads: Count | None

    @contextlib.contextmanager
    def opened(self) -> Iterator[tuple[Player, Thinker | None]]:
        """Open the rows, or the policy of streams, and yield what the page plays.

        Raises:
            AlmetaError: if something is missing or cannot be read, or another process holds the file of answers.
        """
        if self._plays_streams:
            yield self._stream(), None
            return
        if self.data is None:
            raise AlmetaError("there is nothing to label; name a file or a folder with data=my.csv")
        own = self.read_own(self.data)
        frame = own.frame.drop(columns=own.target or [], errors="ignore")
        target = self.target_of(own)
        first = {row: label for row, label in enumerate(own.labels) if label is not None}
        thinker = Thinker(self._maker(own), first, self.chooser, random_share=self.random_share, seed=self.seed)
        with self.open_answers(own, frame) as answers:
            classes = [*own.class_names, *self.classes]
            session = Session(answers, first, classes, frame, target, self.text, own.images, title=own.path.name)
            if (plan := session.plan()) is not None:  # the first row is there at once, or what is wrong is told
                session.take(thinker.think(plan))
            yield session, thinker

    def _maker(self, own: Own) -> Make:
        def make(first: Labels, classes: Sequence[str]) -> Labelling:
            return self.make_labelling(own, [first.get(row) for row in range(len(own.labels))], classes)

        return make

    @property
    def _plays_streams(self) -> bool:
        by = self.by
        if not isinstance(by, str) or by in strategy_names():
            return False
        return (by in policy_names() or Path(by).exists()) and kind_of(by) == "stream"

    def _stream(self) -> StreamSession:
        agent, checkpoint = load_trained(str(self.by))
        dataset = None if self.data is None else {"name": self.data}
        agent, _, simulation, _ = streams_for(agent, checkpoint, dataset, "test", {}, num_envs=1, seed=self.seed)
        title = f"{checkpoint['config']['name']} on {simulation.dataset.name}"
        return StreamSession(agent, simulation, make_generator(self.seed, "ties"), title)
