"""What is read of a text that is longer than a reader takes."""

HEAD_SHARE = 0.75
"""Of a text that is too long, this share of the limit is taken from its head, the rest from its
tail: the task is mostly stated first, the question itself often comes last."""


def head_and_tail(text: str, max_chars: int) -> tuple[str, str]:
    """Cut a text that is longer than `max_chars`: its head and its tail, together that long.

    A text that fits is all head. Costs nothing that grows with the text.
    """
    if len(text) <= max_chars:
        return text, ""
    head_chars = int(max_chars * HEAD_SHARE)
    return text[:head_chars], text[len(text) - (max_chars - head_chars) :]
