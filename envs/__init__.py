"""The decision problems: whoever acts in them may be a strategy or a trained policy."""

if __name__ == "envs":
    raise ImportError("This folder is a part of the package almeta: import almeta.envs, not envs.")

from almeta.envs.one_shot import (
    OneShotSimulation,
    OneShotStreamEnv,
    OneShotStreamVectorEnv,
    StreamRewards,
    make_simulation,
)
from almeta.envs.pool import (
    PoolSelectionEnv,
    PoolSelectionVectorEnv,
    PoolSimulation,
    make_pool_simulation,
)

__all__ = [
    "OneShotSimulation",
    "OneShotStreamEnv",
    "OneShotStreamVectorEnv",
    "PoolSelectionEnv",
    "PoolSelectionVectorEnv",
    "PoolSimulation",
    "StreamRewards",
    "make_pool_simulation",
    "make_simulation",
]
