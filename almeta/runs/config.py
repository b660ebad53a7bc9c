"""The configs of the commands: frozen dataclasses that check themselves. conf/*.yaml explain each knob."""

import typing
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Annotated, Any, Literal, Self

from almeta.build import read_part
from almeta.checks import Count, Positive, Within, check_arguments, check_call, check_values
from almeta.errors import AlmetaError
from almeta.evaluation.verdict import Question
from almeta.training.pretraining import pretrain_encoder

Group = dict[str, Any]
Several = Annotated[int, Within(2)]
# More are not faster on any machine, and 30,000 crash the process.
Threads = Annotated[int, Within(1, 1024)]


@dataclass(frozen=True)
class CommandConfig:
    """The config of a command, read from plain values."""

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """Return the config of plain values.

        Raises:
            AlmetaError: for an unknown or missing key, and for a value of a wrong type.
        """
        hints = typing.get_type_hints(cls, include_extras=True)
        values = {key: _listed(value, hints.get(key)) for key, value in values.items()}
        check_values(values, hints)
        for one in fields(cls):
            if one.name not in values and one.default is one.default_factory is MISSING:
                raise AlmetaError(f"the config has no key '{one.name}'; was it written by another version of almeta?")
        return cls(**values)

    def plain(self) -> dict[str, Any]:
        """Return the plain values, as a checkpoint holds them."""
        return asdict(self)


def check_meaning(kind: str, given: Iterable[str], useless: Iterable[str]) -> None:
    """Raise an AlmetaError if one of the keys `given`, or a group that it is in, is `useless` to a policy of a kind."""
    for key in given:
        if any(key == one or key.startswith(f"{one}.") for one in useless):
            raise AlmetaError(f"the policy is of kind '{kind}', where {key}=... means nothing; leave it out")


def _given(group: Mapping[str, Any]) -> Group:
    """Return a group without what is null, and without groups of which nothing is left."""
    found = {key: _given(value) if isinstance(value, Mapping) else value for key, value in group.items()}
    return {key: value for key, value in found.items() if value is not None and value != {}}


def _listed(value: Any, hint: Any) -> Any:
    """Return a single entry as a list if the type is a list: `datasets=iris` stands for `datasets=[iris]`."""
    options = typing.get_args(hint) if typing.get_origin(hint) is not list else (hint,)
    wants_list = any(typing.get_origin(option) is list for option in options)
    return [value] if wants_list and isinstance(value, str | Mapping) else value


@dataclass(frozen=True)
class SplitConfig:
    """The group `dataset` of a config: data and how they are split into those to train on and those to evaluate on."""

    def __post_init__(self) -> None:
        check_arguments(type(self), vars(self), "dataset")

    @classmethod
    def read(cls, values: Mapping[str, Any] | None) -> Self:
        """Return the split of plain values, of which null is left out; an unknown or missing key is an AlmetaError."""
        given = {key: value for key, value in (values or {}).items() if value is not None}
        check_call(cls, given, "dataset")
        return cls(**given)


@dataclass(frozen=True)
class TrainConfig(CommandConfig):
    """The config of `train`."""

    name: str
    seed: int
    device: str
    threads: Threads | None
    matmul_precision: Literal["highest", "medium"]
    modules: list[str]
    env: Group
    inputs: Group | None
    network: Group
    agent: Group
    learner: Group | None
    oracle: Group | None
    logger: Group
    num_envs: Count
    batches: Count
    learning_rate: Positive
    anneal_lr: bool
    max_grad_norm: Positive | None
    log_every: Count
    evaluate_every: Count
    evaluate_episodes: Count
    final_episodes: Count
    checkpoint_every: Count
    resume: str | None
    pretraining: Group
    dataset: Group | None = None
    vary: Group | None = None
    at_once: Group | None = None

    def __post_init__(self) -> None:
        given = ("encoder", "sampler", "generator", "track")
        check_arguments(pretrain_encoder, self.pretraining, "pretraining", given)
        brought = {"network": ("inputs", "num_values"), "agent": ("network", "inputs"), "logger": ("folder", "config")}
        for part in ("env", "inputs", "network", "agent", "learner", "oracle", "logger"):
            if getattr(self, part):  # logger=none is empty
                read_part(getattr(self, part), part, brought.get(part, ()))


@dataclass(frozen=True)
class EvaluateConfig(CommandConfig):
    """The config of `evaluate`."""

    policy: str
    modules: list[str]
    dataset: Group | None
    seed: int
    device: str
    threads: Threads | None
    matmul_precision: Literal["highest", "medium"] | None
    classes: Literal["test", "train", "all", "unseen"]
    ask_unnamed: bool
    episodes: Count
    num_envs: Count
    strategies: list[Any]
    learner: Group | None
    oracle: Group | None
    repeats: Several
    jobs: Count
    env: Group

    @property
    def changes(self) -> Group:
        """What differs from the environment of the training: the keys of `env` that are not null, at any depth."""
        return _given(self.env)


@dataclass(frozen=True)
class BenchmarkConfig(CommandConfig):
    """The config of `benchmark`."""

    strategies: list[Any]
    policies: list[str]
    learners: list[Any]
    modules: list[str]
    datasets: list[str] | None
    suite: str | None
    options: Group
    env: Group
    learner: Group
    oracle: Group
    budget: Count | None
    repeats: Several
    reference: str
    scores: list[str] | None
    area: Literal["mean", "trapezoid"]
    over: Literal["queries", "money"]
    jobs: Count
    backend: str | None
    backend_options: Group | None
    threads: Threads
    seed: int
    device: str
    matmul_precision: Literal["highest", "medium"]
    out: str
    scale: Literal["quick", "paper"] = "quick"
    sizes: Group = field(default_factory=dict)
    question: Group | None = None
    settings: Group | None = None
    judge: Any = None
    protocol: Any = None
    experiment: Any = None

    def __post_init__(self) -> None:
        if self.scale != "quick" and not self.sizes:
            raise AlmetaError(f"scale={self.scale} is for exercises alone; choose one: experiment=exercise/NAME")
        if self.question is not None:
            check_call(Question, self.question, "question")
