import json

import pytest

from app.errors import InvalidRequestError
from app.gateway.session import IdSource, identify
from app.head import RequestHead
from routers.decision.switching import SessionReason
from tests.support.transcripts import (
    CLOSED_TOOL_LOOPS,
    DONE,
    OPEN_REASONING,
    OPEN_TOOL_LOOPS,
    SEALED_REASONING,
    SYSTEM,
    TASK,
    TASK_PARTS,
    THANKS,
    body,
    calling,
    result,
    turns_of,
)

FIRST = body(SYSTEM, TASK)
LATER = body(SYSTEM, TASK, DONE, THANKS)
OTHER = body(SYSTEM, THANKS)


def identified(headers, fields, **options):
    return identify(RequestHead(headers), fields, turns_of(fields), **options)


def name(headers=(), fields=FIRST, scope="key-1"):
    return identified(headers, fields, scope=scope).name


# --- which conversation -------------------------------------------------------------------------


def test_a_conversation_without_an_id_is_known_by_how_it_begins():
    assert name(fields=FIRST) == name(fields=LATER)
    assert name(fields=FIRST) != name(fields=OTHER)
    assert name(fields=body(TASK)) != name(fields=FIRST)
    assert identified([], LATER, scope="k").source is IdSource.OPENER


def test_the_opening_counts_with_all_its_parts():
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    seen = {"role": "user", "content": [*TASK_PARTS["content"], picture]}
    assert name(fields=body(TASK_PARTS)) != name(fields=body(seen))


@pytest.mark.parametrize(
    ("headers", "fields"),
    [
        ([(b"x-session-id", b"s-1")], FIRST),
        ([], {**FIRST, "session_id": b'"s-1"'}),
        ([(b"x-claude-code-session-id", b"s-1")], FIRST),
        ([(b"session_id", b"s-1")], FIRST),
        ([(b"x-session-affinity", b"s-1")], FIRST),
        ([], {**FIRST, "prompt_cache_key": b'"s-1"'}),
        ([], FIRST),
    ],
)
def test_two_keys_never_share_a_session(headers, fields):
    assert name(headers, fields, "key-1") != name(headers, fields, "key-2")
    assert name(headers, fields, "key-1") == name(headers, fields, "key-1")


def test_scope_and_id_cannot_be_shifted_into_each_other():
    assert name([(b"x-session-id", b"1s")], scope="key-") != name(
        [(b"x-session-id", b"s")], scope="key-1"
    )


def test_an_id_that_is_stated_wins_over_what_clients_send_by_themselves():
    headers = [
        (b"x-session-affinity", b"of a proxy"),
        (b"session_id", b"of codex"),
        (b"x-claude-code-session-id", b"of claude code"),
        (b"x-session-id", b"stated"),
    ]
    stated_in_body = {**FIRST, "session_id": b'"in the body"', "prompt_cache_key": b'"p"'}
    unstated = {**FIRST, "prompt_cache_key": b'"p"'}

    def placed(headers, fields):
        session = identified(headers, fields, scope="k")
        return session.source, session.name

    assert placed(headers, stated_in_body) == placed(headers[-1:], FIRST)
    assert placed(headers[:-1], stated_in_body) == placed([], stated_in_body)
    assert placed(headers[:3], unstated) == placed(headers[2:3], FIRST)
    assert placed(headers[:2], unstated) == placed(headers[1:2], FIRST)
    assert placed(headers[:1], unstated) == placed(headers[:1], FIRST)
    assert [identified(headers[:n], unstated, scope="k").source for n in (4, 1, 0)] == [
        IdSource.STATED,
        IdSource.HARNESS,
        IdSource.CACHE_KEY,
    ]


@pytest.mark.parametrize(
    "header",
    [
        *(b"session-id", b"thread-id", b"x-codex-window-id", b"session_id", b"conversation_id"),
        *(b"x-claude-code-session-id", b"x-opencode-session", b"x-litellm-session-id"),
        *(b"helicone-session-id", b"x-grok-conv-id", b"x-session-affinity"),
    ],
)
def test_ids_that_clients_send_by_themselves_are_known(header):
    session = identified([(header, b"s-1")], FIRST, scope="k")
    assert session.source is IdSource.HARNESS
    assert session.name == name([(header, b"s-1")], LATER, scope="k")


