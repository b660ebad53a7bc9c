"""Building agents from configs and checkpoints."""

from pathlib import Path
from typing import Any

import torch

from almeta.agents.agent import Agent
from almeta.build import build, prepare, read_part
from almeta.errors import AlmetaError
from almeta.inputs import Inputs
from almeta.seeding import seeded_weights
from almeta.training.checkpoint import JOBS, find_checkpoint, load_checkpoint

Config = dict[str, Any]
Checkpoint = dict[str, Any]


def build_agent(config: Config, inputs: Inputs) -> Agent:
    """Build the agent of a config with `agent`, `network`, `seed` and `device`; weights depend on the seed alone."""
    with seeded_weights(config["seed"]):
        make_network = prepare(config["network"], "network", ("inputs", "num_values"))
        agent = build(config["agent"], "agent", network=make_network, inputs=inputs)
    if not isinstance(agent, Agent):
        raise AlmetaError(f"agent._target_ is '{config['agent']['_target_']}', which is no agent")
    return agent.to(config["device"])


def check_agent(config: Config, kind: str) -> None:
    """Raise AlmetaError unless agent and network can act in problems of a kind, and its inputs can be read there."""
    network = read_part(config["network"], "network", ("inputs", "num_values"))[0]
    agent = read_part(config["agent"], "agent", ("network", "inputs"))[0]
    inputs = read_part(config["inputs"], "inputs")[0] if config.get("inputs") else None
    of_one_kind = {"network": network, "inputs": inputs}
    parts = {part: (getattr(made, "kind", kind),) for part, made in of_one_kind.items()}
    for part, kinds in (*parts.items(), ("agent", getattr(agent, "kinds", None))):
        if kinds is not None and kind not in kinds:
            raise AlmetaError(
                f"{part}._target_ is '{config[part]['_target_']}', which is for problems of kind {' or '.join(kinds)}, "
                f"but env is of kind {kind}; begin with a preset, such as experiment=pool/quickstart, or choose "
                f"env, {'inputs, ' if part == 'inputs' else ''}network and agent of one kind"
            )


def load_agent(path: str | Path, device: str = "cpu") -> tuple[Agent, Checkpoint]:
    """Return a trained agent and the content of its checkpoint, the config of its run among it.

    Args:
        path: a run's folder or a checkpoint.
        device: where to put it.

    Raises:
        AlmetaError: if there is no checkpoint, or it is damaged, foreign, or of other networks than this version's.
    """
    file = find_checkpoint(path)
    content = load_checkpoint(file)
    if content["config"].get("at_once"):
        jobs = sorted((file.parent / JOBS).glob("*"))
        way_out = (
            f"name the folder of one, such as {jobs[0]}" if jobs else "they have folders at the end of the training"
        )
        raise AlmetaError(f"{file} is of runs that were trained at once; {way_out}")
    return rebuild_agent(content, content["agent"]).to(device).eval(), content


def rebuild_agent(content: Checkpoint, weights: dict[str, torch.Tensor]) -> Agent:
    """Build the agent that a checkpoint or a card describes, with its weights.

    Raises:
        AlmetaError: if its inputs or its network are not those that it was trained with.
    """
    kind, config = content["kind"], content["config"]
    inputs: Inputs = build(content["inputs"], "inputs")
    found = {getattr(inputs, "kind", None), getattr(read_part(config["env"], "env")[0], "kind", None)}
    if found != {kind}:
        raise AlmetaError(f"the policy is damaged: it is said to be of kind {kind}, but reads or acts in another one")
    check_agent(config, kind)
    if tuple(content["names"]) != inputs.names:
        raise AlmetaError(
            "the policy was trained on other inputs than those of this version of almeta; "
            "train it anew, or use the version that trained it"
        )
    try:
        with torch.device("meta"):  # sizes that are not those of the weights cost no memory
            agent = build_agent({**config, "seed": 0, "device": "meta"}, inputs)
    except (RuntimeError, TypeError, ValueError, OverflowError) as error:
        raise AlmetaError(f"the policy's network cannot be built ({_last_line(error)}); use another one") from error
    load_weights(agent, weights, assign=True)
    return agent


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1].strip()[:200]


def load_weights(agent: torch.nn.Module, weights: dict[str, torch.Tensor], assign: bool = False) -> None:
    """Put a checkpoint's weights into an agent.

    Args:
        agent: changed in place.
        weights: tensors by name.
        assign: take the tensors themselves instead of copies.

    Raises:
        AlmetaError: if they are of another network, or not finite.
    """
    types = {name: weight.dtype for name, weight in agent.state_dict().items()}
    try:
        agent.load_state_dict(weights, assign=assign)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise AlmetaError(
            f"the checkpoint's weights do not fit this {type(agent).__name__} ({_last_line(error)}); "
            "use the config that trained them"
        ) from error
    for name, weight in weights.items():
        if weight.dtype != types[name]:
            raise AlmetaError(f"the weights '{name}' are {weight.dtype} instead of {types[name]}; use another policy")
        if not weight.isfinite().all():
            raise AlmetaError(
                f"the weights '{name}' are not finite: the policy is damaged or has diverged; use another"
            )
