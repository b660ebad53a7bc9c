"""The training loop: exact resume after a kill, signals, the same seed, and what must not depend on what."""

import shutil
import signal
import threading

import pytest
import torch

from almeta.errors import AlmetaError
from almeta.training.checkpoint import load_checkpoint
from almeta.training.loggers import read_json_lines
from almeta.training.trainer import BEST, LAST, Interrupted, Schedule
from tests.forked import Forked
from tests.training import small_run
from tests.training.small_run import RUNS, make_trainer
from tests.waiting import wait_for


@pytest.fixture(autouse=True)
def one_thread():
    """Sums over several threads depend on their number; the runs in other processes have one as well."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def train(name, folder, batches, **changes):
    make_trainer(name, folder, batches, **changes).train()
    return folder


def resume(name, folder, batches, checkpoint=LAST, **changes):
    trainer = make_trainer(name, folder, batches, **changes)
    trainer.restore(load_checkpoint(folder / checkpoint))
    trainer.train()
    return folder


def command(*arguments):
    return Forked(small_run.main, *arguments)


def same(left, right):
    """Whether two checkpoints, or parts of them, hold the same bits."""
    if isinstance(left, torch.Tensor):
        return left.dtype == right.dtype and torch.equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    return type(left) is type(right) and left == right


def assert_same_run(folder, other):
    """Assert the same weights, optimiser, random states, counters and metrics, bit for bit."""
    for name in (LAST, BEST):
        one, two = load_checkpoint(folder / name), load_checkpoint(other / name)
        assert [key for key in one if not same(one[key], two[key])] == []
    assert (folder / "metrics.jsonl").read_bytes() == (other / "metrics.jsonl").read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Makes the folder of a run that nothing interrupts, once for each agent."""
    folders = {}

    def make(name):
        if name not in folders:
            folders[name] = train(name, tmp_path_factory.mktemp(name), 12)
        return folders[name]

    return make


# ---- stopping and going on


@pytest.mark.parametrize("name", RUNS)
def test_killed_and_resumed_equals_never_stopped(name, whole, tmp_path):
    process = command(name, tmp_path, 12, "kill-at=11")
    assert process.wait() == -signal.SIGKILL, process.err
    # It had gone beyond its checkpoint, and written so.
    assert load_checkpoint(tmp_path / LAST)["batch"] == 6
    assert [record["batch"] for record in read_json_lines(tmp_path / "metrics.jsonl")] == [3, 4, 4, 6, 8, 8, 9]
    resume(name, tmp_path, 12)
    assert_same_run(tmp_path, whole(name))
    batches = [record["batch"] for record in read_json_lines(tmp_path / "metrics.jsonl")]
    assert batches == [3, 4, 4, 6, 8, 8, 9, 12, 12, 12]


