"""Streams with networks that have nothing but what the contract asks for, and what a frozen encoder adds."""

import json
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import almeta
from almeta.errors import AlmetaError
from almeta.inputs import Images
from almeta.runs.config import TrainConfig
from almeta.runs.streams import StreamRun, _as_read
from almeta.runs.training import train
from almeta.stream import StreamState
from tests.small_config import small_config


@almeta.register_network
class Plain(nn.Module):
    """A network with `initial` and `step` alone."""

    def __init__(self, inputs: Images, num_values: int = 0) -> None:
        super().__init__()
        self.layer = nn.Linear(inputs.num_pixels, inputs.num_slots + 1 + num_values)
        self.num_values = num_values

    def initial(self, num_envs: int) -> tuple[()]:
        return ()

    def step(self, view: StreamState, memory: Any) -> tuple[Tensor, Tensor | None, tuple[()]]:
        outputs = self.layer(view.item)
        utilities, value = outputs[:, : outputs.shape[1] - self.num_values], outputs[:, -1]
        return utilities, value if self.num_values else None, ()


@pytest.fixture(autouse=True)
def small_images(make_images, monkeypatch):
    images = make_images([12] * 1230, name="characters")
    monkeypatch.setattr("almeta.runs.streams.load_dataset", lambda name: images)
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda self, file, **options: file.write(b"\x89PNG"))
    monkeypatch.setattr("almeta.runs.streams.FEW_SHOT_EPISODES", 4)


def trained(folder, *overrides, network=None):
    config = small_config("batches=2", *overrides)
    if network is not None:
        config["network"] = network
    train(TrainConfig.read(config), folder)
    return folder


@pytest.mark.parametrize(
    "overrides",
    [
        ["agent=q_learning"],
        ["agent=q_learning_semi_gradient", "agent.target_rate=0.1"],
        ["agent=ppo"],
        ["agent=supervised", "env.reveal=always"],
    ],
)
def test_a_network_with_initial_and_step_alone_trains_to_the_report(overrides, tmp_path):
    trained(tmp_path, *overrides, network={"_target_": "tests.runs.test_streams.Plain"})
    assert (tmp_path / "report.html").exists() and not (tmp_path / "few_shot.csv").exists()


def test_it_has_nothing_to_leave_out_for_thompson_sampling(tmp_path):
    overrides = ("agent=q_learning_semi_gradient", "agent.exploration=thompson")
    with pytest.raises(AlmetaError, match=r"agent\.exploration=thompson leaves out units, and network\.dropout is 0"):
        trained(tmp_path, *overrides, network={"_target_": "tests.runs.test_streams.Plain"})


@pytest.mark.parametrize(
    "network, options, judged",
    [
        ("episodic", [], True),
        ("gru", ["network.code_size=3"], True),
        ("gru", ["network.code_size=0"], False),
        ("episodic", ["network.fine_tune=true"], False),  # it goes on changing
    ],
)
def test_a_frozen_encoder_is_judged_by_itself(network, options, judged, tmp_path):
    trained(tmp_path, f"network={network}", *options)
    assert (tmp_path / "few_shot.csv").exists() == judged
    if judged:
        assert (tmp_path / "few_shot.csv").read_text("utf-8").startswith("classes,labelled images of each,accuracy")
    results = json.loads((tmp_path / "summary.json").read_text("utf-8"))
    assert torch.tensor(results["test"]["mean_return"]).isfinite()


def test_a_recurrent_memory_reads_codes_with_their_mean_at_zero():
    run = StreamRun(TrainConfig.read(small_config("network=gru", "network.code_size=3")))
    run.prepare()
    images = run.simulation.sampler.images
    assert run.agent.encode(images).mean(0).abs().max() < 1e-3


@pytest.mark.parametrize("loss", ["siamese", "triplet"])
def test_other_losses_of_encoders_are_chosen_by_name(loss, tmp_path):
    trained(tmp_path, "network=episodic", f"pretraining.loss={loss}", "pretraining.margin=2.0")
    assert (tmp_path / "few_shot.csv").exists()


USUAL = ("network=gru", "pretraining.batches=500", "pretraining.ways=60")  # nothing to tell


@pytest.mark.parametrize(
    "overrides, says",
    [
        (USUAL, None),
        ((*USUAL, "network.dropout=0.2"), "network.dropout=0.2 has no effect without agent.exploration=thompson"),
        ((*USUAL, "agent.double_q=false"), "agent.double_q=false has no effect without a target network"),
        ((*USUAL, "pretraining.loss=triplet"), "pretraining.loss=triplet has no effect: GRUNetwork has no encoder"),
        (
            ("network=gru", "pretraining.ways=60"),
            "pretraining.batches=2 has no effect: GRUNetwork has no encoder",
        ),
        ((*USUAL, "network.residual=true"), "network.residual=true has no effect: GRUNetwork has no encoder here"),
        ((*USUAL, "network.channels=8"), "network.channels=8 has no effect: GRUNetwork has no encoder here"),
        (("network=gru", "network.code_size=3", "network.residual=true", "network.channels=8"), None),
        ((*USUAL, "env.script=[[0,3],[1,2]]"), "env.script has 5 steps, so that env.length=30 has no effect"),
        ((*USUAL, "env.script=[[0,3],[1,2]]", "env.length=5"), None),
        (("network=episodic", "network.capacity=28"), "network.capacity=28, but up to 29 images come before the last"),
        (("network=episodic", "network.capacity=29"), None),
        (
            ("network=episodic", "pretraining.ways=60", "pretraining.batches=1", "pretraining.margin=5"),
            "pretraining.margin=5 has no effect with pretraining.loss=prototypical",
        ),
        (("network=episodic", "pretraining.shots=500"), "pretraining.shots=500 is cut to "),
        (
            ("network=transformer", "network.code_size=3", "network.capacity=5"),
            "network.capacity=5, but up to 29 images come before the last",
        ),
    ],
)
def test_what_has_no_effect_is_told_before_work_begins(overrides, says, tmp_path, capsys):
    trained(tmp_path, *overrides, "batches=1")
    lines = capsys.readouterr().out.splitlines()
    notes = [line for line in lines if line.startswith("note: ")]
    assert [line.startswith(f"note: {says}") for line in notes] == ([True] if says else [])
    assert notes == lines[1 : 1 + len(notes)]  # behind the line that says what is trained


def test_columns_have_no_names_in_images_of_another_size(make_images):
    digits = make_images(columns=tuple(f"pixel {k}" for k in range(16)))
    found = _as_read(digits, 25)
    assert (found.x.shape[1], found.image_shape, found.columns) == (25, (5, 5), ())
    assert _as_read(digits, 16) is digits
