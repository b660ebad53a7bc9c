"""Configs as the commands compose them, and the same made small enough for tests."""

from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig
from omegaconf import open_dict

import almeta.scripts.train  # its resolvers  # noqa: F401
from almeta.scripts.commands import plain

# As overrides of a command; all networks have `hidden_size`.
SMALL = (
    "network.hidden_size=4",
    "num_envs=4",
    "batches=4",
    "log_every=1",
    "evaluate_every=2",
    "checkpoint_every=2",
    "evaluate_episodes=8",
    "final_episodes=8",
    "pretraining.batches=2",
    "pretraining.ways=4",
    "threads=1",
)
# The same for runs on pools, of data sets that need no file.
SMALL_POOLS = (
    "dataset.suite=[iris,wine]",
    "dataset.num_folds=2",
    "env.group=2",
    "env.pool_size=15",
    "env.max_test=20",
    "env.budget=3",
)
_SMALL_NETWORK = {"hidden_size": 4, "code_size": 3, "channels": 2}
_SMALL_AGENT = {"updates": 3, "replay_size": 40}


def compose_config(*overrides: str, command: str = "train") -> dict[str, Any]:
    """Return the plain config of a command."""
    with initialize_config_module("almeta.conf", version_base="1.3"):
        config = compose(command, list(overrides), return_hydra_config=True)
        HydraConfig.instance().set_config(config)
        try:
            with open_dict(config):
                del config["hydra"]
            return plain(config)
        finally:
            HydraConfig.instance().cfg = None


def small_config(*overrides: str) -> dict[str, Any]:
    """Return the config of a small run of `train`."""
    config = compose_config(*SMALL, *overrides)
    changes = {"network": dict(_SMALL_NETWORK), "agent": _SMALL_AGENT}
    if not config["network"].get("code_size"):  # no encoder, whose channels they are
        del changes["network"]["channels"]
    for part, small in changes.items():
        config[part] |= {key: value for key, value in small.items() if config[part].get(key)}
    return config
