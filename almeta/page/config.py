"""From the config of `label` to what the page plays."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Annotated

from almeta.checks import Count, Share, Within
from almeta.data.own import Own
from almeta.errors import AlmetaError
from almeta.page.card import Player
from almeta.page.session import Labels, Make, Session, Thinker
from almeta.page.stream import StreamSession
from almeta.policies import load_trained, name_of
from almeta.queries import Labelling
from almeta.queries.labelling import kind_of_actor
from almeta.runs.config import check_meaning
from almeta.runs.own import OwnConfig
from almeta.runs.streams import streams_for
from almeta.seeding import make_generator

# Knobs that mean nothing to a policy of streams: those of rows.
_OF_ROWS = {field.name for field in fields(OwnConfig)} - {"by", "modules", "seed"} | {"random_share"}


@dataclass(frozen=True)
class LabelConfig(OwnConfig):
    """The config of `label`."""

    data: str | None
    random_share: Share
    port: Annotated[int, Within(1, 65535)] | None
    show: bool
    threads: Count | None

    def check_knobs(self, given: Iterable[str]) -> None:
        """Raise an AlmetaError if one of the keys `given` on the command line means nothing to who chooses."""
        if (kind := kind_of_actor(self.by)) == "stream":
            check_meaning(kind, given, _OF_ROWS)

    @contextlib.contextmanager
    def opened(self) -> Iterator[tuple[Player, Thinker | None]]:
        """Open the rows, or the policy of streams, and yield what the page plays.

        Raises:
            AlmetaError: if something is missing or cannot be read, or another process holds the file of answers.
        """
        if kind_of_actor(self.by) == "stream":
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

    def _stream(self) -> StreamSession:
        agent, checkpoint = load_trained(str(self.by))
        dataset = None if self.data is None else {"name": self.data}
        agent, simulation, _ = streams_for(agent, checkpoint, dataset, "unseen", {}, num_envs=1, seed=self.seed)
        title = f"{name_of(str(self.by))} on {simulation.dataset.name}"
        return StreamSession(agent, simulation, make_generator(self.seed, "ties"), title)
