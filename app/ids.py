"""Names of requests and decisions: unique, and cheap enough to make two for every request."""

import os
import random
import time

_random = random.Random(os.urandom(32))  # noqa: S311  (names, not secrets)
os.register_at_fork(after_in_child=lambda: _random.seed(os.urandom(32)))


def new_id(prefix: str) -> str:
    """Return the prefix, the time in milliseconds and 52 random bits, 24 hexadecimal digits.

    Names that were made later sort later: an index of them grows at its end, where one of random
    names would write all over itself. The bits are drawn from a generator that the system's
    randomness seeds: asking the system each time costs ten microseconds. Who knows an id may do
    nothing with it that needs no key.
    """
    return f"{prefix}{int(time.time() * 1e3):011x}{_random.getrandbits(52):013x}"
