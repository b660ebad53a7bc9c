"""From a config, plain dictionaries as a checkpoint holds them, to the things it describes."""

import functools
import inspect
import pkgutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import torch

from almeta.agents.agent import Agent
from almeta.agents.pool import PoolAgent
from almeta.checks import Count, Positive, Share, Within, check_arguments, check_values
from almeta.data import Dataset, canonical_name, load_dataset
from almeta.data.suites import folds, suite
from almeta.envs.pool import PoolSimulation
from almeta.envs.stream import StreamSimulation
from almeta.errors import AlmetaError, did_you_mean
from almeta.seeding import make_generator, seeded_weights
from almeta.strategies.inputs import CANDIDATE_INPUTS, POOL_INPUTS
from almeta.tasks import split_classes
from almeta.training.checkpoint import load_checkpoint
from almeta.training.pretraining import pretrain_encoder

Config = dict[str, Any]
Checkpoint = dict[str, Any]

# Where the parts of a config are defined. Nothing else is ever called: configs also come out of checkpoints, and
# loading a stranger's checkpoint must not run whatever it names.
_ROOMS = {
    "env": "almeta.envs",
    "agent": "almeta.agents",
    "network": "almeta.agents",
    "learner": "almeta.learners",
    "oracle": "almeta.oracles",
    "logger": "almeta.training.loggers",
}

_PRECISIONS = {"highest": "ieee", "medium": "bf16"}


def build(config: Config, name: str, /, **kwargs: Any) -> Any:
    """Call what a config's `_target_` names, with its other keys and `kwargs` as arguments.

    With `_partial_: true`, return a function that will call it once the missing arguments are known.

    Args:
        config: `_target_`, a dotted name in almeta, and arguments.
        name: what the config is called in messages, such as "env".
        kwargs: further arguments.

    Raises:
        AlmetaError: if the target is not of the part's own room, is not there, or does not take the arguments.
    """
    target, options = read_part(config, name, kwargs)
    if config.get("_partial_", False):
        return functools.partial(target, **options, **kwargs)
    return target(**options, **kwargs)


def read_part(config: Config, name: str, given: Iterable[str] = ()) -> tuple[Any, dict[str, Any]]:
    """Return what a config's `_target_` names, and its arguments, both checked and nothing called; see `build`."""
    options = {key: value for key, value in config.items() if not key.startswith("_")}
    target = _find(str(config.get("_target_")), name)
    check_arguments(target, options, name, given)
    return target, options


def _find(target: str, name: str) -> Any:
    room = _ROOMS[name]
    try:
        found = pkgutil.resolve_name(target) if target.startswith("almeta.") else None
    except (ImportError, AttributeError, ValueError) as error:
        raise AlmetaError(f"{name}._target_ is '{target}', which is not there: {error}") from error
    defined = getattr(found, "__module__", "")
    if not callable(found) or not (defined == room or defined.startswith(f"{room}.")):
        raise AlmetaError(f"{name}._target_ is '{target}'; it must be a class or function that {room} defines")
    return found


# What may stand in a config of a run, beside the parts that are built from a `_target_`.
_PARTS = ("env", "network", "agent", "learner", "oracle", "logger")
_VALUES: dict[str, Any] = {
    "name": str,
    "seed": int,
    "device": str,
    "threads": Count | None,
    "matmul_precision": Literal["highest", "medium"],
    "num_envs": Count,
    "batches": Count,
    "learning_rate": Positive,
    "anneal_lr": bool,
    "max_grad_norm": Positive | None,
    "log_every": Count,
    "evaluate_every": Count,
    "evaluate_episodes": Count,
    "final_episodes": Count,
    "checkpoint_every": Count,
    "resume": str | None,
}
# What may stand in `dataset`: for streams, a data set whose classes are split; for pools, data sets that are split.
DATASET: dict[str, Any] = {"name": str, "train_classes": Count | Share, "split_seed": int}
SUITE: dict[str, Any] = {
    "suite": str | Sequence[str],
    "num_folds": Count,
    "fold": Annotated[int, Within(0)] | None,
    "split_seed": int,
}


def check_config(config: Config) -> None:
    """Raise unless a run's config has all keys and no others, each with a value of the right kind.

    Raises:
        AlmetaError: naming the key, before anything is loaded or built.
    """
    known = _VALUES | dict.fromkeys(("dataset", "pretraining", *_PARTS), dict[str, Any])
    known |= dict.fromkeys(("learner", "oracle"), dict[str, Any] | None)  # streams have none
    check_values(config, known)
    for key in known:
        if key not in config:
            raise AlmetaError(f"the config has no key '{key}'; was it written by another version of almeta?")
    given = ("encoder", "sampler", "generator", "track")
    check_arguments(pretrain_encoder, config["pretraining"], "pretraining", given)
    for part in _PARTS:
        if config[part]:  # logger=none is empty
            read_part(config[part], part)
    check_values(config["dataset"], SUITE if is_pool(config) else DATASET, "dataset")
    _check_agent(config)