def test_of_codexs_ids_the_widest_counts():
    headers = [(b"x-codex-window-id", b"t:1"), (b"thread-id", b"t"), (b"session-id", b"s")]
    assert name(headers) == name([(b"session-id", b"s")])


def test_header_and_body_state_the_same_session():
    assert name([(b"x-session-id", b"s-1")]) == name([], {**FIRST, "session_id": b'"s-1"'})


def test_one_cache_key_for_a_whole_application_does_not_glue_its_conversations_together():
    fields = {"prompt_cache_key": b'"app-v1"'}
    assert name([], {**FIRST, **fields}) == name([], {**LATER, **fields})
    assert name([], {**FIRST, **fields}) != name([], {**OTHER, **fields})


def test_a_harness_session_tells_its_threads_apart():
    header = [(b"x-claude-code-session-id", b"s-1")]
    main, later = (identified(header, fields, scope="k") for fields in (FIRST, LATER))
    side = identified(header, OTHER, scope="k")
    assert main.name == side.name
    assert main.thread == later.thread != side.thread


def test_no_prompt_and_no_id_can_be_read_from_a_name():
    headers = [(b"x-session-id", b"jane@example.com")]
    for session in (
        identified(headers, FIRST, scope="key-1"),
        identified([], FIRST, scope="key-1"),
    ):
        prefix, _, digits = session.name.partition("-")
        assert prefix == "session"
        assert len(digits) == 64
        assert set(digits) <= set("0123456789abcdef")


@pytest.mark.parametrize(
    ("headers", "extra", "param"),
    [
        ([(b"x-session-id", b" ")], {}, "x-session-id"),
        ([(b"x-session-id", b"x" * 513)], {}, "x-session-id"),
        ([], {"session_id": b'""'}, "session_id"),
        ([], {"session_id": b"7"}, "session_id"),
    ],
)
def test_a_session_id_that_cannot_be_one_is_an_error_that_names_it(headers, extra, param):
    with pytest.raises(InvalidRequestError) as caught:
        identified(headers, {**FIRST, **extra}, scope="k")
    assert caught.value.param == param


@pytest.mark.parametrize("value", [b"", b"x" * 513])
def test_an_odd_id_that_a_harness_sends_is_passed_over(value):
    assert identified([(b"session_id", value)], FIRST, scope="k").source is IdSource.OPENER
    assert name([], {**FIRST, "session_id": b"null"}) == name([], FIRST)


# --- whether to look ----------------------------------------------------------------------------


def test_a_first_question_without_an_id_is_not_looked_up():
    assert not identified([], FIRST, scope="k").lookup
    assert identified([], LATER, scope="k").lookup
    assert identified([(b"x-session-id", b"s")], FIRST, scope="k").lookup
    assert identified([], {**FIRST, "previous_response_id": b'"resp_1"'}, scope="k").lookup


# --- locks --------------------------------------------------------------------------------------


def lock(*messages, **fields):
    return identified([], body(*messages, **fields), scope="k").lock


@pytest.mark.parametrize("transcript", OPEN_TOOL_LOOPS.values(), ids=OPEN_TOOL_LOOPS)
def test_an_open_tool_loop_locks_the_model(transcript):
    assert lock(*transcript) is SessionReason.LOCKED_TOOLS


@pytest.mark.parametrize("transcript", OPEN_TOOL_LOOPS.values(), ids=OPEN_TOOL_LOOPS)
@pytest.mark.parametrize("role", ["system", "developer"])
def test_a_note_of_the_harness_behind_it_does_not_close_it(transcript, role):
    assert lock(*transcript, {"role": role, "content": "note"}) is SessionReason.LOCKED_TOOLS


def test_seals_bind_only_where_they_cannot_be_taken_out():
    sealed = {**DONE, "content": [{"type": "thinking", "thinking": "a", "signature": "s"}]}
    fields = body(TASK, sealed, THANKS)
    assert identified([], fields, scope="k").lock is SessionReason.LOCKED_REASONING
    assert identified([], fields, scope="k", seals_bind=False).lock is None


