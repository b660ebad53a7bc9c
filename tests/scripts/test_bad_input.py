"""What users get wrong, and what surroundings do: one line that says what and the way out, and nothing left behind."""

import errno
import io
import os
import zipfile
from pathlib import Path

import pooch
import pytest
import torch

from almeta.data import load_dataset
from almeta.scripts import evaluate, train
from tests.scripts.test_train import same_run
from tests.small_config import SMALL


def no_loading(name: str) -> None:
    raise AssertionError(f"{name} was loaded before the config was checked")


# ---- keys and values


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        # unknown keys and choices
        ("bathes=3", "unknown key 'bathes'; did you mean 'batches'? Known: agent, "),
        ("+bathes=3", "unknown key 'bathes'; did you mean 'batches'? Known: agent, "),
        ("agent.gama=0.5", "unknown key of agent 'gama'; did you mean 'gamma'? Known: "),
        ("+agent.gama=0.5", "unknown key of agent 'gama'; did you mean 'gamma'? Known: "),
        ("+network.hiden_size=3", "unknown key of network 'hiden_size'; did you mean 'hidden_size'? Known: "),
        ("env.reward.incorect=-5", "unknown key of env.reward 'incorect'; did you mean 'incorrect'? Known: "),
        ("+env.lenght=3", "unknown key of env 'lenght'; did you mean 'length'? Known: "),
        ("+dataset.x=3", "unknown key of dataset 'x'; Known: name, split_seed, train_classes"),
        ("+pretraining.shot=3", "unknown key of pretraining 'shot'; did you mean 'shots'? Known: "),
        ("logger.mode=offline", "logger is not chosen, so that it has no key 'mode'; choose one first: logger=NAME"),
        (
            "experiment=one_shot/quikstart",
            "unknown experiment 'one_shot/quikstart'; did you mean 'one_shot/quickstart'?",
        ),
        ("dataset=omniglt", "unknown dataset 'omniglt'; did you mean 'omniglot'? Known: characters, "),
        ("dataset=digits dataset.target=x", "unknown key of dataset 'target'; Known: name, split_seed, train_classes"),
        ("dataset.name=omniglt", "unknown data set 'omniglt'; did you mean 'omniglot'? Known: abalone, "),
        ("agent=qlearning", "unknown agent 'qlearning'; did you mean 'q_learning'? Known: actor_critic, "),
        ("network=lstn", "unknown network 'lstn'; did you mean 'lstm'? Known: cell_scorer, "),
        ("env=oneshot", "unknown env 'oneshot'; did you mean 'one_shot'? Known: classes, features, one_shot, pool"),
        ("logger=wanb", "unknown logger 'wanb'; did you mean 'wandb'? Known: none, wandb"),
        ("~seed", "the config has no key 'seed'"),
        ("seed=1,2", "seed=1,2 may mean two things: add -m to sweep over the values, or write seed=[1,2] for a list"),
        ("agent=[1", "agent=[1: "),
        ("dataset=null", "Config group override must be a string or a list. Got NoneType"),
        ("name=???", "MissingMandatoryValue while resolving interpolation: Missing mandatory value: name"),
        ("batches=${nowhere}", "Interpolation key 'nowhere' not found"),
        # values of the run
        ("batches=-1", "batches is -1; it must be a whole number of at least 1"),
        ("batches=1e3", "batches is 1000.0; it must be a whole number of at least 1"),
        ("num_envs=0", "num_envs is 0; it must be a whole number of at least 1"),
        ("learning_rate=fast", "learning_rate is 'fast'; it must be a number above 0"),
        ("learning_rate=nan", "learning_rate is nan; it must be a number above 0"),
        ("max_grad_norm=0", "max_grad_norm is 0; it must be a number above 0 or null"),
        ("anneal_lr=maybe", "anneal_lr is 'maybe'; it must be true or false"),
        ("device=3", "device is 3; it must be a text"),
        ("threads=0", "threads is 0; it must be a whole number from 1 to 1024 or null"),
        ("threads=100000", "threads is 100000; it must be a whole number from 1 to 1024 or null"),
        ("seed=x", "seed is 'x'; it must be a whole number"),
        ("name=null", "name is None; it must be a text"),
        ("matmul_precision=foo", "matmul_precision is 'foo'; it must be 'highest' or 'medium'"),
        ("log_every=0", "log_every is 0; it must be a whole number of at least 1"),
        ("evaluate_every=a", "evaluate_every is 'a'; it must be a whole number of at least 1"),
        ("evaluate_episodes=0", "evaluate_episodes is 0; it must be a whole number of at least 1"),
        ("final_episodes=-5", "final_episodes is -5; it must be a whole number of at least 1"),
        ("checkpoint_every=null", "checkpoint_every is None; it must be a whole number of at least 1"),
        # values of its parts
        (
            "dataset.train_classes=half",
            "dataset.train_classes is 'half'; it must be a whole number of at least 1 or a ",
        ),
        ("dataset.split_seed=x", "dataset.split_seed is 'x'; it must be a whole number"),
        ("agent.gamma=abc", "agent.gamma is 'abc'; it must be a number from 0 to 1"),
        ("agent.gamma=1.5", "agent.gamma is 1.5; it must be a number from 0 to 1"),
        ("agent=ppo agent.update_epochs=0", "agent.update_epochs is 0; it must be a whole number of at least 1"),
        ("agent.exploration=never", "agent.exploration is 'never'; it must be 'balanced' or 'uniform'"),
        ("network.hidden_size=0", "network.hidden_size is 0; it must be a whole number of at least 1"),
        ("network=episodic network.capacity=0", "network.capacity is 0; it must be a whole number from 1 to 10000"),
        ("env.reward.incorrect=abc", "env.reward.incorrect is 'abc'; it must be a number"),
        ("env.reward=3", "env.reward is 3; it must be a group of keys or null"),
        ("env.discount=3", "env.discount is 3; it must be a number from 0 to 1"),
        ("env.length=0", "env.length is 0; it must be a whole number of at least 1"),
        ("env.max_requests=-1", "env.max_requests is -1; it must be a whole number of at least 0 or null"),
        ("env.reveal=never", "env.reveal is 'never'; it must be 'requested' or 'always'"),
        ("env.rotations=2", "env.rotations is 2; it must be true or false"),
        ("env.script=abc", "env.script is 'abc'; it must be a list or null"),
        ("pretraining.shots=1", "pretraining.shots is 1; it must be a whole number of at least 2"),
        ("pretraining.batches=0", "pretraining.batches is 0; it must be a whole number of at least 1"),
        ("logger=wandb logger.mode=foo", "logger.mode is 'foo'; it must be 'online' or 'offline' or 'disabled'"),
        ("logger=wandb logger.tags=foo", "logger.tags is 'foo'; it must be a list"),
        ("agent._target_=os.system", "agent._target_ is 'os.system'"),
        ("agent._target_=almeta.agents.Nope", "agent._target_ is 'almeta.agents.Nope', which is not there"),
        ("resume=nowhere", "no checkpoint at nowhere; name a run's folder"),
    ],
)
def test_keys_and_values(command, monkeypatch, overrides, says):
    if "dataset.name" not in overrides:
        monkeypatch.setattr("almeta.runs.streams.load_dataset", no_loading)
    result = command(train, *SMALL, *overrides.split())
    assert result.status == 1
    assert result.error.startswith(f"error: {says}")
    assert result.out == ""
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ("dataset.train_classes=1230", "train_classes=1230 of data set 'characters' leaves 1230 of its 1230 classes"),
        ("env.classes=999", "env.classes=999, but this part of data set 'characters' has 922 classes; choose 1 to 922"),
        ("env.classes=400", "env.classes=400, but this part of data set 'characters' has 308 classes"),
        ("env.slots=2", "env.slots=2 cannot tell env.classes=3 apart; use more"),
        ("env.length=37", "env.length=37, but 3 classes of data set 'characters' may hold as few as 36 images"),
        (
            "env.script=[[0,13]]",
            "env.script shows 13 images of one class, but a class of data set 'characters' has only 12",
        ),
        (
            "env.script=[[3,1]]",
            "env.script has the run [3, 1]; a run is [class, count] with a class below env.classes=3",
        ),
        ("agent=supervised", "Supervised plays streams with env.reveal=always, not requested; set it"),
    ],
)
def test_values_that_do_not_fit_the_data(command, overrides, says):
    result = command(train, *SMALL, *overrides.split())
    assert result.status == 1
    assert result.error.startswith(f"error: {says}")
    assert list(Path().iterdir()) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there(command):
    for device in ("cuda", "gpu"):
        result = command(train, *SMALL, f"device={device}")
        assert result.error.startswith(f"error: device={device} cannot be used here (")
        assert result.error.endswith("); choose device=cpu")
        assert list(Path().iterdir()) == []


