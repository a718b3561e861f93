"""Responses that are kept, each for the caller who was given it."""

import hashlib
import logging
from dataclasses import dataclass

import msgspec

from app.access.guard import Caller
from app.stores.base import Answers, StoreError
from app.wire.responses.kept import KeptResponse, decode_kept

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptResponses:
    """Keep responses, and find them again.

    What a store loses, or does not answer, counts as not kept: clients then send everything again.
    """

    answers: Answers
    lifetime_s: float
    max_bytes: int

    async def find(self, caller: Caller, response_id: str) -> KeptResponse | None:
        """Return a response that this caller was given, if it can be had."""
        try:
            return await self.look_up(caller, response_id)
        except StoreError as error:
            _log.warning("a response that was kept cannot be had: %s", error)
            return None

    async def look_up(self, caller: Caller, response_id: str) -> KeptResponse | None:
        """Return a response that this caller was given, None where there is none any more.

        Raises
        ------
        StoreError
            If nobody knows.
        """
        value = await self.answers.get(_name(caller, response_id))
        try:
            return None if value is None else decode_kept(value)
        except msgspec.DecodeError:
            _log.exception("a response that was kept cannot be read")
            return None

    async def keep(self, caller: Caller, response_id: str, kept: KeptResponse) -> None:
        """Keep a response, unless it is too long."""
        value = kept.encoded()
        if len(value) > self.max_bytes:
            return
        owner = "" if caller.key is None else caller.key.key_id
        try:
            await self.answers.put(
                _name(caller, response_id), value, lifetime_s=self.lifetime_s, owner=owner
            )
        except StoreError as error:
            _log.warning("a response cannot be kept: %s", error)

    async def delete(self, caller: Caller, response_id: str) -> None:
        """Forget a response.

        Raises
        ------
        StoreError
            If it may still be there.
        """
        await self.answers.delete(_name(caller, response_id))


def _name(caller: Caller, response_id: str) -> str:
    whole = f"{len(caller.key_id)} {caller.key_id} {response_id}"
    return hashlib.sha256(whole.encode(errors="surrogatepass")).hexdigest()
