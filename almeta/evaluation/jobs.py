"""The jobs of a sweep, read from their folders."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from almeta.build import read_part
from almeta.errors import AlmetaError
from almeta.training.checkpoint import upgraded_config


@dataclass(frozen=True)
class Job:
    """One job of a sweep.

    Attributes:
        overrides: those of the command line, without the seed.
        seed: "seed=1", or empty without such an override.
        group: equal for jobs that differ in the seed alone.
        config: empty if it cannot be read.
        results: the content of `summary.json`; None if the job has not finished.
        setting: the overrides by which its group differs from the other groups of the sweep.
    """

    folder: Path
    overrides: tuple[str, ...]
    seed: str
    group: str
    config: dict[str, Any]
    results: dict[str, Any] | None
    setting: str = ""

    @property
    def label(self) -> str:
        """The name of its policy, and the setting of its group."""
        return labelled((self.results or {}).get("policy", "policy"), self.setting)

    @property
    def kind(self) -> str | None:
        """The kind of its problem; None if it is unknown."""
        if self.results is not None and "kind" in self.results:
            return str(self.results["kind"])
        try:
            return str(read_part(upgraded_config(self.config)["env"], "env")[0].kind)
        except (KeyError, AlmetaError):  # the config of another command, or a damaged one
            return None

    def __str__(self) -> str:
        return ", ".join(part for part in (self.setting, self.seed) if part) or "a job"


def read_jobs(sweep_folder: Path | str) -> list[Job]:
    """Return the jobs below a folder, in the order of `find_jobs`."""
    jobs = [_read_job(folder) for folder in find_jobs(sweep_folder)]
    settings = _settings(jobs)
    return [replace(job, setting=settings[job.group]) for job in jobs]


def labelled(name: str, setting: str) -> str:
    """Return `name (setting)`, or the name alone."""
    return f"{name} ({setting})" if setting else name


def find_jobs(sweep_folder: Path | str) -> list[Path]:
    """Return the folders below `sweep_folder` in which Hydra ran a job, sorted by name, numbers by value: 2, 10."""
    found = Path(sweep_folder).glob("**/.hydra")
    folders = [path.parent for path in found if path.parent.parent.name != "resumed"]  # notes of a resumed job
    return sorted(folders, key=lambda path: (float(path.name) if path.name.isdigit() else math.inf, path))


def _read_job(folder: Path) -> Job:
    asked = sorted(str(item).lstrip("+") for item in _read_yaml(folder / ".hydra" / "overrides.yaml", list))
    overrides = [item for item in asked if not item.startswith("seed=")]
    seed = "".join(item for item in asked if item.startswith("seed="))
    config = _read_yaml(folder / ".hydra" / "config.yaml", dict)
    group = json.dumps([overrides, {**config, "seed": None}], sort_keys=True, default=str)
    return Job(folder, tuple(overrides), seed, group, config, _read_results(folder))


def _read_yaml(path: Path, kind: type) -> Any:
    """Return the list or dictionary of a file; an empty one if the file cannot be read or holds something else."""
    try:
        content = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except (OSError, ValueError, RecursionError, YAMLError, OmegaConfBaseException):
        return kind()
    return content if isinstance(content, kind) else kind()


def _read_results(folder: Path) -> dict[str, Any] | None:
    try:
        results = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return results if isinstance(results, dict) else None


def _settings(jobs: list[Job]) -> dict[str, str]:
    """Return the setting of each group: its overrides that not all jobs share, with short keys."""
    asked = [set(job.overrides) for job in jobs if job.overrides]
    shared = set.intersection(*asked) if asked else set()
    keys = {item.partition("=")[0] for job in jobs for item in job.overrides if item not in shared}
    ends = Counter(key.rpartition(".")[2] for key in keys)
    settings: dict[str, str] = {}
    for job in jobs:
        if job.group not in settings:
            own = ", ".join(_shortened(item, ends) for item in job.overrides if item not in shared)
            settings[job.group] = own if own not in settings.values() else f"{own} {job.folder.name}".strip()
    return settings


def _shortened(override: str, ends: Counter[str]) -> str:
    """Return "incorrect=-5" for "env.reward.incorrect=-5", with the whole key if another one ends alike."""
    key, _, value = override.partition("=")
    end = key.rpartition(".")[2]
    return f"{end if ends[end] == 1 else key}={value}"
