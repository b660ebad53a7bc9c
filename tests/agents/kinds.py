"""Every agent with every network of every kind that it can learn from, in a small problem that suits both."""

from typing import Any

from tests.agents.pools import POOL_NETWORKS, READS, make_pool_agent, make_pools, scramble, small_scorer
from tests.agents.streams import AGENTS, NETWORKS, make_agent, make_streams, small_network

KIND = {name: network.kind for name, network in (NETWORKS | POOL_NETWORKS).items()}
# What only learns with networks without memory that read numbers about candidates, and refuses others.
REFUSED = {("DoubleQLearning", "RecurrentPoolScorer"), ("DoubleQLearning", "MetaScorer")}
# Each agent with each network, and each agent with one network of each kind.
PAIRS = [
    (name, network)
    for name in AGENTS
    for network in KIND
    if KIND[network] in (AGENTS[name].kinds or KIND.values()) and (name, network) not in REFUSED
]
RECURRENT = {"stream": "LSTMNetwork", "pool": "RecurrentPoolScorer"}
AGENTS_OF_KINDS = [(name, kind) for name in AGENTS for kind in RECURRENT if (name, RECURRENT[kind]) in PAIRS]


def make_problem(name: str, network: str, seed: int = 0, num_envs: int = 8, **options: Any) -> Any:
    """Return small episodes of the network's kind, as many of a task as the agent needs."""
    options = {"group": AGENTS[name].min_group} | options
    if KIND[network] == "stream":
        return make_streams(seed, num_envs, **{"reveal": AGENTS[name].reveal, **options})
    return make_pools(seed, num_envs, **options)


def make_any(name: str, seed: int = 0, **options: Any) -> Any:
    """Return an agent with a small network of a kind that it can learn from."""
    make = make_pool_agent if AGENTS[name].kinds == ("pool",) else make_agent
    return make(name, None, seed, **options)


def make_actor(name: str, network: str, seed: int = 0, **options: Any) -> Any:
    """Return an agent with a small network; no weight of it is zero."""
    if KIND[network] == "stream":
        return make_agent(name, small_network(network), seed, **options)
    return scramble(make_pool_agent(name, small_scorer(network), seed, READS.get(network), **options), seed)
