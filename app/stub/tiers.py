"""The simulated models: how fast each answers and how much it says.

They differ as the models do that `configs/gateway.yaml` has them stand for: small ones begin at
once and chat along, a middle one is fast and terse, large ones think before they begin, and what
they think is paid as output too. The numbers are round figures in the range that hosted models of
such kinds were publicly measured at; they make a demonstration feel right and claim nothing about
any product.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import msgspec

MIN_ANSWER_TOKENS = 24
"""Enough for the sentence that says that the answer is simulated."""

MAX_ANSWER_TOKENS = 4096

_LOG_SPREAD = 0.5  # standard deviation of the logarithm of the answer's length


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """One simulated model.

    Attributes
    ----------
    ability
        How hard a prompt may be, from 0 to 1, before the model is unsure; see
        `app.stub.answers.sureness`.
    thinks
        Whether it thinks before it answers, where an effort is asked for.
    """

    time_to_first_token_s: float
    tokens_per_s: float
    mean_output_tokens: float
    ability: float = 0.5
    thinks: bool = False

    def answer_tokens(self, key: str) -> int:
        """Draw an answer's length from a log-normal distribution; the same for the same key."""
        digest = hashlib.sha256(key.encode("utf-8", "replace")).digest()
        uniform = (int.from_bytes(digest[:7]) + 0.5) / 2**56
        mu = math.log(self.mean_output_tokens) - _LOG_SPREAD**2 / 2
        drawn = math.exp(NormalDist(mu, _LOG_SPREAD).inv_cdf(uniform))
        return max(MIN_ANSWER_TOKENS, min(MAX_ANSWER_TOKENS, round(drawn)))


class Disguise(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A model that another one answers for.

    Attributes
    ----------
    model
        Which one is asked for.
    by
        Which one answers; the same one ends it.
    told
        Whether answers say so.
    """

    model: str
    by: str
    told: bool = False


TIERS: Mapping[str, Tier] = {
    "sim-nano": Tier(
        time_to_first_token_s=0.15, tokens_per_s=180.0, mean_output_tokens=150.0, ability=0.40
    ),
    "sim-small": Tier(
        time_to_first_token_s=0.40, tokens_per_s=80.0, mean_output_tokens=130.0, ability=0.52
    ),
    "sim-medium": Tier(
        time_to_first_token_s=0.50, tokens_per_s=130.0, mean_output_tokens=110.0, ability=0.66
    ),
    "sim-large": Tier(
        time_to_first_token_s=2.50,
        tokens_per_s=90.0,
        mean_output_tokens=330.0,
        ability=0.86,
        thinks=True,
    ),
    "sim-frontier": Tier(
        time_to_first_token_s=1.50,
        tokens_per_s=70.0,
        mean_output_tokens=330.0,
        ability=1.0,
        thinks=True,
    ),
}
"""Simulated models by name, cheapest first."""
