"""One table of all jobs of a sweep, drawn from what each job left in its folder."""

from __future__ import annotations

import json
import math
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

from almeta.evaluation.tables import Summary, rich_table, table_of_policies, write_table


@dataclass(frozen=True)
class Job:
    """What is known of one job of a sweep.

    Attributes:
        folder: where it ran.
        overrides: what was asked for on the command line, without the seed.
        group: equal for jobs that differ in the seed alone.
        results: the content of ``summary.json``, or None where the job has not finished.
    """

    folder: Path
    overrides: tuple[str, ...]
    group: str
    results: dict[str, Any] | None


def sweep_table(
    job_folders: Iterable[Path | str], split: str = "test", published: bool = True
) -> tuple[pd.DataFrame, list[str]]:
    """One table of all jobs of a sweep; jobs that differ only in their seed share a row.

    Args:
        job_folders: each holds Hydra's ``.hydra/config.yaml`` and ``.hydra/overrides.yaml`` and, at its end,
            ``summary.json``: ``{"policy": label, split: summary, "baselines": {label: summary}, ...}``.
        split: the key of the summary that is shown, "test" or "train".
        published: also the rows of Table 1 of Woodward & Finn.

    Returns:
        The table of :func:`~almeta.evaluation.tables.table_of_policies`, where a label is followed by the
        overrides in which jobs differ (a baseline that scores the same in all has one row, without them); and
        a line for each job that left no such summary, because it failed or is still running.
    """
    jobs = [_read_job(Path(folder), split) for folder in job_folders]
    settings = _settings(jobs)
    policies: dict[str, list[Summary]] = {}
    baselines: dict[str, dict[str, list[Summary]]] = {}
    for job in jobs:
        if job.results is None:
            continue
        label = _label(job.results.get("policy", "policy"), settings[job.group])
        policies.setdefault(label, []).append(job.results[split])
        for name, summary in job.results.get("baselines", {}).items():
            baselines.setdefault(name, {}).setdefault(settings[job.group], []).append(summary)
    missing = [_describe(job) for job in jobs if job.results is None]
    return table_of_policies(policies, _merge_equal(baselines), published), missing


def find_jobs(sweep_folder: Path | str) -> list[Path]:
    """The folders below ``sweep_folder`` in which Hydra ran a job, by name; numbers by value: 2, 10."""
    folders = [found.parent for found in Path(sweep_folder).glob("**/.hydra")]
    return sorted(folders, key=lambda path: (float(path.name) if path.name.isdigit() else math.inf, path))


class SweepTable(Callback):
    """Prints one table of all jobs at the end of a sweep, and writes it to its folder as CSV and Markdown.

    Hydra calls it where ``hydra.callbacks`` names it; a sweep in which a job failed ends before that.

    Args:
        published: also the rows of Table 1 of Woodward & Finn.
    """

    def __init__(self, published: bool = True) -> None:
        self.published = published

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Print and write the table of ``config.hydra.sweep.dir``."""
        folder = Path(config.hydra.sweep.dir)
        table, missing = sweep_table(find_jobs(folder), published=self.published)
        console = Console()
        console.print(rich_table(table, title=f"All jobs of {folder}"))
        for line in missing:
            console.print(f"missing: {line}", markup=False)
        for path in write_table(table, folder):
            console.print(f"wrote {path}", markup=False)


def _read_job(folder: Path, split: str) -> Job:
    overrides = [str(item) for item in _read_yaml(folder / ".hydra" / "overrides.yaml") or []]
    overrides = sorted(item for item in overrides if not item.startswith("seed="))
    config = _read_yaml(folder / ".hydra" / "config.yaml") or {}
    group = json.dumps([overrides, {**config, "seed": None}], sort_keys=True, default=str)
    return Job(folder, tuple(overrides), group, _read_results(folder, split))


def _read_yaml(path: Path) -> Any:
    try:
        return OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except (OSError, YAMLError, OmegaConfBaseException):
        return None


def _read_results(folder: Path, split: str) -> dict[str, Any] | None:
    try:
        results = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return results if isinstance(results, dict) and split in results else None


def _settings(jobs: list[Job]) -> dict[str, str]:
    """What tells each group of jobs from the others: its overrides that not all jobs share."""
    shared = set.intersection(*(set(job.overrides) for job in jobs)) if jobs else set()
    settings: dict[str, str] = {}
    for job in jobs:
        own = ", ".join(item for item in job.overrides if item not in shared)
        if job.group not in settings:
            settings[job.group] = own if own not in settings.values() else f"{own} {job.folder.name}".strip()
    return settings


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


def _describe(job: Job) -> str:
    asked = f" ({', '.join(job.overrides)})" if job.overrides else ""
    return f"{job.folder.name}{asked}: no finished summary.json"
