"""Rules of streams that ask where the prediction is uncertain, within a budget.

Zliobaite, Bifet, Pfahringer & Holmes, "Active Learning With Drifting Streaming Data", IEEE Transactions on Neural
Networks and Learning Systems 25(1), 2014. A rule acts in the stream of a table's rows, where the learner predicts, and
in the one-shot stream, where the nearest images do.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from almeta.checks import Count, Positive, Share, Weight, check_fields
from almeta.registry import Table
from almeta.seeding import make_generator
from almeta.specs import Spec
from almeta.strategies.actor import Outputs
from almeta.strategies.making import make_by_spec
from almeta.stream import Examples, StreamState, TableStreamState

# Share of labels to ask for where neither the rule nor the environment sets one.
BUDGET = 0.1


@dataclass(frozen=True)
class RuleMemory:
    """What a rule remembers of E streams.

    Attributes:
        spent: `[E]` float32, labels asked for of late, as `spend` counts them.
        threshold: `[E]` float32, for rules that move it.
        examples: the images seen so far in the one-shot stream; None elsewhere.
    """

    spent: Tensor
    threshold: Tensor
    examples: Examples | None = None


def spend(spent: Tensor, asked: Tensor, window: int) -> Tensor:
    """Return the labels asked for of late after one more row, `[E]`: `spent * (window - 1) / window + asked`.

    Divided by the window, this is the paper's estimate of the share of the last rows that were asked for, which needs
    no list of them.
    """
    return spent * ((window - 1) / window) + asked


def adapt(threshold: Tensor, asked: Tensor, change: float) -> Tensor:
    """Return the next threshold `[E]`: times 1 - change where the label was asked for, else times 1 + change."""
    return threshold * torch.where(asked, 1 - change, 1 + change)


def default_threshold(budget: Tensor, num_classes: Tensor) -> Tensor:
    """Return a fixed threshold `[E]`: the share `budget` of the way from 1 / C, pure chance, to 1, certainty."""
    chance = 1 / num_classes
    return chance + budget * (1 - chance)


def confidence_of(probabilities: Tensor, labels: Tensor, num_classes: Tensor) -> Tensor:
    """Return the probability of the likeliest class, `[E]`; 1 / C where fewer than two classes have a label.

    A learner that knows a single class is certain of everything, and has no opinion.

    Args:
        probabilities: `[E, C]`.
        labels: `[E, C]`, how many labels of each class are known.
        num_classes: `[E]`.
    """
    return probabilities.amax(-1).where((labels > 0).sum(-1) > 1, 1 / num_classes)


def slot_probabilities(examples: Examples, item: Tensor, sharpness: float) -> Tensor:
    """Return the probability of each label slot of an image, `[E, S]`: a softmax over the nearest examples.

    A slot's logit is minus the distance to its nearest example, in units of the mean distance to all examples, times
    the sharpness. A slot without an example is at that mean distance: what is as far from all examples as these usually
    are may well be of a new class.

    Args:
        examples: images with their labels, where they are known.
        item: `[E, F]`, the image.
        sharpness: how much the nearest slot is preferred.
    """
    distances = examples.distances(item)
    known, slots = distances.isfinite(), examples.by_slot(distances)
    mean = distances.where(known, 0.0).sum(1, keepdim=True) / known.sum(1, keepdim=True).clamp_min(1)
    relative = (slots / mean.clamp_min(1e-9)).where(slots.isfinite(), 1.0)
    return (-sharpness * relative).softmax(-1)


@dataclass(eq=False)
class StreamRule:
    """Ask where the rule wants to and the budget allows it: a subclass has `rule`, its name, and `wants`.

    The budget is the paper's: a rule asks only while the share asked for of late, as `spend` estimates it, is below
    `budget`. Confidence is the probability of the likeliest class: in the stream of rows that of `confidence_of`, in
    the one-shot stream that of `slot_probabilities`.

    Args:
        budget: share of labels to ask for; None for the share that the environment allows, or 0.1 if it has no limit.
        window: number of the last rows over which the share is estimated.
        sharpness: of `slot_probabilities`; of no effect in the stream of rows.
        capacity: images before the current one that are remembered in the one-shot stream.
    """

    rule: ClassVar[str]

    budget: Share | None = None
    window: Count = 100
    sharpness: Positive = 10.0
    capacity: Count = 30

    def __post_init__(self) -> None:
        check_fields(self, f"stream rule {self.rule}")

    @functools.cached_property
    def generator(self) -> torch.Generator:
        """Draws for rules with chance, on the device of the streams; `make_rule` sets it."""
        return make_generator(0, "stream rule")

    def initial(self, num_envs: int) -> RuleMemory | None:
        return None

    def begin(self, num_envs: int, device: torch.device) -> RuleMemory:
        """Return the memory of E streams that begin."""
        return RuleMemory(torch.zeros(num_envs, device=device), torch.ones(num_envs, device=device))

    def step(self, state: StreamState | TableStreamState, memory: RuleMemory | None) -> tuple[Outputs, RuleMemory]:
        """Return utilities `[E, A]`: for a request, the last action, inf or -inf; for label slots their probability.

        In the stream of rows, letting the prediction stand has 0.
        """
        mask = state.action_mask
        memory = memory or self.begin(len(mask), mask.device)
        if isinstance(state, StreamState):
            memory = self._remember(state, memory)
            assert memory.examples is not None
            others = slot_probabilities(memory.examples, state.item, self.sharpness)
            confidence, classes = others.amax(-1), torch.full_like(memory.spent, others.shape[1])
            given = BUDGET
        else:
            others = torch.zeros(len(mask), 1, device=mask.device)
            confidence = confidence_of(state.probabilities, state.labels, state.num_classes)
            classes = state.num_classes
            given = state.max_requests / state.length if state.max_requests < state.length else BUDGET
        budget = torch.full_like(confidence, given if self.budget is None else self.budget)
        ask, memory = self.decide(confidence, classes, budget, mask[:, -1], memory)
        request = torch.where(ask, torch.inf, -torch.inf)
        return Outputs(torch.cat((others, request[:, None]), -1)), memory

    def _remember(self, state: StreamState, memory: RuleMemory) -> RuleMemory:
        """Return the memory with the current image and the last label; streams that begin have nothing but that."""
        examples = memory.examples
        if examples is None:
            (num_envs, num_items), num_slots = state.item.shape, state.label.shape[1]
            examples = Examples.none(num_envs, self.capacity + 1, num_items, num_slots, state.item)
        examples.remember(state)
        if state.start is None:
            return replace(memory, examples=examples)
        spent, threshold = memory.spent.masked_fill(state.start, 0.0), memory.threshold.masked_fill(state.start, 1.0)
        return RuleMemory(spent, threshold, examples)

    def decide(
        self, confidence: Tensor, num_classes: Tensor, budget: Tensor, allowed: Tensor, memory: RuleMemory
    ) -> tuple[Tensor, RuleMemory]:
        """Decide on one row of each stream.

        Args:
            confidence: `[E]` float32.
            num_classes: `[E]`, classes C.
            budget: `[E]` float32, share of rows to ask for.
            allowed: `[E]` bool, where asking is allowed at all.
            memory: of the rows before.

        Returns:
            `[E]` bool, where to ask, and the next memory. Where there is no budget left, the threshold stays.
        """
        may = allowed & (memory.spent / self.window < budget)
        wanted, threshold = self.wants(confidence, num_classes, budget, memory.threshold)
        ask = may & wanted
        spent = spend(memory.spent, ask, self.window)
        return ask, replace(memory, spent=spent, threshold=threshold.where(may, memory.threshold))

    def wants(
        self, confidence: Tensor, num_classes: Tensor, budget: Tensor, threshold: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return where the rule asks if it may, `[E]` bool, and the threshold after that, `[E]`."""
        raise NotImplementedError


