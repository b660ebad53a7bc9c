"""The command that opens a page to label on: what it says of wrong input, and what it opens."""

import importlib
import socket
import sys

import numpy as np
import pandas as pd
import pytest

from almeta.errors import AlmetaError
from almeta.page.config import LabelConfig
from almeta.page.session import Session
from almeta.page.stream import StreamSession
from almeta.policies.published import publish
from almeta.scripts import label
from tests.runs.conftest import finished, same_images  # noqa: F401
from tests.small_config import compose_config

pytest.importorskip("nicegui", reason="no NiceGUI: pip install 'almeta[label]'")


def opened(*overrides):
    return LabelConfig.read(compose_config(*overrides, command="label")).opened()


@pytest.fixture
def mine(command):
    """Writes `my.csv`: 40 rows, 8 of them with a label."""
    size = np.random.default_rng(0).normal(size=40).round(3)
    truth = np.where(size > 0, "cat", "dog")
    pd.DataFrame({"size": size, "kind": [*truth[:8], *[None] * 32]}).to_csv("my.csv", index=False)


@pytest.mark.parametrize(
    "arguments, says",
    [
        ([], "there is nothing to label; name a file or a folder with data=my.csv"),
        (["data=my.csv", "target=kidn"], "my.csv: unknown target column 'kidn'; did you mean 'kind'?"),
        (["data=my.csv", "by=margn"], "unknown strategy or policy 'margn'; did you mean 'margin'?"),
        (["data=other.csv"], "there is no file other.csv"),
        (["by=margn"], "unknown strategy or policy 'margn'; did you mean 'margin'?"),
        (["env.classes=5"], "unknown key 'env'; Known: "),
        (
            ["by=one-shot-omniglot", "classes=[a,b]"],
            "the policy is of kind 'stream', where classes=... means nothing; leave it out",
        ),
        (["by=one-shot-omniglot", "learner.C=2"], "the policy is of kind 'stream', where learner.C=... means nothing"),
        (
            ["by=one-shot-omniglot", "data=my.csv"],
            "unknown data set 'my.csv', but there is such a path; write csv:my.csv",
        ),
        (["data=my.csv", "dat=1"], "unknown key 'dat'; did you mean 'data'?"),
        (["data=my.csv", "target=kind", "port=0"], "port is 0; it must be"),
        (["data=my.csv", "target=kind", "store=nowhere/my.sqlite"], "could not write nowhere"),
    ],
)
def test_wrong_input_is_told_in_a_line(command, mine, arguments, says):
    result = command(label, *arguments)
    assert (result.status, result.out) == (1, "")
    assert result.err.startswith("error: ") and says in result.err and result.err.count("\n") == 1


def test_a_port_in_use_is_told(command, mine):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        result = command(label, "data=my.csv", "target=kind", "by=margin", f"port={port}")
    assert result.status == 1
    assert result.err == f"error: port {port} is in use; choose another one with port=...\n"


def test_rows_are_opened_with_their_labels(mine):
    with opened("data=my.csv", "target=kind", "by=margin", "classes=[eel]") as (session, thinker):
        assert isinstance(session, Session) and thinker is not None
        assert session.classes == ("cat", "dog", "eel") and session.title == "my.csv"
        card = session.card()
        assert card.token is not None and card.token >= 8 and [name for name, _ in card.cells] == ["size"]
        assert session.status() == "8 labels (0 of them given here), 32 rows left"


def test_a_policy_of_streams_plays_streams(finished, same_images):  # noqa: F811
    with opened(f"by={finished['stream']}") as (session, thinker):
        assert isinstance(session, StreamSession) and thinker is None
        assert session.title == "quickstart on characters"
        assert session.card().title == "image 1 of 30"


def test_a_policy_of_streams_that_ships_plays_by_its_name(finished, same_images, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr("almeta.policies._SHIPPED", tmp_path)
    (tmp_path / "one-shot").mkdir()
    publish(finished["stream"] / "last.pt", tmp_path / "one-shot" / "stream.json", {})
    with opened("by=one-shot") as (session, _):
        assert isinstance(session, StreamSession) and session.title == "one-shot on characters"


def test_all_classes_of_other_data_are_played(finished, make_images, monkeypatch):  # noqa: F811
    pets = make_images([20] * 3, name="pets")
    monkeypatch.setattr("almeta.runs.streams.load_dataset", lambda name, **options: pets)
    with opened(f"by={finished['stream']}", "data=folder:pets") as (session, _):
        assert session._simulation.dataset.num_classes == 3


def test_the_extra_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "nicegui", None)
    monkeypatch.delitem(sys.modules, "almeta.page.site", raising=False)
    with pytest.raises(AlmetaError, match="the page needs a package that is not .*: pip install 'almeta.label.'"):
        importlib.import_module("almeta.page.site")
