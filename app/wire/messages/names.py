"""Names of tools and ids of their calls, told in the characters of another dialect and back.

Nothing is remembered between requests: an id carries what it stands for, and names are mapped by
the request that holds them.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Mapping

from app.wire.tool_names import MARK_CHARS, is_taken, marked

_MAX_MARK_CHARS = 64

_ID = re.compile(r"[a-zA-Z0-9_-]+")
_MAX_CHAT_ID_CHARS = 40
"""OpenAI refuses longer ids of calls."""
_TOLD = "call_b64_"
"""How an id begins that stands for one of characters which Anthropic refuses."""


class ToolNames:
    """The names of a request's tools as chat completions take them, and back.

    OpenAI takes 64 letters, digits, `_` and `-`; names of Anthropic's may have 128 of them, and
    clients of other servers write `.` and `:`. The same name always becomes the same one.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._told: dict[str, str] = {}
        self._meant: dict[str, str] = {}
        plain = []
        for name in names:
            if is_taken(name):
                self._meant[name] = name
            else:
                plain.append(name)
        for name in plain:
            if name not in self._told:
                self._told[name] = told = self._new(name)
                self._meant[told] = name

    def __bool__(self) -> bool:
        """Whether any name is another one there."""
        return bool(self._told)

    def to_chat(self, name: str) -> str:
        """Return the name that is sent in place of one of the request's."""
        return self._told.get(name, name)

    def from_chat(self, name: str) -> str:
        """Return the name that the client knows."""
        return self._meant.get(name, name)

    @property
    def renamed(self) -> Mapping[str, str]:
        """The client's name → the one that is sent, of those that differ."""
        return self._told

    def _new(self, name: str) -> str:
        # As many characters of the hash as it takes to be like no other name.
        for n_chars in range(MARK_CHARS, _MAX_MARK_CHARS):
            told = marked(name, n_chars)
            if told not in self._meant:
                break
        return told


def id_for_client(call_id: str) -> str:
    """Return the id of a call as Anthropic's API would take it back, whatever a server made up."""
    plain = len(call_id) <= _MAX_CHAT_ID_CHARS and not call_id.startswith(_TOLD)
    if plain and _ID.fullmatch(call_id):
        return call_id
    packed = base64.urlsafe_b64encode(call_id.encode(errors="surrogatepass")).rstrip(b"=").decode()
    return _TOLD + packed


def id_for_chat(call_id: str) -> str:
    """Return the id that a chat server gave a call; of another one, what such servers take."""
    if call_id.startswith(_TOLD):
        packed = call_id[len(_TOLD) :]
        try:
            raw = base64.b64decode(packed + "=" * (-len(packed) % 4), b"-_", validate=True)
            return raw.decode(errors="surrogatepass")
        except (binascii.Error, ValueError):
            pass  # it only looks like one of ours
    if len(call_id) <= _MAX_CHAT_ID_CHARS:
        return call_id
    return "call_" + hashlib.sha256(call_id.encode(errors="surrogatepass")).hexdigest()[:32]
