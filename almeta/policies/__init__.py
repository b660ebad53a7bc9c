"""Trained policies, ready to act."""

from pathlib import Path

from almeta.agents.agent import Agent
from almeta.training.build import load_agent

__all__ = ["load_policy"]


def load_policy(folder: str | Path, device: str = "cpu") -> Agent:
    """Return the trained agent of a run; its `predict` acts in the environments, memory and masks included.

    Args:
        folder: a run's folder, or one of its checkpoints.
        device: where to put it.

    Raises:
        AlmetaError: if there is no checkpoint, or it is damaged or foreign.
    """
    return load_agent(folder, device)[0]
