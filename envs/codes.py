"""Codes of a stream's images, kept while the encoder stays as it is."""

import itertools
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from almeta.stream import ENCODED_AT_ONCE, Encodes


@dataclass
class _Codes:
    """The codes `[V, F]` of a table of images, by one version of an encoder, and which of them `[V]` are known."""

    version: int | None
    codes: Tensor
    known: Tensor


# For each encoder, or actor that does not show its encoder, and each table of images.
_codes: WeakKeyDictionary[Any, WeakTensorKeyDictionary] = WeakKeyDictionary()


def _owner(actor: Any) -> Any:
    """Return whose codes they are: an encoder that actors may share, or the actor."""
    return getattr(getattr(actor, "network", None), "encoder", None) or actor


@torch.no_grad()
def codes_or_images(actor: Any, images: Tensor, rows: Tensor) -> Tensor:
    """Return the codes `[..., F]` of some rows of a table of images by an actor's image encoder as it is now.

    They are the images themselves, `[..., P]`, for an actor without an image encoder, or None. Arguments as
    `kept_codes`.
    """
    if not isinstance(actor, Encodes):
        return images[rows]
    if actor.encoder_version is not None:
        return kept_codes(actor, images, rows)
    one = next(iter(getattr(actor, "members", ())), actor)
    return images[rows] if _owner(one) is one else actor.encode(images[rows])


def codes_of(actor: Encodes, images: Tensor) -> Tensor:
    """Return the codes `[..., E, F]` of images `[..., E, P]`, of which members have equal blocks of the E."""
    return torch.cat([one.encode(part) for one, part in _blocks(actor, images, -2)], -2)


def _blocks(actor: Any, values: Tensor, axis: int) -> list[tuple[Any, Tensor]]:
    """Return the members of an actor, or itself, each with its block along an axis; one of those with one encoder."""
    members = getattr(actor, "members", ()) or (actor,)
    size = values.shape[axis] // len(members)
    alike = [list(each) for _, each in itertools.groupby(members, key=lambda member: id(_owner(member)))]
    parts = values.split([size * len(each) for each in alike], axis)
    return [(each[0], part) for each, part in zip(alike, parts, strict=True)]


def kept_codes(actor: Encodes, images: Tensor, rows: Tensor) -> Tensor:
    """Return the codes `[..., F]` of some rows of a table of images, and encode only those.

    They are computed when they are first asked for, and kept as long as the encoder stays as it is. Blocks always have
    the same size, since the size of a product may change last digits.

    Args:
        actor: has an encoder of a known version; or has `members` that have.
        images: `[V, P]`.
        rows: `[...]` int64; `[..., E]` for members, E in equal blocks.
    """
    if getattr(actor, "members", ()):  # each has its block of the episodes
        return torch.cat([kept_codes(one, images, part) for one, part in _blocks(actor, rows, -1)], -2)
    tables = _codes.setdefault(_owner(actor), WeakTensorKeyDictionary())
    kept, version = tables.get(images), actor.encoder_version
    if kept is None or kept.version != version:
        code = actor.encode(images[:1])
        codes, known = code.new_empty(len(images), code.shape[-1]), torch.zeros(len(images), dtype=torch.bool)
        tables[images] = kept = _Codes(version, codes, known.to(images.device))
    wanted = torch.zeros_like(kept.known)
    wanted[rows] = True
    if count := int((wanted & ~kept.known).sum()):
        # Those that are asked for, then others to fill the last block, unknown ones first.
        order = (2 * (wanted & ~kept.known).byte() + (~kept.known).byte()).argsort(descending=True, stable=True)
        size = min(ENCODED_AT_ONCE, len(images))
        order = order.repeat(2)[: -(-count // size) * size]
        for block in order.split(size):
            kept.codes[block] = actor.encode(images[block])
        kept.known[order] = True
    return kept.codes[rows]
