import sys

import pytest

import almeta.policies
from almeta.scripts import publish


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Makes a folder of runs: a fold, or a kind of problem, for each; what would be published is written down."""
    contents: dict = {}
    written: list = []

    def make(*folds, kind="pool", finished=True):
        for number, fold in enumerate(folds):
            folder = tmp_path / "runs" / f"run{number}"
            folder.mkdir(parents=True)
            (folder / "last.pt").touch()
            if finished:
                (folder / "summary.json").write_text("{}")
            contents[folder / "last.pt"] = {"kind": kind, "config": {"dataset": {"fold": fold}}}
        return tmp_path / "runs", written

    monkeypatch.setattr(publish, "load_checkpoint", contents.__getitem__)
    monkeypatch.setattr(publish, "publish", lambda checkpoint, card, facts: written.append(card))
    monkeypatch.setattr(almeta.policies, "__file__", str(tmp_path / "policies" / "__init__.py"))
    (tmp_path / "policies").mkdir()
    return make


def publish_as(name, folder, monkeypatch, *options):
    monkeypatch.setattr(
        sys, "argv", ["publish.py", str(folder), name, "--command", "how", "--commit", "which", *options]
    )
    publish.main()


def test_each_fold_has_a_card(runs, monkeypatch, tmp_path):
    folder, written = runs(0, 3, None)
    publish_as("mine", folder, monkeypatch)
    assert written == [tmp_path / "policies" / "mine" / f"{name}.json" for name in ("fold0", "fold3", "full")]


@pytest.mark.parametrize("name", ["../evil", "Mine", "", "margin", "a b"])
def test_names_that_cannot_be(name, runs, monkeypatch, tmp_path):
    folder, written = runs(0)
    with pytest.raises(SystemExit, match=r"error: the name is .* name no strategy"):
        publish_as(name, folder, monkeypatch)
    assert not written and not list((tmp_path / "policies").iterdir())


def test_a_policy_is_written_over_by_force_alone(runs, monkeypatch):
    folder, written = runs(0)
    with pytest.raises(SystemExit, match="error: there is a policy 'transfer'; choose another name, or --force"):
        publish_as("transfer", folder, monkeypatch)
    assert not written
    publish_as("transfer", folder, monkeypatch, "--force")
    assert len(written) == 1


@pytest.mark.parametrize(
    "folds, options, message",
    [
        ((), {}, "there is no finished run in .*; name the folder that holds one run's folder for each fold"),
        ((0,), {"finished": False}, "there is no finished run in "),
        ((0, 0), {}, "run0 and .*run1 have the same fold; keep one of them there"),
        ((0,), {"kind": "stream"}, "run0 was trained on problems of kind stream, not on pools"),
    ],
)
def test_runs_that_cannot_be_published(folds, options, message, runs, monkeypatch, tmp_path):
    folder, written = runs(*folds, **options)
    with pytest.raises(SystemExit, match=f"error: .*{message}"):
        publish_as("mine", folder, monkeypatch)
    assert not written and not list((tmp_path / "policies").iterdir())
