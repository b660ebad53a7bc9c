"""What an answer is worth and what it costs: whom to ask where annotators differ in skill and price."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from almeta.checks import Share, Weight
from almeta.errors import AlmetaError
from almeta.pool import PoolState
from almeta.specs import Spec
from almeta.strategies.based import BasedStrategy
from almeta.strategies.second_opinion import held_out_probabilities

# What is free counts as if it cost this.
_CHEAPEST = 1e-6
# The skill of an annotator of whom nothing is known, and how many answers that belief weighs as much as.
_PRIOR, _PRIOR_ANSWERS = 0.8, 2.0
_ROUNDS = 20


def information(skill: Tensor, num_classes: Tensor) -> Tensor:
    """Return what an answer tells of the true class, in nats: the capacity of a symmetric channel, `[E, A]`.

    With C classes and skill s it is log C + s log s + (1 - s) log((1 - s) / (C - 1)) (Cover & Thomas, Elements of
    Information Theory, section 7.2): log C for s = 1, and 0 for guessing, s = 1 / C, or worse than that.

    Args:
        skill: `[E, A]` in [0, 1], the probability of a right answer.
        num_classes: `[E]` int64.
    """
    classes = num_classes[:, None].to(skill.dtype)
    s = torch.maximum(skill, 1 / classes)
    others = torch.where(classes > 1, (1 - s) * (classes - 1).clamp_min(1).log(), 0.0)
    return (classes.log() - torch.special.entr(s) - torch.special.entr(1 - s) - others).clamp_min(0.0)


def estimated_skill(chances: Tensor, counted: Tensor, num_classes: Tensor) -> tuple[Tensor, Tensor]:
    """Return each annotator's skill by expectation and maximisation, and how many answers it rests on, both `[E, A]`.

    An answer i with probability p_i of its label, by who does not know it, is right with probability
    r_i = s p_i / (s p_i + (1 - s) (1 - p_i) / (C - 1)), and the skill s is the mean of the r_i of the annotator: the
    one-coin model of Raykar et al., JMLR 2010, with the classifier held fixed. A belief of skill 0.8 counts as two
    answers more. An answer about which nothing is known, p_i = 1 / C, leaves the skill where it is.

    Args:
        chances: `[E, P]` in [0, 1], p_i.
        counted: `[E, P, A]` float32, 1 for the annotator who gave the answer; 0 for no answer.
        num_classes: `[E]` int64.
    """
    number = counted.sum(1)
    skill = torch.full_like(number, _PRIOR)
    rest = (1 - chances) / (num_classes[:, None] - 1).clamp_min(1)
    for _ in range(_ROUNDS):
        own = torch.einsum("epa,ea->ep", counted, skill)
        right = own * chances / (own * chances + (1 - own) * rest).clamp_min(1e-12)
        skill = (torch.einsum("epa,ep->ea", counted, right) + _PRIOR * _PRIOR_ANSWERS) / (number + _PRIOR_ANSWERS)
    return skill, number


class PerPrice(BasedStrategy):
    """The score of a base divided by the price: Settles, Craven & Friedland 2008, "return on investment".

    Scores below 0 are moved up first, see `informativeness`. Of several annotators it asks the cheapest.

    Args:
        base: the strategy that chooses by what a label is worth.
    """

    name = "per_price"

    def __init__(self, base: str | Mapping[str, Any] | Spec = "margin") -> None:
        super().__init__(base)

    def score(self, state: PoolState) -> Tensor:
        return self.informativeness(state) / state.prices.clamp_min(_CHEAPEST)


class BestAnnotator(BasedStrategy):
    """Ask about the base's row the annotator whose answer tells most, for its price or whatever it costs.

    The score of the base is multiplied by the `information` of the annotator's answer, and divided by the price. The
    skill is estimated on the way (`estimated_skill`), from what the learner says of each answer without knowing it.
    Who was asked little may be better than it looks: the skill counts with so many standard errors more, as in
    Donmez, Carbonell & Schneider, KDD 2009, who take the upper end of an interval, too. First labels are nobody's.

    Args:
        base: the strategy that chooses rows.
        per_price: whether the information is divided by the price.
        skills: of the annotators, in their order, if they are known; None to estimate them.
        optimism: standard errors that are added to an estimate.

    Raises:
        AlmetaError: for a base that is for numbers alone: the skill is a share of right classes.
    """

    name = "best_annotator"
    own_targets = ("classes",)

    def __init__(
        self,
        base: str | Mapping[str, Any] | Spec = "margin",
        per_price: bool = True,
        skills: Sequence[Share] | None = None,
        optimism: Weight = 1.0,
    ) -> None:
        super().__init__(base)
        self.per_price, self.skills, self.optimism = per_price, skills, optimism

    def score(self, state: PoolState) -> Tensor:
        told = information(self.skill(state), state.num_classes).repeat(1, state.x.shape[1] // state.annotators)
        worth = self.informativeness(state) * told
        return worth / state.prices.clamp_min(_CHEAPEST) if self.per_price else worth

    def skill(self, state: PoolState) -> Tensor:
        """Return the skill that each annotator is taken to have, `[E, A]` in [0, 1]."""
        if self.skills is not None:
            if len(self.skills) != state.annotators:
                raise AlmetaError(
                    f"best_annotator.skills has {len(self.skills)} numbers, and there are {state.annotators} annotators"
                )
            return state.x.new_tensor(self.skills).expand(len(state.x), -1)
        begin = state.picks.shape[1] - state.spent
        picks = state.picks[:, begin:]
        labels = torch.where(picks >= 0, state.labels.gather(1, picks.clamp_min(0)), -1)
        found = held_out_probabilities(state, self.generator)[:, begin:]
        chances = found.gather(-1, labels.clamp_min(0)[..., None]).squeeze(-1)
        known = (labels >= 0) & (chances > 0)  # nothing is said of a class that no other fold has
        who = picks.clamp_min(0) % state.annotators
        counted = torch.nn.functional.one_hot(who, state.annotators) * known[..., None]
        skill, number = estimated_skill(chances, counted.float(), state.num_classes)
        error = (skill * (1 - skill) / (number + _PRIOR_ANSWERS)).sqrt()
        return (skill + self.optimism * error).clamp_max(1.0)
