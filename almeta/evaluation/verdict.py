"""A comparison in words: which strategies differ, by how much, and how sure that is."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from almeta.errors import AlmetaError, did_you_mean
from almeta.evaluation.comparison import LEVEL, RANDOM, Comparison, Pair, smallest_p_value
from almeta.evaluation.curves import repeat_means
from almeta.evaluation.statistics import Estimate, mean_interval

BETWEEN = ": "  # a setting and the strategy that plays in it

AskedPair = Sequence[str] | Mapping[str, Any]  # two strategies, or two groups of them, see `Question`


def verdict(comparison: Comparison) -> list[str]:
    """Return sentences, those about random first. A point is 0.01 of the score."""
    names = comparison.strategies
    if len(names) == 1:
        return [f"There is nothing to compare: '{names[0]}' is the only strategy."]
    sentences = _scope(comparison)
    for opponent in comparison.opponents.values():
        sentences += _against(comparison, opponent)
        if comparison.unit == "data set" and smallest_p_value(comparison) >= LEVEL:
            sentences += _one_by_one(comparison, opponent)
    if comparison.reference not in names:
        known = ", ".join(names)
        sentences.append(f"The reference '{comparison.reference}' is not among the strategies ({known}).")
    return sentences + _leader(comparison) + _any_difference(comparison)


def p_text(p_value: float) -> str:
    """Return a p-value as text: "p < .001", "p = .023", "p = 1"."""
    if p_value < 0.001:
        return "p < .001"
    text = f"{p_value:.3f}" if p_value < 0.1 else f"{p_value:.2f}"
    return f"p = {text[1:] if text.startswith('0') else '1'}"


def count_text(count: int, noun: str) -> str:
    """Return a number with its noun: "1 data set", "27 data sets", "3 strategies"."""
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count:,} {noun if count == 1 else plural}"


def points(value: float) -> str:
    """Return a difference of scores in points (hundredths), with two decimals and no "-0.00"."""
    return f"{round(100 * value, 2) + 0.0:.2f}"


def fewer_repeats(repeats: Mapping[str, int]) -> str:
    """Return who has played fewer repeats than others: "Fewer repeats than 16: bald (4)."; empty if nobody has."""
    most = max(repeats.values())
    fewer = [f"{shorten(name, 36)} ({count:,})" for name, count in repeats.items() if count < most]
    return f"Fewer repeats than {most:,}: {', '.join(fewer)}." if fewer else ""


def told_repeats(repeats: Mapping[str, int]) -> list[str]:
    """Return a sentence about who has played fewer repeats than others, if anybody has."""
    fewer = fewer_repeats(repeats)
    if not fewer:
        return []
    return [
        f"{fewer} Each is compared with others in these alone; a learner with chance in it, such as mlp, has other "
        "random numbers there."
    ]


def repeats_text(counts: Sequence[int]) -> str:
    """Return numbers of repeats: "16 repeats", "4 to 16 repeats"."""
    low, high = min(counts), max(counts)
    return count_text(low, "repeat") if low == high else f"{low:,} to {high:,} repeats"


def shorten(name: str, length: int) -> str:
    """Return a name cut to a length in its middle, because paths differ at their ends."""
    if len(name) <= length:
        return name
    head = (length - 1) // 3
    return f"{name[:head]}…{name[head - length + 1 :]}"


def _scope(comparison: Comparison) -> list[str]:
    unit = comparison.unit
    count = len(comparison.areas if unit == "repeat" else comparison.by_dataset)
    sentences = []
    if unit == "repeat":
        (name,) = comparison.by_dataset.index
        what = f"over its {count:,} repeats" if count > 1 else "in its single repeat, without interval or test"
        sentences.append(
            f"All is about one data set, {shorten(name, 60)}: compared {what}, it says nothing about others."
        )
    if count > 1 and (smallest := smallest_p_value(comparison)) >= LEVEL:
        pairs = count_text(len(comparison.pairs), "pair")
        sentences.append(
            f"No difference can be clear over {count_text(count, unit)}: the signed-rank test, Holm-corrected for "
            f"{pairs}, gives {p_text(smallest)} at the smallest."
        )
    return sentences + told_repeats(comparison.repeats.to_dict())


def _against(comparison: Comparison, opponent: str) -> list[str]:
    others = [name for name in comparison.strategies if name not in (opponent, RANDOM)]  # random's were the first
    pairs = sorted((comparison.pair(name, opponent) for name in others), key=lambda pair: -pair.mean)
    better = [pair for pair in pairs if pair.is_clear and pair.mean > 0]
    worse = [pair for pair in pairs if pair.is_clear and pair.mean < 0]
    equal = [pair for pair in pairs if not pair.is_clear and pair.ties == pair.units]
    unclear = [pair for pair in pairs if not pair.is_clear and pair not in equal]
    sentences = [_difference(comparison, pair) for pair in better]
    if pairs and not better:
        sentences.append(f"Nothing is clearly better than {opponent}.")
    if unclear:
        listed = _listed([f"{pair.first} ({_in_brackets(pair)})" for pair in unclear])
        sentences.append(f"No clear difference between {opponent} and {listed}.")
    if equal:
        names = _listed([pair.first for pair in equal])
        where = _where(comparison, max(pair.units for pair in equal))
        sentences.append(f"No difference at all between {opponent} and {names}: equal {where}.")
    return sentences + [_difference(comparison, pair) for pair in reversed(worse)]


def _difference(comparison: Comparison, pair: Pair) -> str:
    """Return the sentence of a clear one: "margin is better than random by 0.93 points (...) on 27 data sets, ..."."""
    word, count = ("better", pair.wins) if pair.mean > 0 else ("worse", pair.losses)
    low, high = _interval(abs(pair.mean), pair.half_width)
    return (
        f"{pair.first} is {word} than {pair.second} by {points(abs(pair.mean))} points (95 % interval {low} to {high}, "
        f"Holm {p_text(pair.p_holm or 0.0)}) {_where(comparison, pair.units)}, {word} {_place(comparison)} {count:,} "
        f"of them{_clear_by_themselves(comparison, pair)}."
    )


def _one_by_one(comparison: Comparison, opponent: str) -> list[str]:
    """Return a sentence about the differences that are clear on a data set by itself, if there are any."""
    signs = comparison.clear_on(opponent)
    counts = [
        f"{name} is clearly {word} than {opponent} on {_named(where)}"
        for name in comparison.strategies
        for word, sign in (("better", 1), ("worse", -1))
        if name != RANDOM and (where := list(signs.index[signs[name] == sign]))
    ]
    return [f"Each data set by itself, judged by its repeats: {'; '.join(counts)}."] if counts else []


def _clear_by_themselves(comparison: Comparison, pair: Pair) -> str:
    """Return on how many data sets the difference is clear by itself, and on which ones it is clearly opposite."""
    if comparison.unit == "repeat":
        return ""
    signs = comparison.clear_on(pair.second)[pair.first] * (1 if pair.mean > 0 else -1)
    text = f", clear by itself on {(signs > 0).sum():,}"
    if against := list(signs.index[signs < 0]):
        text += f"; clearly {'worse' if pair.mean > 0 else 'better'} on {_named(against)}"
    return text


def _named(datasets: list[str]) -> str:
    """Return the number and the first names: "4 (iris, wine, zoo, ...)"."""
    names = [shorten(name, 36) for name in datasets[:3]] + ["..."] * (len(datasets) > 3)
    return f"{len(datasets):,} ({', '.join(names)})"


def _in_brackets(pair: Pair) -> str:
    if pair.half_width is None or pair.p_holm is None:
        return f"{points(pair.mean)} points"
    low, high = _interval(pair.mean, pair.half_width)
    return f"{points(pair.mean)} points, {low} to {high}, {p_text(pair.p_holm)}"


def _interval(mean: float, half_width: float | None) -> tuple[str, str]:
    width = half_width or 0.0
    return points(mean - width), points(mean + width)


def _leader(comparison: Comparison) -> list[str]:
    """Return the strategy with the best mean rank, and those that it does not clearly beat."""
    best, *others = comparison.strategies
    level = [name for name in others if not ((pair := comparison.pair(best, name)).is_clear and pair.mean > 0)]
    start = f"{best} has the best mean rank, {comparison.mean_ranks[best]:.2f} of {len(others) + 1}"
    if not level:
        return [f"{start}, and is clearly better than every other one."]
    if len(level) == len(others):
        return [f"{start}, but is not clearly better than any other one."]
    return [f"{start}; not clearly worse: {_listed(level)}."]


def _any_difference(comparison: Comparison) -> list[str]:
    test = comparison.friedman
    if test is None:
        return []
    finding = "the strategies differ" if test.p_value < LEVEL else "no sign that the strategies differ"
    return [
        f"Friedman test over {count_text(len(comparison.units), comparison.unit)}: {finding} (chi-square "
        f"{test.chi_square:.1f}, {test.degrees} degrees of freedom, {p_text(test.p_value)})."
    ]


def _place(comparison: Comparison) -> str:
    return "on" if comparison.unit == "data set" else "in"


def _where(comparison: Comparison, units: int) -> str:
    return f"{_place(comparison)} {count_text(units, comparison.unit)}"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


@dataclass(frozen=True)
class Question:
    """What a benchmark is to tell.

    Args:
        text: the question.
        pairs: of strategies; the gain of the first over the second is told. A pair of groups, of which the means are
            compared, has words of its own: `{says: both over random, first: [margin, entropy], second: [random]}`.
        measures: pairs of which another measure than the first one is told, by its name: {noisy_region: [[a, b]]}.
        each_dataset: whether it is told for each data set, and not for their mean.

    Raises:
        AlmetaError: for a pair that is none.
    """

    text: str
    pairs: Sequence[AskedPair]
    measures: Mapping[str, Sequence[AskedPair]] = field(default_factory=dict)
    each_dataset: bool = False

    def __post_init__(self) -> None:
        for pair in self._all_pairs():
            if isinstance(pair, Mapping):
                if set(pair) != {"says", "first", "second"} or not (pair["first"] and pair["second"]):
                    raise AlmetaError(
                        f"question.pairs has {dict(pair)}; a pair of groups has says, first and second, the last two "
                        "lists of strategies"
                    )
            elif len(pair) != 2:
                raise AlmetaError(f"question.pairs has {list(pair)}; each must name two strategies")

    def check(self, strategies: Sequence[str]) -> None:
        """Raise AlmetaError if a strategy is not among those that play."""
        for name in itertools.chain.from_iterable(map(named_in, self._all_pairs())):
            if name not in strategies:
                raise unknown_in_question(name, strategies)

    def check_measures(self, measures: Sequence[str]) -> None:
        """Raise AlmetaError if a pair is about a measure that is not among those further ones that are recorded."""
        for name in self.measures:
            if name not in measures:
                known = ", ".join(measures) or "none"
                raise AlmetaError(
                    f"question.measures names '{name}', but the further measures are {known}: add it to "
                    "scores, or ask nothing with question=null"
                )

    def answer(self, areas: pd.DataFrame, further: Mapping[str, pd.DataFrame] | None = None) -> str:
        """Return the question and its answer in one line, from the paired repeats of these data sets alone.

        Args:
            areas: of `curve_areas`, a column for each strategy that a pair names.
            further: the same of each measure in `measures`, by its name.
        """
        if self.each_dataset:
            parts = [
                f"On {name}: {self._told(block, {key: table.loc[[name]] for key, table in (further or {}).items()})}."
                for name, block in areas.groupby(level="dataset", sort=False)
            ]
            return f"{self.text} {' '.join(parts)}"
        return f"{self.text} {self._told(areas, further or {})}."

    def _told(self, areas: pd.DataFrame, further: Mapping[str, pd.DataFrame]) -> str:
        told = [_gain(areas, pair) for pair in self.pairs]
        for name, pairs in self.measures.items():
            gains = "; ".join(_gain(further[name], pair) for pair in pairs)
            told.append(f"of {name.replace('_', ' ')}, {gains}")
        return "; ".join(told)

    def _all_pairs(self) -> list[AskedPair]:
        return [*self.pairs, *itertools.chain.from_iterable(self.measures.values())]


def unknown_in_question(name: str, known: Sequence[str]) -> AlmetaError:
    """Return what to raise if a question names a strategy that does not play."""
    told = did_you_mean(name, known, "strategy of the question")
    return AlmetaError(f"{told}; or ask nothing with question=null")


def named_in(pair: AskedPair) -> list[str]:
    """Return the strategies that a pair of a question names."""
    return [*pair["first"], *pair["second"]] if isinstance(pair, Mapping) else list(pair)


def gain_over_repeats(areas: pd.DataFrame, first: Sequence[str], second: Sequence[str]) -> Estimate:
    """Return the gain of some columns of `curve_areas` over others, and half of its 95 % interval over repeats.

    The means of the columns are compared. Data sets are averaged in each repeat: the interval is about these data sets
    and speaks of no others. Two columns are compared on the data sets that both have; of groups, whose settings may be
    about different data sets, each column counts by those that it has.
    """
    if len(first) == len(second) == 1:
        pair = areas[[*first, *second]]
        areas = pair.where(pair.notna().all(axis=1), axis=0)
    means = repeat_means(areas)
    gains = means[list(first)].mean(axis=1, skipna=False) - means[list(second)].mean(axis=1, skipna=False)
    return mean_interval(gains.dropna().tolist())


def _gain(areas: pd.DataFrame, pair: AskedPair) -> str:
    """Return "margin over random 1.20 points (0.30 to 2.10, interval above 0)", the interval over repeats."""
    if isinstance(pair, Mapping):
        says, estimate = pair["says"], gain_over_repeats(areas, pair["first"], pair["second"])
    else:
        first, second = pair
        setting, between, _ = first.rpartition(BETWEEN)
        says = f"{first} over {second.removeprefix(setting + between)}"
        estimate = gain_over_repeats(areas, [first], [second])
    mean, half = estimate.mean, estimate.half_width
    if mean is None:
        return f"{says} is not known"
    said = f"{says} {points(mean)} points"
    if half is None:
        return f"{said} (a single repeat has no interval)"
    low, high = mean - half, mean + half
    where = "above 0" if low > 0 else "below 0" if high < 0 else "holds 0"
    return f"{said} ({points(low)} to {points(high)}, interval {where})"
