"""Several runs on streams, which differ in seeds and rewards alone, trained as one computation."""

import copy
import itertools
import json
import re
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from almeta.agents.agent import Agent
from almeta.agents.stacked import paired_weights, stack_agents, unstack
from almeta.envs.stream import StreamRewards
from almeta.errors import AlmetaError
from almeta.evaluation.report import Report
from almeta.files import write_atomically
from almeta.runs.config import TrainConfig
from almeta.runs.run import CONFIG, SUMMARY
from almeta.runs.streams import StreamRun
from almeta.runs.sweep import sweep_report
from almeta.training.checkpoint import JOBS, load_checkpoint, save_checkpoint
from almeta.training.loggers import METRICS, Record, read_json_lines
from almeta.training.trainer import LAST, Evaluate, mean_record

# What runs trained at once may differ in.
_DIFFER = ("seed", "env.reward.request", "env.reward.correct", "env.reward.incorrect")

Settings = dict[str, Any]  # of one run, by dotted key


def settings_of(config: TrainConfig) -> list[Settings]:
    """Return what each run of `at_once` sets: all combinations, the last key changes fastest.

    Raises:
        AlmetaError: for keys in which runs that are trained at once cannot differ, and for keys without values.
    """
    asked = config.at_once or {}
    for key, values in asked.items():
        if key not in _DIFFER:
            raise AlmetaError(
                f"at_once has the key '{key}'; runs that are trained at once may differ in {', '.join(_DIFFER)} alone: "
                "sweep others with -m"
            )
        if not isinstance(values, list) or not values:
            raise AlmetaError(f"at_once.{key} is {values!r}; give a list of values, such as [0, 1, 2]")
        if any(value in values[:number] for number, value in enumerate(values)):
            raise AlmetaError(f"at_once.{key} is {values!r}; equal values would train the same run twice")
    return [dict(zip(asked, values, strict=True)) for values in itertools.product(*asked.values())]


def with_settings(config: TrainConfig, settings: Settings) -> TrainConfig:
    """Return the config of one run."""
    values = copy.deepcopy(config.plain()) | {"at_once": None}
    for key, value in settings.items():
        *groups, last = key.split(".")
        part = values
        for group in groups:
            part[group] = part = dict(part.get(group) or {})
        part[last] = value
    return TrainConfig.read(values)


