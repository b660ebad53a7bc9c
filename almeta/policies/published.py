"""Published policies: weights as safetensors, and a JSON card with the facts. Loading them runs no code."""

import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save

from almeta.agents.agent import Agent
from almeta.build import as_config
from almeta.errors import AlmetaError
from almeta.files import write_atomically
from almeta.inputs import Candidates
from almeta.training.agents import rebuild_agent
from almeta.training.checkpoint import CONFIG_KEYS, check_entries, check_plain, load_checkpoint, upgraded_config

FORMAT, FORMAT_BEFORE = "almeta-policy-2", "almeta-policy-1"
# Entries that each card has beside its format, and one that a card of streams has, too: of the classes.
_ENTRIES = {"kind": str, "sha256": str, "trained_on": list, "inputs": dict, "names": list, "config": dict}
_OF_STREAMS = {"digest": str}
# Keys of the config that a card has where the run has them, beside `CONFIG_KEYS`.
_FURTHER_KEYS = ("vary", "matmul_precision")

Card = dict[str, Any]


def publish(checkpoint: Path, card: Path, facts: dict[str, Any]) -> None:
    """Write the card of a run's checkpoint to `card`, which ends in .json, and the weights beside it.

    Args:
        checkpoint: of a run.
        card: path of the card.
        facts: further entries of the card, such as the command of the training and the scores.

    Raises:
        AlmetaError: if the checkpoint cannot be read, or a file cannot be written.
    """
    content = load_checkpoint(checkpoint)
    config = content["config"]
    weights = save({name: value.contiguous() for name, value in content["agent"].items()})
    entries = {
        "format": FORMAT,
        "kind": content["kind"],
        "sha256": hashlib.sha256(weights).hexdigest(),
        "trained_on": content["datasets"],
        "inputs": content["inputs"],
        "names": list(content["names"]),
        "digest": content["digest"],
        "rows": content.get("rows", {}),
        "batches": content["batch"],
        **facts,
        "config": {key: config[key] for key in (*CONFIG_KEYS, *(key for key in _FURTHER_KEYS if config.get(key)))},
    }
    write_atomically(card.with_suffix(".safetensors"), weights)
    write_atomically(card, json.dumps(entries, indent=2) + "\n")


def read_card(path: Path) -> Card:
    """Return the content of a card; a file that is no card is an AlmetaError."""
    try:
        card = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise AlmetaError(f"{path} is no readable card of a policy ({error}); use another one") from error
    if not isinstance(card, dict) or card.get("format") not in (FORMAT, FORMAT_BEFORE):
        raise AlmetaError(f"{path} is not the card of a policy of almeta (format '{FORMAT}'); use another one")
    check_plain(card, path)
    if card["format"] == FORMAT_BEFORE:
        card = _upgraded(card)
    check_entries(card, _ENTRIES | (_OF_STREAMS if card.get("kind") == "stream" else {}), path)
    return card


def _upgraded(card: Card) -> Card:
    """Return a card of version 0.1, which had no kind, in the current form."""
    changes: Card = {"kind": "pool"}
    if isinstance(card.get("inputs"), list):
        changes |= {"names": card["inputs"], "inputs": as_config(Candidates())}
    if isinstance(card.get("config"), dict):
        changes["config"] = upgraded_config(card["config"])
    return card | changes


def load_published(path: Path) -> Agent:
    """Return the agent of a card, with its weights; weights that are missing, damaged or foreign are an AlmetaError."""
    card, file = read_card(path), path.with_suffix(".safetensors")
    try:
        content = file.read_bytes()
        if hashlib.sha256(content).hexdigest() != card["sha256"]:
            raise ValueError("its sha256 is not the one on the card")
        weights = load(content)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise AlmetaError(f"{file} is missing, damaged or not the card's weights ({error}); use another one") from error
    return rebuild_agent(card, weights).eval()
