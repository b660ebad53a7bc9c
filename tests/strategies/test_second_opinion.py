"""Asking again: which answers are doubted, and what is asked then."""

from dataclasses import replace

import pytest
import torch

from almeta.errors import AlmetaError
from almeta.geometry import Geometry
from almeta.seeding import make_generator
from almeta.strategies import make_strategy
from almeta.strategies.choosing import best_action
from almeta.strategies.second_opinion import AskAgain, doubts, held_out_probabilities
from tests.strategies.pools import Prototypes, make_pools, refit, utilities_of


def asked_of_two(pools):
    """The state with two annotators: what was picked was answered by the first one."""
    state = pools.state
    twice = {name: getattr(state, name).repeat_interleave(2, 1) for name in ("x", "exists", "prices")}
    second = torch.arange(2 * state.x.shape[1]) % 2 == 1
    labels = state.labels.repeat_interleave(2, 1).masked_fill(second, -1)
    picks = torch.where(state.picks >= 0, 2 * state.picks, -1)
    available = state.available.repeat_interleave(2, 1)
    again = twice["exists"] & ~available & second
    return refit(
        replace(
            state, **twice, labels=labels, picks=picks, available=available, again=again, annotators=2,
            geometry=Geometry(twice["x"], twice["exists"], copies=2), spent=picks.shape[1] - 1,
        )
    )  # fmt: skip


def again(state, e, column, label):
    """The state after the second annotator's answer about a row that was picked before."""
    row = int(state.picks[e, column]) + 1
    more = torch.full((len(state.picks), 1), -1)
    more[e] = row
    labels, open_again = state.labels.clone(), state.again.clone()
    labels[e, row], open_again[e, row] = label, False
    picks = torch.cat((state.picks, more), 1)
    return refit(replace(state, picks=picks, labels=labels, again=open_again, spent=state.spent + 1))


def held_out_by_hand(state, folds):
    """A fit for each pick of each pool, without all rows of its fold."""
    found = torch.zeros(*state.picks.shape, state.probabilities.shape[-1])
    for e, picks in enumerate(state.picks.tolist()):
        rows = [pick // state.annotators if pick >= 0 else -1 for pick in picks]
        for column, row in enumerate(rows):
            if row < 0:
                continue
            fold = rows.index(row) % folds
            kept = [p for p, other in zip(picks, rows, strict=True) if other >= 0 and rows.index(other) % folds != fold]
            kept = [p for p in kept if state.labels[e, p] >= 0]
            x, y = state.x[e, kept][None], state.labels[e, kept][None]
            model = Prototypes().fit(x, y, torch.ones(1, len(kept)), found.shape[-1])
            own = model.probabilities(state.x[e, picks[column]][None, None])[0, 0]
            seen = [bool((y == c).any()) for c in range(found.shape[-1])]
            found[e, column] = own * torch.tensor(seen).float()
    return found


def test_probabilities_of_fits_that_do_not_know_the_row():
    state = asked_of_two(make_pools(labelled=(9, 6)))
    state = again(state, 0, 3, 1)  # both answers about a row are left out together
    state.labels[1, state.picks[1, 2]] = -1  # a declined one is in no fit
    expected = held_out_by_hand(state, 3)
    found = held_out_probabilities(state, make_generator(0, "test"), folds=3)
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=1e-5)
    assert (found.sum(-1) < 0.99).any()  # a class that no other fold has


def test_doubt_is_the_probability_of_the_other_labels():
    probabilities = torch.tensor([[[0.7, 0.3], [0.1, 0.9], [0.0, 1.0], [0.5, 0.5]]])
    found = doubts(probabilities, torch.tensor([[0, 0, 0, -1]]))
    torch.testing.assert_close(found, torch.tensor([[0.3, 0.9, 0.0, 0.0]]))  # nothing is known of the third


def test_the_most_doubted_answer_is_asked_for_again():
    state = asked_of_two(make_pools(labelled=(9, 8)))
    labels = state.labels.gather(1, state.picks.clamp_min(0))
    found = doubts(held_out_probabilities(state, make_generator(0, "test")), labels)
    found[:, 0] = 0  # the first label is not doubted: one pick was not asked for
    expected = (state.picks.gather(1, found.argmax(1, keepdim=True)) + 1)[:, 0]
    threshold = float(found.amax(1).min()) - 0.01
    chosen = utilities_of(make_strategy("ask_again", doubt=threshold), state)
    assert torch.equal(best_action(chosen, state.action_mask, make_generator(0, "ties")), expected)
    # With a higher threshold it asks as its base does.
    base = make_strategy("margin")
    kept = utilities_of(make_strategy(AskAgain(doubt=1.0).name, doubt=1.0, base="margin"), state)
    assert torch.equal(kept.argmax(1) // 2, utilities_of(base, state).argmax(1) // 2)
    assert torch.equal(kept.isfinite(), state.action_mask)
    assert torch.equal(utilities_of(base, state).isfinite(), state.available)


def test_without_another_annotator_it_is_its_base():
    state = make_pools().state
    chosen = utilities_of(make_strategy("ask_again", doubt=0.0, base="entropy"), state)
    base = utilities_of(make_strategy("entropy"), state)
    assert torch.equal(chosen[base.isfinite()], base[base.isfinite()])


def test_mistakes_are_told():
    with pytest.raises(AlmetaError, match=r"strategy ask_again.doubt is 2; it must be a number from 0 to 1"):
        make_strategy("ask_again", doubt=2)