@dataclass(eq=False)
class RandomWithinBudget(StreamRule):
    """Ask with probability `budget`, whatever the row is (the paper's Random)."""

    rule = "random"

    def wants(
        self, confidence: Tensor, num_classes: Tensor, budget: Tensor, threshold: Tensor
    ) -> tuple[Tensor, Tensor]:
        return self._draw(budget) < budget, threshold

    def _draw(self, like: Tensor) -> Tensor:
        return torch.rand(like.shape, generator=self.generator, device=like.device)


@dataclass(eq=False)
class FixedUncertainty(StreamRule):
    """Ask where the confidence is at most a fixed threshold (the paper's Fixed Uncertainty).

    Args:
        threshold: the confidence, in [0, 1]; None for `default_threshold`.
    """

    rule = "fixed_uncertainty"

    threshold: Share | None = None

    def wants(
        self, confidence: Tensor, num_classes: Tensor, budget: Tensor, threshold: Tensor
    ) -> tuple[Tensor, Tensor]:
        fixed = default_threshold(budget, num_classes) if self.threshold is None else self.threshold
        return confidence <= fixed, threshold


@dataclass(eq=False)
class VariableUncertainty(StreamRule):
    """Ask where the confidence is below a threshold that adapts to the stream (the paper's Variable Uncertainty).

    The threshold begins at 1. A request lowers it, a row that is let stand raises it: labels are asked for all along
    the stream, of the rows that are uncertain compared with those around them.

    Args:
        change: relative change of the threshold at a row.
    """

    rule = "variable_uncertainty"

    change: Share = 0.01

    def wants(
        self, confidence: Tensor, num_classes: Tensor, budget: Tensor, threshold: Tensor
    ) -> tuple[Tensor, Tensor]:
        wanted = confidence < threshold
        return wanted, adapt(threshold, wanted, self.change)


