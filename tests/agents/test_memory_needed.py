"""A stream that only an agent with memory can solve: who is said to remember solves it, who cannot remember fails.

Two classes, four label slots dealt out anew in every episode, images of a class all alike. Once a class's label was
requested, each further image of it can be named, if it is remembered which label that was. Nothing else helps: the
second class's slot does not follow from the first's, and an image says nothing about its slot.
"""

import functools
import itertools
from typing import Any

import numpy as np
import pytest
import torch

from almeta.evaluation.streams import evaluate
from almeta.seeding import make_generator
from tests.agents.streams import (
    AGENTS,
    NETWORKS,
    PIXELS,
    SLOTS,
    forgetful,
    glyphs,
    make_agent,
    make_streams,
    play_exploring,
    small_network,
    stream_options,
)

LENGTH, PER_CLASS = 8, 8
REQUEST, CORRECT, INCORRECT = -0.05, 1.0, -0.6
# Share of steps whose image is of the same class as the one before: the images are drawn without replacement.
SAME = (PER_CLASS - 1) / (2 * PER_CLASS - 1)
EPISODES = 2000

Case = tuple[str, str, dict[str, Any], int]

# Episodes per task, for who compares them.
GROUP = {"GroupReinforce": 4}
# Who learns, with what memory, and for how many batches: enough to solve it with any of several seeds.
CASES: list[Case] = [
    ("QLearning", "LSTMNetwork", {"epsilon": 0.2}, 400),
    ("Reinforce", "LSTMNetwork", {"ent_coef": 0.2}, 500),
    ("ActorCritic", "LSTMNetwork", {"ent_coef": 0.2}, 450),
    ("PPO", "LSTMNetwork", {"ent_coef": 0.2}, 200),
    ("GroupReinforce", "LSTMNetwork", {"ent_coef": 0.2, "returns": "rewards", "gamma": 0.5}, 700),
    ("QLearning", "EpisodicNetwork", {"epsilon": 0.2}, 200),
    ("QLearning", "GRUNetwork", {"epsilon": 0.2}, 700),
    ("PPO", "MANNNetwork", {"ent_coef": 0.2}, 160),
    ("PPO", "NTMNetwork", {"ent_coef": 0.2}, 150),
    ("PPO", "TransformerNetwork", {"ent_coef": 0.2}, 60),
]


def learn(case, make=small_network, seed=0):
    """Train the agent of a case, whose network `make` makes; return what it then earns on fresh streams."""
    name, network, options, batches = case
    stream = {"dataset": glyphs(2, PER_CLASS, noise=0.0), "classes": 2, "length": LENGTH, **stream_options(name)}
    stream["reward"] = {"request": REQUEST, "correct": CORRECT, "incorrect": INCORRECT}
    simulation = make_streams(seed, 64, group=GROUP.get(name, 1), **stream)
    agent = make_agent(name, functools.partial(sighted, make, network), seed=seed, **options)
    optimizer = torch.optim.Adam((p for p in agent.parameters() if p.requires_grad), 0.01, fused=True)
    generator = make_generator(seed, "policy")
    for _ in range(batches):
        rollout = play_exploring(simulation, agent, generator)
        for lesson in agent.lessons(rollout, generator):
            loss, _ = agent.loss(lesson)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(agent.parameters(), 1.0)
            optimizer.step()
    return evaluate(agent, make_streams(seed + 1, 500, **stream), EPISODES, seed).summary()


def sighted(make, name, **sizes):
    """Return a network that sees pixels as they are, where it would need an encoder trained beforehand."""
    if name != "EpisodicNetwork":
        return make(name, hidden_size=32)(**sizes)
    network = make(name, hidden_size=32, code_size=PIXELS)(**sizes)
    network.encoder = torch.nn.Identity()
    return network