class Together(StreamRun):
    """Runs on streams that are trained at once: the network of their agent is those of all runs side by side.

    Training draws all streams and all exploration from the generators of the config's own seed; a run's seed makes its
    weights and its encoder, and draws the streams that it is judged on. At the end each run has a folder, with a
    checkpoint that can be loaded, and gone on from alone (its target network, if it has one, is then made anew).

    Attributes:
        settings: what each run sets, by dotted key.
        jobs: the runs, without training of their own.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.settings = settings_of(config)
        configs = [with_settings(config, settings) for settings in self.settings]
        first = StreamRun(configs[0])
        self.jobs = [first, *(StreamRun(own, first.classes) for own in configs[1:])]
        self._share_encoders()
        self.config, self.classes = config, first.classes
        self.agent = stack_agents([job.agent for job in self.jobs])
        self.build()

    def _share_encoders(self) -> None:
        """Let the runs of a seed, which would train equal encoders, share one."""
        shared: dict[int, Any] = {}
        for job in self.jobs:
            if getattr(job.agent.network, "encoder", None) is not None:
                job.agent.network.encoder = shared.setdefault(job.config.seed, job.agent.network.encoder)

    @property
    def runs(self) -> int:
        return len(self.jobs)

    def build(self) -> None:
        self.simulation = self.make_simulation(self.config.num_envs * self.runs)
        self.simulation.block_rewards = [job.simulation.rewards for job in self.jobs]
        self.evaluations = {part: self._measuring_all(part) for part in self.jobs[0].evaluations}

    def _measuring_all(self, part: str) -> Evaluate:
        def measure(agent: Agent) -> dict[str, Any]:
            unstack(agent)
            return mean_record([job.evaluations[part](job.agent) for job in self.jobs])

        return measure

    def describe(self) -> str:
        """Return what `Run.describe` does, with the number of runs."""
        keys = ", ".join(self.config.at_once or {})
        return f"{self.jobs[0].describe()}; {self.runs} runs at once, which differ in {keys}"

    def notes(self) -> list[str]:
        asked, notes = self.config.at_once or {}, super().notes()
        if "seed" in asked and self.config.seed:
            notes.append(f"seed={self.config.seed} draws the streams to train on; the runs' seeds are those of at_once")
        for name, usual in vars(StreamRewards()).items():
            value = (self.config.env.get("reward") or {}).get(name, usual)
            if f"env.reward.{name}" in asked and value != usual:
                notes.append(f"env.reward.{name}={value} has no effect: at_once sets it")
        return notes

    def prepare(self) -> None:
        """Train the encoder of each seed."""
        for job in {job.config.seed: job for job in reversed(self.jobs)}.values():
            job.prepare()

    def conclude(self, folder: Path) -> tuple[dict[str, Any], Report]:
        """Give each run its folder, judge it there, and return the report of all."""
        unstack(self.agent)
        content = load_checkpoint(folder / LAST)
        records = read_json_lines(folder / METRICS)
        summaries = []
        for number, job in enumerate(self.jobs):
            own = folder / JOBS / self._name(number)
            if not _is_judged(own, job.config):  # it may be where a stop has cut the judging short
                print(f"judging run {number + 1} of {self.runs}: {self._name(number)}")
                own.mkdir(parents=True, exist_ok=True)
                _note(own, self._overrides(number), job.config)
                write_atomically(own / METRICS, "".join(json.dumps(of_run(one, number)) + "\n" for one in records))
                save_checkpoint(own / LAST, self._content(content, number, (own / METRICS).stat().st_size))
                job.finish(own, Console(quiet=True))
            summaries.append(json.loads((own / SUMMARY).read_text("utf-8")))
        mean = sum(summary["train"][self.score] for summary in summaries) / self.runs
        return {"train": {self.score: mean}}, sweep_report(folder / JOBS, self.config.plain())

    def _overrides(self, number: int) -> list[str]:
        return [f"{key}={value}".replace(" ", "") for key, value in self.settings[number].items()]

    def _name(self, number: int) -> str:
        """Return the name of a run's folder: its number, which keeps the order, and what it sets."""
        asked = (re.sub(r"[^\w.+-]", "_", override) for override in self._overrides(number))
        return "__".join((f"{number:02}", *asked))

    def _content(self, content: dict[str, Any], number: int, metrics_size: int) -> dict[str, Any]:
        """Return the checkpoint of one run, from that of all."""
        job = self.jobs[number]
        return content | {
            "agent": job.agent.state_dict(),
            "learning": job.agent.learning_state(),
            "optimizer": self._optimizer_state(content["optimizer"], number),
            "sums": {name: value[number : number + 1] for name, value in content["sums"].items()},
            "metrics_size": metrics_size,
            "best": None,
            "config": job.config.plain(),
        }

    def _optimizer_state(self, state: dict[str, Any], number: int) -> dict[str, Any]:
        """Return the part of one run in the optimiser's state: its rows of what is kept for each weight."""
        job = self.jobs[number]
        places = {id(weight): place for place, weight in enumerate(self.agent.parameters())}
        mine = {id(weight): place for place, weight in enumerate(job.agent.parameters())}
        kept: dict[int, Any] = {}
        for own, stacked in paired_weights(self.agent.network, job.agent.network):
            if (before := state["state"].get(places[id(stacked)])) is not None:
                rows = {key: value[number].clone() if value.dim() else value for key, value in before.items()}
                kept[mine[id(own)]] = rows
        return {"state": kept, "param_groups": [state["param_groups"][0] | {"params": list(mine.values())}]}


def _is_judged(folder: Path, config: TrainConfig) -> bool:
    """Return whether a folder holds the results of a run of this config and length."""
    if not (folder / SUMMARY).exists() or not (folder / CONFIG).exists():
        return False
    there = yaml.safe_load((folder / CONFIG).read_text("utf-8"))
    return bool(there == yaml.safe_load(yaml.safe_dump(config.plain())))


def of_run(record: Record, number: int) -> Record:
    """Return the record of one run from that of all."""
    return {key: value for key, value in record.items() if key != "runs"} | record["runs"][number]


def _note(folder: Path, overrides: list[str], config: TrainConfig) -> None:
    """Write what Hydra notes of a job, which tells `read_jobs` what it is, and the run's own config."""
    notes = folder / ".hydra"
    notes.mkdir(exist_ok=True)
    (notes / "overrides.yaml").write_text(yaml.safe_dump(overrides), "utf-8")
    for path in (notes / CONFIG, folder / CONFIG):
        write_atomically(path, yaml.safe_dump(config.plain(), sort_keys=False, allow_unicode=True))
