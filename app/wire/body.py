"""The body of a request: as the client wrote it, and in the form that the gateway works on."""

import copy
from collections.abc import Callable, Mapping
from typing import Self

from app.paths import CHAT_COMPLETIONS

Fields = Mapping[str, bytes]
"""Top-level key → the JSON bytes of its value, without what is said to the gateway alone."""


_QUICK_BYTES = 64_000


class Body:
    """One request body; nothing of it ever changes.

    Parameters
    ----------
    fields
        As the client sent them: `sent`.
    dialect
        In which they are written.
    translate
        Returns the same request as fields of a chat completion; asked for once, and only where
        somebody needs them. Of chat completions it is not needed.
    untold
        What of the request a chat completion cannot say, as the name of a field and a sentence:
        only an upstream that speaks the dialect can answer it. None where all can be said.
    """

    __slots__ = ("_chat", "_retell", "_translate", "dialect", "sent", "untold")

    def __init__(
        self,
        fields: Fields,
        *,
        dialect: str = CHAT_COMPLETIONS,
        translate: Callable[[Fields], Fields] | None = None,
        untold: tuple[str, str] | None = None,
    ) -> None:
        self.sent = fields
        self._translate = translate
        self._retell: Callable[[Fields], Fields] | None = None
        self._chat = fields if translate is None else None
        self.dialect = dialect
        self.untold = untold

    def chat(self) -> Fields:
        """Return the fields of a chat completion."""
        chat = self._chat
        if chat is None:
            assert self._translate is not None  # noqa: S101  (else they are there from the start)
            chat = self._translate(self.sent)
            chat = self._chat = chat if self._retell is None else self._retell(chat)
        return chat

    def retold(self, sent: Fields, retell: Callable[[Fields], Fields]) -> Self:
        """Return the same request with other fields.

        Parameters
        ----------
        sent
            In its own dialect.
        retell
            Makes the fields of a chat completion of those that it came to before.
        """
        body, before = copy.copy(self), self._retell
        body.sent = sent
        body._retell = retell if before is None else lambda chat: retell(before(chat))  # noqa: SLF001
        body._chat = sent if self._translate is None else None  # noqa: SLF001
        return body

    @property
    def takes_long(self) -> bool:
        """Whether it is still to be translated, and that takes more than a millisecond."""
        return self._chat is None and sum(map(len, self.sent.values())) > _QUICK_BYTES

    @property
    def translation(self) -> Callable[[Fields], Fields] | None:
        """What translates, and may know more of it; None where nothing has to be translated."""
        return self._translate

    def native(self, dialect: str) -> Fields | None:
        """Return the client's own fields, if it wrote them in this dialect."""
        return self.sent if dialect == self.dialect else None

    def without(self, name: str) -> "Body":
        """Return the same request without one of the client's fields."""
        if name not in self.sent:
            return self
        kept = {key: value for key, value in self.sent.items() if key != name}
        body = Body(kept, dialect=self.dialect, translate=self._translate, untold=self.untold)
        body._retell = self._retell
        return body