def is_pool(config: Config) -> bool:
    """Whether a config's environment is one of pools: those are built from several `datasets`, a stream from one."""
    return "datasets" in inspect.signature(read_part(config["env"], "env")[0]).parameters


def _check_agent(config: Config) -> None:
    """Raise unless the agent is of the environment's kind."""
    agent = read_part(config["agent"], "agent")[0]
    if not _is_class(agent, PoolAgent if is_pool(config) else Agent):
        raise AlmetaError(
            f"agent._target_ is '{config['agent']['_target_']}', which cannot act in '{config['env']['_target_']}'; "
            "begin with a preset, such as experiment=pool/quickstart, or choose env and agent of one kind"
        )


def _is_class(target: Any, kind: type) -> bool:
    return inspect.isclass(target) and issubclass(target, kind)


# ---- pools


def split_suite(chosen: Config) -> dict[str, tuple[str, ...]]:
    """Names of the data sets to train on and of those to evaluate on, as "train" and "test".

    Args:
        chosen: `suite`, its name or a list of data sets; `fold` of `num_folds` is for evaluation, None keeps none back;
            `split_seed`.

    Raises:
        AlmetaError: for an unknown suite or data set, or a fold that there is not.
    """
    listed = suite(chosen["suite"]) if isinstance(chosen["suite"], str) else chosen["suite"]
    names = tuple(map(canonical_name, listed))
    if chosen["fold"] is None:
        return {"train": names, "test": ()}
    if chosen["fold"] >= chosen["num_folds"]:
        raise AlmetaError(
            f"dataset.fold={chosen['fold']}, but dataset.num_folds={chosen['num_folds']}; folds count from 0"
        )
    test = folds(names, chosen["num_folds"], chosen["split_seed"])[chosen["fold"]]
    return {"train": tuple(name for name in names if name not in test), "test": test}


def build_pool_simulation(
    config: Config, datasets: Sequence[Dataset], num_envs: int, purpose: str, **changes: Any
) -> PoolSimulation:
    """Build the config's environment on data sets.

    Args:
        config: a run's, or another with `env`, `learner`, `oracle`, `seed` and `device`.
        datasets: where tasks come from.
        num_envs: episodes at once.
        purpose: names the random numbers.
        changes: of the environment's options.
    """
    generator = make_generator(config["seed"], purpose, config["device"])
    learner, oracle = (build(config[part], part) if config[part] else None for part in ("learner", "oracle"))
    env = {**config["env"], **changes}
    return build(env, "env", datasets=datasets, num_envs=num_envs, generator=generator, learner=learner, oracle=oracle)


def build_pool_agent(config: Config) -> PoolAgent:
    """Build the config's agent with fresh weights that depend on its seed alone."""
    with seeded_weights(config["seed"]):
        agent: PoolAgent = build(config["agent"], "agent", network=build(config["network"], "network"))
    return agent.to(config["device"])


# ---- streams


def load_split(config: Config) -> dict[str, Dataset]:
    """Return the classes to train on and those to evaluate on, as "train" and "test"."""
    chosen = config["dataset"]
    train, test = split_classes(load_dataset(chosen["name"]), chosen["train_classes"], chosen["split_seed"])
    return {"train": train, "test": test}


def build_simulation(config: Config, dataset: Dataset, num_envs: int, purpose: str) -> StreamSimulation:
    """Build the config's environment on a data set; `purpose` names its random numbers."""
    generator = make_generator(config["seed"], purpose, config["device"])
    return build(config["env"], "env", dataset=dataset, num_envs=num_envs, generator=generator)


def build_agent(config: Config, simulation: StreamSimulation) -> Agent:
    """Build the config's agent for a simulation, with fresh weights that depend on its seed alone.

    Raises:
        AlmetaError: if the agent cannot learn from such streams.
    """
    shape = {"num_pixels": simulation.num_pixels, "num_slots": simulation.num_slots}
    with seeded_weights(config["seed"]):
        network = build(config["network"], "network")
        agent: Agent = build(config["agent"], "agent", network=network, **shape).to(config["device"])
    if agent.reveal != simulation.reveal:
        raise AlmetaError(
            f"{type(agent).__name__} plays streams with env.reveal={agent.reveal}, not {simulation.reveal}"
        )
    return agent


# ---- checkpoints


def find_checkpoint(path: str | Path, name: str = "last.pt") -> Path:
    """Return the checkpoint that a run's folder, or the path of one of its checkpoints, stands for.

    Raises:
        AlmetaError: if there is none.
    """
    found = Path(path) / name if Path(path).is_dir() else Path(path)
    if not found.is_file():
        raise AlmetaError(
            f"no checkpoint at {found}; name a run's folder, such as runs/woodward_finn/DATE, or a .pt file"
        )
    return found


def load_agent(path: str | Path, device: str = "cpu") -> tuple[Any, Checkpoint]:
    """Return a trained agent and the content of its checkpoint, the config of its run among it.

    Args:
        path: a run's folder or a checkpoint.
        device: where to put it.

    Raises:
        AlmetaError: if there is no checkpoint, or it is damaged, foreign, or of another version's networks.
    """
    content = load_checkpoint(find_checkpoint(path))
    agent = rebuild_agent(content)
    load_weights(agent, content["agent"])
    return agent.to(device).eval(), content


