"""Learners by name, with options, registered, and of one's own."""

from functools import partial

import pytest
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from almeta import registry
from almeta.build import config_names, find_target, named_config
from almeta.checks import Positive
from almeta.data import load_dataset
from almeta.envs import PoolSelectionVectorEnv
from almeta.errors import AlmetaError
from almeta.learners import LogisticRegression, Prototype, Ridge, Scikit, make_learner, register_learner, svc
from almeta.registry import Table
from almeta.specs import Spec


@pytest.fixture(autouse=True)
def _empty_table(monkeypatch):
    """What a test registers is forgotten after it."""
    monkeypatch.setattr("almeta.learners.named._REGISTERED", Table("learner"))
    monkeypatch.setattr(registry, "_trusted", set())


def shrunken(temperature: Positive = 2.0) -> Prototype:
    """A learner of one's own."""
    return Prototype(temperature=temperature)


# --- by name ---


def test_by_name_and_with_options():
    assert make_learner("svc") == svc() == Scikit("sklearn.svm.SVC", {"C": 1.0, "gamma": "auto", "kernel": "rbf"})
    assert make_learner({"name": "svc", "C": 10}) == make_learner(Spec("svc", (("C", 10),))) == svc(C=10)
    assert make_learner("ridge") == Ridge()
    assert make_learner({"name": "logistic_regression", "C": 0.5}) == LogisticRegression(C=0.5)


@pytest.mark.parametrize("name", sorted({*config_names("learner")} - {"torch"}))  # that one needs a module
def test_every_shipped_name_makes_the_defaults(name):
    assert make_learner(name) == find_target(named_config("learner", name)["_target_"], "learner")()


def test_what_is_a_learner_already_stays_as_it_is():
    learner = Ridge(alpha=3.0)
    assert make_learner(learner) is learner


def test_the_mapping_is_left_as_it_was():
    register_learner("shrunken", shrunken)
    for given in ({"name": "svc", "C": 10}, {"name": "shrunken", "temperature": 3}):
        before = dict(given)
        make_learner(given)
        assert given == before


MISTAKES = {
    "name": ("scv", r"unknown learner 'scv'; did you mean 'svc'\? Known: .*logistic_regression.*shrunken"),
    "name of one's own": ("shrunk", "unknown learner 'shrunk'; did you mean 'shrunken'?"),
    "name in a mapping": ({"name": "rigde"}, "unknown learner 'rigde'; did you mean 'ridge'?"),
    "name that is none": ({"name": ["svc"]}, r"{'name': \['svc'\]} names no learner; write its name"),
    "no name": ({"C": 10}, r"{'C': 10} names no learner; write its name, or {name: NAME, OPTION: VALUE}"),
    "option": ({"name": "svc", "c": 1}, "unknown key of learner 'c'; Known: C, gamma, kernel"),
    "value": ({"name": "svc", "C": -1}, "learner.C is -1; it must be a number above 0"),
    "option of one's own": ({"name": "shrunken", "heat": 1}, "unknown key of learner shrunken 'heat'"),
    "value of one's own": ({"name": "shrunken", "temperature": 0}, "learner shrunken.temperature is 0; .* above 0"),
    "class": (SVC, "learner is <class .*SVC'>; give a name of conf/learner"),
    "number": (5, "learner is 5; give a name of conf/learner"),
    "no classifier": (StandardScaler(), r"learner is StandardScaler\(\); it must be a classifier, or a pipeline"),
    "pipeline without one": (make_pipeline(StandardScaler()), "learner is Pipeline.*; it must be a classifier"),
}


