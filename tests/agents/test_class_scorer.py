"""The network that asks for classes: where it begins, what it may depend on, and that its agent learns."""

import functools

import pytest
import torch

from almeta.agents import ClassScorer, GroupReinforce
from almeta.data import load_dataset
from almeta.envs import ClassOptions, ClassSimulation
from almeta.errors import AlmetaError
from almeta.inputs import ClassInputs, PoolView
from almeta.learners import make_learner
from almeta.seeding import make_generator
from almeta.training.rollout import explore
from tests.agents.pools import scramble

INPUTS = ClassInputs()


def simulate(num_envs=8, **options):
    chosen = ClassOptions(**({"pool_size": 60, "max_test": 60, "budget": 10, "group": 4} | options))
    return ClassSimulation([load_dataset("iris"), load_dataset("wine")], chosen, num_envs, make_generator(0, "env"))


@pytest.mark.parametrize("prior, number", [("proportional", "the share in the data"), ("uniform", "an equal share")])
def test_it_begins_with_the_rule(prior, number):
    view = INPUTS(simulate().reset())
    scores, value, _ = ClassScorer(INPUTS, prior=prior, prior_weight=30.0).step(view, ())
    column = INPUTS.candidate_names.index(f"lag behind {number}")
    torch.testing.assert_close(scores, 30 * view.candidates[..., column])
    assert value.shape == (8,)
    assert not ClassScorer(INPUTS, prior="none").step(view, ())[0].any()


def test_reordering_the_classes_reorders_the_scores():
    network, view = scramble(ClassScorer(INPUTS, hidden_size=8)), INPUTS(simulate().reset())
    order = torch.tensor([2, 0, 1])
    scores, value, _ = network.step(view, ())
    again = PoolView(view.candidates[:, order], view.pool, view.action_mask[:, order])
    others, same, _ = network.step(again, ())
    torch.testing.assert_close(others, scores[:, order])
    torch.testing.assert_close(same, value)


def test_rules_of_pools_are_no_priors_of_classes():
    with pytest.raises(AlmetaError, match="network.prior is 'margin'; it must be"):
        ClassScorer(INPUTS, prior="margin")  # type: ignore[arg-type]


def test_its_agent_learns_to_ask_for_the_class_that_pays():
    """The reward is 1 for class 0: a policy that starts uniform must come to ask for it."""

    class Paid(ClassSimulation):
        def step(self, classes):
            outcome = super().step(classes)
            outcome.reward[:] = (classes == 0).float()
            return outcome

    options = ClassOptions(pool_size=60, max_test=60, budget=10, query_size=10, group=4)
    paid = Paid([load_dataset("iris")], options, 16, make_generator(0, "env"), make_learner("prototype"))
    torch.manual_seed(0)
    agent = GroupReinforce(functools.partial(ClassScorer, hidden_size=16, prior="none"), OneHot())
    optimizer, generator = torch.optim.Adam(agent.parameters(), 2e-2), make_generator(0, "policy")
    returns = []
    for _ in range(15):
        rollout = explore(paid, agent, generator)
        loss = agent.loss(rollout)[0]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        returns.append(float(rollout.rewards.sum(0).mean()))
    assert returns[0] < 5.0 and sum(returns[-3:]) / 3 > 8.0


class OneHot(ClassInputs):
    """Also says which class is the first one, which no input that suits all tasks does."""

    @property
    def candidate_names(self):  # type: ignore[override]
        return (*super().candidate_names, "first")

    def __call__(self, state):
        view = super().__call__(state)
        first = torch.zeros_like(view.candidates[..., :1])
        first[:, 0] = 1.0
        return PoolView(torch.cat((view.candidates, first), -1), view.pool, view.action_mask)
