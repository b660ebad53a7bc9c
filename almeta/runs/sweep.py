"""The end of a sweep: a table of all jobs of each kind, and an error that names the failed jobs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from matplotlib.figure import Figure
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from almeta.errors import AlmetaError
from almeta.evaluation.jobs import find_jobs, read_jobs
from almeta.evaluation.report import Report, Table
from almeta.evaluation.writers import publish
from almeta.processes import UNFINISHED
from almeta.runs import find_run


def sweep_report(folder: Path, config: dict[str, Any] | None = None) -> Report:
    """Return a report of all jobs below a folder: the tables of each kind, and a line for each job without results."""
    jobs = read_jobs(folder)
    finished = [job for job in jobs if job.results is not None]
    tables: list[Table] = []
    figures: dict[str, Figure] = {}
    for kind in sorted({job.kind for job in finished if job.kind is not None}):
        own = [job for job in finished if job.kind == kind]
        tables += find_run(kind).tables_of_jobs(own)
        figures |= find_run(kind).figures_of_jobs(own)
    missing = [f"missing: {job} has no finished summary.json in {job.folder}" for job in jobs if job.results is None]
    missing += [
        f"missing: {job} was judged on no 'test' data in {job.folder}"
        for job in finished
        if "test" not in (job.results or {"test": 0})
    ]
    return Report(f"All jobs of {folder}", "table", tables, missing, figures, config=config)


def evaluations_report(folder: Path, config: dict[str, Any] | None = None) -> Report:
    """Return a report of a sweep of `evaluate`: a table of all settings for each kind, and what is missing."""
    jobs = read_jobs(folder)
    finished = [job for job in jobs if job.results is not None]
    tables: list[Table] = []
    for kind in sorted({job.kind for job in finished if job.kind is not None}):
        tables += find_run(kind).tables_of_evaluations([job for job in finished if job.kind == kind])
    missing = [f"missing: {job} has no finished summary.json in {job.folder}" for job in jobs if job.results is None]
    return Report(f"All evaluations of {folder}", "table", tables, missing, config=config)


class FailedJobs(Callback):
    """A Hydra callback that ends a sweep with an error that names the failed jobs.

    A job has failed if it ran in this sweep and left no `summary.json`, or the note `UNFINISHED`: an earlier sweep may
    have left the summary.
    """

    def __init__(self) -> None:
        self._before: dict[Path, int] = {}

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Remember which jobs of earlier sweeps are in the folder."""
        self._before = _begun(Path(config.hydra.sweep.dir))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Exit with status 1 if a job failed: Hydra turns any other error of a callback into a warning."""
        folder = Path(config.hydra.sweep.dir)
        ran = [job for job, begun in _begun(folder).items() if self._before.get(job) != begun]
        jobs = [job for job in read_jobs(folder) if job.folder in ran]
        failed = [f"{job} in {job.folder}" for job in jobs if job.results is None or (job.folder / UNFINISHED).exists()]
        if failed:
            message = f"{len(failed)} of {len(ran)} jobs failed: {'; '.join(failed)}"
            print(f"error: {message}; mend what is told above and start the same sweep again", file=sys.stderr)
            raise SystemExit(1)


class SweepTable(FailedJobs):
    """A Hydra callback that publishes the report of a sweep at its end, then does what `FailedJobs` does."""

    report = staticmethod(sweep_report)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Write the report of the sweep to its folder and print it."""
        folder = Path(config.hydra.sweep.dir)
        shared: Any = OmegaConf.to_container(config, resolve=False)
        asked = {key: value for key, value in shared.items() if key != "hydra"}
        try:
            publish(self.report(folder, asked), folder, Console())
        except AlmetaError as error:
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(1) from error
        super().on_multirun_end(config, **kwargs)


class EvaluationTable(SweepTable):
    """The same for a sweep of `evaluate`."""

    report = staticmethod(evaluations_report)


def _begun(folder: Path) -> dict[Path, int]:
    """Return when each job below a folder last began, which is when Hydra wrote its overrides."""
    notes = {job: job / ".hydra" / "overrides.yaml" for job in find_jobs(folder)}
    return {job: note.stat().st_mtime_ns for job, note in notes.items() if note.exists()}
