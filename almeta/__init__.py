"""Learned active learning: data sets become tasks, tasks become environments, and policies act in them.

Importing almeta registers its environments with Gymnasium; `gymnasium.make("almeta:almeta/OneShotStream-v0")`
does the import itself, also in a worker process.
"""

import importlib
from typing import TYPE_CHECKING, Any

import gymnasium

if TYPE_CHECKING:  # the same as _HOMES, for readers of types
    from almeta.agents import register_agent, register_network
    from almeta.data import load_dataset, register_dataset, register_encoder
    from almeta.learners import register_learner
    from almeta.policies import load_policy
    from almeta.queries import query
    from almeta.runs import register_kind
    from almeta.strategies import register_strategy

__all__ = [
    "__version__",
    "load_dataset",
    "load_policy",
    "query",
    "register_agent",
    "register_dataset",
    "register_encoder",
    "register_kind",
    "register_learner",
    "register_network",
    "register_strategy",
]

__version__ = "0.1.0"

# By name, so that worker processes find them too.
ENVIRONMENTS = {
    "almeta/ClassSampling-v0": ("almeta.envs:ClassSamplingEnv", "almeta.envs:ClassSamplingVectorEnv"),
    "almeta/FeatureAcquisition-v0": (
        "almeta.envs:FeatureAcquisitionEnv",
        "almeta.envs:FeatureAcquisitionVectorEnv",
    ),
    "almeta/OneShotStream-v0": ("almeta.envs:OneShotStreamEnv", "almeta.envs:OneShotStreamVectorEnv"),
    "almeta/PoolSelection-v0": ("almeta.envs:PoolSelectionEnv", "almeta.envs:PoolSelectionVectorEnv"),
    "almeta/TableStream-v0": ("almeta.envs:TableStreamEnv", "almeta.envs:TableStreamVectorEnv"),
}

for _id, (_single, _vector) in ENVIRONMENTS.items():
    if _id not in gymnasium.registry:  # a second registration would warn
        gymnasium.register(_id, entry_point=_single, vector_entry_point=_vector)

# The package of each name above. It is imported when the name is first used: torch takes seconds to import, and a
# command reports a misspelt key before that.
_HOMES = {
    "load_dataset": "almeta.data",
    "load_policy": "almeta.policies",
    "query": "almeta.queries",
    "register_agent": "almeta.agents",
    "register_dataset": "almeta.data",
    "register_encoder": "almeta.data",
    "register_kind": "almeta.runs",
    "register_learner": "almeta.learners",
    "register_network": "almeta.agents",
    "register_strategy": "almeta.strategies",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'almeta' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
