"""The decision problems, in which strategies and trained policies act."""

if __name__ == "envs":
    raise ImportError("This folder is a part of the package almeta: import almeta.envs, not envs.")

from almeta.envs.classes import ClassOptions, ClassSamplingEnv, ClassSamplingVectorEnv, ClassSimulation
from almeta.envs.features import (
    FeatureAcquisitionEnv,
    FeatureAcquisitionVectorEnv,
    FeatureOptions,
    FeatureSimulation,
)
from almeta.envs.pool import PoolOptions, PoolSelectionEnv, PoolSelectionVectorEnv, PoolSimulation
from almeta.envs.simulation import Simulation
from almeta.envs.stream import (
    OneShotStreamEnv,
    OneShotStreamVectorEnv,
    StreamOptions,
    StreamRewards,
    StreamSimulation,
)
from almeta.envs.table_stream import (
    TableStreamEnv,
    TableStreamOptions,
    TableStreamSimulation,
    TableStreamVectorEnv,
)

__all__ = [
    "ClassOptions",
    "ClassSamplingEnv",
    "ClassSamplingVectorEnv",
    "ClassSimulation",
    "FeatureAcquisitionEnv",
    "FeatureAcquisitionVectorEnv",
    "FeatureOptions",
    "FeatureSimulation",
    "OneShotStreamEnv",
    "OneShotStreamVectorEnv",
    "PoolOptions",
    "PoolSelectionEnv",
    "PoolSelectionVectorEnv",
    "PoolSimulation",
    "Simulation",
    "StreamOptions",
    "StreamRewards",
    "StreamSimulation",
    "TableStreamEnv",
    "TableStreamOptions",
    "TableStreamSimulation",
    "TableStreamVectorEnv",
]