@dataclass(eq=False)
class RandomisedUncertainty(VariableUncertainty):
    """Variable uncertainty with noise: the threshold is multiplied by a draw from N(1, delta) at each row.

    Rows of which the learner is certain are asked for now and then, so that a change far from the border between
    classes is noticed (the paper's Uncertainty Strategy With Randomization).

    Args:
        delta: standard deviation of the factor.
    """

    rule = "randomised_uncertainty"

    delta: Weight = 1.0

    def wants(
        self, confidence: Tensor, num_classes: Tensor, budget: Tensor, threshold: Tensor
    ) -> tuple[Tensor, Tensor]:
        drawn = torch.randn(threshold.shape, generator=self.generator, device=threshold.device)
        wanted = confidence < threshold * (1 + self.delta * drawn)
        return wanted, adapt(threshold, wanted, self.change)


@dataclass(eq=False)
class Split(VariableUncertainty):
    """Some rows at random, the others by variable uncertainty (the paper's Split Strategy).

    A row that falls to chance is asked for with probability `budget`, and leaves the threshold as it is.

    Args:
        share: probability that a row falls to chance.
    """

    rule = "split"

    share: Share = 0.1

    def wants(
        self, confidence: Tensor, num_classes: Tensor, budget: Tensor, threshold: Tensor
    ) -> tuple[Tensor, Tensor]:
        drawn = torch.rand((2, *threshold.shape), generator=self.generator, device=threshold.device)
        by_chance = drawn[0] < self.share
        wanted, adapted = super().wants(confidence, num_classes, budget, threshold)
        return torch.where(by_chance, drawn[1] < budget, wanted), threshold.where(by_chance, adapted)


def rule_names() -> list[str]:
    """Return the names that `make_rule` takes, sorted."""
    return _rules().names


def make_rule(
    rule: str | Mapping[str, Any] | Spec, /, generator: torch.Generator | None = None, **options: Any
) -> StreamRule:
    """Make a rule with options: `make_rule("split", share=0.2)`.

    Args:
        rule: its name, `{"name": ..., option: ...}`, or a `Spec`.
        generator: draws for rules with chance, on the device of the streams; None for one of seed 0.
        options: further options.

    Raises:
        AlmetaError: if the name or an option is unknown, or a value is out of range.
    """
    return make_by_spec(Spec.read(rule, "stream rule"), _rules().find, "stream rule", generator, options)


@functools.cache
def _rules() -> Table[type[StreamRule]]:
    """Return the table of rules, with those of this folder."""
    return Table[type[StreamRule]]("stream rule").add_classes("almeta.strategies", StreamRule, "rule")
