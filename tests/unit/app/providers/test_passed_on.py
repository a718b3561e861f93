"""Streams that are passed on byte for byte, however they were cut on their way."""

import pytest

from app.providers.messages.native import NativeStream
from tests.support.fixtures import fixture


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["lf", "crlf", "cr"])
@pytest.mark.parametrize("name", ["text", "future"])
def test_no_byte_is_lost_wherever_the_last_event_was_cut(name, end):
    recorded = fixture(f"anthropic/{name}.sse").replace(b"\n", end)
    for cut in range(len(recorded) - 12, len(recorded)):
        stream, passed = NativeStream(), b""
        for piece in (recorded[:cut], recorded[cut:]):
            # Whoever reads stops when the answer has ended.
            chunk = None if stream.done else stream.feed(piece)
            passed += b"" if chunk is None else chunk.data
        assert stream.done
        assert passed == recorded
