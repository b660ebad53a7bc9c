"""Oracles, who answer queries: perfectly, with mistakes, tired, for a price, several of them, or not at all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from almeta.checks import Share, Weight, check_arguments, check_value
from almeta.errors import AlmetaError, did_you_mean
from almeta.geometry import Geometry, rows_of

Place = Literal["dense", "random"]

# What may differ between annotators: they answer about the same region, and are tired together.
_OWN = ("noise", "deviation", "decline", "price", "spread", "region_noise", "region_deviation")


# Options for classes or for numbers alone, and what says the same of the others.
_OF_CLASSES = {"noise": "deviation", "fatigue": "deviation", "region_noise": "region_deviation"}
_OF_NUMBERS = {"deviation": "noise", "region_deviation": "region_noise"}

# Errors in a region of which nothing is said.
_REGION_NOISE, _REGION_DEVIATION = 0.4, 1.0


class Answers(NamedTuple):
    """The answers of the oracles of E episodes, drawn before the first query.

    Attributes:
        labels: `[E, N]` int64, the answer for each row of an oracle who is not tired; -1 where the oracle declines, and
            for padding. Of numbers float32; NaN there.
        prices: `[E, N]` float32, the price of a query of the row; 0 for padding.
        mistakes: `[E, N]` int64, the wrong answer for each row, if the answer is wrong; -1 as in `labels`.
        stamina: `[E, N]` float32, how far the error rate must rise above that of the row until the answer is wrong:
            below 0 for answers that are wrong in any case, inf for those that are right at any time.
        region: `[E, N]` bool, the rows of the region with a noise of its own.
    """

    labels: Tensor
    prices: Tensor
    mistakes: Tensor
    stamina: Tensor
    region: Tensor

    def told(self, rows: Tensor, tired: Tensor | float = 0.0) -> Tensor:
        """Return the answers `[E, K]` about rows `[E, K]`; as `labels` for a declined one, and for no row (-1).

        Args:
            rows: what is asked.
            tired: `[K]` or a number, how much the error rate has risen since the oracle began; see `Oracle.tired`.
        """
        place = rows.clamp_min(0)
        labels = torch.where(
            self.stamina.gather(1, place) < tired, self.mistakes.gather(1, place), self.labels.gather(1, place)
        )
        return labels.where(rows >= 0, torch.nan if labels.is_floating_point() else -1)


@dataclass(frozen=True)
class Oracle:
    """An oracle; by default it is perfect and free of charge.

    All answers are drawn when an episode begins, so that strategies compared on the same episode get the same answers:
    a row has one random number, and its answer is wrong if that is below the error rate at the time of the answer. The
    random numbers do not depend on the options: from one state of the generator, an oracle of another price makes
    the same mistakes, and one with more noise makes those and others.

    A declined query spends budget and costs its price, as any other. Its row gets no label and cannot be queried again.

    With `annotators`, each row can be asked once of each of A annotators: a pool of N rows has N * A questions, and
    question r * A + a asks annotator a about row r.

    Args:
        noise: share of wrong answers, or a list of shares, one for each true class. A wrong answer is one of the other
            classes of the task, all equally likely. Numbers have a `deviation` instead.
        deviation: of targets that are numbers, the standard deviation of an answer's normal noise, in units of that of
            the data set's targets.
        decline: share of rows without an answer.
        price: mean price of a query, in units of the reward.
        spread: standard deviation of the logarithm of the prices, which are log-normal; 0 makes all prices equal.
        region: where answers are wrong more often: in a ball around the densest row ("dense"), the one whose nearest
            neighbours are nearest, or around a row drawn at "random". None for nowhere.
        region_share: share of the pool's rows that lie in that ball, those nearest to its centre.
        region_noise: share of wrong answers there, in place of `noise`; None for 0.4.
        region_deviation: of targets that are numbers, the deviation there, in place of `deviation`; None for 1.
        fatigue: how much the error rate rises with each answer. It rises no further than to guessing, 1 - 1 / classes.
        recovery: the share of that rise that a pause makes good; there is one between two queries. With 1, and queries
            of one answer, nobody ever tires, which `check_effect` refuses.
        annotators: what differs between those who may be asked, such as [{noise: 0.05, price: 4}, {noise: 0.3}]: each
            is this oracle with the changes, and answers by itself. Twice the same is an oracle who can be asked again.

    Raises:
        AlmetaError: for an option out of range, and one of a region where there is none.
    """

    noise: Share | Sequence[float] = 0.0
    deviation: Weight = 0.0
    decline: Share = 0.0
    price: Weight = 0.0
    spread: Weight = 0.0
    region: Place | None = None
    region_share: Share = 0.25
    region_noise: Share | None = None
    region_deviation: Weight | None = None
    fatigue: Weight = 0.0
    recovery: Share = 1.0
    annotators: Sequence[Mapping[str, Any]] = ()

    def __post_init__(self) -> None:
        check_arguments(Oracle, vars(self), "oracle")
        for index, rate in enumerate(self.noise if isinstance(self.noise, Sequence) else []):
            check_value(f"oracle.noise[{index}]", rate, Share)
        for key in ("region_share", "region_noise", "region_deviation"):
            value = getattr(self, key)
            if self.region is None and value != getattr(Oracle, key):
                raise AlmetaError(
                    f"oracle.{key}={value} is about a region, and there is none; set oracle.region=dense or random"
                )
        _ = self._everybody  # raises for wrong changes

    @property
    def num_annotators(self) -> int:
        """A, how many may be asked about each row."""
        return max(1, len(self.annotators))

    @property
    def _everybody(self) -> list["Oracle"]:
        """The oracle of each annotator."""
        alone = replace(self, annotators=()) if self.annotators else self
        for number, changes in enumerate(self.annotators):
            if not isinstance(changes, Mapping):
                raise AlmetaError(f"oracle.annotators[{number}] is {changes!r}; it must be a group of keys")
            for key in changes:
                if key not in _OWN:
                    raise AlmetaError(did_you_mean(str(key), _OWN, f"key of oracle.annotators[{number}]"))
            check_arguments(Oracle, changes, f"oracle.annotators[{number}]")
        return [replace(alone, **changes) for changes in self.annotators] or [alone]

    def check_effect(self, query_size: int) -> None:
        """Raise AlmetaError if it is to tire and never does, in queries of so many answers."""
        if self.fatigue > 0 and self.recovery == 1 and query_size == 1:
            raise AlmetaError(
                f"oracle.fatigue={self.fatigue} has no effect: with oracle.recovery=1, the pause after a query of one "
                "answer makes all of it good; set oracle.recovery below 1, or env.query_size above 1"
            )

    def tired(self, before: float, count: int) -> tuple[Tensor, float]:
        """Return how much the error rate has risen at each answer of a query, and at the first one of the next.

        Args:
            before: how much it has risen at the first answer of this query; 0 in the beginning.
            count: answers of the query K.

        Returns:
            `[K]` float32: before + fatigue * k at answer k = 0 .. K-1; and (before + fatigue * K) * (1 - recovery).
        """
        return before + self.fatigue * torch.arange(count), (before + self.fatigue * count) * (1 - self.recovery)

    def answer(self, x: Tensor, y: Tensor, exists: Tensor, num_classes: Tensor, generator: torch.Generator) -> Answers:
        """Draw the answers for all rows of E pools, of each of A annotators.

        Args:
            x: `[E, N, D]` float32, features, in which the region is a ball.
            y: `[E, N]` int64, true labels, or float32, true numbers; any number for padding.
            exists: `[E, N]` bool, False for padding.
            num_classes: `[E]` int64, the number of classes of each task.
            generator: on the device of `y`.

        Returns:
            The answers, each `[E, N * A]`.

        Raises:
            AlmetaError: if noise is a list for fewer classes than there are, if numbers have shares of wrong answers,
                and if classes have a deviation.
        """
        self._check_kind(y)
        everybody = self._everybody
        draws = [_draw(y, generator) for _ in everybody]
        region = self._region(x, exists, generator)
        answers = [
            one._answer(y, exists, num_classes, region, drawn) for one, drawn in zip(everybody, draws, strict=True)
        ]
        return Answers(*(torch.stack(parts, -1).flatten(1) for parts in zip(*answers, strict=True)))

    def _answer(self, y: Tensor, exists: Tensor, num_classes: Tensor, region: Tensor, drawn: Tensor) -> Answers:
        """Return the answers `[E, N]` of one annotator, by the numbers of `_draw`."""
        luck, other, silent, normal, *errors = drawn
        prices = (self.price * (self.spread * normal - self.spread**2 / 2).exp()).where(exists, 0.0)
        given = exists & (silent >= self.decline)
        if errors:
            there = _REGION_DEVIATION if self.region_deviation is None else self.region_deviation
            deviation = torch.where(region, there, self.deviation)
            numbers = (y + deviation * errors[0]).where(given, torch.nan)
            return Answers(numbers, prices, numbers, torch.full_like(luck, torch.inf), region & exists)
        true, classes = y.where(exists, 0), num_classes[:, None]
        # Adding 1 .. C-1, modulo C, gives any other class; a task of one class has no wrong answer.
        step = 1 + (other * (classes - 1)).long()
        mistakes = (true + step) % classes
        there = _REGION_NOISE if self.region_noise is None else self.region_noise
        noise = torch.where(region, there, self._noise_of(true, num_classes))
        labels = torch.where(luck < noise, mistakes, true)
        guessing = torch.maximum(noise, 1 - 1 / classes)
        stamina = (luck - noise).where(luck < guessing, torch.inf)
        return Answers(labels.where(given, -1), prices, mistakes.where(given, -1), stamina, region & exists)

    def _check_kind(self, y: Tensor) -> None:
        """Raise AlmetaError for mistakes that targets of this kind cannot have."""
        if y.is_floating_point():
            wrong, about, target = _OF_CLASSES, "about shares of wrong classes", "numbers"
        else:
            wrong, about, target = _OF_NUMBERS, "noise of numbers", "classes"
        for one in self._everybody:
            for key, other in wrong.items():
                value = getattr(one, key)
                if value != getattr(Oracle, key):
                    raise AlmetaError(f"oracle.{key}={value} is {about}, and targets are {target}; set oracle.{other}")

    def _region(self, x: Tensor, exists: Tensor, generator: torch.Generator) -> Tensor:
        """Return the rows of the region, `[E, N]` bool."""
        if self.region is None:
            return torch.zeros_like(exists)
        if self.region == "dense":
            distance = Geometry(x, exists).neighbours[1]
            reached = distance.isfinite()
            mean = distance.where(reached, 0.0).sum(-1) / reached.sum(-1).clamp_min(1)
            centre = mean.masked_fill(~exists, torch.inf).argmin(1)
        else:
            drawn = torch.rand(len(x), generator=generator, device=x.device)
            centre = (drawn * exists.sum(1)).long()  # rows that pad are the last
        away = torch.linalg.vector_norm(x - rows_of(x, centre[:, None]), dim=-1).masked_fill(~exists, torch.inf)
        rank = away.argsort(dim=1, stable=True).argsort(dim=1)
        return rank < (self.region_share * exists.sum(1, keepdim=True)).round()

    def _noise_of(self, true: Tensor, num_classes: Tensor) -> Tensor:
        """Return the probability of a wrong answer for rows of true class `[E, N]`."""
        if not isinstance(self.noise, Sequence):
            return torch.full(true.shape, float(self.noise), device=true.device)
        most = int(num_classes.max())
        if len(self.noise) < most:
            raise AlmetaError(f"oracle.noise has {len(self.noise)} shares, but a task has {most} classes; give {most}")
        return torch.tensor(self.noise, device=true.device)[true]


def _draw(y: Tensor, generator: torch.Generator) -> Tensor:
    """Return random numbers for labels `[E, N]`: `[4, E, N]`, the first three uniform in [0, 1), the last normal.

    For numbers they are `[5, E, N]`, the last two normal.
    """
    uniform = torch.rand((3, *y.shape), generator=generator, device=y.device)
    normals = 2 if y.is_floating_point() else 1
    return torch.cat((uniform, torch.randn((normals, *y.shape), generator=generator, device=y.device)))
