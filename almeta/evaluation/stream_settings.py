"""The table of one policy, or a few, on streams of several data sets, numbers of classes and lengths: a row each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from almeta.evaluation.jobs import Job
from almeta.evaluation.report import Table
from almeta.evaluation.statistics import Estimate, mean_interval
from almeta.evaluation.stream_tables import shown_table, table_of_policies

# What has a column of its own, or is no part of the setting.
_OWN_COLUMNS = (
    *("policy", "dataset", "dataset.name", "env.classes", "env.length", "env.reward.incorrect"),
    *("threads", "device", "num_envs"),
)
# What changes the streams or the policy's answers, beside what has a column.
_CHANGES = (
    "ask_unnamed=",
    "classes=",
    "dataset.train_classes=",
    "dataset.split_seed=",
    "env.rotations=",
    "env.max_requests=",
    "env.reward.correct=",
    "env.reward.request=",
)
_PRICE = "reward of a mistake"
_GAIN = "over the best\nbaseline"
_NOTE = "The best baseline is the rule with the highest return there; the gain is paired, stream by stream."


def table_of_settings(jobs: Sequence[Job]) -> Table:
    """Return the table of a sweep of `evaluate`: a row for each setting, with the gain over the best baseline there.

    Jobs that differ only in their seed share a row, with the interval over seeds.

    Args:
        jobs: finished ones, of policies of streams.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for job in jobs:
        assert job.results is not None
        groups.setdefault(job.group, []).append(job.results)
    first = {job.group: job for job in reversed(jobs)}
    numbers = table_of_policies(groups)
    numbers["policy"] = _names([results[0] for results in groups.values()])
    options = _options([first[group] for group in groups])
    settings = {
        "data set": [results[0]["dataset"] for results in groups.values()],
        "classes": [results[0]["env"]["classes"] for results in groups.values()],
        "steps": [results[0]["env"]["length"] for results in groups.values()],
        _PRICE: [shown_price(results[0]["env"]["reward"]["incorrect"]) for results in groups.values()],
        **({"options": options} if any(options) else {}),
    }
    for place, (name, values) in enumerate(settings.items(), start=2):
        numbers.insert(place, name, values)
    gains = [_gain(results) for results in groups.values()]
    numbers["gain"], numbers["gain_interval"] = [gain.mean for gain in gains], [gain.half_width for gain in gains]
    return _shown(numbers, gains, _shared(jobs))


def shown_price(incorrect: float | Sequence[float]) -> str:
    """Return the reward of a mistake as text, such as "-5", or "-20 to -1" for a range."""
    several = sorted(incorrect) if isinstance(incorrect, Sequence) else [incorrect]
    return " to ".join(f"{one:g}" for one in dict.fromkeys(several))


def _shared(jobs: Sequence[Job]) -> list[str]:
    """Return the overrides that all jobs of a sweep share and that change the streams or the answers."""
    common = [one for one in jobs[0].overrides if all(one in job.overrides for job in jobs)]
    return [one for one in common if one.startswith(_CHANGES)]


def _names(results: list[dict[str, Any]]) -> list[str]:
    """Return the name of each policy, or how it was named on the command line if several have one name."""
    same = len({one["name"] for one in results}) < len({one["policy"] for one in results})
    return [str(one["policy" if same else "name"]) for one in results]


def _options(jobs: list[Job]) -> list[str]:
    """Return the overrides of each job that not all share and that have no column."""
    shared = set.intersection(*(set(job.overrides) for job in jobs))
    own = [[one for one in job.overrides if one not in shared] for job in jobs]
    return [", ".join(one for one in some if one.partition("=")[0] not in _OWN_COLUMNS) for some in own]


def _gain(results: list[dict[str, Any]]) -> Estimate:
    if len(results) == 1:
        return Estimate(results[0]["gain"]["mean"], results[0]["gain"]["half_width"])
    return mean_interval([one["gain"]["mean"] for one in results])


def _shown(numbers: pd.DataFrame, gains: list[Estimate], shared: list[str]) -> Table:
    """Return the table with its text; policy and data set stand in the title where there is one alone.

    The title also says what all streams share.
    """
    names = ("policy", "data set", _PRICE)
    policies, datasets, prices = (list(dict.fromkeys(numbers[column])) for column in names)
    table = shown_table("settings", numbers.drop(columns=["gain", "gain_interval"]))
    assert table.shown is not None
    single = [name for name, values in zip(names, (policies, datasets, prices), strict=True) if len(values) == 1]
    shown = table.shown.drop(columns=single).rename(columns={_PRICE: _PRICE.replace("of ", "of\n")})
    sizes = [f"{one} x {other}" for one, other in zip(shown["classes"], shown["steps"], strict=True)]
    shown.insert(list(shown).index("classes"), "classes\nx steps", sizes)
    shown = shown.drop(columns=["classes", "steps"])
    shown[_GAIN] = [
        f"{gain.mean:+.2f}" + (f" ± {gain.half_width:.2f}" if gain.half_width is not None else "") for gain in gains
    ]
    told = [f"{prices[0]} for a mistake"] if len(prices) == 1 else []
    title = ", ".join([f"{', '.join(policies)} on streams of {', '.join(datasets)}", *told, *shared])
    return replace(
        table,
        numbers=numbers.drop(columns="kind"),
        shown=shown,
        narrow=shown.drop(columns=[column for column in shown if column.startswith("all steps")]),
        title=title,
        note=f"{table.note} {_NOTE}",
        groups=list(numbers["policy"] + numbers["data set"]),
    )
