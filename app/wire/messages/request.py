"""A request of Anthropic's Messages API as one for chat completions.

What changes the answer and cannot be told is refused, so that a model whose upstream knows it may
be tried; what only steers how Anthropic's service works is left out, and named.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from app.errors import UpstreamUnsupportedError
from app.wire.decoding import DECODE_ERRORS
from app.wire.messages.answer import Told
from app.wire.messages.names import ToolNames
from app.wire.messages.shapes import NOTHING, NULL, OF_ITS_SERVERS, Asked, OutputConfig, Thinking
from app.wire.messages.tools import chat_choice, chat_tools, fits_strict
from app.wire.messages.turns import ChatTurns

MAX_STOP_SEQUENCES = 4
"""So many OpenAI's API takes."""

_MAX_USER_CHARS = 64
"""OpenAI refuses longer names of users."""

_BUDGETS = ((4_096, "low"), (16_384, "medium"))
"""Up to how many tokens of thinking an effort stands for; above, it is `high`."""

_READ = frozenset(
    {"model", "messages", "system", "max_tokens", "stream", "stop_sequences", "metadata", "tools"}
    | {"tool_choice", "thinking", "output_config", "temperature", "top_p", "service_tier"}
)
_ESSENTIAL = OF_ITS_SERVERS | {"thread"}
"""Without these the model would not know what the client takes for known, or could not do it."""
_encode = msgspec.json.Encoder().encode


class ChatForm(msgspec.Struct, frozen=True, kw_only=True):
    """What a chat server is sent.

    Attributes
    ----------
    fields
        The body: top-level key → JSON bytes, without `model`.
    names
        How tools are called there.
    left_out
        What the server does not get, by the names of its fields; told to the client.
    """

    fields: Mapping[str, bytes]
    names: ToolNames
    left_out: tuple[str, ...] = ()


def to_chat(asked: Asked) -> ChatForm:
    """Translate a request.

    Raises
    ------
    UpstreamUnsupportedError
        If it holds what no chat server knows and the answer hangs on; its `param` is the field.
    """
    for name in _ESSENTIAL & asked.fields.keys():
        if asked.fields[name] not in NOTHING:
            raise UpstreamUnsupportedError(
                f"{name} is known to Anthropic's own API alone", param=name
            )
    names = ToolNames(asked.called_tools())
    turns = ChatTurns(asked.system, asked.turns, names)
    fields: dict[str, Any] = {"messages": turns.messages}
    left_out = [*turns.losses.names, *_unknown(asked.fields)]
    _add_plain(fields, asked, left_out)
    _add_tools(fields, asked, names, left_out)
    _add_output(fields, asked, left_out)
    return ChatForm(
        fields={name: _encode(value) for name, value in fields.items()},
        names=names,
        left_out=tuple(dict.fromkeys(left_out)),
    )


def _value(asked: Asked, name: str) -> Any:
    """Return a field as it is read; absent ones are None."""
    try:
        return asked.value(name)
    except DECODE_ERRORS as error:
        raise UpstreamUnsupportedError(f"{name}: {error}", param=name) from error


def _unknown(fields: Mapping[str, bytes]) -> list[str]:
    return [
        name[:64]
        for name, value in fields.items()
        if name not in _READ and name not in _ESSENTIAL and value not in NOTHING
    ]


def _add_plain(fields: dict[str, Any], asked: Asked, left_out: list[str]) -> None:
    limit = _value(asked, "max_tokens")
    if limit is not None:
        # None at all warms the prompt cache; a chat server gives at least one, which is not told.
        fields["max_tokens"] = max(int(limit), 1)
    if _value(asked, "stream"):
        fields["stream"] = True
    for name in ("temperature", "top_p"):
        if asked.fields.get(name, b"null") != b"null":
            fields[name] = msgspec.Raw(asked.fields[name])
    stops = [each for each in _value(asked, "stop_sequences") or () if each]
    if stops:
        fields["stop"] = stops[:MAX_STOP_SEQUENCES]
    if len(stops) > MAX_STOP_SEQUENCES:
        left_out.append(f"stop_sequences[{MAX_STOP_SEQUENCES}:]")
    metadata = _value(asked, "metadata")
    if metadata is not None and metadata.user_id:
        user = metadata.user_id
        if len(user) > _MAX_USER_CHARS:
            user = hashlib.sha256(user.encode(errors="surrogatepass")).hexdigest()
        fields["user"] = user
    if asked.fields.get("service_tier") == b'"standard_only"':
        fields["service_tier"] = "default"


def _add_tools(fields: dict[str, Any], asked: Asked, names: ToolNames, left_out: list[str]) -> None:
    if not asked.tools:
        return
    tools, lost = chat_tools(asked.tools, names)
    left_out += lost
    if any(tool.cache_control != NULL for tool in asked.tools):
        left_out.append("cache_control")
    choice = _value(asked, "tool_choice")
    if tools:
        fields["tools"] = tools
    if choice is None:
        return
    told = chat_choice(choice, tools, names)
    if tools:
        fields["tool_choice"] = told
        if choice.disable_parallel_tool_use:
            fields["parallel_tool_calls"] = False


def _add_output(fields: dict[str, Any], asked: Asked, left_out: list[str]) -> None:
    output: OutputConfig = _value(asked, "output_config") or OutputConfig()
    effort = output.effort or _effort_of(_value(asked, "thinking"), left_out)
    if effort is not None:
        fields["reasoning_effort"] = effort
    if output.format is None or output.format.type == "text":
        return
    if output.format.type != "json_schema":
        raise UpstreamUnsupportedError(
            f"output_config.format of type {output.format.type!r:.80} is unknown to this upstream",
            param="output_config",
        )
    schema = output.format.schema
    told = {"name": "answer", "schema": schema, "strict": fits_strict(schema)}
    fields["response_format"] = {"type": "json_schema", "json_schema": told}


def _effort_of(thinking: Thinking | None, left_out: list[str]) -> str | None:
    """Return the effort that a budget of thinking comes to; None leaves it to the model.

    That no thinking is wanted few reasoning models can be told, and none that has no choice.
    """
    if thinking is None:
        return None
    if thinking.type == "enabled" and thinking.budget_tokens is not None:
        budget = thinking.budget_tokens
        return next((effort for most, effort in _BUDGETS if budget <= most), "high")
    if thinking.type not in ("adaptive", "enabled"):
        left_out.append("thinking")
    return None


class Translation:
    """Translates one request, once, and keeps what its answer has to be told by."""

    __slots__ = ("_asked", "form")

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self.form: ChatForm | None = None

    def __call__(self, fields: Mapping[str, bytes]) -> Mapping[str, bytes]:
        """Return the fields of a chat completion.

        Parameters
        ----------
        fields
            The client's, perhaps without some that are said to the gateway.
        """
        self.form = to_chat(msgspec.structs.replace(self._asked, fields=fields))
        return self.form.fields

    @property
    def left_out(self) -> tuple[str, ...]:
        """What a chat server did not get, by the names of its fields."""
        return () if self.form is None else self.form.left_out

    def told(self, message_id: str) -> Told:
        """Return what an answer that comes from a chat server has to be told by."""
        asked = self._asked
        names = self.form.names if self.form is not None else ToolNames(asked.called_tools())
        return Told(
            message_id=message_id,
            names=names,
            stop_sequences=_value(asked, "stop_sequences") or [],
            silent=_value(asked, "max_tokens") == 0,
        )