# ---- data


@pytest.fixture
def real_data(monkeypatch, tmp_path):
    """Loaders read `ALMETA_DATA`, here an empty folder; there is no cache and no network."""

    def refuse(*args, **kwargs):
        raise ConnectionError("no network")

    monkeypatch.setattr("pooch.HTTPDownloader.__call__", refuse)
    monkeypatch.setattr(pooch.get_logger(), "disabled", True)  # it writes to the standard error of another test
    monkeypatch.setattr("almeta.runs.streams.load_dataset", load_dataset)
    monkeypatch.setenv("ALMETA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ALMETA_DATA", str(tmp_path / "data"))
    (tmp_path / "data" / "omniglot").mkdir(parents=True)
    return tmp_path / "data"


def test_a_truncated_zip(command, real_data):
    for name in ("images_background.zip", "images_evaluation.zip"):
        path = real_data / "omniglot" / name
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("images/Greek/character01/0001_01.png", os.urandom(10_000))
        path.write_bytes(path.read_bytes()[:5_000])
    result = command(train, *SMALL, "dataset=omniglot")
    assert result.status == 1
    assert "images_background.zip (5000 bytes) is damaged or not the published file: " in result.error
    assert not Path("runs").exists()


@pytest.mark.parametrize("dataset", ["omniglot", "mnist", "fashion_mnist"])
def test_no_network_and_no_cache(command, real_data, dataset):
    result = command(train, *SMALL, f"dataset={dataset}")
    assert result.status == 1
    line = result.err.splitlines()[-1]
    assert line.startswith(f"error: could not download {dataset.replace('_', '-')}/")
    assert "put the file at" in line and "or set ALMETA_DATA to a folder that has" in line
    assert "Traceback" not in result.err
    assert not Path("runs").exists()


