"""What was said, as text: only for what the operator opted in to keep or to trace."""

from typing import Any

import msgspec

from app.outcome import Texts
from app.wire.answer_text import answer_text as read_text
from routers.data.media import described


def kept_texts(texts: Texts) -> dict[str, Any]:
    """Return the texts of a request as they are kept: messages by role, and the answer's text.

    Answers that were held back are among them where there were such, and of what is no text its
    sizes.
    """
    kept: dict[str, Any] = {
        "messages": [
            {"role": message.role.value, "content": message.text}
            for message in texts.conversation.messages
        ],
        "answer": answer_text(texts),
    }
    if texts.conversation.media is not None:
        kept["media"] = described(texts.conversation.media)
    if texts.drafts:
        kept["drafts"] = [msgspec.structs.asdict(each) for each in texts.drafts]
    return kept


def answer_text(texts: Texts) -> str | None:
    """Return the text of the answer, as far as it came; None where there is none."""
    return read_text(texts.answer, streamed=texts.streamed, dialect=texts.dialect)
