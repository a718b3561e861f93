"""Replies to a workflow's own questions, of which one serves where no answer can be had."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from app.calls import CallRole
from app.errors import UpstreamInvalidResponseError
from app.gateway.course import Course
from app.gateway.ledger import LedgerEntry
from app.gateway.open_answer import OpenAnswer
from app.gateway.questions import Reply
from app.gateway.request import RouteRequest
from app.gateway.steps import adopt
from app.providers.base import Chunk
from app.wire.answer_pieces import in_pieces
from app.wire.held import retold
from routers.steps import Answer


@dataclass(slots=True, kw_only=True)
class Replies:
    """What was replied for one request."""

    request: RouteRequest
    entry: LedgerEntry
    course: Course
    _heard: dict[int, Reply] = field(default_factory=dict)

    def hear(self, number: int, reply: Reply) -> None:
        """Note a reply, by the number of the answer that it is told as."""
        self._heard[number] = reply

    def serve(self, answer: Answer | None) -> OpenAnswer | None:
        """Have the text of a reply serve as the answer; None where it cannot."""
        reply = None if answer is None else self._heard.get(answer.number)
        if answer is None or reply is None or not answer.text.strip():
            return None
        opened, stage = reply.opened, reply.stage
        if opened is None or stage is None:
            return None
        chunk = Chunk(data=retold(reply.body, answer.text))
        if self.request.stream:
            try:
                chunk = in_pieces(chunk)
            except UpstreamInvalidResponseError:
                return None
        # It was paid as a question, and is an answer now that nobody else accepted.
        stage.role = CallRole.DRAFT
        opened.prelude, opened.held, opened.reading = (chunk,), (), _nothing()
        adopt(self.entry, stage, opened.prelude)
        self.course.served_model_id = answer.model_id
        return opened


async def _nothing() -> AsyncGenerator[Chunk, None]:
    chunks: tuple[Chunk, ...] = ()
    for chunk in chunks:
        yield chunk
