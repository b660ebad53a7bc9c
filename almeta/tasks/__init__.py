"""Drawing tasks from data sets: streams of a few classes, and pools to choose from."""

from almeta.tasks.pool import PoolSampler, PoolTaskOptions, PoolTasks
from almeta.tasks.stream import (
    Script,
    StreamSampler,
    StreamTasks,
    check_square,
    class_margins,
    options_for_streams,
    select_classes,
    split_classes,
)

__all__ = [
    "PoolSampler",
    "PoolTaskOptions",
    "PoolTasks",
    "Script",
    "StreamSampler",
    "StreamTasks",
    "check_square",
    "class_margins",
    "options_for_streams",
    "select_classes",
    "split_classes",
]
