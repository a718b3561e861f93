import re

import msgspec
import pytest

from app.access.guard import ANONYMOUS, Guard
from app.access.secrets import digest_of, new_key_id, new_secret
from app.api.dialects.base import error_answer
from app.errors import StoreUnavailableError, UnauthenticatedError
from app.head import RequestHead
from tests.support.keys import NOW, DictKeys, SetClock, bearer


@pytest.fixture
def keys():
    return DictKeys()


@pytest.fixture
def clock():
    return SetClock(0.0)


@pytest.fixture
def now():
    return SetClock()


@pytest.fixture
def guard(keys, clock, now):
    return Guard(keys, fresh_s=5, max_known=3, max_unknown=3, clock=clock, now=now)


async def authenticate(guard, headers):
    return await guard.authenticate(RequestHead(headers))


async def refusal(guard, headers):
    with pytest.raises(UnauthenticatedError) as caught:
        await authenticate(guard, headers)
    return caught.value


def test_secrets_are_long_random_and_recognisable():
    secrets = {new_secret() for _ in range(1000)}
    assert len(secrets) == 1000
    assert all(re.fullmatch(r"sk-sy-[A-Za-z0-9_-]{43}", secret) for secret in secrets)
    assert re.fullmatch(r"key-[0-9a-f]{12}", new_key_id())


def test_a_digest_is_sha256_of_the_whole_secret():
    assert digest_of(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize(
    "name_and_scheme",
    [(b"authorization", b"Bearer "), (b"authorization", b"bEARER   "), (b"x-api-key", b"")],
)
async def test_a_key_tells_who_asks(guard, keys, name_and_scheme):
    record, secret = keys.issue(team="search")
    name, scheme = name_and_scheme
    headers = [(b"host", b"x"), (name, scheme + secret.encode() + b" ")]
    caller = await authenticate(guard, headers)
    assert (caller.key, caller.key_id, caller.team) == (record, record.key_id, "search")


async def test_where_no_keys_are_asked_for_everybody_is_anonymous_even_with_a_strange_header():
    guard = Guard(None)
    assert await authenticate(guard, [(b"authorization", b"\xff")]) is ANONYMOUS
    assert not guard.asks_for_keys


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"authorization", b"")],
        [(b"authorization", b"Bearer")],
        [(b"authorization", b"Bearer    ")],
        [(b"authorization", b"Basic c2stc3k6")],
        [(b"x-api-key", b" ")],
        [(b"api-key", b" ")],
        [(b"x-goog-api-key", b"sk-sy-x")],
        [(b"cookie", b"authorization=Bearer sk-sy-x")],
    ],
)
async def test_no_key_is_told_how_to_send_one(guard, headers):
    error = await refusal(guard, headers)
    assert error.message.startswith("You didn't provide an API key.")


async def test_an_unknown_key_is_refused_without_repeating_it(guard):
    error = await refusal(guard, bearer("sk-sy-" + "canary" * 7))
    assert error.message.startswith("Incorrect API key provided.")
    status, headers, body = error_answer(error)
    assert status == 401
    assert (b"www-authenticate", b'Bearer realm="steelyard"') in headers
    assert msgspec.json.decode(body)["error"]["code"] == "invalid_api_key"
    assert b"canary" not in body


async def test_the_digest_of_a_secret_is_no_credential(guard, keys):
    record, secret = keys.issue()
    for stolen in (record.digest, "sk-sy-" + record.digest, record.digest.upper(), record.key_id):
        await refusal(guard, bearer(stolen))
    assert (await authenticate(guard, bearer(secret))).key == record


async def test_every_character_of_the_secret_counts(guard, keys):
    # A cache once asked by the first twenty characters let one caller in as another.
    _, secret = keys.issue()
    await authenticate(guard, bearer(secret))
    for wrong in (secret[:-1], secret + "A", secret[:-1] + ("A" if secret[-1] != "A" else "B")):
        await refusal(guard, bearer(wrong))


async def test_a_stores_answer_about_another_key_lets_nobody_in(keys, guard):
    record, secret = keys.issue()
    other, _ = keys.issue()
    keys.records[record.digest] = other
    await refusal(guard, bearer(secret))


async def test_two_keys_in_one_request_are_refused(guard, keys):
    _, secret = keys.issue()
    _, other = keys.issue()
    await refusal(guard, bearer(secret) + bearer(other))
    await refusal(guard, [(b"x-api-key", secret.encode()), (b"x-api-key", other.encode())])


async def test_azures_header_is_taken_where_there_is_no_other(guard, keys):
    record, secret = keys.issue()
    _other, other_secret = keys.issue()
    azure = (b"api-key", secret.encode())
    assert (await authenticate(guard, [azure])).key == record
    await refusal(guard, [azure, *bearer(other_secret)])
    await refusal(guard, [azure, (b"x-api-key", other_secret.encode())])
    await refusal(guard, [azure, azure])