@pytest.mark.parametrize("given, message", MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_told(given, message):
    register_learner("shrunken", shrunken)
    with pytest.raises(AlmetaError, match=message):
        make_learner(given)


# --- registered ---


def test_a_registered_learner_has_its_options():
    register_learner("shrunken", shrunken)
    assert make_learner("shrunken") == Prototype(temperature=2.0)
    assert make_learner({"name": "shrunken", "temperature": 5}) == Prototype(temperature=5)
    register_learner("shrunken", shrunken)  # once more, as when a module is imported anew


def test_what_is_registered_may_be_a_classifier_of_scikit_learn():
    register_learner("bayes", GaussianNB)
    bayes = make_learner({"name": "bayes", "var_smoothing": 0.1})
    assert isinstance(bayes, Scikit) and bayes.estimator.var_smoothing == 0.1


def test_what_is_registered_may_be_a_partial():
    register_learner("sharp", partial(shrunken, temperature=3.0))
    assert make_learner("sharp") == Prototype(temperature=3.0)
    assert make_learner({"name": "sharp", "temperature": 4.0}) == Prototype(temperature=4.0)
    with pytest.raises(AlmetaError, match=r"learner sharp\.temperature is -1"):
        make_learner({"name": "sharp", "temperature": -1})
    assert registry.is_trusted(__name__) and not registry.is_trusted("functools")
    with pytest.raises(AlmetaError, match="there is another learner 'sharp' already"):
        register_learner("sharp", partial(shrunken, temperature=5.0))


def test_what_cannot_be_called_is_not_registered():
    with pytest.raises(AlmetaError, match="learner 'x': make is 3; it must be a function that returns a learner"):
        register_learner("x", 3)  # type: ignore[arg-type]
    with pytest.raises(AlmetaError, match="unknown learner 'x'"):
        make_learner("x")


def test_an_option_that_must_be_given():
    register_learner("own", lambda temperature: Prototype(temperature))
    with pytest.raises(AlmetaError, match="learner own is not complete: missing a required argument: 'temperature'"):
        make_learner("own")


def test_a_config_may_name_what_is_registered_and_what_stands_beside_it():
    target = f"{__name__}.shrunken"
    with pytest.raises(AlmetaError, match=r"learner\._target_ is '.*shrunken'; .* almeta\.register_learner"):
        find_target(target, "learner")
    register_learner("shrunken", shrunken)
    assert find_target(target, "learner") is shrunken


@pytest.mark.parametrize("name", ["svc", "logistic_regression", "shrunken"])
def test_a_taken_name_is_refused(name):
    register_learner("shrunken", shrunken)
    with pytest.raises(AlmetaError, match=rf"there is another learner '{name}' already; choose another name"):
        register_learner(name, Ridge)


@pytest.mark.parametrize("name", ["", "  ", None])
def test_a_learner_needs_a_name(name):
    with pytest.raises(AlmetaError, match="a learner needs a name"):
        register_learner(name, shrunken)


# --- classifiers and pipelines of one's own ---


@pytest.mark.parametrize("learner", [make_pipeline(StandardScaler(), SVC(C=3)), "shrunken"], ids=["pipeline", "name"])
def test_the_environment_takes_it(learner):
    register_learner("shrunken", shrunken)
    env = PoolSelectionVectorEnv(2, load_dataset("iris"), learner, pool_size=20, budget=2)
    _, info = env.reset(seed=0)
    assert env.simulation.learner == make_learner(learner)
    state = env.simulation.state()
    x, labels, weight = state.labelled_rows()
    fitted = make_learner(learner).fit(x, labels, weight, 3)
    torch.testing.assert_close(state.probabilities, fitted.probabilities(state.x))
    assert (info["score"] > 0.4).all()  # three labels; guessing has 1/3


def test_a_random_state_within_a_pipeline_is_drawn_from_the_generator():
    learner = make_learner(make_pipeline(StandardScaler(), RandomForestClassifier(3)))
    x = torch.randn(1, 20, 4, generator=torch.Generator().manual_seed(0))
    y = torch.arange(20)[None] % 2

    def fit(seed):
        generator = torch.Generator().manual_seed(seed)
        return learner.fit(x, y, torch.ones(1, 20), 2, generator=generator).probabilities(x)

    assert torch.equal(fit(0), fit(0))
    assert not torch.equal(fit(0), fit(1))
