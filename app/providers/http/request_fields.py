"""Fields of a request told in the words of servers that know only some of OpenAI's."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Self

import msgspec

from app.paths import CHAT_COMPLETIONS, MESSAGES, RESPONSES
from app.providers.base import ModelCall
from app.providers.http.paid import OUTPUT_LIMITS, with_output_limit
from app.wire.completions.request import COMPLETIONS
from app.wire.decoding import DECODE_ERRORS
from app.wire.pinned.endpoints import PINNED

_TAKE_COMPLETION_LIMITS = ("api.openai.com", ".openai.azure.com")
"""Hosts whose reasoning models know no `max_tokens`; many other servers know nothing else."""

_LIMIT_FIELDS = {MESSAGES: "max_tokens", COMPLETIONS: "max_tokens", RESPONSES: "max_output_tokens"}
"""What dialects besides chat completions call the limit of an answer."""

_MESSAGES = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_DEVELOPER = msgspec.Raw(b'"developer"')


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldsTaken:
    """Which fields a server takes, and what it calls them.

    Attributes
    ----------
    output_limit
        What the gateway's own limit of a chat completion is called.
    dropped
        Fields that are left out of every request.
    developer_role, max_tokens_field
        As `HttpProvider` has them.
    """

    output_limit: str
    dropped: frozenset[str]
    developer_role: str
    max_tokens_field: str | None

    @classmethod
    def by_host(
        cls,
        host: str,
        *,
        dropped: Collection[str],
        developer_role: str,
        max_tokens_field: str | None,
    ) -> Self:
        """Return what the server at a host takes, as it is configured."""
        new = host.endswith(_TAKE_COMPLETION_LIMITS)
        return cls(
            output_limit="max_completion_tokens" if new else "max_tokens",
            dropped=frozenset(dropped),
            developer_role=developer_role,
            max_tokens_field=max_tokens_field,
        )

    def of(self, call: ModelCall) -> ModelCall:
        """Return a call with the fields that the server takes, its limit among them."""
        if call.max_output_tokens is not None and call.dialect not in PINNED:
            named = _LIMIT_FIELDS.get(call.dialect, self.output_limit)
            limited = with_output_limit(call.fields, call.max_output_tokens, field=named)
            call = msgspec.structs.replace(call, fields=limited)
        if self.dropped:
            kept = {k: v for k, v in call.fields.items() if k not in self.dropped}
            call = msgspec.structs.replace(call, fields=kept)
        if call.dialect == CHAT_COMPLETIONS and (
            self.developer_role != "developer" or self.max_tokens_field is not None
        ):
            call = msgspec.structs.replace(call, fields=self._reworded(call.fields))
        return call

    def _reworded(self, fields: Mapping[str, bytes]) -> Mapping[str, bytes]:
        if self.developer_role != "developer":
            fields = with_developer_as(fields, self.developer_role)
        if self.max_tokens_field is not None:
            fields = with_limit_as(fields, self.max_tokens_field)
        return fields


def with_developer_as(fields: Mapping[str, bytes], role: str) -> Mapping[str, bytes]:
    """Return the fields with another role for the messages of developers.

    What cannot be read stays as it is: the upstream says better than we what is wrong with it.
    """
    try:
        messages = _MESSAGES.decode(fields.get("messages", b"[]"))
    except DECODE_ERRORS:
        return fields
    told = msgspec.Raw(msgspec.json.encode(role))
    found = [each for each in messages if each.get("role") == _DEVELOPER]
    for message in found:
        message["role"] = told
    return {**fields, "messages": msgspec.json.encode(messages)} if found else fields


def with_limit_as(fields: Mapping[str, bytes], name: str) -> Mapping[str, bytes]:
    """Return the fields with the limit of the answer under this name alone."""
    limits = [fields[each] for each in OUTPUT_LIMITS if each in fields and fields[each] != b"null"]
    if not limits:
        return fields
    kept = {key: value for key, value in fields.items() if key not in OUTPUT_LIMITS}
    return {**kept, name: limits[0]}
