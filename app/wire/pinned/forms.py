"""Requests with files, as multipart/form-data: the few fields that are looked at, and the rest."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from app.errors import InvalidRequestError

FORM_TYPE = "form: its content type"
FORM_BEFORE = "form: what stands before the model"
FORM_AFTER = "form: what stands behind the model"
"""Under these names the parts of a form stand in the fields of a request."""

_BOUNDARY = re.compile(
    rb';\s*boundary=(?:"([^"]{1,70})"|([^\s;,"]{1,70}))\s*(?:;|$)', re.IGNORECASE
)
_NAME = re.compile(rb';\s*name=(?:"([^"\r\n]*)"|([^\s;"]+))', re.IGNORECASE)
_FILE = re.compile(rb";\s*filename\*?=", re.IGNORECASE)
_FILE_NAME = re.compile(rb';\s*filename=(?:"([^"\r\n]*)"|([^\s;"]+))', re.IGNORECASE)
_MAX_PARTS = 1_000
_MAX_FIELD_BYTES = 100_000


@dataclass(frozen=True, slots=True)
class Form:
    """A form as it came, taken apart at the value of its `model`.

    Attributes
    ----------
    values
        Of its fields that are no files, by name.
    """

    values: Mapping[str, str]
    before: bytes
    after: bytes


def is_form(content_type: bytes | None) -> bool:
    """Return whether a body says that it is a form."""
    return (
        content_type is not None
        and content_type.partition(b";")[0].strip().lower() == b"multipart/form-data"
    )


def read_form(body: bytes, content_type: bytes) -> Form:
    """Take a form apart.

    Raises
    ------
    InvalidRequestError
        If it is none, or names its model twice.
    """
    mark, parts = _parts(body, content_type)
    values: dict[str, str] = {}
    model: tuple[int, int] | None = None
    for head, begin, end in parts:
        name = _field_name(head)
        if name is not None and end - begin <= _MAX_FIELD_BYTES:
            if name == "model" and model is not None:
                raise InvalidRequestError("the form names its model twice", param="model")
            if name == "model":
                model = begin, end
            values[name] = body[begin:end].decode("utf-8", "replace")
    if model is None:
        # It becomes the first part.
        first = body.find(mark)
        part = mark + b'\r\nContent-Disposition: form-data; name="model"\r\n\r\n'
        return Form(values, body[:first] + part, b"\r\n" + body[first:])
    return Form(values, body[: model[0]], body[model[1] :])


@dataclass(frozen=True, slots=True)
class Upload:
    """A form that brings one file.

    Attributes
    ----------
    values
        Of its other fields, by name.
    """

    values: Mapping[str, str]
    filename: str
    content: memoryview


def read_upload(body: bytes | bytearray, content_type: bytes) -> Upload:
    """Take a form apart that brings a file in its field `file`.

    Raises
    ------
    InvalidRequestError
        If it is none, or brings none, or two.
    """
    _, parts = _parts(body, content_type)
    values: dict[str, str] = {}
    file: tuple[str, memoryview] | None = None
    for head, begin, end in parts:
        name = _field_name(head)
        if name is not None:
            if end - begin <= _MAX_FIELD_BYTES:
                values[name] = bytes(body[begin:end]).decode("utf-8", "replace")
            continue
        if file is not None:
            raise InvalidRequestError("the form brings two files; send one", param="file")
        named = _FILE_NAME.search(head)
        filename = b"" if named is None else named[1] or named[2] or b""
        file = filename.decode("utf-8", "replace"), memoryview(body)[begin:end]
    if file is None:
        raise InvalidRequestError("Missing required parameter: 'file'.", param="file")
    return Upload(values, *file)


def _parts(
    body: bytes | bytearray, content_type: bytes
) -> tuple[bytes, list[tuple[bytes, int, int]]]:
    """Return the mark between parts, and of each part its head, where it begins and ends."""
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise InvalidRequestError("the content-type of a form has to name its boundary")
    mark = b"--" + (found[1] or found[2])
    at = 0 if body.startswith(mark) else body.find(b"\r\n" + mark) + 2
    if not body.startswith(mark, at):
        raise InvalidRequestError("the request body is no multipart form with that boundary")
    parts: list[tuple[bytes, int, int]] = []
    for _ in range(_MAX_PARTS):
        at += len(mark)
        if body.startswith(b"--", at):
            return mark, parts
        begin = body.find(b"\r\n\r\n", at)
        end = body.find(b"\r\n" + mark, begin + 2)
        if begin < 0 or end < 0:
            raise InvalidRequestError("the multipart form in the request body is cut off")
        parts.append((bytes(body[at:begin]), begin + 4, end))
        at = end + 2
    raise InvalidRequestError(f"the form has over {_MAX_PARTS} parts")


def _field_name(head: bytes) -> str | None:
    """Return the name of a field; None of a file."""
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-disposition:") and not _FILE.search(line):
            named = _NAME.search(line)
            if named is not None:
                return (named[1] or named[2] or b"").decode("utf-8", "replace")
    return None
