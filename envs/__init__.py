"""The decision problems: whoever acts in them may be a strategy or a trained policy."""

if __name__ == "envs":
    raise ImportError("This folder is a part of the package almeta: import almeta.envs, not envs.")

from almeta.envs.pool import (
    PoolSelectionEnv,
    PoolSelectionVectorEnv,
    PoolSimulation,
    make_pool_simulation,
)
from almeta.envs.stream import (
    OneShotStreamEnv,
    OneShotStreamVectorEnv,
    StreamRewards,
    StreamSimulation,
    make_simulation,
)

__all__ = [
    "OneShotStreamEnv",
    "OneShotStreamVectorEnv",
    "PoolSelectionEnv",
    "PoolSelectionVectorEnv",
    "PoolSimulation",
    "StreamRewards",
    "StreamSimulation",
    "make_pool_simulation",
    "make_simulation",
]
