"""Trained policies: those that ship with almeta, by name, and those of your own runs."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch

from almeta.agents.agent import Agent
from almeta.build import find_target
from almeta.data import Dataset
from almeta.data.rows import seen_among, sketch
from almeta.data.suites import group_or_name
from almeta.errors import AlmetaError, did_you_mean
from almeta.policies.published import load_published, read_card
from almeta.sources import closure_digest
from almeta.training.agents import Checkpoint, load_agent
from almeta.training.checkpoint import find_checkpoint, load_checkpoint

__all__ = [
    "TrainedPolicy",
    "find_policy",
    "group_or_name",
    "kind_of",
    "load_policy",
    "load_trained",
    "name_of",
    "policy_names",
]

_SHIPPED = Path(__file__).parent
_WAY_OUT = "judge it on other data sets, or name a folder with runs of all folds"


def policy_names() -> list[str]:
    """Return the names of the policies that ship with almeta, sorted."""
    return sorted({card.parent.name for card in _SHIPPED.glob("*/*.json")})


def load_policy(name_or_folder: str | Path, device: str = "cpu") -> Agent:
    """Return a trained agent; its `predict` acts in the environments, memory and masks included.

    Args:
        name_or_folder: the name of a policy that ships with almeta, the folder of a published one, or its card; a
            run's folder, or one of its checkpoints. Of several members (folds), the one that was trained on most
            data sets is loaded.
        device: to put the agent on.

    Raises:
        AlmetaError: if no policy or checkpoint is found, it is damaged or foreign, or a folder holds several runs on
            streams, each of which is a policy.
    """
    return load_trained(name_or_folder, device)[0]


def load_trained(name_or_folder: str | Path, device: str = "cpu") -> tuple[Agent, Checkpoint]:
    """Return what `load_policy` does, and what is known of its training, see `Member.training`."""
    member, *others = _members(name_or_folder)
    if others and member.kind == "stream":
        raise AlmetaError(
            f"{name_or_folder} holds {1 + len(others)} runs on streams, and each of them is a policy; name one, as "
            f"{member.path.parent}"
        )
    return member.load(device), member.training


@dataclass(frozen=True)
class Member:
    """One trained network, by the path of its card or checkpoint."""

    path: Path

    def __reduce__(self) -> tuple[type["Member"], tuple[Path]]:
        return Member, (self.path,)  # without the content, which another process reads anew

    @cached_property
    def content(self) -> dict[str, Any]:
        """The content of its card or checkpoint."""
        return read_card(self.path) if self.is_card else load_checkpoint(self.path)

    @property
    def is_card(self) -> bool:
        """Whether it was published and has a card; else it is a checkpoint of a run."""
        return self.path.suffix == ".json"

    @property
    def kind(self) -> str:
        """The kind of problem that it was trained on."""
        return str(self.content["kind"])

    @property
    def trained_on(self) -> frozenset[str]:
        """Names of the data sets that it was trained on."""
        return frozenset(self.content["trained_on" if self.is_card else "datasets"])

    @property
    def config(self) -> dict[str, Any]:
        """The config of its training."""
        return dict(self.content["config"])

    @property
    def training(self) -> Checkpoint:
        """What is known of its training, with the keys of a checkpoint: `config`, `datasets`, `digest`, `rows`, ..."""
        return self.content | ({"datasets": self.content["trained_on"]} if self.is_card else {})

    @property
    def digest(self) -> str:
        """A text that changes with the file."""
        files = [self.path, self.path.with_suffix(".safetensors")] if self.is_card else [self.path]
        return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()

    def has_seen(self, dataset: str) -> bool:
        """Whether it was trained on a data set or on a near-duplicate of it."""
        return group_or_name(dataset) in {group_or_name(name) for name in self.trained_on}

    def seen_rows(self, rows: list[str]) -> str | None:
        """Return the name of a data set of its training that has more than half of the rows of a sketch, or None."""
        known = self.content.get("rows", {})  # files of version 0.1 have none
        return seen_among({name: own.split() for name, own in known.items()}, rows)

    def load(self, device: str | torch.device) -> Agent:
        """Load the agent onto a device."""
        if self.is_card:
            return load_published(self.path).to(device)
        return load_agent(self.path, str(device))[0]


@dataclass(frozen=True)
class TrainedPolicy:
    """A policy of one or several members, which were trained alike on different folds of data sets.

    The member that acts on a data set was not trained on it; of several such members, the first one acts.

    Attributes:
        name: in tables.
        members: sorted by the number of data sets of their training, the largest first.
    """

    name: str
    members: tuple[Member, ...]

    def __str__(self) -> str:
        return self.name

    def check(self, dataset: str) -> None:
        """Raise an AlmetaError if all members were trained on a data set of that name or group."""
        self._unseen(dataset)

    def on(self, dataset: Dataset) -> Self:
        """Return the policy with the one member that acts on a data set.

        Raises:
            AlmetaError: if all members were trained on the data set, under this or another name.
        """
        members, rows = self._unseen(dataset.name), sketch(dataset)
        for member in members:
            if (seen := member.seen_rows(rows)) is None:
                return replace(self, members=(member,))
        raise AlmetaError(
            f"the policy '{self.name}' was trained on '{seen}', whose rows data set '{dataset.name}' has; {_WAY_OUT}"
        )

    def _unseen(self, dataset: str) -> list[Member]:
        if members := [member for member in self.members if not member.has_seen(dataset)]:
            return members
        raise AlmetaError(
            f"the policy '{self.name}' was trained on '{dataset}' or a near-duplicate of it "
            f"('{group_or_name(dataset)}'); {_WAY_OUT}"
        )

    @property
    def digest(self) -> str:
        """A text that changes with the weights and with the code that uses them."""
        content = self.members[0].content
        config = content["config"]
        parts = (("agent", config["agent"]), ("network", config["network"]), ("inputs", content["inputs"]))
        code = [closure_digest(find_target(part["_target_"], name).__module__) for name, part in parts]
        return f"policy {[member.digest for member in self.members]} {code}"

    def make(self, generator: torch.Generator) -> Agent:
        """Return the agent of the first member, on the device of the generator."""
        return self.members[0].load(generator.device)


def find_policy(name_or_folder: str | Path, name: str | None = None, kind: str = "pool") -> TrainedPolicy:
    """Return a policy of pools, or of another kind of problems, as a contender of benchmarks.

    Args:
        name_or_folder: as for `load_policy`, or the folder of a sweep over folds.
        name: in tables; None for its own name.
        kind: of the problems that it acts in.

    Raises:
        AlmetaError: if there is no such policy, or it was trained on problems of another kind.
    """
    members = _members(name_or_folder)
    for member in members:
        if member.kind != kind:
            raise AlmetaError(
                f"{member.path} was trained on problems of kind {member.kind}; a benchmark of {kind.rstrip('s')}s "
                f"needs a policy of {kind.rstrip('s')}s"
            )
    return TrainedPolicy(name or _name(name_or_folder, members), members)


def name_of(name_or_folder: str | Path) -> str:
    """Return what a policy is called in reports: as it was given if it was published, else as its runs are."""
    return _name(name_or_folder, _members(name_or_folder))


def _name(name_or_folder: str | Path, members: Sequence[Member]) -> str:
    own = sorted({member.config["name"] for member in members})
    return str(name_or_folder) if members[0].is_card else "+".join(own)


def kind_of(name_or_folder: str | Path) -> str:
    """Return the kind of problem that a policy was trained on, such as "pool" or "stream"."""
    return _members(name_or_folder)[0].kind


def _members(name_or_folder: str | Path) -> tuple[Member, ...]:
    """Return the members of a policy, those with most data sets first."""
    if not isinstance(name_or_folder, str | Path):
        raise AlmetaError(
            f"the policy is {name_or_folder!r}; give its name or folder ({', '.join(policy_names())} ship with almeta)"
        )
    members = map(Member, _cards(name_or_folder) or _checkpoints(name_or_folder))
    return tuple(sorted(members, key=lambda member: -len(member.trained_on)))


def _checkpoints(name_or_folder: str | Path) -> list[Path]:
    """Return the checkpoint of a run, or those of the runs in a folder of runs."""
    path = Path(name_or_folder)
    if path.suffix == ".zip":
        raise AlmetaError(
            f"{path} is a zip, as Stable-Baselines3 saves models; reading one runs the code in it, so no command does: "
            "load a model that you trust in Python, and pass it to almeta.interop.sb3.as_policy"
        )
    if not path.exists():
        shipped = did_you_mean(str(path), policy_names(), "policy")
        raise AlmetaError(f"no checkpoint at {path}; name a run's folder, such as runs/transfer/DATE ({shipped})")
    runs = sorted(path.glob("*/last.pt")) if path.is_dir() and not (path / "last.pt").exists() else []
    return runs or [find_checkpoint(path)]


def _cards(name: str | Path) -> list[Path]:
    """Return the cards of a policy that ships with almeta, by its name, or those at a path; else none."""
    if str(name) in policy_names():
        return sorted((_SHIPPED / name).glob("*.json"))
    cards = [Path(name)] if Path(name).suffix == ".json" else sorted(Path(name).glob("*.json"))
    return [card for card in cards if card.with_suffix(".safetensors").exists()]  # a run has other JSON files