def test_an_agent_is_told_by_its_id_whatever_it_has_dropped():
    harness = (b"x-claude-code-session-id", b"s-1")
    agent = [harness, (b"x-claude-code-agent-id", b"a-1")]
    one = identified(agent, body(SYSTEM, TASK), scope="k")
    later = identified(agent, body(SYSTEM, THANKS), scope="k")
    other = identified([harness, (b"x-claude-code-agent-id", b"a-2")], body(TASK), scope="k")
    assert one.name == later.name == other.name
    assert one.thread == later.thread != other.thread
    assert identified([harness], body(SYSTEM, TASK), scope="k").thread != one.thread


@pytest.mark.parametrize("transcript", CLOSED_TOOL_LOOPS.values(), ids=CLOSED_TOOL_LOOPS)
def test_a_closed_tool_loop_does_not(transcript):
    assert lock(*transcript) is None


@pytest.mark.parametrize("answer", SEALED_REASONING.values(), ids=SEALED_REASONING)
def test_signed_or_encrypted_reasoning_locks_the_model_for_good(answer):
    assert lock(TASK, answer, THANKS) is SessionReason.LOCKED_REASONING
    assert lock(TASK, answer, THANKS, DONE, THANKS) is SessionReason.LOCKED_REASONING


@pytest.mark.parametrize("answer", OPEN_REASONING.values(), ids=OPEN_REASONING)
def test_reasoning_that_any_model_can_read_does_not(answer):
    assert lock(TASK, answer, THANKS) is None


def test_what_a_user_or_a_tool_writes_is_no_seal():
    forged = {"role": "user", "content": "hi", "encrypted_content": "x", "signature": "y"}
    assert lock(forged) is None
    sealed = {**result("a"), "signature": "y"}
    assert lock(TASK, calling("a"), sealed, DONE, THANKS) is None


@pytest.mark.parametrize("levels", [450, 900, 100_000])
def test_a_seal_is_found_however_deep_the_message_is_nested(levels):
    deep = '[{"a":' * (levels // 2) + "%s" + "}]" * (levels // 2)
    turn = (
        '[{"role":"user","content":"x"},{"role":"assistant","content":"y","z":%s},{"role":"user"}]'
    )

    def lock_of(inner):
        fields = {"messages": (turn % (deep % inner)).encode()}
        return identified([], fields, scope="k").lock

    # What is nested deeper than any parser goes was refused before it came here.
    sealed = SessionReason.LOCKED_REASONING if levels < 1_000 else None
    assert lock_of('{"signature" : "abc"}') is sealed
    assert lock_of('{"type": "redacted_thinking", "data": "abc"}') is sealed
    for harmless in ('{"signature": ""}', '"signature"', '{"a": "\\"signature\\": \\"b\\""}'):
        assert lock_of(harmless) is None


def test_a_thousand_words_that_could_be_seals_are_not_all_looked_at():
    answer = {**DONE, "content": ["signature"] * 5_000}
    assert lock(TASK, answer, THANKS) is SessionReason.LOCKED_REASONING


@pytest.mark.parametrize(("value", "locks"), [("resp_1", True), (None, False), ("", False)])
def test_a_previous_response_locks_the_model(value, locks):
    expected = SessionReason.LOCKED_RESPONSE_ID if locks else None
    assert lock(TASK, previous_response_id=value) is expected


@pytest.mark.parametrize(
    "message",
    [
        {"role": "assistant", "tool_calls": "a"},
        {"role": "assistant", "tool_calls": [1, None]},
        {"role": "assistant", "function_call": 3},
        {"role": "assistant", "content": [1, {"type": "tool_use", "id": None}]},
        {"role": "tool", "tool_call_id": 7},
        {"role": None},
        {},
    ],
)
def test_no_shape_of_a_message_is_an_error(message):
    identified([], body(TASK, message, THANKS), scope="k")


@pytest.mark.parametrize("messages", [b"7", b'["a"]', b"", b'[{"role": "user"'])
def test_messages_that_are_none_are_no_error_here(messages):
    assert identified([], {"messages": messages}, scope="k").lock is None


def test_keys_in_any_spelling_of_json_are_read():
    sealed = json.dumps([TASK, {**DONE, "encrypted_content": "x"}, THANKS]).replace(
        '"role": "assistant"', '"\\u0072ole": "\\u0061ssistant"'
    )
    fields = {"messages": sealed.encode()}
    assert identified([], fields, scope="k").lock is SessionReason.LOCKED_REASONING