@pytest.mark.parametrize("others", [(b"x-api-key",), (b"api-key",), (b"x-api-key", b"api-key")])
async def test_one_key_may_stand_in_several_headers_and_two_may_not(guard, keys, others):
    record, secret = keys.issue()
    _, other = keys.issue()
    same = [(name, b" " + secret.encode()) for name in others]
    assert (await authenticate(guard, bearer(secret) + same)).key == record
    empty = [(b"authorization", b"Bearer ")]
    assert (await authenticate(guard, empty + same)).key == record
    for wrong in (other, "none", secret + "x"):
        error = await refusal(guard, bearer(wrong) + same)
        assert error.message.startswith("The request carries two different API keys")
        assert wrong not in error.message
        assert secret not in error.message
        await refusal(guard, [*bearer(secret), (others[-1], wrong.encode())])


async def test_an_expired_key_is_refused_from_its_second_on_although_it_is_remembered(
    guard, keys, now
):
    record, secret = keys.issue(expires_at=NOW + 10)
    now.at = NOW + 9.999
    await authenticate(guard, bearer(secret))
    now.at = NOW + 10
    error = await refusal(guard, bearer(secret))
    assert record.key_id in error.message
    assert "expired" in error.message
    assert keys.asked == 1


async def test_a_revoked_key_is_refused(guard, keys):
    _, secret = keys.issue(revoked_at=NOW)
    assert "revoked" in (await refusal(guard, bearer(secret))).message


async def test_a_revoked_key_is_refused_by_a_clock_that_was_set_back(guard, keys, now):
    _, secret = keys.issue(revoked_at=NOW)
    now.at = NOW - 7200
    assert "revoked" in (await refusal(guard, bearer(secret))).message


async def test_a_secret_that_was_replaced_works_until_its_grace_is_over(guard, keys, now):
    _, secret = keys.issue(expires_at=NOW + 10, replaced_by="d" * 64)
    await authenticate(guard, bearer(secret))
    now.at = NOW + 11
    assert "replaced" in (await refusal(guard, bearer(secret))).message


async def test_the_store_is_asked_once_while_its_answer_is_fresh(guard, keys, clock):
    _, secret = keys.issue()
    first = await authenticate(guard, bearer(secret))
    clock.at = 4.9
    assert await authenticate(guard, bearer(secret)) is first
    assert keys.asked == 1
    clock.at = 5.0
    await authenticate(guard, bearer(secret))
    assert keys.asked == 2


async def test_a_key_that_was_revoked_elsewhere_stops_working_when_the_answer_is_stale(
    guard, keys, clock
):
    record, secret = keys.issue()
    await authenticate(guard, bearer(secret))
    keys.records[record.digest] = msgspec.structs.replace(record, revoked_at=NOW)
    await authenticate(guard, bearer(secret))
    clock.at = 5.0
    await refusal(guard, bearer(secret))


async def test_a_forgotten_key_is_asked_about_at_once(guard, keys):
    record, secret = keys.issue()
    await authenticate(guard, bearer(secret))
    keys.records[record.digest] = msgspec.structs.replace(record, revoked_at=NOW)
    guard.forget(record.digest)
    await refusal(guard, bearer(secret))


async def test_guessing_asks_the_store_once_per_guess_and_makes_no_real_key_forgotten(guard, keys):
    _, secret = keys.issue()
    await authenticate(guard, bearer(secret))
    for _ in range(2):
        await refusal(guard, bearer("sk-sy-guess"))
    assert keys.asked == 2
    for guess in range(100):
        await refusal(guard, bearer(f"sk-sy-{guess}"))
    asked = keys.asked
    await authenticate(guard, bearer(secret))
    assert keys.asked == asked
    assert len(guard._known._entries) == 1
    assert len(guard._unknown._entries) == 3


async def test_what_cannot_be_a_secret_is_refused_without_asking_the_store(guard, keys):
    for wrong in ("none", "sk-proj-" + "x" * 40, "sk-sy-" + "x" * 10_000):
        await refusal(guard, bearer(wrong))
    assert keys.asked == 0


async def test_the_least_recently_used_key_is_forgotten_first(guard, keys):
    secrets = [keys.issue()[1] for _ in range(3)]
    for secret in secrets:
        await authenticate(guard, bearer(secret))
    await authenticate(guard, bearer(secrets[0]))
    await authenticate(guard, bearer(keys.issue()[1]))
    asked = keys.asked
    await authenticate(guard, bearer(secrets[0]))
    assert keys.asked == asked
    await authenticate(guard, bearer(secrets[1]))
    assert keys.asked == asked + 1


async def test_without_its_store_the_guard_refuses_as_unavailable_and_recovers(guard, keys):
    _, secret = keys.issue()
    keys.down = True
    with pytest.raises(StoreUnavailableError) as caught:
        await authenticate(guard, bearer(secret))
    status, headers, body = error_answer(caught.value)
    assert status == 503
    assert (b"retry-after", b"1") in headers
    assert msgspec.json.decode(body)["error"]["code"] == "store_unavailable"
    keys.down = False
    await authenticate(guard, bearer(secret))