def rebuild_agent(content: Checkpoint) -> Any:
    """Build the agent that a checkpoint's config describes, with weights of no meaning."""
    config = content["config"]
    if _is_class(read_part(config["agent"], "agent")[0], PoolAgent):
        if content["inputs"] != [*CANDIDATE_INPUTS, *POOL_INPUTS]:
            raise AlmetaError(
                "the policy was trained on other inputs than those of this version of almeta; "
                "train it anew, or use the version that trained it"
            )
        return build_pool_agent({**config, "device": "cpu"})
    shape = {"num_pixels": content["num_pixels"], "num_slots": content["num_slots"]}
    with seeded_weights(0):
        return build(config["agent"], "agent", network=build(config["network"], "network"), **shape)


def check_classes(content: Checkpoint, dataset: str, classes: str) -> None:
    """Raise unless a checkpoint was trained on the very classes that its config selects today.

    Args:
        content: the checkpoint's.
        dataset: the data set's name.
        classes: the `fingerprint` of its training part.

    Raises:
        AlmetaError: if the data set's classes are others than they were, and with them the split.
    """
    if (content["dataset"], content["classes"]) != (dataset, classes):
        raise AlmetaError(
            f"the checkpoint was trained on other classes of '{content['dataset']}' than its config selects today (of "
            f"'{dataset}'): the data set has changed, as the glyphs of 'characters' may with another matplotlib, or "
            "other sets are listed; what it was trained on and what it is judged on would be mixed up"
        )


def choose_classes(checkpoint: Checkpoint, dataset: Config | None, classes: str) -> tuple[Dataset, Dataset]:
    """Return the classes to judge a trained agent on, and those on which baselines may choose their threshold.

    The latter are the training part of the same data set: with `classes="all"` some of the judged ones, which favours
    the baselines.

    Args:
        checkpoint: the agent's.
        dataset: name, `train_classes` and `split_seed`; None for the data set it was trained on, split as it was.
        classes: "test", "train" or "all".

    Raises:
        AlmetaError: if classes the agent was trained on would be mixed with others.
    """
    if classes not in ("test", "train", "all"):
        raise AlmetaError(did_you_mean(str(classes), ("test", "train", "all"), "choice of classes"))
    own = checkpoint["config"]["dataset"]
    # A data set that is given by its name alone (`dataset=named`) is split as the own one.
    chosen = own | {key: value for key, value in (dataset or {}).items() if value is not None}
    check_values(chosen, DATASET, "dataset")
    parts = load_split({"dataset": chosen})
    if parts["train"].name == checkpoint["dataset"]:
        if classes == "all" or {**chosen, "name": own["name"]} != own:
            raise AlmetaError(
                f"the policy was trained on classes of '{own['name']}' (train_classes={own['train_classes']}, "
                f"split_seed={own['split_seed']}); to judge it there, choose classes=test (or train) of that split"
            )
        check_classes(checkpoint, parts["train"].name, parts["train"].fingerprint)
    return (load_dataset(chosen["name"]) if classes == "all" else parts[classes]), parts["train"]


def load_weights(agent: torch.nn.Module, weights: dict[str, torch.Tensor]) -> None:
    """Put a checkpoint's weights into an agent.

    Raises:
        AlmetaError: if they are of another network.
    """
    try:
        agent.load_state_dict(weights)
    except RuntimeError as error:
        detail = str(error).strip().splitlines()[-1].strip()
        raise AlmetaError(
            f"the checkpoint's weights do not fit this {type(agent).__name__} ({detail}); "
            "use the config that trained them"
        ) from error


def set_compute(config: Config) -> None:
    """Set threads and matrix precision, and check the device.

    Raises:
        AlmetaError: for an unknown precision, or a device that is not there.
    """
    set_matmul_precision(config["matmul_precision"])
    if config["threads"] is not None:
        torch.set_num_threads(config["threads"])
    try:
        if torch.empty(0, device=config["device"]).device.type not in ("cpu", "cuda"):
            raise RuntimeError("neither cpu nor cuda")
    except (RuntimeError, AssertionError) as error:
        raise AlmetaError(f"device={config['device']} cannot be used here ({error}); choose device=cpu") from error


def set_matmul_precision(precision: str) -> None:
    """Choose how products and convolutions of float32 numbers are computed, process-wide.

    Args:
        precision: "highest" for float32 throughout; "medium" lets factors, and some products, be rounded to bfloat16
            where the processor is faster at it.

    Raises:
        AlmetaError: for another value.
    """
    if precision not in _PRECISIONS:
        raise AlmetaError(did_you_mean(str(precision), _PRECISIONS, "matmul_precision"))
    torch.backends.mkldnn.matmul.fp32_precision = _PRECISIONS[precision]  # type: ignore[attr-defined]
    torch.backends.mkldnn.conv.fp32_precision = _PRECISIONS[precision]  # type: ignore[attr-defined]
    torch.set_float32_matmul_precision(precision)