# ---- folders and disks


def test_a_folder_that_cannot_be_made(command):
    Path("file").write_text("no folder")
    result = command(train, *SMALL, "hydra.run.dir=file/run")
    assert result.status == 1
    assert "file" in result.error and "Not a directory" in result.error
    assert Path("file").read_text() == "no folder"


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a folder that cannot be written to, by root either")
def test_a_folder_that_cannot_be_written_to(command):
    result = command(train, *SMALL, "hydra.run.dir=/proc/run")
    assert result.status == 1
    assert result.error.startswith("error: /proc/run: ")
    assert result.error.endswith("choose another folder with hydra.run.dir=...")


@pytest.mark.parametrize("writes", [0, 1, 2, 3, 5, 8, 10])
def test_a_full_disk(command, small_run, monkeypatch, writes):
    """The disk is full after some of the files; what is there is whole, and the run goes on once there is room."""
    small_run("whole")
    left = writes
    sync = os.fsync

    def fill(file):
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(file)

    with monkeypatch.context() as patch:
        patch.setattr("almeta.files.os.fsync", fill)
        result = command(train, *SMALL, "hydra.run.dir=run")
    assert result.status == 1
    assert "Traceback" not in result.err
    assert "No space left on device" in result.err.splitlines()[-1]
    assert not Path("run/summary.json").exists()
    left_over = [path.name for path in Path("run").iterdir() if path.name != ".hydra"] if Path("run").exists() else []
    assert [name for name in left_over if "tmp" in name] == []
    for path in Path("run").glob("*.pt"):
        torch.load(path, weights_only=True)
    again = ["resume=run"] if Path("run/last.pt").exists() else [*SMALL, "hydra.run.dir=run"]
    assert command(train, *again).status == 0
    same_run(Path("run"), Path("whole"))


