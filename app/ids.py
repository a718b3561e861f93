"""Names of requests and decisions: unique, and cheap enough to make two for every request."""

import os
import random

_random = random.Random(os.urandom(32))  # noqa: S311  (names, not secrets)
os.register_at_fork(after_in_child=lambda: _random.seed(os.urandom(32)))


def new_id(prefix: str) -> str:
    """Return the prefix and 96 random bits in hexadecimal digits.

    Drawn from a generator that the system's randomness seeds: asking the system each time costs
    ten microseconds. Who knows an id may do nothing with it that needs no key.
    """
    return f"{prefix}{_random.getrandbits(96):024x}"
