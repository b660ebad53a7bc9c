"""Who decides, and the rule by which it learns."""

if __name__ == "agents":
    raise ImportError("This folder is a part of the package almeta: import almeta.agents, not agents.")

from almeta.agents.agent import Agent, Rollout
from almeta.agents.networks import EpisodicNetwork, LSTMNetwork
from almeta.agents.policy_gradient import PPO, Reinforce
from almeta.agents.pool import GroupReinforce, PoolActorCritic, PoolAgent, PoolRollout
from almeta.agents.q_learning import QLearning
from almeta.agents.scorers import PoolScorer
from almeta.agents.supervised import Supervised

__all__ = [
    "PPO",
    "Agent",
    "EpisodicNetwork",
    "GroupReinforce",
    "LSTMNetwork",
    "PoolActorCritic",
    "PoolAgent",
    "PoolRollout",
    "PoolScorer",
    "QLearning",
    "Reinforce",
    "Rollout",
    "Supervised",
]
