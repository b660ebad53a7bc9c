"""One table of all jobs of a sweep, drawn from what each job left in its folder."""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from yaml import YAMLError

from almeta.errors import AlmetaError
from almeta.evaluation.published import is_published_task
from almeta.evaluation.report import Report, Table
from almeta.evaluation.stream_tables import Summary, shown_table, table_of_policies
from almeta.evaluation.writers import publish


@dataclass(frozen=True)
class Job:
    """What is known of one job of a sweep.

    Attributes:
        folder: where it ran.
        overrides: what was asked for on the command line, without the seed.
        seed: "seed=1", or empty where none was asked for.
        group: equal for jobs that differ in the seed alone.
        results: the content of `summary.json`, or None where the job has not finished.
        is_published_task: whether its streams are those of Woodward & Finn.
    """

    folder: Path
    overrides: tuple[str, ...]
    seed: str
    group: str
    results: dict[str, Any] | None
    is_published_task: bool


def sweep_table(
    job_folders: Iterable[Path | str], split: str = "test", published: bool | None = None
) -> tuple[pd.DataFrame, list[str]]:
    """One table of all jobs of a sweep; jobs that differ only in their seed share a row.

    Args:
        job_folders: each holds Hydra's `.hydra/config.yaml` and `.hydra/overrides.yaml` and, at its end,
            `summary.json`: `{"policy": label, split: summary, "baselines": {label: summary}, ...}`.
        split: the key of the summary that is shown, "test" or "train".
        published: also the rows of Table 1 of Woodward & Finn; None adds them where a job has their task.

    Returns:
        The table of `table_of_policies`, where a label is followed by the overrides in which jobs differ (a baseline
        that scores the same in all has one row, without them); and a line for each job that left no such summary,
        because it failed or is still running.
    """
    jobs = [_read_job(Path(folder)) for folder in job_folders]
    settings = _settings(jobs)
    policies: dict[str, list[Summary]] = {}
    baselines: dict[str, dict[str, list[Summary]]] = {}
    for job in jobs:
        if job.results is None or split not in job.results or "benchmark" in job.results:  # of pools: see pool_table
            continue
        label = _label(job.results.get("policy", "policy"), settings[job.group])
        policies.setdefault(label, []).append(job.results[split])
        for name, summary in job.results.get("baselines", {}).items():
            baselines.setdefault(name, {}).setdefault(settings[job.group], []).append(summary)
    missing = [_describe(job, settings[job.group], split) for job in jobs if split not in (job.results or {})]
    if published is None:
        published = any(job.is_published_task for job in jobs)
    return table_of_policies(policies, _merge_equal(baselines), published), missing


def pool_table(job_folders: Iterable[Path | str], split: str = "test") -> pd.DataFrame:
    """One row for each finished job on pools, judged on the data sets that its training held back.

    Returns:
        Columns `policy` (label and overrides in which jobs differ), `seed`, `aulc`, `gain` over the reference
        strategy (mean over the tasks, in units of the score) and `better` (share of data sets with a gain).
    """
    jobs = [_read_job(Path(folder)) for folder in job_folders]
    settings = _settings(jobs)
    rows = [
        {
            "policy": _label(job.results["policy"], settings[job.group]),
            "seed": job.results["seed"],
            **{key: job.results[split][key] for key in ("aulc", "gain", "better")},
        }
        for job in jobs
        if job.results is not None and split in job.results and "benchmark" in job.results
    ]
    return pd.DataFrame(rows, columns=["policy", "seed", "aulc", "gain", "better"])


def find_jobs(sweep_folder: Path | str) -> list[Path]:
    """The folders below `sweep_folder` in which Hydra ran a job, by name; numbers by value: 2, 10."""
    found = Path(sweep_folder).glob("**/.hydra")
    folders = [path.parent for path in found if path.parent.parent.name != "resumed"]  # notes of a resumed job
    return sorted(folders, key=lambda path: (float(path.name) if path.name.isdigit() else math.inf, path))


def sweep_report(folder: Path, published: bool | None = None, config: dict[str, Any] | None = None) -> Report:
    """Make a report of all jobs below a folder: `table` of those on streams, `pools` of those on pools.

    Args:
        folder: of the sweep.
        published: as for `sweep_table`.
        config: plain values that the report shows.
    """
    jobs = find_jobs(folder)
    numbers, missing = sweep_table(jobs, published=published)
    pools = pool_table(jobs)
    tables = []
    if len(pools):
        shown = pools.map(lambda value: f"{value:.4f}" if isinstance(value, float) else str(value))
        note = "On data sets never trained on: the mean score along the curve, and its gain over the reference."
        tables.append(Table("pools", pools, shown, title="Policies of pools", note=note))
    if len(numbers) or not tables:
        tables.append(shown_table("table", numbers))
    sentences = [f"missing: {line}" for line in missing]
    return Report(f"All jobs of {folder}", "table", tables, sentences, config=config)