@functools.cache
def best_without_memory():
    """Return the highest mean return of any rule from (label just revealed or none, image) to an action.

    All rules are tried: 5 actions for each of 2 images x (no label, 4 labels). In an episode that gives the classes
    the slots (a, b) only six of these ten observations occur, and an action is one of four: say a, say b, say
    something wrong, request. So every rule's return in such an episode stands in one table of 4^6 numbers.
    """
    kinds = np.array(list(itertools.product(range(4), repeat=6))).reshape(-1, 3, 2)  # [rules, label, image]
    table = np.zeros(len(kinds))
    reward = np.array([[CORRECT, INCORRECT, INCORRECT, REQUEST], [INCORRECT, CORRECT, INCORRECT, REQUEST]])
    for classes in itertools.product((0, 1), repeat=LENGTH):
        left, chance = [PER_CLASS, PER_CLASS], 1.0
        label = np.zeros(len(kinds), dtype=int)  # none, a, b
        total = np.zeros(len(kinds))
        for k in classes:
            chance *= left[k] / sum(left)
            left[k] -= 1
            action = kinds[np.arange(len(kinds)), label, k]
            total += reward[k, action]
            label = np.where(action == 3, k + 1, 0)
        table += chance * total
    table = table.reshape((4,) * 6)

    returns = np.zeros((SLOTS + 1,) * (2 * (SLOTS + 1)), dtype=np.float32)  # an axis for each observation
    pairs = list(itertools.permutations(range(SLOTS), 2))
    for a, b in pairs:
        kind = [3 if action == SLOTS else (a, b).index(action) if action in (a, b) else 2 for action in range(5)]
        observed = [0, 1, 2 * a + 2, 2 * a + 3, 2 * b + 2, 2 * b + 3]  # axes: (label + 1) * 2 + image
        part = table[np.ix_(*[kind] * 6)].astype(np.float32)
        part = part.transpose(np.argsort(observed))
        shape = [SLOTS + 1 if axis in observed else 1 for axis in range(returns.ndim)]
        returns += part.reshape(shape) / len(pairs)
    return float(returns.max())


def best_with_memory():
    """Return the mean return of who requests each class once and never errs."""
    lone = 2 * np.prod([(PER_CLASS - n) / (2 * PER_CLASS - n) for n in range(LENGTH)])  # only one class is shown
    return LENGTH * CORRECT - (2 - lone) * (CORRECT - REQUEST)


def test_the_bounds():
    # To request and then repeat the label, in turns, is one rule without memory
    in_turns = LENGTH / 2 * (REQUEST + SAME * CORRECT + (1 - SAME) * INCORRECT)
    assert in_turns <= best_without_memory() + 1e-5
    # and no rule can do better than to name every image that follows one of its class, at no price.
    assert best_without_memory() < (LENGTH - 1) * SAME * CORRECT
    assert best_with_memory() > 5.8 > 3 * best_without_memory()


def test_every_agent_is_here():
    assert {name for name, *_ in CASES} | {"Supervised", "DoubleQLearning"} == set(AGENTS)
    assert {network for _, network, *_ in CASES} == set(NETWORKS)


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(case[:2]))
def test_memory_earns_nearly_the_best(case):
    solved = learn(case)
    assert solved["mean_return"] > 0.92 * best_with_memory()
    assert solved["request_rate"] == pytest.approx(2 / LENGTH, abs=0.03)


@pytest.mark.parametrize("case", CASES[:2], ids=lambda case: "-".join(case[:2]))
def test_without_memory_there_is_little(case):
    """By a rule of each sort: that little can be had is a fact about the task, see `best_without_memory`."""
    cut = learn(case, make=forgetful)
    assert cut["mean_return"] < best_without_memory() + 2 * cut["intervals"]["mean_return"]


def test_memory_of_labels_given_for_nothing():
    # Best: all right but the first image of each class, guessed among four and then among three slots.
    best = (LENGTH - 2 + 1 / 4 + 1 / 3) / LENGTH
    # Without memory: the label just shown, right where the class repeats; at the first step one of four.
    without = (1 / 4 + (LENGTH - 1) * SAME) / LENGTH
    case: Case = ("Supervised", "LSTMNetwork", {}, 700)
    solved, cut = learn(case), learn(case, make=forgetful)
    assert 0.95 * best < solved["accuracy"] < best + 2 * solved["intervals"]["accuracy"]
    assert cut["accuracy"] < without + 2 * cut["intervals"]["accuracy"]
    assert without < 0.6 * best
