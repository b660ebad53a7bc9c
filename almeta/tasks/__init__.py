"""Drawing tasks from data sets: streams of a few classes, and pools to choose from."""

from almeta.tasks.one_shot import Script, StreamSampler, StreamTasks, select_classes, split_classes
from almeta.tasks.pool import PoolSampler, PoolTasks

__all__ = [
    "PoolSampler",
    "PoolTasks",
    "Script",
    "StreamSampler",
    "StreamTasks",
    "select_classes",
    "split_classes",
]