def test_killed_while_a_checkpoint_is_written(whole, tmp_path):
    process = command("QLearning", tmp_path, 12, "kill-in-save=2")
    assert process.wait() == -signal.SIGKILL, process.err
    assert load_checkpoint(tmp_path / LAST)["batch"] == 6
    assert read_json_lines(tmp_path / "metrics.jsonl")[-1]["batch"] == 12
    resume("QLearning", tmp_path, 12)
    assert_same_run(tmp_path, whole("QLearning"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_stop_it_leaves_a_checkpoint(number, tmp_path):
    process = command("PPO", tmp_path / "stopped", 1_000_000)
    metrics = tmp_path / "stopped" / "metrics.jsonl"
    wait_for(lambda: metrics.exists() and metrics.stat().st_size)
    process.send_signal(number)
    assert process.wait() == 3, process.err
    assert "Traceback" not in process.err
    batch = load_checkpoint(tmp_path / "stopped" / LAST)["batch"]
    assert 3 <= batch < 1_000_000
    assert f"stopped after batch {batch:,}; the checkpoint is {tmp_path / 'stopped' / LAST}" in process.out
    resume("PPO", tmp_path / "stopped", batch + 5)
    assert_same_run(tmp_path / "stopped", train("PPO", tmp_path / "whole", batch + 5))


def test_a_second_signal_stops_at_once(tmp_path):
    trainer = make_trainer("QLearning", tmp_path, 12)
    before = signal.getsignal(signal.SIGINT)

    def track(batches):
        yield from batches[:2]
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    trainer.track = track
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    assert signal.getsignal(signal.SIGINT) is before


def test_signals_are_handled_as_before_afterwards(tmp_path):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    trainer = make_trainer("QLearning", tmp_path, 12)
    inside = []

    def track(batches):
        inside.append(signal.getsignal(signal.SIGTERM))
        return batches

    trainer.track = track
    trainer.train()
    assert inside[0] is not before[1]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_of_either_kind_stops_at_once(tmp_path, first, second):
    trainer = make_trainer("QLearning", tmp_path, 12)
    heard = []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append("the handler of before"))

    def track(batches):
        yield from batches[:2]
        signal.raise_signal(first)
        assert not heard
        signal.raise_signal(second)
        yield batches[2]

    trainer.track = track
    try:
        with pytest.raises(KeyboardInterrupt if second == signal.SIGINT else Interrupted):
            trainer.train()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == ["the handler of before"] * (second == signal.SIGTERM)


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_does_not_wait_for_the_end_of_an_evaluation(whole, tmp_path, number, part):
    trainer = make_trainer("QLearning", tmp_path, 12)
    evaluate, ended = trainer.evaluations[part], []

    def evaluate_and_stop(agent):
        signal.raise_signal(number)
        ended.append(evaluate(agent))

    trainer.evaluations[part] = evaluate_and_stop
    with pytest.raises(Interrupted, match="batch 4"):
        trainer.train()
    assert not ended
    assert [record["batch"] for record in read_json_lines(tmp_path / "metrics.jsonl")] == [3]
    assert load_checkpoint(tmp_path / LAST)["batch"] == 4
    resume("QLearning", tmp_path, 12)  # evaluates after batch 4 first
    assert_same_run(tmp_path, whole("QLearning"))


def test_stopped_before_an_evaluation_that_is_due(whole, tmp_path, monkeypatch):
    trainer = make_trainer("QLearning", tmp_path, 12)
    evaluate, asked = trainer.evaluations["train"], []

    def evaluate_and_note(agent):
        asked.append(trainer.batch)
        return evaluate(agent)

    trainer.evaluations["train"] = evaluate_and_note

    def stop_in_batch_8(rollout, loss=trainer.agent.loss):
        if trainer.batch == 7:
            signal.raise_signal(signal.SIGINT)
        return loss(rollout)

    monkeypatch.setattr(trainer.agent, "loss", stop_in_batch_8)
    with pytest.raises(Interrupted, match="batch 8"):
        trainer.train()
    assert asked == [4]
    resume("QLearning", tmp_path, 12)
    assert_same_run(tmp_path, whole("QLearning"))


def test_an_interruption_that_nobody_asked_for_is_passed_on(tmp_path):
    trainer = make_trainer("QLearning", tmp_path, 12)

    def fail(agent):
        raise KeyboardInterrupt

    trainer.evaluations["test"] = fail
    with pytest.raises(KeyboardInterrupt):
        trainer.train()


def test_trains_in_a_thread_too(whole, tmp_path):
    thread = threading.Thread(target=train, args=("QLearning", tmp_path, 12))
    thread.start()
    thread.join()
    assert_same_run(tmp_path, whole("QLearning"))


def test_resumed_from_the_best_checkpoint(whole, tmp_path):
    shutil.copytree(whole("QLearning"), tmp_path / "best")
    resume("QLearning", tmp_path / "best", 12, checkpoint=BEST)
    assert_same_run(tmp_path / "best", whole("QLearning"))


def test_resumed_without_its_metrics(whole, tmp_path):
    shutil.copy(whole("QLearning") / LAST, tmp_path / LAST)
    (tmp_path / "metrics.jsonl").write_text('{"kind": "train", "batch": 3}\n{"bat')  # the end was lost with the power
    resume("QLearning", tmp_path, 15)
    assert [record["batch"] for record in read_json_lines(tmp_path / "metrics.jsonl")] == [3, 15, 15, 15]


def test_a_finished_run_has_nothing_to_do(whole, tmp_path):
    folder = shutil.copytree(whole("QLearning"), tmp_path / "done")
    resume("QLearning", folder, 12)
    assert_same_run(folder, whole("QLearning"))


def test_resumed_with_another_learning_rate(whole, tmp_path):
    """What the error about diverged weights advises must have an effect."""
    folder = shutil.copytree(whole("QLearning"), tmp_path / "run")
    trainer = make_trainer("QLearning", folder, 24)
    trainer.optimizer = torch.optim.Adam(trainer.agent.parameters(), 1e-7)
    trainer.__post_init__()
    trainer.restore(load_checkpoint(folder / LAST))
    before = torch.cat([p.detach().flatten().clone() for p in trainer.agent.parameters()])
    trainer.train()
    after = torch.cat([p.detach().flatten() for p in trainer.agent.parameters()])
    assert 0 < (after - before).abs().max() < 12 * 2e-7


# ---- the same seed, the same run


@pytest.mark.parametrize("name", RUNS)
def test_same_seed_same_run(name, whole, tmp_path):
    torch.manual_seed(123)  # no global random state has a say
    assert_same_run(train(name, tmp_path, 12), whole(name))


@pytest.mark.parametrize("name", RUNS)
def test_another_seed_another_run(name, whole, tmp_path):
    other = load_checkpoint(train(name, tmp_path, 12, seed=1) / LAST)
    one = load_checkpoint(whole(name) / LAST)
    assert not same(one["agent"], other["agent"])
    assert not same(one["generators"]["env"], other["generators"]["env"])
    assert not same(one["generators"]["policy"], other["generators"]["policy"]) or name.startswith("Supervised")
    first, second = ([r["loss"] for r in read_json_lines(f / "metrics.jsonl") if r["kind"] == "train"]
                     for f in (whole(name), tmp_path))  # fmt: skip
    assert all(a != b for a, b in zip(first, second, strict=True))


def test_global_random_state_is_left_alone(tmp_path):
    before = torch.random.get_rng_state()
    train("QLearning", tmp_path, 4)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("name", RUNS)
def test_evaluation_does_not_disturb_training(name, whole, tmp_path):
    often = train(name, tmp_path / "often", 12, evaluate_every=1)
    never = train(name, tmp_path / "never", 12, evaluations={})
    for folder in (often, never):
        one, two = load_checkpoint(folder / LAST), load_checkpoint(whole(name) / LAST)
        for key in ("agent", "optimizer", "generators"):
            assert same(one[key], two[key]), key
    training = [
        [record for record in read_json_lines(folder / "metrics.jsonl") if record["kind"] == "train"]
        for folder in (often, never, whole(name))
    ]
    assert training[0] == training[1] == training[2]


# ---- what is recorded and kept


class Kept:
    """A logger that keeps the records."""

    def __init__(self):
        self.records = []

    def log(self, record):
        self.records.append(record)

    def close(self):
        raise AssertionError("whoever opened a logger closes it")


def test_records(whole, tmp_path):
    kept = Kept()
    train("PPO", tmp_path, 12, loggers=[kept])
    records = read_json_lines(tmp_path / "metrics.jsonl")
    assert records == kept.records == read_json_lines(whole("PPO") / "metrics.jsonl")
    training = [record for record in records if record["kind"] == "train"]
    assert [record["batch"] for record in training] == [3, 6, 9, 12]
    assert set(training[0]) == {
        *("kind", "batch", "loss", "mean_return", "accuracy", "request_rate", "entropy", "value_loss")
    }
    judged = [(r["batch"], r["classes"]) for r in records if r["kind"] == "evaluation"]
    assert judged == [(batch, classes) for batch in (4, 8, 12) for classes in ("train", "test")]


def test_training_figures_are_means_since_the_last_record(tmp_path):
    train("QLearning", tmp_path / "each", 12, log_every=1)
    train("QLearning", tmp_path / "five", 12, log_every=5)
    each, five = (
        [record for record in read_json_lines(tmp_path / run / "metrics.jsonl") if record["kind"] == "train"]
        for run in ("each", "five")
    )
    for record, batches in zip(five, (range(5), range(5, 10), range(10, 12)), strict=True):
        for name in ("loss", "mean_return", "accuracy", "request_rate"):
            assert record[name] == pytest.approx(sum(each[k][name] for k in batches) / len(batches), rel=1e-5)


def test_best_is_chosen_on_training_classes_alone(tmp_path):
    train_scores, test_scores = iter([1.0, 3.0, 2.0, 3.0]), iter([9.0, 0.0, 99.0, 5.0])
    evaluations = {
        "test": lambda agent: {"mean_return": next(test_scores)},
        "train": lambda agent: {"mean_return": next(train_scores)},
    }
    train("QLearning", tmp_path, 16, evaluations=evaluations)
    best = load_checkpoint(tmp_path / BEST)
    assert best["batch"] == 8  # the first of two equals
    assert best["best"] == load_checkpoint(tmp_path / LAST)["best"] == 3.0


def test_track_sees_the_batches_still_to_come(whole, tmp_path):
    seen = []

    def track(batches):
        seen.append(batches)
        return batches

    folder = shutil.copytree(whole("QLearning"), tmp_path / "run")
    resume("QLearning", folder, 20, track=track)
    assert seen == [range(12, 20)]


def test_annealed_learning_rate(tmp_path):
    trainer = make_trainer("QLearning", tmp_path, 10, anneal_lr=True)
    rates = []
    trainer.optimizer.register_step_pre_hook(lambda optimizer, *_: rates.append(optimizer.param_groups[0]["lr"]))
    trainer.train()
    assert rates == pytest.approx([3e-3 * (1 - batch / 10) for batch in range(10)])


def test_gradients_are_scaled_down_to_the_norm(tmp_path):
    for norm, expected in ((1e-3, 1e-3), (None, None)):
        trainer = make_trainer("QLearning", tmp_path / str(norm), 1, max_grad_norm=norm)
        before = torch.cat([p.detach().flatten().clone() for p in trainer.agent.parameters()])
        trainer.optimizer = torch.optim.SGD(trainer.agent.parameters(), 1.0)
        trainer.train()
        moved = (torch.cat([p.detach().flatten() for p in trainer.agent.parameters()]) - before).norm().item()
        assert moved == pytest.approx(expected, rel=1e-2) if expected else moved > 0.1


# ---- what goes wrong


def test_diverged_weights_are_named_and_kept_out_of_the_checkpoint(tmp_path, monkeypatch):
    trainer = make_trainer("QLearning", tmp_path, 12, log_every=12, checkpoint_every=2, evaluations={})
    loss = trainer.agent.loss

    def diverging(rollout):
        return loss(rollout)[0] * (torch.nan if trainer.batch >= 4 else 1.0), {}

    monkeypatch.setattr(trainer.agent, "loss", diverging)
    with pytest.raises(AlmetaError, match="weights are no longer finite after batch 6: .*; lower learning_rate"):
        trainer.train()
    content = load_checkpoint(tmp_path / LAST)
    assert content["batch"] == 4
    assert all(value.isfinite().all() for value in content["agent"].values())


def test_a_loss_that_is_not_finite(tmp_path, monkeypatch):
    trainer = make_trainer("QLearning", tmp_path, 12, evaluations={})
    monkeypatch.setattr(trainer.agent, "loss", lambda rollout: (rollout.utilities.sum() * 0.0 + torch.inf, {}))
    with pytest.raises(AlmetaError, match="the loss is inf after batch 3: .*; lower learning_rate"):
        trainer.train()


def test_checkpoint_of_another_network(whole, tmp_path):
    content = load_checkpoint(whole("QLearning") / LAST)
    for name in ("PPO", "QLearning-EpisodicNetwork"):
        with pytest.raises(AlmetaError, match=r"do not fit this (PPO|QLearning).*config that trained them"):
            make_trainer(name, tmp_path, 12).restore(content)


def test_checkpoint_of_another_kind_of_device(whole, tmp_path):
    content = load_checkpoint(whole("QLearning") / LAST)
    content["generators"]["env"] = torch.zeros(16, dtype=torch.uint8)  # as a generator on a GPU has it
    with pytest.raises(AlmetaError, match="device"):
        make_trainer("QLearning", tmp_path, 12).restore(content)


@pytest.mark.parametrize("name", ["batches", "log_every", "evaluate_every", "checkpoint_every"])
def test_schedule_of_nothing_is_refused(name):
    with pytest.raises(AlmetaError, match=f"{name}=0; it must be at least 1"):
        Schedule(**({"batches": 5} | {name: 0}))
