"""Agents: networks, and the rules by which they learn."""

if __name__ == "agents":
    raise ImportError("This folder is a part of the package almeta: import almeta.agents, not agents.")

from torch import nn

from almeta.agents.agent import Agent, Rollout
from almeta.agents.cell_scorer import CellScorer
from almeta.agents.class_scorer import ClassScorer
from almeta.agents.double_q_learning import DoubleQLearning
from almeta.agents.meta_scorer import MetaScorer
from almeta.agents.networks import (
    EpisodicNetwork,
    GRUNetwork,
    LSTMNetwork,
    MANNNetwork,
    NTMNetwork,
    TransformerNetwork,
)
from almeta.agents.policy_gradient import PPO, ActorCritic, GroupReinforce, Reinforce
from almeta.agents.q_learning import QLearning
from almeta.agents.scorers import PoolScorer, RecurrentPoolScorer
from almeta.agents.state_action import StateActionNetwork
from almeta.agents.supervised import Supervised
from almeta.errors import AlmetaError
from almeta.registry import trust

__all__ = [
    "PPO",
    "ActorCritic",
    "Agent",
    "CellScorer",
    "ClassScorer",
    "DoubleQLearning",
    "EpisodicNetwork",
    "GRUNetwork",
    "GroupReinforce",
    "LSTMNetwork",
    "MANNNetwork",
    "MetaScorer",
    "NTMNetwork",
    "PoolScorer",
    "QLearning",
    "RecurrentPoolScorer",
    "Reinforce",
    "Rollout",
    "StateActionNetwork",
    "Supervised",
    "TransformerNetwork",
    "register_agent",
    "register_network",
]


def register_agent(agent: type[Agent]) -> type[Agent]:
    """Let checkpoints and cards name an agent of your own, and what else its module defines; also as a decorator.

    Commands that train accept any `_target_`. A checkpoint may come from a stranger: one that names a class of another
    package is refused unless the class was registered here.

    Raises:
        AlmetaError: if it is no subclass of `Agent`.
    """
    if not (isinstance(agent, type) and issubclass(agent, Agent)):
        raise AlmetaError(f"{agent!r} is no agent; derive a class from almeta.agents.Agent")
    trust(agent.__module__)
    return agent


def register_network(network: type[nn.Module]) -> type[nn.Module]:
    """Let checkpoints and cards name a network of your own, as `register_agent` does for agents.

    Raises:
        AlmetaError: if it is no module with `initial` and `step`.
    """
    is_module = isinstance(network, type) and issubclass(network, nn.Module)
    if not (is_module and hasattr(network, "initial") and hasattr(network, "step")):
        raise AlmetaError(f"{network!r} is no network; it must be a torch module with `initial` and `step`")
    trust(network.__module__)
    return network
