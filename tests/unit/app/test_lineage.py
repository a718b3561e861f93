"""What clients say of the run that a request is part of, in the words of each of them."""

import hashlib

import pytest

from app.head import RequestHead
from app.lineage import AgentKind, Lineage

SESSION, AGENT, PARENT = b"ses-1f3a", b"agent-77", b"agent-76"
CLAUDE_CODE = [
    (b"x-claude-code-session-id", SESSION),
    (b"x-claude-code-agent-id", AGENT),
    (b"x-claude-code-parent-agent-id", PARENT),
]
CODEX = [
    (b"session-id", SESSION),
    (b"thread-id", AGENT),
    (b"x-codex-parent-thread-id", PARENT),
    (b"x-openai-subagent", b"collab_spawn"),
]


def of(headers, in_body=None, scope="key-1"):
    return Lineage.of(RequestHead(headers), in_body, scope=scope)


def test_clients_that_say_the_same_are_told_the_same():
    claude_code, codex = of(CLAUDE_CODE), of(CODEX)
    assert codex.agent_kind is AgentKind.COLLAB_SPAWN
    assert claude_code.agent_kind is None
    for each in (claude_code, codex):
        assert each.session_id == of([(b"x-session-id", SESSION)]).session_id
        assert each.agent_id == claude_code.agent_id
        assert each.parent_agent_id == claude_code.parent_agent_id
    assert claude_code.agent_id != claude_code.parent_agent_id


def test_a_hash_is_the_one_that_the_guide_tells():
    digits = hashlib.sha256(b"key-1\n" + SESSION).hexdigest()[:16]
    assert of(CLAUDE_CODE).session_id == f"session-{digits}"
    digits = hashlib.sha256(b"key-1\n" + SESSION + b"\n" + AGENT).hexdigest()[:16]
    assert of(CLAUDE_CODE).agent_id == f"agent-{digits}"


def test_nothing_that_a_client_says_can_be_read():
    for headers in (CLAUDE_CODE, CODEX, [*CODEX[:3], (b"x-openai-subagent", b"jane@example.com")]):
        told = repr(of(headers)).encode()
        for _, value in headers:
            assert value not in told or value == b"collab_spawn"


def test_two_keys_never_share_a_session_nor_two_sessions_an_agent():
    mine, other = of(CLAUDE_CODE), of(CLAUDE_CODE, scope="key-2")
    assert mine.session_id != other.session_id
    assert mine.agent_id != other.agent_id
    again = of([(b"x-claude-code-session-id", b"another"), CLAUDE_CODE[1]])
    assert again.agent_id != mine.agent_id


@pytest.mark.parametrize(
    "headers",
    [
        CLAUDE_CODE[:1],
        [CLAUDE_CODE[0], CLAUDE_CODE[2]],  # a parent alone names no agent
        [(b"session-id", SESSION), (b"thread-id", SESSION)],  # Codex's main thread
        [(b"thread-id", SESSION)],
        [(b"x-session-id", SESSION), (b"x-session-affinity", SESSION)],  # opencode
    ],
)
def test_the_main_agent_of_a_session_has_no_id(headers):
    assert of(headers) == Lineage(session_id=of(CLAUDE_CODE).session_id)


def test_a_parent_that_is_the_main_agent_has_none_either():
    main = (b"x-codex-parent-thread-id", SESSION)
    assert of([CODEX[0], CODEX[1], main]).parent_agent_id is None
    assert of([CODEX[0], CODEX[1], main]).agent_id == of(CODEX).agent_id


def test_a_sub_agent_of_opencode_belongs_to_the_session_that_started_it():
    own = [(b"x-session-id", AGENT), (b"x-session-affinity", AGENT)]
    told = of([*own, (b"x-parent-session-id", SESSION)])
    assert told == Lineage(session_id=of(CODEX).session_id, agent_id=of(CODEX).agent_id)


@pytest.mark.parametrize(
    ("kind", "told"),
    [(b"review", "review"), (b" compact ", "compact"), (b"", "other"), (b"\xff", "other")],
)
def test_what_an_agent_is_for_is_one_of_a_few_words(kind, told):
    assert of([*CODEX[:3], (b"x-openai-subagent", kind)]).agent_kind == told


def test_the_session_may_be_stated_in_the_body():
    stated = of([(b"session-id", b"another")], b'"ses-1f3a"')
    assert stated.session_id == of(CLAUDE_CODE).session_id
    assert of([(b"x-session-id", SESSION)], b'"another"').session_id == stated.session_id


@pytest.mark.parametrize("in_body", [None, b"null", b"7", b'""', b"[", b'"\\ud800"', b'"x', b" "])
@pytest.mark.parametrize("value", [None, b"", b"  ", b"x" * 513])
def test_what_is_no_id_says_nothing(in_body, value):
    headers = [(b"content-type", b"application/json"), (b"x-stainless-lang", b"python")]
    if value is not None:
        headers += [(b"x-claude-code-session-id", value), (b"session-id", value)]
    assert of(headers, in_body) is None
    assert of([*headers, *CLAUDE_CODE[1:], CODEX[3]], in_body) is None
