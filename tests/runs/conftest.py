import pytest

from almeta.runs.config import TrainConfig
from almeta.runs.training import train
from tests.scripts.conftest import command, kept_runs  # noqa: F401
from tests.small_config import SMALL_POOLS, small_config

# Small runs of each kind, as overrides.
RUNS = {
    "stream": ("experiment=one_shot/quickstart",),
    "pool": ("experiment=pool/quickstart", *SMALL_POOLS, "dataset.fold=0", "env.synthetic=0", "final_episodes=4"),
}


def run_config(kind, *overrides):
    return TrainConfig.read(small_config(*RUNS[kind], "seed=3", "anneal_lr=false", *overrides))


@pytest.fixture(scope="session")
def finished(tmp_path_factory, make_images):
    """The folder of a finished run of 4 batches, by kind; not to be changed."""
    images = make_images([12] * 1230, name="characters")
    folders = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("matplotlib.figure.Figure.savefig", lambda self, file, **options: file.write(b"\x89PNG"))
        patch.setattr("almeta.runs.streams.load_dataset", lambda name: images)
        for kind in RUNS:
            folders[kind] = tmp_path_factory.mktemp(kind)
            train(run_config(kind), folders[kind])
    return folders


@pytest.fixture
def same_images(make_images, monkeypatch):
    """Streams show the images that the finished run was trained on."""
    images = make_images([12] * 1230, name="characters")
    monkeypatch.setattr("almeta.runs.streams.load_dataset", lambda name: images)
