"""The run that `train` is told of: a new one, or one to go on with."""

import inspect
import json
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from almeta.build import config_names, find_target, named_config, trust_targets
from almeta.errors import AlmetaError
from almeta.registry import import_modules
from almeta.runs.config import TrainConfig
from almeta.runs.training import RESUMABLE, differing_keys
from almeta.scripts.commands import output_folder, plain
from almeta.scripts.overrides import part_of
from almeta.training.checkpoint import find_checkpoint, load_checkpoint


def read_run(config: DictConfig) -> tuple[TrainConfig, Path, Path | None]:
    """Return the run's config, its folder, and the checkpoint to go on from, which is None for a new run.

    Raises:
        AlmetaError: for a config that is wrong, a checkpoint that is not there, and a change that a resumed run may
            not make.
    """
    if config.get("resume") is None:
        told = plain(config)
        import_modules(told.get("modules") or [])
        trust_targets(told)  # a checkpoint's are not: whoever wrote it may be a stranger
        _check_options_of_preset(told)
        return TrainConfig.read(told), output_folder(), None
    checkpoint = find_checkpoint(str(config.resume))
    import_modules(config.modules)
    before = load_checkpoint(checkpoint)["config"]
    resumed = OmegaConf.create(before)
    for override in HydraConfig.get().overrides.task:
        part = part_of(override)
        if part in RESUMABLE:
            OmegaConf.update(resumed, part, OmegaConf.select(config, part), merge=False)
        elif part != "resume":
            raise AlmetaError(
                f"{override.lstrip('+')} cannot change when a run is resumed; only {', '.join(sorted(RESUMABLE))} can"
            )
    changed = plain(resumed)
    if differing_keys(changed, before):
        raise AlmetaError(
            f"batches={changed['batches']} cannot change when a run with anneal_lr=true is resumed: its learning rate "
            f"falls to zero over batches={before['batches']}; start a new run"
        )
    return TrainConfig.read(changed), checkpoint.parent, checkpoint


def _check_options_of_preset(config: dict[str, Any]) -> None:
    """Raise AlmetaError for options that a preset sets, of a network or an agent that was replaced by another."""
    asked = {override.lstrip("+").partition("=")[0] for override in HydraConfig.get().overrides.task}
    for part in sorted({"network", "agent"} & asked):
        options, choice = config[part], HydraConfig.get().runtime.choices[part]
        if choice not in config_names(part):  # one's own, or none
            continue
        known = {*inspect.signature(find_target(options["_target_"], part)).parameters, *named_config(part, choice)}
        theirs = [key for key in options if key not in known and f"{part}.{key}" not in asked]
        if theirs:
            told = ", ".join(f"{part}.{key}={json.dumps(options[key])}" for key in theirs)
            leave_out = " ".join(f'"~{part}.{key}"' for key in theirs)
            raise AlmetaError(f"the preset sets {told}, which {part}={choice} does not take; add {leave_out}")
