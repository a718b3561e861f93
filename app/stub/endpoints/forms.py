"""Requests with files in them: `multipart/form-data`."""

from email.message import Message
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any


def form(content_type: str, body: bytes) -> dict[str, Any] | None:
    """Return the fields of a form, a list for those whose name ends in `[]`; None if it is none.

    A file stands there as its name, type and size.
    """
    head = f"content-type: {content_type}\r\n\r\n".encode("latin-1", "replace")
    parsed = BytesParser(policy=HTTP).parsebytes(head + body)
    if not parsed.is_multipart():
        return None
    fields: dict[str, Any] = {}
    for part in parsed.get_payload():
        assert isinstance(part, Message)  # noqa: S101 - what a multipart has
        name = part.get_param("name", header="content-disposition")
        if not isinstance(name, str):
            continue
        payload = part.get_payload(decode=True)
        content = payload if isinstance(payload, bytes) else b""
        filename = part.get_filename()
        value: Any = content.decode("utf-8", "replace")
        if filename is not None:
            value = {"file": filename, "type": part.get_content_type(), "bytes": len(content)}
        if name.endswith("[]"):
            fields.setdefault(name[:-2], []).append(value)
        else:
            fields[name] = value
    return fields
