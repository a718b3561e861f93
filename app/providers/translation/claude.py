"""How hard a Claude model shall think, wherever it is served."""

from typing import Any

import msgspec

from app.providers.translation.fields import Fields, one_of, unsupported_field, value
from app.wire.thinking import bounded_thinking, is_on

_EFFORTS = {
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "xhigh",
    "max": "max",
}


class Thinking(msgspec.Struct, frozen=True, kw_only=True):
    """What a client says of thinking, in Anthropic's words.

    Attributes
    ----------
    effort
        None where it says none.
    config
        The value of `thinking`; None where it is left to the model.
    thinks
        Whether it will, beside which no sampling may be chosen.
    """

    effort: str | None = None
    config: dict[str, Any] | None = None
    thinks: bool = False


def claude_thinking(
    fields: Fields, *, forced: bool, max_tokens: int | None, vendor: str
) -> Thinking:
    """Read what a client says of thinking.

    Parameters
    ----------
    forced
        Whether a tool must be called, which a model cannot do that thinks.
    max_tokens
        The limit of the answer, which thinking has to fit into; None where there is none.

    Raises
    ------
    UpstreamUnsupportedError
        For what cannot be had together, or an effort that there is none like.
    """
    own = value(fields, "thinking")
    told = value(fields, "reasoning_effort")
    effort = None
    if told is not None and told != "none":
        effort = one_of(_EFFORTS, told, "reasoning_effort", vendor=vendor)
    if own is not None:
        thinks = is_on(own)
        if thinks and forced:
            raise unsupported_field(
                f"{vendor} cannot think where a tool must be called; leave out thinking or "
                "tool_choice",
                "tool_choice",
            )
        config = bounded_thinking(own, max_tokens) if thinks else own
        return Thinking(
            effort=effort, config=config, thinks=thinks and config["type"] != "disabled"
        )
    if told == "none":
        return Thinking(config={"type": "disabled"})
    # An effort is what OpenAI's reasoning models are steered by; a budget in tokens, the older
    # way, is refused by the present models. A tool that must be called comes first: its arguments
    # are what the client reads.
    if effort is not None and not forced:
        return Thinking(effort=effort, config={"type": "adaptive"}, thinks=True)
    return Thinking(effort=effort)
