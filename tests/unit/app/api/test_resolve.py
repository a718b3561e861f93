"""What of a client's headers an upstream may see."""

import json

import pytest

from app.access.guard import ANONYMOUS, Caller
from app.api.dialects.chat_completions import parse_chat_request
from app.api.knobs import Knobs
from app.api.resolve import resolve
from app.gateway.names import Names
from app.head import RequestHead
from tests.support.keys import new_record

KEY = b"idempotency-key"
NAMES = Names(model_ids=frozenset({"pinned"}), policies={}, default_policy="", pairs={})


def passed_on(*values: bytes, caller: Caller = ANONYMOUS, prompt: str = "Hi") -> tuple[bytes, ...]:
    body = {"model": "pinned", "messages": [{"role": "user", "content": prompt}]}
    request = resolve(
        parse_chat_request(json.dumps(body).encode()),
        Knobs(params={}),
        NAMES,
        request_id="req-1",
        head=RequestHead([(KEY, value) for value in values]),
        caller=caller,
    )
    return tuple(value for name, value in request.headers if name == KEY)


def a_caller() -> Caller:
    record, _ = new_record()
    return Caller(record, record.key_id, None)


def test_one_word_of_two_keys_is_two_words_for_an_upstream():
    one, other = a_caller(), a_caller()
    told = [passed_on(b"order-1", caller=caller) for caller in (one, other, ANONYMOUS)]
    assert len(set(told)) == 3
    for (value,) in told:
        assert b"order" not in value
        assert value.decode().isprintable()


@pytest.mark.parametrize("keyed", [True, False])
def test_a_key_means_the_same_each_time_and_another_word_means_another(keyed):
    caller = a_caller() if keyed else ANONYMOUS
    assert passed_on(b"order-1", caller=caller) == passed_on(b"order-1", caller=caller)
    assert passed_on(b"order-1", caller=caller) != passed_on(b"order-2", caller=caller)


def test_a_rotated_secret_changes_nothing():
    old, _ = new_record()
    new, _ = new_record(key_id=old.key_id)
    callers = [Caller(record, record.key_id, None) for record in (old, new)]
    assert passed_on(b"w", caller=callers[0]) == passed_on(b"w", caller=callers[1])


def test_two_headers_are_one_key_and_an_empty_one_is_none():
    (both,) = passed_on(b"a", b"b")
    assert (both,) not in (passed_on(b"a"), passed_on(b"b"))
    assert passed_on(b"") == ()


def test_no_key_can_make_up_the_word_of_another():
    # Key ids that end where words begin.
    one = Caller(None, "key-1", None)
    two = Caller(None, "key-1 a", None)
    assert passed_on(b"a b", caller=one) != passed_on(b"b", caller=two)
