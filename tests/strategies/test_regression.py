"""Where a learner of numbers is least sure, against direct transcriptions of the papers."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from almeta.errors import AlmetaError
from almeta.learners import RidgeRegression
from almeta.seeding import make_generator
from almeta.strategies import make_strategy
from almeta.strategies.committee import bootstrap_weights
from almeta.strategies.regression import (
    CommitteeVariance,
    ModelChange,
    PredictiveVariance,
    expected_model_change,
    predicted,
)
from tests.strategies.pools import make_pools, utilities_of


def test_predicted_is_what_the_learner_says():
    state = make_pools(numbers=True).state
    said = state.model.predict(state.x)
    assert torch.equal(predicted(state)[0], said.mean) and torch.equal(predicted(state)[1], said.variance)


def test_predictive_variance_is_the_learners():
    state = make_pools(numbers=True).state
    got = utilities_of(PredictiveVariance(), state)[state.available]
    assert torch.equal(got, state.model.predict(state.x).variance[state.available])
    assert len(got.unique()) > 10


def test_expected_model_change_is_the_mean_length_of_the_gradient():
    """Equation 9 of Cai, Zhang & Zhou, term by term: the gradient of (f(x) - y)^2 / 2 of a linear f is (f(x) - y) x."""
    rng = np.random.default_rng(0)
    rows, weights, committee = rng.normal(size=(5, 3)), rng.normal(size=3), rng.normal(size=(4, 3))
    expected = [np.mean([np.linalg.norm((weights @ x - member @ x) * x) for member in committee]) for x in rows]
    given = (rows @ weights)[None], (committee @ rows.T)[None], np.linalg.norm(rows, axis=1)[None]
    got = expected_model_change(*map(torch.as_tensor, given))
    torch.testing.assert_close(got[0], torch.as_tensor(np.array(expected)))


def members_one_by_one(state, num_members, seed):
    """Predictions `[K, N]` of ridge regressions of bootstrap samples of the first pool."""
    x, y, weight = state.labelled_rows()
    samples = bootstrap_weights(torch.zeros_like(y).long(), weight, num_members, 1, make_generator(seed, "test"))
    models = [RidgeRegression().fit(x[:1], y[:1], sample[None]) for sample in samples[0]]
    return torch.stack([model.predict(state.x[:1]).mean[0] for model in models])


@pytest.mark.parametrize("num_members", [2, 7])
def test_a_committee_is_fit_to_bootstrap_samples(num_members):
    state = make_pools(numbers=True, labelled=(8, 6)).state
    said, open_rows = members_one_by_one(state, num_members, 3), state.available[0]
    variance = utilities_of(
        make_strategy("committee_variance", make_generator(3, "test"), num_members=num_members), state
    )
    expected = np.var(said.numpy(), 0)
    np.testing.assert_allclose(variance[0, open_rows], expected[open_rows], rtol=1e-4, atol=1e-6)
    change = utilities_of(make_strategy("emcm", make_generator(3, "test"), num_members=num_members), state)
    length = (1 + state.x[0].square().sum(-1)).sqrt()
    expected = ((predicted(state)[0][0] - said).abs().mean(0) * length)[open_rows]
    torch.testing.assert_close(change[0, open_rows], expected, rtol=1e-4, atol=1e-6)


def test_a_committee_of_several_learners_is_fit_to_all_labels():
    state = make_pools(numbers=True).state
    members: list[Any] = [{"name": "ridge_regression", "alpha": 5}, "gaussian_process"]
    strategy = CommitteeVariance(members=members)
    assert strategy.num_members == 2 and len(strategy.depends_on) == 2
    x, y, weight = state.labelled_rows()
    said = [learner.fit(x, y, weight, 0).predict(state.x).mean for learner in strategy.depends_on]
    expected = (said[0] - said[1]).square() / 4
    got = utilities_of(strategy, state)
    torch.testing.assert_close(got[state.available], expected[state.available], rtol=1e-4, atol=1e-6)
    assert not torch.equal(utilities_of(ModelChange(members=members), state), got)


@pytest.mark.parametrize(
    "members, says",
    [
        (["gaussian_process"], "a committee needs at least 2 members; strategy emcm has"),
        (
            ["gaussian_process", "ridge"],
            "strategy emcm: ridge learns classes; name a learner of numbers, such as gaussian_process",
        ),
    ],
)
def test_other_committees_are_refused(members, says):
    with pytest.raises(AlmetaError, match=says):
        make_strategy("emcm", members=members)


def test_a_learner_without_predictions_is_refused():
    state = make_pools(numbers=True).state
    with pytest.raises(AlmetaError, match="needs a learner with predictions of numbers; .* such as gaussian_process"):
        utilities_of(make_strategy("predictive_variance"), replace(state, model=None))