# ---- checkpoints


@pytest.fixture
def checkpoint(small_run):
    """Of a small run; the name of a copy to be spoilt."""
    small_run("run")
    Path("other").mkdir()
    return Path("run/last.pt").read_bytes()


@pytest.mark.parametrize("kind", ["cut", "empty", "flipped", "text", "foreign", "list", "code", "folder"])
def test_foreign_and_damaged_checkpoints(command, checkpoint, kind):
    path = Path("other/last.pt")
    flipped = bytearray(checkpoint)
    with zipfile.ZipFile(io.BytesIO(checkpoint)) as parts:  # between its parts there are bytes that mean nothing
        largest = max((parts.read(name) for name in parts.namelist()), key=len)
    flipped[checkpoint.index(largest) + len(largest) // 2] ^= 255
    content = {
        "cut": checkpoint[: len(checkpoint) // 2],
        "empty": b"",
        "flipped": bytes(flipped),
        "text": b"hello\n" * 9,
    }
    if kind in content:
        path.write_bytes(content[kind])
    elif kind != "folder":
        foreign = {"foreign": {"w": torch.ones(2)}, "list": [1, 2], "code": torch.nn.Linear(2, 2)}
        torch.save(foreign[kind], path)
    name = "other" if kind == "folder" else "other/last.pt"
    says = {
        "folder": "error: no checkpoint at other/last.pt; name a run's folder",
        "foreign": "error: other/last.pt is not a checkpoint of almeta",
        "list": "error: other/last.pt is not a checkpoint of almeta",
    }.get(kind, "error: other/last.pt is damaged or no checkpoint (")
    before = [path.name for path in Path("other").iterdir()]
    for module, asked in ((train, [f"resume={name}"]), (evaluate, [f"policy={name}", "hydra.run.dir=out"])):
        result = command(module, *asked)
        assert result.status == 1
        assert result.error.startswith(says)
        assert "weights_only" not in result.error  # torch advises to load it unsafely
    assert [path.name for path in Path("other").iterdir()] == before
    assert not Path("out").exists()
    assert not Path("runs").exists()


def test_a_checkpoint_of_another_network(command, checkpoint):
    content = torch.load("run/last.pt", weights_only=True)
    content["config"]["network"]["hidden_size"] = 5
    torch.save(content, "other/last.pt")
    for module, asked in ((train, ["resume=other"]), (evaluate, ["policy=other", "hydra.run.dir=out"])):
        result = command(module, *asked)
        assert result.status == 1
        assert "the checkpoint's weights do not fit this QLearning (size mismatch for " in result.err.splitlines()[-1]


def test_a_checkpoint_of_another_version(command, checkpoint):
    content = torch.load("run/last.pt", weights_only=True)
    del content["config"]["pretraining"]
    torch.save(content, "other/last.pt")
    assert command(train, "resume=other").error == (
        "error: the config has no key 'pretraining'; was it written by another version of almeta?"
    )


def test_a_checkpoint_runs_no_code(command, checkpoint):
    content = torch.load("run/last.pt", weights_only=True)
    content["config"]["agent"] = {"_target_": "almeta.files.os.abort"}
    torch.save(content, "other/last.pt")
    for module, asked in ((train, "resume=other"), (evaluate, "policy=other")):
        assert command(module, asked).error.startswith("error: agent._target_ is 'almeta.files.os.abort'")
