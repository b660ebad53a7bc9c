"""A torch.nn.Module of one's own as a learner."""

import sys
from functools import partial

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import nn

import almeta
from almeta import registry
from almeta.build import build, trust_targets
from almeta.errors import AlmetaError
from almeta.learners import TorchModel, make_learner, register_learner
from almeta.registry import Table
from tests.learners.test_mlp import accuracy, exclusive_or

NAME = "my_module_of_tests"
SOURCE = """
from pathlib import Path
from os import system
from torch import nn
Path({mark!r}).write_text("imported")
def make(num_features, num_classes):
    return nn.Sequential(nn.Linear(num_features, 8), nn.Tanh(), nn.Linear(8, num_classes))
"""


def make(num_features, num_classes, size=32):
    layers = nn.Linear(num_features, size), nn.ReLU(), nn.Dropout(0.1), nn.Linear(size, num_classes)
    return nn.Sequential(*layers)


@pytest.fixture(autouse=True)
def _nothing_is_trusted(monkeypatch):
    monkeypatch.setattr(registry, "_trusted", set())
    monkeypatch.setattr("almeta.learners.named._REGISTERED", Table("learner"))


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module that leaves a file when it is imported; returns that file."""
    mark = tmp_path / "imported"
    (tmp_path / f"{NAME}.py").write_text(SOURCE.format(mark=str(mark)))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield mark
    sys.modules.pop(NAME, None)


def fit(learner, rows=20, seed=0, **changes):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, rows, 6, generator=generator)
    y = (x[..., 0] > 0).long()
    parts = {"x": x, "y": y, "weight": torch.ones(2, rows), "num_classes": 2} | changes
    return learner.fit(**parts, generator=torch.Generator().manual_seed(seed)), x


def test_learns_what_no_line_divides():
    x, y = exclusive_or()
    assert (accuracy(TorchModel(make, steps=120, learning_rate=0.03), x, y) > 0.9).all()


def test_training_is_as_by_hand():
    """One step of Adam on all rows by their weights, with weights from torch's own draws."""
    learner = TorchModel(nn.Linear, steps=1, learning_rate=0.1, weight_decay=0.5)
    weight = torch.tensor([[1.0, 2.0, 0.0], [1.0, 1.0, 1.0]])
    y = torch.tensor([[0, 1, 1], [1, 0, 1]])
    model, x = fit(learner, rows=3, weight=weight, y=y)
    seed = torch.randint(2**31 - 1, (2,), generator=torch.Generator().manual_seed(0)).tolist()[0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        expected = nn.Linear(6, 2)
    before = expected.weight.detach().clone()
    losses = nn.functional.cross_entropy(expected(x[0, :2]), y[0, :2], reduction="none")
    loss = losses @ torch.tensor([1 / 3, 2 / 3]) + 0.25 * sum(p.square().sum() for p in expected.parameters())
    loss.backward()
    torch.optim.Adam(expected.parameters(), 0.1).step()
    torch.testing.assert_close(model.modules[0].weight, expected.weight)
    assert (expected.weight - before).abs().min() > 0.09


def test_small_batches_draw_rows_by_their_weights():
    x, y = torch.ones(1, 40, 3), (torch.arange(40) % 2)[None]
    weight = torch.where(y == 1, 9.0, 1.0)
    learner = TorchModel(nn.Linear, steps=300, batch_size=8, learning_rate=0.02, weight_decay=0.0)
    got = learner.fit(x, y, weight, 2).probabilities(x[:, :1])
    torch.testing.assert_close(got[0, 0, 1], torch.tensor(0.9), atol=0.06, rtol=0)


def test_channels_are_left_out_whole():
    class Channels(nn.Sequential):
        def forward(self, x):
            return super().forward(x.view(-1, 3, 2, 1))

    def make_channels(num_features, num_classes):
        return Channels(nn.Dropout2d(0.5), nn.Flatten(), nn.Identity())

    learner = TorchModel(lambda d, c: nn.Sequential(make_channels(d, c), nn.Linear(d, c)), steps=1)
    model, _ = fit(learner)
    read = []
    for module in model.modules:
        module[1].register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    model.sample(torch.ones(2, 1, 6), 20)
    kept = torch.cat(read).view(40, 3, 2)
    assert (kept[..., 0] == kept[..., 1]).all() and set(kept.unique().tolist()) == {0, 2}


def test_a_function_that_returns_one_module_again_and_again():
    shared = nn.Linear(6, 2)
    before = shared.weight.clone()
    model, x = fit(TorchModel(lambda *_: shared))
    again, _ = fit(TorchModel(lambda *_: shared))
    assert torch.equal(shared.weight, before)
    assert torch.equal(model.probabilities(x), again.probabilities(x))
    assert (model.modules[0].weight - model.modules[1].weight).abs().max() > 0.01


def no_linear(num_features, num_classes):
    return nn.Sequential(nn.Linear(num_features, num_classes), nn.LogSoftmax(-1))


@pytest.mark.parametrize(
    "act, message",
    [
        (lambda: fit(TorchModel(lambda *_: 3)), "returned int; it must return a torch.nn.Module"),
        (
            lambda: fit(TorchModel(lambda d, _: nn.Linear(d, 5))),
            r"Linear returned a tensor \[20, 5\] for 20 rows and 2",
        ),
        (
            lambda: fit(TorchModel(lambda d, c: nn.Sequential(nn.BatchNorm1d(d), nn.Linear(d, c)), batch_size=1)),
            "Sequential cannot read 1 rows of 6 features: Expected more than 1 value .*; it is trained on a single row",
        ),
        (lambda: fit(TorchModel(lambda *_: nn.Linear(5, 2))), "Linear cannot read 20 rows of 6 features: .*shapes"),
        (lambda: fit(TorchModel(lambda *_: nn.LSTM(6, 2))), "LSTM returned tuple for 20 rows"),
        (lambda: sample(TorchModel(no_linear)), "Sequential has no dropout layer that can stay on; give it an nn.Drop"),
        (lambda: embed(TorchModel(no_linear)), "Sequential does not return what an nn.Linear returns, so that it"),
        (TorchModel, "module is None; give a function that is called as make"),
        (lambda: make_learner("torch"), "module is None; give a function that is called as make"),
        (lambda: TorchModel(nn.Linear(2, 2)), "module is Linear.*; give a function"),
    ],
)
def test_what_is_wrong_is_told(act, message):
    with pytest.raises(AlmetaError, match=f"learner torch: .*{message}"):
        act()


def sample(learner):
    model, x = fit(learner)
    return model.sample(x, 2)


def embed(learner):
    model, x = fit(learner)
    return model.embed(x)


# --- by name ---


def test_what_nobody_vouched_for_is_not_imported(own):
    for given in ({"name": "torch", "module": f"{NAME}.make"}, {"name": "torch", "module": "os.system"}):
        with pytest.raises(
            AlmetaError, match=r"learner.module is '.*', of a module that nobody has vouched for; .*mod"
        ):
            make_learner(given)
    with pytest.raises(AlmetaError, match="nobody has vouched"):
        build({"_target_": "almeta.learners.TorchModel", "module": f"{NAME}.make"}, "learner")
    assert not own.exists() and NAME not in sys.modules


@pytest.mark.parametrize(
    "config",
    [
        {"learner": {"_target_": "almeta.learners.TorchModel", "module": f"{NAME}.make"}},
        {"learner": None, "learners": ["svc", {"name": "torch", "module": f"{NAME}.make"}]},
        {"strategies": ["random", {"name": "margin", "learner": {"name": "torch", "module": f"{NAME}.make"}}]},
        {"strategies": [{"name": "mean_kl", "members": ["ridge", {"name": "torch", "module": f"{NAME}.make"}]}]},
    ],
)
def test_a_command_vouches_for_what_it_names(config, own):
    trust_targets(config)
    learner = make_learner({"name": "torch", "module": f"{NAME}.make", "steps": 3})
    model, x = fit(learner)
    assert isinstance(learner, TorchModel) and own.exists()
    assert model.embed(x).shape == (2, 20, 8)


def test_a_name_without_a_module_is_refused_and_trusts_nothing(own):
    trust_targets({"learner": {"_target_": "TorchModel", "module": NAME}})
    assert not registry._trusted
    with pytest.raises(AlmetaError, match=f"learner.module is '{NAME}'; it must be .* such as {NAME}.make"):
        make_learner({"name": "torch", "module": NAME})
    with pytest.raises(AlmetaError, match="write its module before it, as almeta.learners.TorchModel"):
        build({"_target_": "TorchModel"}, "learner")
    assert not own.exists()


@pytest.mark.parametrize(
    "name, message",
    [
        (f"{NAME}.nowhere", "cannot be imported .*nowhere.*; correct the name, install the module, or set PYTHONPATH"),
        (f"{NAME}.Path", f"must be a class or function that {NAME} defines"),
        (f"{NAME}.system", f"must be a class or function that {NAME} defines"),
        (f"{NAME}.nn.Linear", "of a module that nobody has vouched for"),
    ],
)
def test_only_what_a_module_defines_is_found(name, message, own):
    registry.trust(NAME)
    with pytest.raises(AlmetaError, match=f"learner.module is '{name}'.*{message}"):
        make_learner({"name": "torch", "module": name})


def test_registered_and_changed(own):
    register_learner("mine", partial(TorchModel, make, steps=5))
    assert make_learner("mine") == TorchModel(make, steps=5) != TorchModel(make)
    registry.trust(NAME)
    source = TorchModel(f"{NAME}.make").source
    assert source == TorchModel(f"{NAME}.make").source
    file = own.parent / f"{NAME}.py"
    file.write_text(file.read_text("utf-8") + "# changed\n")
    assert TorchModel(f"{NAME}.make").source != source  # so that kept results are not taken for those of the new one


def test_query_takes_one():
    random = np.random.default_rng(0)
    x, y = random.normal(size=(30, 4)), np.array(["a", "b"] * 5 + [None] * 20, dtype=object)
    rows = almeta.query(x, y, n=3, by="margin", learner=TorchModel(partial(make, size=4), steps=5))
    assert len(set(rows.tolist())) == 3 and min(rows) >= 10


def test_an_environment_takes_one():
    env = gym.make("almeta/PoolSelection-v0", dataset="iris", learner=TorchModel(make, steps=3), budget=2)
    env.reset(seed=0)
    assert 0 < env.step(0)[4]["score"] <= 1
