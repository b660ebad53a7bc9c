import hashlib
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from safetensors.torch import save

import almeta
from almeta.build import build
from almeta.data import load_dataset
from almeta.envs.pool import PoolSimulation
from almeta.errors import AlmetaError
from almeta.policies import (
    Member,
    TrainedPolicy,
    find_policy,
    kind_of,
    load_policy,
    load_trained,
    name_of,
    policy_names,
)
from almeta.policies.published import load_published, publish, read_card
from almeta.runs.config import TrainConfig
from almeta.runs.pools import read_strategies
from almeta.runs.training import train
from almeta.seeding import make_generator
from tests.small_config import SMALL_POOLS, small_config

TINY = (*SMALL_POOLS, "batches=2", "evaluate_every=9", "final_episodes=4", "learning_rate=0.1", "env.synthetic=0")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder as a sweep over two folds leaves it: one run was trained on iris, the other on wine."""
    root = tmp_path_factory.mktemp("sweep")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("matplotlib.figure.Figure.savefig", lambda self, file, **options: file.write(b"\x89PNG"))
        for fold in (0, 1):
            folder = root / f"fold_{fold}"
            folder.mkdir()
            config = small_config("experiment=pool/quickstart", *TINY, f"dataset.fold={fold}")
            train(TrainConfig.read(config), folder)
    return root


@pytest.fixture(scope="module")
def stream_run(tmp_path_factory, make_images):
    folder = tmp_path_factory.mktemp("stream")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("matplotlib.figure.Figure.savefig", lambda self, file, **options: file.write(b"\x89PNG"))
        images = make_images([12] * 1230, name="characters")
        patch.setattr("almeta.runs.streams.load_dataset", lambda name: images)
        train(TrainConfig.read(small_config("batches=1")), folder)
    return folder


@pytest.fixture
def run(runs):
    return runs / "fold_0"


@pytest.fixture
def shipped(runs, tmp_path, monkeypatch):
    """A policy "tiny" of two members that ships with almeta; returns its folder."""
    monkeypatch.setattr("almeta.policies._SHIPPED", tmp_path)
    folder = tmp_path / "tiny"
    folder.mkdir()
    for fold in (0, 1):
        publish(runs / f"fold_{fold}" / "last.pt", folder / f"fold{fold}.json", {"command": "train", "scores": {}})
    return folder


def held_out(run: Path) -> str:
    return json.loads((run / "summary.json").read_text())["benchmark"]["datasets"].popitem()[0]


def state_of(name="wine"):
    config = small_config("experiment=pool/quickstart", *TINY)
    options = replace(build(config["env"], "env"), synthetic=0.0, group=1)
    return PoolSimulation([load_dataset(name)], options, 3, make_generator(config["seed"], "test")).reset()


def utilities(agent, name="wine"):
    outputs, _ = agent.step(state_of(name), agent.initial(3))
    return outputs.utilities.detach().masked_fill(~state_of(name).available, -torch.inf)


def member_of(trained_on, name="nowhere", rows=None):
    """A member that says what it was trained on, without a file."""
    member = Member(Path(f"{name}.pt"))
    member.__dict__["content"] = {"datasets": list(trained_on), "rows": rows or {}}
    return member


def acting(policy, name):
    """The member that acts on a data set."""
    (member,) = policy.on(load_dataset(name)).members
    return member


# ---- runs


def test_a_run_is_a_policy_of_its_own_name(run):
    policy = find_policy(run)
    assert policy.name == "pool_quickstart"
    assert find_policy(run, "mine").name == "mine"
    assert find_policy(run / "last.pt").members == policy.members
    (member,) = policy.members
    assert member.config["network"]["hidden_size"] == 4
    assert {*member.trained_on, held_out(run)} == {"iris", "wine"}


def test_a_policy_is_judged_only_where_it_was_not_trained(run):
    policy = find_policy(run)
    (seen,) = policy.members[0].trained_on
    assert acting(policy, held_out(run)) == policy.members[0]
    for use in (policy.check, lambda name: acting(policy, name)):
        with pytest.raises(AlmetaError, match=f"the policy 'pool_quickstart' was trained on '{seen}'"):
            use(seen)


def test_near_duplicates_and_other_spellings_count_as_seen():
    member = member_of({"wdbc", "digits", "heart_statlog"})
    policy = TrainedPolicy("mine", (member,))
    spellings = ("heart", "openml:breast-w", "openml:WDBC", "csv:my/heart_statlog.csv", "csv:optdigits.csv.gz")
    for name in ("wdbc", "breast_cancer", "breast_cancer_wisconsin", "optdigits", *spellings):
        assert member.has_seen(name)
    with pytest.raises(AlmetaError, match=r"trained on 'breast_cancer' or a near-duplicate of it \('breast tumours"):
        policy.check("breast_cancer")
    assert not member.has_seen("iris")
    assert not member.has_seen("csv:my.csv")


def test_of_several_folds_the_one_acts_that_has_not_seen_the_data_set(runs):
    policy = find_policy(runs)
    assert len(policy.members) == 2
    for fold in (0, 1):
        name = held_out(runs / f"fold_{fold}")
        assert acting(policy, name).path == runs / f"fold_{fold}" / "last.pt"
        own = load_policy(runs / f"fold_{fold}")
        made = policy.on(load_dataset(name)).make(torch.Generator())
        torch.testing.assert_close(utilities(made), utilities(own), rtol=0, atol=0)
    iris, wine, digits = (policy.on(load_dataset(name)).digest for name in ("iris", "wine", "digits"))
    assert iris != wine
    assert digits in (iris, wine)


def test_a_copy_under_another_name_counts_as_seen(run):
    """Rows and columns in another order, classes renamed: the rows tell."""
    policy = find_policy(run)
    (seen,) = policy.members[0].trained_on
    data, rng = load_dataset(seen), np.random.default_rng(0)
    rows, columns = rng.permutation(len(data.x)), rng.permutation(data.x.shape[1])
    changes: dict[str, Any] = {"x": data.x[rows][:, columns], "y": data.y[rows], "columns": ()}
    names = tuple(f"class {name}" for name in data.class_names)
    copy = replace(data, name="csv:mine.csv", class_names=names, **changes)
    policy.check("csv:mine.csv")  # its name says nothing
    with pytest.raises(AlmetaError, match=f"trained on '{seen}', whose rows data set 'csv:mine.csv' has"):
        policy.on(copy)
    noisy = replace(copy, x=copy.x + rng.random(copy.x.shape, dtype=np.float32))
    assert policy.on(noisy).members == policy.members


def test_those_who_have_seen_most_come_first(runs):
    few, many = member_of(["iris"], "few"), member_of(["wine", "digits"], "many")
    policy = TrainedPolicy("mine", (many, few))
    assert acting(policy, "breast_cancer") == many
    assert acting(policy, "wine") == few
    sizes = [len(member.trained_on) for member in find_policy(runs).members]
    assert sizes == sorted(sizes, reverse=True)


def test_a_run_on_streams_is_no_policy_of_pools(stream_run, run, runs):
    assert kind_of(stream_run) == kind_of(stream_run / "last.pt") == "stream"
    assert kind_of(run) == kind_of(runs) == "pool"
    with pytest.raises(AlmetaError, match="no checkpoint at nowhere"):
        kind_of("nowhere")
    with pytest.raises(AlmetaError, match="was trained on problems of kind stream; a benchmark of pools needs"):
        find_policy(stream_run)


def test_several_runs_on_streams_are_several_policies(stream_run, tmp_path):
    for name in ("first", "second"):
        shutil.copytree(stream_run, tmp_path / "sweep" / name)
    with pytest.raises(AlmetaError, match="sweep holds 2 runs on streams, and each of them .*; name one, .*first"):
        load_policy(tmp_path / "sweep")
    shutil.rmtree(tmp_path / "sweep" / "first")
    assert load_policy(tmp_path / "sweep").inputs.kind == "stream"


def test_a_policy_of_streams_by_name_is_refused_where_pools_are_played(stream_run, tmp_path, monkeypatch):
    monkeypatch.setattr("almeta.policies._SHIPPED", tmp_path)
    (tmp_path / "one-shot").mkdir()
    publish(stream_run / "last.pt", tmp_path / "one-shot" / "stream.json", {})
    assert kind_of("one-shot") == "stream"
    agent, training = load_trained("one-shot")
    assert agent.inputs.kind == "stream"
    assert (name_of("one-shot"), name_of(stream_run)) == ("one-shot", "q_learning")
    assert {key: training[key] for key in ("datasets", "digest")} == {
        key: load_trained(stream_run)[1][key] for key in ("datasets", "digest")
    }
    for use in (lambda: find_policy("one-shot"), lambda: read_strategies(["one-shot"])):
        with pytest.raises(AlmetaError, match="of kind stream; a benchmark of pools needs a policy of pools"):
            use()
    with pytest.raises(AlmetaError, match="one-shot acts on problems of kind 'stream'; rows need one of kind 'pool'"):
        almeta.query(np.eye(4), ["a", "b", None, None], n=1, by="one-shot")
    with pytest.raises(AlmetaError, match="QLearning acts on problems of kind 'stream'; rows need one of kind 'pool'"):
        almeta.query(np.eye(4), ["a", "b", None, None], n=1, by=load_policy("one-shot"))


def test_a_published_policy_of_streams_has_every_part_of_its_network(tmp_path):
    network = ("network=episodic", "network.guesses=true", "network.order=true", "network.residual=true")
    folder, card = tmp_path / "run", tmp_path / "mine.json"
    folder.mkdir()
    train(TrainConfig.read(small_config("batches=1", "env.stickiness=0.5", *network)), folder)
    publish(folder / "last.pt", card, {})
    found: Any = load_policy(card)
    weights = load_trained(folder)[0].network.state_dict()
    torch.testing.assert_close(dict(found.network.state_dict()), dict(weights), rtol=0, atol=0)
    assert any(name.startswith("encoder.convolutions") for name in weights)
    assert found.network.order and found.network.guesses and found.network.residual


def test_a_card_of_streams_says_which_classes_it_saw(stream_run, tmp_path):
    path = tmp_path / "mine.json"
    publish(stream_run / "last.pt", path, {})
    card = json.loads(path.read_text())
    assert card["digest"] and card["config"]["matmul_precision"] == "highest"
    path.write_text(json.dumps({key: value for key, value in card.items() if key != "digest"}))
    with pytest.raises(AlmetaError, match="it has no 'digest' of the right kind"):
        load_policy(path)


def test_a_policy_that_is_not_there_is_told_with_those_that_are(shipped):
    for use in (find_policy, load_policy):
        with pytest.raises(AlmetaError, match=r"no checkpoint at tinny; .* did you mean 'tiny'"):
            use("tinny")


@pytest.mark.parametrize("name", ["last.pt", "other.pt", "policy.json"])
def test_a_foreign_file_is_told(tmp_path, name):
    (tmp_path / name).write_bytes(b"something else")
    says = "is no readable card of a policy" if name.endswith(".json") else "is damaged or no checkpoint"
    for use in (find_policy, load_policy):
        with pytest.raises(AlmetaError, match=f"{name} {says}"):
            use(tmp_path / name)


def test_a_folder_without_a_run_is_told(tmp_path):
    for use in (find_policy, load_policy):
        with pytest.raises(AlmetaError, match="no checkpoint at"):
            use(tmp_path)


def test_the_policy_of_pang_et_al_trains_on_small_tables_and_then_acts_anywhere(tmp_path):
    folder, card = tmp_path / "run", tmp_path / "mine.json"
    folder.mkdir()
    train(TrainConfig.read(small_config("experiment=pool/pang", *TINY, "dataset.fold=null")), folder)
    publish(folder / "last.pt", card, {})
    agent = load_policy(folder)
    assert find_policy(folder).name == "pang"
    for name in ("iris", "breast_cancer"):  # 4 and 30 columns, 3 and 2 classes
        found = utilities(agent, name)
        assert found[found.isfinite()].std() > 0
        torch.testing.assert_close(utilities(load_policy(card), name), found, rtol=0, atol=0)
    data = load_dataset("breast_cancer")
    rows = almeta.query(data.x[:40], [0, 1, *[None] * 38], n=3, by=str(folder))
    assert len(set(rows)) == 3 and min(rows) >= 2


# ---- published ones


def test_a_published_policy_does_as_the_run_did(runs, tmp_path):
    card = tmp_path / "mine.json"
    publish(runs / "fold_1" / "last.pt", card, {"command": "python scripts/train.py", "scores": {"aulc": 0.5}})
    content = read_card(card)
    assert (content["command"], content["scores"], content["batches"]) == ("python scripts/train.py", {"aulc": 0.5}, 2)
    assert content["trained_on"] == sorted(find_policy(runs / "fold_1").members[0].trained_on)
    agent, own = load_published(card), load_policy(runs / "fold_1")
    assert not agent.training
    for name in ("iris", "wine"):
        found = utilities(agent, name)
        assert found.isfinite().sum() > 20
        torch.testing.assert_close(found, utilities(own, name), rtol=0, atol=0)
    other = utilities(load_policy(runs / "fold_0"))
    assert not torch.equal(other, utilities(agent))  # the weights are those of the run, not of any


def test_policies_that_ship_are_found_by_name(shipped, runs):
    assert policy_names() == ["tiny"]
    policy = find_policy("tiny")
    assert policy.name == "tiny"
    own = find_policy(runs)
    for name in ("iris", "wine"):
        ours, theirs = (one.on(load_dataset(name)) for one in (policy, own))
        assert ours.members[0].trained_on == theirs.members[0].trained_on
        assert ours.members[0].config["dataset"]["num_folds"] == 2
        made, expected = (utilities(one.make(torch.Generator()), name) for one in (ours, theirs))
        torch.testing.assert_close(made, expected, rtol=0, atol=0)
    assert policy.on(load_dataset("iris")).digest != policy.on(load_dataset("wine")).digest
    agent = load_policy("tiny")
    torch.testing.assert_close(utilities(agent), utilities(policy.members[0].load("cpu")), rtol=0, atol=0)
    torch.testing.assert_close(utilities(almeta.load_policy("tiny")), utilities(agent), rtol=0, atol=0)


def test_every_policy_that_ships_loads_and_says_what_it_is():
    for name in policy_names():
        if kind_of(name) == "stream":
            check_shipped_streams(name)
            continue
        policy = find_policy(name)
        for member in policy.members:
            card = read_card(member.path)
            assert {"command", "commit", "scores"} <= set(card)
            assert member.trained_on
            assert not {*card["scores"].get("datasets", ())} & member.trained_on
            assert utilities(member.load("cpu"), "iris").isfinite().any()


def check_shipped_streams(name):
    agent, training = load_trained(name)
    (path,) = (Path(almeta.policies.__file__).parent / name).glob("*.json")
    card = read_card(path)
    assert {"command", "commit", "scores"} <= set(card)
    assert path.with_suffix(".safetensors").stat().st_size < 5_000_000
    assert training["datasets"] and training["digest"] and training["rows"]
    assert 0 < card["scores"]["prediction_accuracy"] <= 1
    inputs: Any = agent.inputs
    side = math.isqrt(inputs.num_pixels)
    assert agent.observe(np.zeros((side, side))) is None
    agent.tell("nothing")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda weights: weights[:-1], "its sha256 is not the one on the card"),
        (lambda weights: weights[:-1] + bytes([weights[-1] ^ 1]), "its sha256 is not the one on the card"),
        (lambda weights: b"", "its sha256 is not the one on the card"),
        (None, "is missing, damaged or not the card's weights"),
    ],
)
def test_damaged_weights_are_told(shipped, damage, says):
    file = shipped / "fold0.safetensors"
    content = file.read_bytes()
    file.unlink()
    if damage:
        file.write_bytes(damage(content))
    with pytest.raises(AlmetaError, match=says):
        load_published(shipped / "fold0.json")


def test_weights_of_something_else_are_told(shipped):
    card = json.loads((shipped / "fold0.json").read_text())
    for content, says in (
        (save({"other.weight": torch.ones(2)}), "weights do not fit this GroupReinforce"),
        (b"no safetensors at all", "is missing, damaged or not the card's weights"),
    ):
        (shipped / "fold0.safetensors").write_bytes(content)
        (shipped / "fold0.json").write_text(json.dumps(card | {"sha256": hashlib.sha256(content).hexdigest()}))
        with pytest.raises(AlmetaError, match=says):
            load_published(shipped / "fold0.json")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is no readable card of a policy"),
        ("{", "is no readable card of a policy"),
        ("[]", "is not the card of a policy of almeta"),
        ('{"name": "almeta"}', "is not the card of a policy of almeta"),
        ('{"format": "almeta-policy-1"}', "it has no 'sha256' of the right kind"),
        ('{"format": "almeta-policy-1", "sha256": "", "trained_on": "iris", "config": {}}', "it has no 'trained_on'"),
        ('{"format": "almeta-policy-1", "sha256": "", "trained_on": [], "config": {}}', "it has no 'inputs'"),
        (
            '{"format": "almeta-policy-1", "sha256": "", "trained_on": [], "inputs": [], "config": {}}',
            "its config has no 'name'",
        ),
    ],
)
def test_a_foreign_card_is_told(shipped, text, says):
    (shipped / "fold0.json").write_text(text)
    for use in (find_policy, load_policy):
        with pytest.raises(AlmetaError, match=says):
            use("tiny")


def test_a_card_of_something_else_is_told(shipped):
    path = shipped / "fold0.json"
    card = json.loads(path.read_text())
    stream = {"_target_": "almeta.envs.StreamOptions"}
    for change, says in (({"agent": None}, "does not say what"), ({"env": stream}, "said to be of kind pool")):
        path.write_text(json.dumps(card | {"config": card["config"] | change}))
        with pytest.raises(AlmetaError, match=says):
            find_policy(path).members[0].load("cpu")
    path.write_text(json.dumps(card | {"kind": "stream"}))
    with pytest.raises(AlmetaError, match="said to be of kind stream, but"):
        load_policy(path)
    with pytest.raises(AlmetaError, match="was trained on problems of kind stream; a benchmark of pools needs"):
        find_policy(path)


def test_a_member_that_ships_without_its_weights_is_told(shipped):
    (shipped / "fold0.safetensors").unlink()
    policy = find_policy("tiny")
    assert len(policy.members) == 2  # it is not passed over in silence
    with pytest.raises(AlmetaError, match="fold0.safetensors is missing"):
        next(member for member in policy.members if member.path.stem == "fold0").load("cpu")


def test_a_published_policy_is_found_by_its_folder_and_its_card(shipped):
    names = [frozenset(member.trained_on) for member in find_policy("tiny").members]
    assert [member.trained_on for member in find_policy(shipped).members] == names
    path = shipped / "fold0.json"
    one = find_policy(path)
    assert [member.path for member in one.members] == [path]
    torch.testing.assert_close(
        utilities(load_policy(shipped / "fold0.json")),
        utilities(one.make(torch.Generator())),
        rtol=0,
        atol=0,
    )


def test_a_card_runs_no_code_of_others(shipped):
    card = json.loads((shipped / "fold0.json").read_text())
    card["config"]["agent"]["_target_"] = "os.system"
    (shipped / "fold0.json").write_text(json.dumps(card))
    with pytest.raises(AlmetaError, match=r"agent\._target_ is 'os.system'"):
        load_published(shipped / "fold0.json")


def test_a_card_that_is_not_readable_text_is_told(shipped):
    (shipped / "fold0.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(AlmetaError, match="is no readable card"):
        read_card(shipped / "fold0.json")


# ---- acting


@pytest.mark.parametrize("num_envs", [None, 3])
def test_a_policy_acts_in_the_environments(shipped, num_envs):
    options: Any = {"dataset": "wine", "pool_size": 15, "budget": 4}
    name = "almeta:almeta/PoolSelection-v0"
    env: Any = gym.make(name, **options) if num_envs is None else gym.make_vec(name, num_envs=num_envs, **options)
    agent = load_policy("tiny")
    observation, info = env.reset(seed=0)
    memory = None
    for step in range(4):
        rows, memory = agent.predict(observation, memory, action_mask=info["action_mask"])
        again, _ = agent.predict(observation)
        assert np.array_equal(rows, again)
        assert rows.shape == (() if num_envs is None else (3,))
        batch = env.unwrapped if num_envs else env.unwrapped.batch
        state = batch.simulation.state()
        scores = agent.step(state, agent.initial(len(state.available)))[0].utilities.masked_fill(
            ~state.available, -torch.inf
        )
        assert np.array_equal(np.atleast_1d(rows), scores.argmax(1).numpy())
        observation, _, ended, _, info = env.step(rows)
        assert not np.any(info["invalid_action"])
        assert np.all(np.asarray(ended) == (step == 3))


def test_a_member_changes_with_its_file(runs, tmp_path):
    shutil.copy(runs / "fold_0" / "last.pt", tmp_path / "one.pt")
    member = Member(tmp_path / "one.pt")
    before = member.digest
    assert replace(member).digest == before
    shutil.copy(runs / "fold_1" / "last.pt", tmp_path / "one.pt")
    assert member.digest != before


@pytest.mark.parametrize("wrong", [None, 3, ["transfer"]])
def test_a_policy_has_a_name_or_a_folder(wrong):
    with pytest.raises(AlmetaError, match="the policy is .*; give its name or folder .*, transfer ship"):
        almeta.load_policy(wrong)
