"""Whatever the headers are, they are a known key's or they are refused."""

import asyncio
import contextlib

from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.access.guard import Guard
from app.errors import UnauthenticatedError
from app.head import RequestHead
from tests.support.keys import DictKeys

KEYS = DictKeys()
RECORD, SECRET = KEYS.issue()
GUARD = Guard(KEYS, max_unknown=50)

NAMES = st.sampled_from([b"authorization", b"x-api-key", b"Authorization", b"host"]) | st.binary()
SCHEMES = st.sampled_from([b"", b"Bearer ", b"bearer\t", b"BEARER  ", b"Basic ", b"Bearer"])
SECRETS = (
    st.sampled_from([SECRET.encode(), RECORD.digest.encode(), RECORD.key_id.encode(), b"sk-sy-"])
    | st.binary(max_size=80)
    | st.binary(max_size=80).map(lambda tail: b"sk-sy-" + tail)
    | st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass"))
)
VALUES = st.builds(lambda scheme, secret: scheme + secret, SCHEMES, SECRETS) | st.binary()


@given(headers=st.lists(st.tuples(NAMES, VALUES), max_size=4))
@example(headers=[(b"authorization", b"Bearer " + SECRET.encode())])
@example(headers=[(b"authorization", b"Bearer \x00" + SECRET.encode())])
@settings(max_examples=500, deadline=None, derandomize=True, database=None)
def test_any_headers_are_a_known_key_or_unauthenticated(headers):
    with contextlib.suppress(UnauthenticatedError):
        caller = asyncio.run(GUARD.authenticate(RequestHead(headers)))
        assert caller.key == RECORD
        assert any(value.split()[-1] == SECRET.encode() for _, value in headers if value.split())
