"""Named generators of one seed: no two parts of a run share random numbers, and none uses global state."""

import contextlib
import hashlib
from collections.abc import Iterator

import torch


def make_generator(seed: int, name: str, device: str | torch.device = "cpu") -> torch.Generator:
    """Return a generator for one named purpose ("env", "policy", "evaluation", ...) of a run.

    Args:
        seed: the run's seed, any integer.
        name: what the numbers are for; different names give independent streams.
        device: where the generator draws.
    """
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:7], "big"))


@contextlib.contextmanager
def seeded_weights(seed: int) -> Iterator[None]:
    """Make the initial weights of modules built inside the block depend on `seed` alone.

    torch's initialisers draw from the global generator; its state is restored afterwards.
    """
    with torch.random.fork_rng(devices=[]):
        torch.random.set_rng_state(make_generator(seed, "weights").get_state())
        yield