class FailedJobs(Callback):
    """Ends a sweep with an error that names the jobs that failed; `hydra.callbacks` names it.

    A job failed if it ran in this sweep and left no `summary.json`.
    """

    def __init__(self) -> None:
        self._before: dict[Path, int] = {}

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Note which jobs of earlier sweeps lie in the folder of this one."""
        self._before = _begun(Path(config.hydra.sweep.dir))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Leave with exit status 1 if a job failed: Hydra turns any other error of a callback into a warning."""
        folder = Path(config.hydra.sweep.dir)
        ran = [job for job, begun in _begun(folder).items() if self._before.get(job) != begun]
        jobs = [_read_job(job) for job in find_jobs(folder)]
        settings = _settings(jobs)
        failed = [_named(job, settings[job.group]) for job in jobs if job.folder in ran and job.results is None]
        if failed:
            message = f"{len(failed)} of {len(ran)} jobs failed: {'; '.join(failed)}"
            print(f"error: {message}; mend what is told above and start the same sweep again", file=sys.stderr)
            raise SystemExit(1)


class SweepTable(FailedJobs):
    """Publishes one table of all jobs at the end of a sweep, then does as `FailedJobs`.

    Args:
        published: also the rows of Table 1 of Woodward & Finn; None adds them where a job has their task.
    """

    def __init__(self, published: bool | None = None) -> None:
        super().__init__()
        self.published = published

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Write the report of the folder `config.hydra.sweep.dir` to it and print it."""
        folder = Path(config.hydra.sweep.dir)
        shared: Any = OmegaConf.to_container(config, resolve=False)
        asked = {key: value for key, value in shared.items() if key != "hydra"}
        try:
            publish(sweep_report(folder, self.published, asked), folder, Console())
        except AlmetaError as error:
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(1) from error
        super().on_multirun_end(config, **kwargs)


def _begun(folder: Path) -> dict[Path, int]:
    """When each job below a folder was last begun: Hydra writes its overrides then."""
    notes = {job: job / ".hydra" / "overrides.yaml" for job in find_jobs(folder)}
    return {job: note.stat().st_mtime_ns for job, note in notes.items() if note.exists()}


def _read_job(folder: Path) -> Job:
    asked = sorted(str(item) for item in _read_yaml(folder / ".hydra" / "overrides.yaml") or [])
    overrides = [item for item in asked if not item.startswith("seed=")]
    seed = "".join(item for item in asked if item.startswith("seed="))
    config = _read_yaml(folder / ".hydra" / "config.yaml") or {}
    group = json.dumps([overrides, {**config, "seed": None}], sort_keys=True, default=str)
    return Job(folder, tuple(overrides), seed, group, _read_results(folder), _is_published_task(config))


def _is_published_task(config: dict[str, Any]) -> bool:
    try:
        env = OmegaConf.to_container(OmegaConf.create(config["env"]), resolve=True)
        return is_published_task(config["dataset"]["name"], env)  # type: ignore[arg-type]
    except (KeyError, TypeError, OmegaConfBaseException):  # another command's config
        return False


def _read_yaml(path: Path) -> Any:
    try:
        return OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except (OSError, YAMLError, OmegaConfBaseException):
        return None


def _read_results(folder: Path) -> dict[str, Any] | None:
    try:
        results = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return results if isinstance(results, dict) else None


def _settings(jobs: list[Job]) -> dict[str, str]:
    """What tells each group of jobs from the others: its overrides that not all jobs share, with short keys."""
    asked = [set(job.overrides) for job in jobs if job.overrides]
    shared = set.intersection(*asked) if asked else set()
    short = _short_keys({item.partition("=")[0] for job in jobs for item in job.overrides if item not in shared})
    settings: dict[str, str] = {}
    for job in jobs:
        own = ", ".join(_shortened(item, short) for item in job.overrides if item not in shared)
        if job.group not in settings:
            settings[job.group] = own if own not in settings.values() else f"{own} {job.folder.name}".strip()
    return settings


def _short_keys(keys: set[str]) -> dict[str, str]:
    """The last part of each key, "incorrect" of "env.reward.incorrect", where no two keys end alike."""
    ends = Counter(key.rpartition(".")[2] for key in keys)
    return {key: end if ends[end] == 1 else key for key in keys for end in [key.rpartition(".")[2]]}


def _shortened(override: str, short: dict[str, str]) -> str:
    key, _, value = override.partition("=")
    return f"{short[key]}={value}"


def _label(name: str, setting: str) -> str:
    return f"{name} ({setting})" if setting else name


def _merge_equal(baselines: dict[str, dict[str, list[Summary]]]) -> dict[str, list[Summary]]:
    """A row for each baseline; one for each setting of a baseline that does not score the same in all."""
    rows: dict[str, list[Summary]] = {}
    for name, by_setting in baselines.items():
        longest = max(by_setting.values(), key=len)
        if all(summary in longest for summaries in by_setting.values() for summary in summaries):
            rows[name] = longest
        else:
            rows |= {_label(name, setting): summaries for setting, summaries in by_setting.items()}
    return rows


def _named(job: Job, setting: str) -> str:
    what = ", ".join(part for part in (setting, job.seed) if part) or "a job"
    return f"{what} in {job.folder}"


def _describe(job: Job, setting: str, split: str) -> str:
    what = ", ".join(part for part in (setting, job.seed) if part) or "a job"
    if job.results is not None and "train" in job.results:  # as it is of pools where no fold is held out
        return f"{what} was judged on no '{split}' data in {job.folder}"
    return f"{what} has no finished summary.json in {job.folder}"
